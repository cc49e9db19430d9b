package egress

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"time"
)

// Resolve returns the addresses of a host name. It must honour ctx.
type Resolve func(ctx context.Context, host string) ([]netip.Addr, error)

// Config of a Client. The zero value is the documented default throughout.
type Config struct {
	// Policy that each URL and each resolved address has to pass at the time of
	// sending: an endpoint may be older than the policy.
	Policy Policy
	// Timeout is the wall clock of one Do: resolve, connect, handshake, send,
	// the answer's head and its body. Default 30 s.
	Timeout time.Duration
	// ConnectTimeout bounds resolving and connecting together. Default 10 s.
	ConnectTimeout time.Duration
	// HandshakeTimeout bounds the TLS handshake. Default 10 s.
	HandshakeTimeout time.Duration
	// IdleTimeout is how long an unused connection is kept. Default 30 s.
	IdleTimeout time.Duration
	// IdlePerHost is how many unused connections one host keeps. Default 64.
	IdlePerHost int
	// Idle is how many unused connections there are in all. Default 2048.
	Idle int
	// Resolve replaces the system's resolver; nil means net.DefaultResolver.
	Resolve Resolve
	// RootCAs replaces the system's certificate authorities; nil means those.
	RootCAs *x509.CertPool
}

// Validate reports every value that cannot work, joined.
func (c Config) Validate() error {
	errs := []error{c.Policy.Validate()}
	if min(c.Timeout, c.ConnectTimeout, c.HandshakeTimeout, c.IdleTimeout) < 0 {
		errs = append(errs, errors.New("egress: timeouts must not be negative"))
	}
	if min(c.IdlePerHost, c.Idle) < 0 {
		errs = append(errs, errors.New("egress: idle connection limits must not be negative"))
	}
	return errors.Join(errs...)
}

// WithDefaults is the configuration with every value that it runs with.
func (c Config) WithDefaults() Config {
	c.Timeout = cmp.Or(c.Timeout, 30*time.Second)
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, 10*time.Second)
	c.HandshakeTimeout = cmp.Or(c.HandshakeTimeout, 10*time.Second)
	c.IdleTimeout = cmp.Or(c.IdleTimeout, 30*time.Second)
	c.IdlePerHost = cmp.Or(c.IdlePerHost, 64)
	c.Idle = cmp.Or(c.Idle, 2048)
	if c.Resolve == nil {
		// The dot keeps the search list of this host's resolv.conf out: a customer's name must not be
		// completed to one of ours. Names of a development network need it.
		dot := "."
		if c.Policy.Insecure {
			dot = ""
		}
		c.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host+dot)
		}
	}
	return c
}
