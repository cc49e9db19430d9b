package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// maxAddrs bounds how many of a name's addresses are tried.
const maxAddrs = 8

// attemptDelay staggers connection attempts as RFC 8305 section 5 advises.
const attemptDelay = 250 * time.Millisecond

// dialError is a failed connection; its fault is known from the stage it failed in.
type dialError struct {
	fault  Fault
	detail string
	timing dialTiming
	err    error
}

// Error is for the operator's log, where Response.Err goes; the customer reads detail alone.
func (e *dialError) Error() string {
	if blocked, ok := errors.AsType[*BlockedError](e.err); ok {
		return e.detail + ": " + blocked.Operator()
	}
	return e.detail + ": " + e.err.Error()
}

func (e *dialError) Unwrap() error { return e.err }

// dialer opens guarded connections. Safe for concurrent use.
type dialer struct {
	cfg    Config
	guard  *guard
	own    *ownAddrs
	tls    *tls.Config
	net    net.Dialer
	dial   func(ctx context.Context, network, address string) (net.Conn, error) // net's own, but for tests with a false clock
	closed context.Context                                                      //nolint:containedctx // the client's own life: ends when it is closed
}

func newDialer(cfg Config, closed context.Context) *dialer {
	d := &dialer{cfg: cfg, guard: newGuard(cfg.Policy), own: &ownAddrs{list: net.InterfaceAddrs}, closed: closed}
	d.dial = d.net.DialContext
	d.net.KeepAlive = 15 * time.Second
	// The last word, on the very address that the socket is about to use.
	d.net.ControlContext = func(_ context.Context, _, address string, _ syscall.RawConn) error {
		ap, err := netip.ParseAddrPort(address)
		if err != nil {
			return &BlockedError{Block: "not an address", Registry: "guard"}
		}
		return d.check(ap)
	}
	d.tls = &tls.Config{
		MinVersion:         tls.VersionTLS12,
		RootCAs:            cfg.RootCAs,
		NextProtos:         []string{"http/1.1"},
		ClientSessionCache: tls.NewLRUClientSessionCache(1024),
	}
	return d
}

// check is the whole guard, for one address and port.
func (d *dialer) check(ap netip.AddrPort) error {
	policy := d.cfg.Policy
	if !policy.allowsPort(int(ap.Port())) {
		return &BlockedError{Addr: ap.Addr(), Block: "port " + strconv.Itoa(int(ap.Port())), Registry: "port policy"}
	}
	if err := d.guard.check(ap.Addr()); err != nil {
		return err
	}
	if policy.Insecure && len(policy.Listeners) == 0 {
		return nil
	}
	own, err := d.own.contains(ap.Addr())
	switch {
	case err != nil:
		return err
	case policy.listensAt(ap, func(netip.Addr) bool { return own }):
		return &BlockedError{Addr: ap.Addr(), Block: "a listener of this process", Registry: ourselves}
	case own && !policy.Insecure:
		return &BlockedError{Addr: ap.Addr(), Block: "an interface's address", Registry: ourselves}
	}
	return nil
}

// connect opens a connection for requests to u.
func (d *dialer) connect(ctx context.Context, u *url.URL) (*conn, error) {
	k, host, err := d.open(ctx, address(u))
	if err != nil {
		return nil, err
	}
	if u.Scheme == "https" {
		if err := d.secure(ctx, k, host); err != nil {
			_ = k.Close()
			return nil, err
		}
	}
	return k, nil
}

// secure shakes hands. A handshake with a limit of its own tells a stalled one from a stalled connect.
func (d *dialer) secure(ctx context.Context, k *conn, host string) error {
	ctx, cancel := d.bound(ctx, d.cfg.HandshakeTimeout)
	defer cancel()
	cfg := d.tls.Clone()
	cfg.ServerName = host
	start := time.Now()
	t := tls.Client(k.socket, cfg)
	err := t.HandshakeContext(ctx)
	k.timing.tls = time.Since(start)
	if err != nil {
		return d.handshakeError(ctx, err, k.timing)
	}
	k.Conn = t
	return nil
}

// bound gives ctx a limit, and ends it when the client is closed.
func (d *dialer) bound(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	stop := context.AfterFunc(d.closed, cancel)
	return ctx, func() { stop(); cancel() }
}

// open resolves and connects, and returns the host it was asked for.
func (d *dialer) open(ctx context.Context, address string) (*conn, string, error) {
	ctx, cancel := d.bound(ctx, d.cfg.ConnectTimeout)
	defer cancel()
	var timing dialTiming
	start := time.Now()
	host, addrs, err := d.resolve(ctx, address)
	timing.dns = time.Since(start)
	if err != nil {
		return nil, host, d.dialError(ctx, err, timing)
	}
	start = time.Now()
	raw, err := d.race(ctx, addrs)
	timing.connect = time.Since(start)
	if err != nil {
		return nil, host, d.dialError(ctx, err, timing)
	}
	return newConn(raw, timing), host, nil
}

// lookup returns the addresses of a host. A name that the policy refuses is not
// even asked for.
func (d *dialer) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if literal, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{literal}, nil
	}
	if err := d.cfg.Policy.dials(host); err != nil {
		return nil, err
	}
	return d.cfg.Resolve(ctx, host)
}

// resolve returns the addresses to try, the families taking turns. A name with a
// single forbidden address is forbidden as a whole: whether an attempt succeeds
// must not hang on the order in which a resolver lists them.
func (d *dialer) resolve(ctx context.Context, address string) (string, []netip.AddrPort, error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return "", nil, fmt.Errorf("split host and port: %w", err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return host, nil, fmt.Errorf("read port: %w", err)
	}
	found, err := d.lookup(ctx, strings.ToLower(strings.TrimSuffix(host, ".")))
	if err != nil {
		return host, nil, err
	}
	var six, four []netip.AddrPort
	for _, a := range found {
		ap := netip.AddrPortFrom(a.Unmap(), uint16(port))
		if err := d.check(ap); err != nil {
			return host, nil, err
		}
		if ap.Addr().Is4() {
			four = append(four, ap)
		} else {
			six = append(six, ap)
		}
	}
	var addrs []netip.AddrPort
	for i := range max(len(six), len(four)) {
		addrs = append(append(addrs, six[min(i, len(six)):min(i+1, len(six))]...), four[min(i, len(four)):min(i+1, len(four))]...)
	}
	if len(addrs) == 0 {
		return host, nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return host, addrs[:min(len(addrs), maxAddrs)], nil
}

// race tries the addresses in turn without waiting for a silent one, and
// returns the first connection. The others are closed.
func (d *dialer) race(ctx context.Context, addrs []netip.AddrPort) (net.Conn, error) {
	if len(addrs) == 1 {
		return d.dial(ctx, "tcp", addrs[0].String())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		conn net.Conn
		err  error
	}
	results := make(chan result)
	try := func(ap netip.AddrPort) {
		c, err := d.dial(ctx, "tcp", ap.String())
		select {
		case results <- result{c, err}:
		case <-ctx.Done():
			if c != nil {
				_ = c.Close()
			}
		}
	}
	var errs []error
	next := time.NewTimer(0)
	defer next.Stop()
	for started := 0; ; {
		select {
		case <-ctx.Done():
			return nil, errors.Join(append(errs, ctx.Err())...)
		case <-next.C:
			if started < len(addrs) {
				go try(addrs[started])
				started++
				next.Reset(attemptDelay)
			}
		case r := <-results:
			if r.err == nil {
				return r.conn, nil
			}
			if errs = append(errs, r.err); len(errs) == len(addrs) {
				return nil, errors.Join(errs...)
			}
			next.Reset(0)
		}
	}
}
