package egress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"
)

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
	case errors.Is(err, errNoInterfaces):
		e.fault, e.detail = FaultLocal, "our own addresses cannot be listed"
	case errors.As(err, &dns):
		e.fault, e.detail = dnsFault(dns)
	case isOurs(err):
		e.fault, e.detail = FaultLocal, connectWords(err)
	case timing.connect == 0 && ctx.Err() != nil: // still resolving
		e.fault, e.detail = FaultDNS, "the name servers did not answer within "+seconds(d.cfg.ConnectTimeout)
	case timing.connect == 0:
		e.fault, e.detail = FaultDNS, "the name cannot be resolved"
	case ctx.Err() != nil, isTimeout(err):
		e.fault, e.detail = FaultConnectTimeout, "no connection within "+seconds(d.cfg.ConnectTimeout)
	default:
		e.fault, e.detail = FaultConnect, connectWords(err)
	}
	return e
}

func (d *dialer) handshakeError(ctx context.Context, err error, timing dialTiming) error {
	e := &dialError{fault: FaultTLS, timing: timing, err: err}
	switch {
	case d.closed.Err() != nil:
		e.fault, e.detail = FaultLocal, "client closed"
	case ctx.Err() != nil, isTimeout(err):
		e.detail = "the TLS handshake did not end within " + seconds(d.cfg.HandshakeTimeout)
	default:
		e.detail = tlsWords(err)
	}
	return e
}

// dnsFault tells a name that fails from a resolver of ours that is down: when
// nobody listens at the resolver's port, every name would fail.
func dnsFault(err *net.DNSError) (Fault, string) {
	switch {
	case err.IsNotFound: // Go does not tell a name without addresses from one that is not there
		return FaultDNS, "the name does not exist or has no address (NXDOMAIN)"
	case isOurs(err), strings.Contains(err.Err, "connection refused"), strings.Contains(err.Err, "unreachable"):
		return FaultLocal, "our resolver cannot be reached"
	case err.IsTimeout:
		return FaultDNS, "the name servers did not answer in time"
	}
	return FaultDNS, "the name servers answered with a failure (SERVFAIL)"
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

// sendError names the fault of a request that got no answer. x is nil if there was no connection.
func sendError(err error, x *exchange, timeout time.Duration) (Fault, string) {
	if x == nil {
		if dial, ok := errors.AsType[*dialError](err); ok {
			return dial.fault, dial.detail
		}
		return FaultLocal, "the request cannot be sent: " + plain(err)
	}
	var op *net.OpError
	if x.end != nil {
		err = x.end // what there was of the head is no head, and net/http may say only that
	}
	switch {
	case errors.As(err, &op) && op.Op == "remote error": // a TLS alert; with 1.3 it comes after the handshake
		return FaultTLS, tlsWords(err)
	case isTimeout(err):
		return FaultTimeout, timeoutWords(x, timeout)
	case errors.Is(err, errHeadTooLarge):
		return FaultHeaderTooLarge, fmt.Sprintf("the answer's head is larger than %d KiB", MaxHead>>10)
	case x.writeErr != nil && isReset(x.writeErr) && !x.read: // to read after that is to learn only that it is over
		return FaultReset, resetWords(x.writeErr, false)
	case isBroken(err):
		return FaultReset, resetWords(err, x.read)
	}
	return FaultProtocol, "not an HTTP answer: " + plain(err)
}

// isBroken tells that the connection ended, in order or by a reset.
func isBroken(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) || isReset(err)
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}
