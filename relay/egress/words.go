package egress

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

// The sentences of Response.Detail, for the person who has to mend the endpoint. None of them names an address.

// maxDetail bounds in bytes what Response.Detail quotes of others.
const maxDetail = 200

// timeoutWords says how far the endpoint got.
func timeoutWords(x *exchange, timeout time.Duration) string {
	within := " within " + seconds(timeout)
	switch {
	case x.read:
		return "the answer's head was not complete" + within
	case !x.sent():
		return "the endpoint did not take the request" + within
	}
	return "the endpoint answered nothing" + within
}

func resetWords(err error, read bool) string {
	how := "closed the connection"
	if isReset(err) {
		how = "reset the connection"
	}
	if read {
		return "the endpoint " + how + " in the middle of the answer's head"
	}
	return "the endpoint " + how + " before it answered"
}

// bodyWords says why a body broke off whose status stands.
func bodyWords(err error, timeout time.Duration) string {
	switch {
	case isTimeout(err):
		return "the answer's body was not complete within " + seconds(timeout)
	case isReset(err):
		return "the endpoint reset the connection in the middle of the answer's body"
	case isBroken(err):
		return "the endpoint closed the connection in the middle of the answer's body"
	}
	return "the answer's body is not valid HTTP: " + plain(err)
}

func statusWords(status int) string {
	if status == http.StatusSwitchingProtocols {
		return "the endpoint answered 101 Switching Protocols; a webhook is answered with 2xx"
	}
	return fmt.Sprintf("the endpoint answered with status %03d; HTTP knows 100 to 599", status)
}

// connectWords says why no address took the connection.
func connectWords(err error) string {
	errno, ok := errors.AsType[syscall.Errno](err)
	switch {
	case !ok:
		return "the connection failed"
	case errno == syscall.ECONNREFUSED:
		return "the connection was refused: nothing listens on that port"
	case errno == syscall.EHOSTUNREACH:
		return "the host cannot be reached"
	case errno == syscall.ECONNRESET:
		return "the connection was reset while it was opened"
	}
	return "the connection failed: " + errno.Error()
}

// tlsWords says why a handshake failed. now is the clock of the certificate check.
func tlsWords(err error) string {
	if record, ok := errors.AsType[tls.RecordHeaderError](err); ok && record.Conn != nil {
		return "the endpoint does not speak TLS on this port"
	}
	if broken, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return certificateWords(broken, time.Now())
	}
	text := plain(err)
	switch {
	case strings.Contains(text, "protocol version"):
		return "the endpoint offers no TLS version that is still safe: 1.2 or 1.3 is needed"
	case strings.Contains(text, "no application protocol"):
		return "the endpoint does not take HTTP/1.1 (by ALPN), which is needed"
	case strings.Contains(text, "first record does not look like a TLS handshake"):
		return "the endpoint does not speak TLS on this port"
	case isReset(err):
		return "the endpoint reset the connection during the TLS handshake"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the endpoint closed the connection during the TLS handshake"
	}
	return "the TLS handshake failed: " + strings.TrimPrefix(text, "tls: ")
}

func certificateWords(broken *tls.CertificateVerificationError, now time.Time) string {
	leaf := &x509.Certificate{}
	if len(broken.UnverifiedCertificates) > 0 {
		leaf = broken.UnverifiedCertificates[0]
	}
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](broken)
	_, isUnknown := errors.AsType[x509.UnknownAuthorityError](broken)
	host, isHost := errors.AsType[x509.HostnameError](broken)
	switch {
	case isInvalid && invalid.Reason == x509.Expired && invalid.Cert != nil && now.Before(invalid.Cert.NotBefore):
		return "the TLS certificate is not valid yet, for another " + days(invalid.Cert.NotBefore.Sub(now))
	case isInvalid && invalid.Reason == x509.Expired && invalid.Cert != nil:
		return "the TLS certificate expired " + days(now.Sub(invalid.Cert.NotAfter)) + " ago"
	case isHost:
		return "the TLS certificate is for " + certificateNames(host.Certificate) + ", not for " + host.Host
	case isUnknown && leaf.Subject.String() == leaf.Issuer.String():
		return "the TLS certificate is self-signed"
	case isUnknown:
		return "the TLS certificate is signed by an unknown authority; the chain may lack an intermediate"
	}
	return "the TLS certificate is not valid: " + plain(broken.Err)
}

// certificateNames are those of a stranger's certificate: bounded, and without addresses, which may be private ones.
func certificateNames(c *x509.Certificate) string {
	if c == nil || len(c.DNSNames) == 0 {
		return "no host name"
	}
	names := c.DNSNames[:min(len(c.DNSNames), 3)]
	text := printable(strings.Join(names, ", "))
	if len(names) < len(c.DNSNames) {
		text += ", …"
	}
	return text
}

// seconds writes a limit as people do.
func seconds(d time.Duration) string {
	if d >= time.Second && d%time.Second == 0 && d < 2*time.Minute {
		return fmt.Sprintf("%d s", d/time.Second)
	}
	return d.String()
}

// days writes an age in its largest unit.
func days(d time.Duration) string {
	n, unit := int(d/(24*time.Hour)), "day"
	if n == 0 {
		n, unit = int(d/time.Hour), "hour"
	}
	if n == 0 {
		n, unit = int(d/time.Minute), "minute"
	}
	if n != 1 {
		unit += "s"
	}
	return fmt.Sprintf("%d %s", n, unit)
}

// plain is err's text without the addresses of our side, on one bounded line.
func plain(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		err = op.Err
	}
	return printable(strings.TrimPrefix(err.Error(), "net/http: "))
}

func printable(text string) string {
	text = strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text), "?")
	if len(text) > maxDetail {
		text = strings.ToValidUTF8(text[:maxDetail], "") + "…"
	}
	return text
}
