package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
)

// maxDetail bounds Response.Detail in bytes.
const maxDetail = 200

// dialError names the fault of a connection that did not come about.
func (d *dialer) dialError(ctx context.Context, err error, timing dialTiming) error {
	e := &dialError{timing: timing, err: err}
	var blocked *BlockedError
	var dns *net.DNSError
	switch {
	case errors.As(err, &blocked):
		e.fault, e.detail = FaultBlocked, blocked.Error()
	case d.closed.Err() != nil:
		e.fault, e.detail = FaultLocal, "client closed"
	case errors.As(err, &dns):
		e.fault, e.detail = dnsFault(dns)
	case isOurs(err):
		e.fault, e.detail = FaultLocal, errnoText(err)
	case timing.connect == 0: // still resolving
		e.fault, e.detail = FaultDNS, "the name could not be resolved"
	case ctx.Err() != nil, isTimeout(err):
		e.fault, e.detail = FaultConnectTimeout, "no connection in time"
	default:
		e.fault, e.detail = FaultConnect, errnoText(err)
	}
	return e
}

func (d *dialer) handshakeError(ctx context.Context, err error, timing dialTiming) error {
	e := &dialError{fault: FaultTLS, timing: timing, err: err}
	var record tls.RecordHeaderError
	switch {
	case d.closed.Err() != nil:
		e.fault, e.detail = FaultLocal, "client closed"
	case ctx.Err() != nil, isTimeout(err):
		e.detail = "TLS handshake timed out"
	case errors.As(err, &record):
		e.detail = "the endpoint does not speak TLS on this port"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		e.detail = "the connection was closed during the TLS handshake"
	default:
		e.detail = "TLS handshake: " + plain(err)
	}
	return e
}

// dnsFault tells a name that fails from a resolver of ours that is down: when
// nobody listens at the resolver's port, every name would fail.
func dnsFault(err *net.DNSError) (Fault, string) {
	switch {
	case err.IsNotFound:
		return FaultDNS, "no such host"
	case isOurs(err), strings.Contains(err.Err, "connection refused"), strings.Contains(err.Err, "unreachable"):
		return FaultLocal, "our resolver cannot be reached"
	case err.IsTimeout:
		return FaultDNS, "the name server did not answer in time"
	}
	return FaultDNS, "the name server answered with a failure"
}

// isOurs finds the errors that this machine makes before a packet leaves it. With
// several addresses each has to fail that way, else the endpoint had its chance.
func isOurs(err error) bool {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range joined.Unwrap() {
			if !isOurs(one) {
				return false
			}
		}
		return true
	}
	errno, ok := errors.AsType[syscall.Errno](err)
	return ok && slices.Contains([]syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ENETUNREACH,
		syscall.ENETDOWN, syscall.EADDRNOTAVAIL, syscall.EAFNOSUPPORT, syscall.EPERM, syscall.EACCES,
	}, errno)
}

// sendError names the fault of a request that got no answer. hadConn tells
// whether it ever got a connection.
func sendError(err error, hadConn bool) (Fault, string) {
	var dial *dialError
	var blocked *BlockedError
	var op *net.OpError
	text := err.Error()
	switch {
	case errors.As(err, &dial):
		return dial.fault, dial.detail
	case errors.As(err, &blocked):
		return FaultBlocked, blocked.Error()
	case !hadConn:
		// net/http refused to send it: a header value or a URL of our making.
		return FaultLocal, "the request cannot be sent: " + plain(err)
	case errors.As(err, &op) && op.Op == "remote error": // a TLS alert; with 1.3 it comes after the handshake
		return FaultTLS, "TLS: " + plain(err)
	case isTimeout(err):
		return FaultTimeout, "no answer in time"
	case strings.Contains(text, "response headers exceeded"), strings.Contains(text, "response header list larger"):
		return FaultHeaderTooLarge, fmt.Sprintf("the answer's head is larger than %d KiB", maxHead>>10)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET),
		errors.Is(err, syscall.EPIPE), errors.Is(err, net.ErrClosed),
		strings.Contains(text, "server closed idle connection"), strings.Contains(text, "client connection lost"):
		return FaultReset, "the connection was closed before the answer"
	}
	return FaultProtocol, "not an HTTP answer: " + plain(err)
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

func errnoText(err error) string {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	return "connection failed"
}

// plain is err's text without the addresses of our side, on one bounded line.
func plain(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		err = op.Err
	}
	text := strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, err.Error()), "?")
	if len(text) > maxDetail {
		text = strings.ToValidUTF8(text[:maxDetail], "") + "…"
	}
	return text
}
