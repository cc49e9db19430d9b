package egress

// Fault says why an attempt brought no answer. The set is closed.
type Fault uint8

// The faults, in the order in which an attempt can meet them.
const (
	// FaultNone means that the endpoint answered with a status.
	FaultNone Fault = iota
	// FaultLocal is a fault of our own: no descriptors, no network, a resolver
	// that is down, a client that is closed, a request that cannot be sent.
	FaultLocal
	// FaultCanceled means that the caller's context ended first.
	FaultCanceled
	// FaultBlocked means that the URL or an address behind it is forbidden.
	FaultBlocked
	// FaultDNS means that the name does not resolve.
	FaultDNS
	// FaultConnect means that no address accepted the connection.
	FaultConnect
	// FaultConnectTimeout means that no address answered in time.
	FaultConnectTimeout
	// FaultTLS means that the handshake failed or stalled, or that the
	// certificate does not stand for the host.
	FaultTLS
	// FaultTimeout means that the head of an answer was not complete in time.
	FaultTimeout
	// FaultReset means that the connection ended before the answer's head did.
	FaultReset
	// FaultProtocol means that what came back is not an HTTP answer, or
	// that its status is 101 or outside 100 to 599.
	FaultProtocol
	// FaultHeaderTooLarge means that the answer's head passed 64 KiB.
	FaultHeaderTooLarge
)

// String returns the stable name, used in logs, metrics and rows.
func (f Fault) String() string {
	switch f {
	case FaultNone:
		return "none"
	case FaultLocal:
		return "local"
	case FaultCanceled:
		return "canceled"
	case FaultBlocked:
		return "blocked_destination"
	case FaultDNS:
		return "dns"
	case FaultConnect:
		return "connect"
	case FaultConnectTimeout:
		return "connect_timeout"
	case FaultTLS:
		return "tls"
	case FaultTimeout:
		return "timeout"
	case FaultReset:
		return "reset"
	case FaultProtocol:
		return "protocol"
	case FaultHeaderTooLarge:
		return "header_too_large"
	}
	return "unknown"
}

// Ours tells whether the fault lies with us, so that it must not use up one of
// the delivery's retries (invariant I9).
func (f Fault) Ours() bool { return f == FaultLocal || f == FaultCanceled }
