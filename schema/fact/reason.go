package fact

// Reason says why an attempt ended as it did, or why something was done. One closed set feeds logs, metrics, facts,
// rows and pages alike.
type Reason string

// The reasons of attempts. The first is success; those below Interrupted are not the endpoint's fault and use up no
// retry.
const (
	OK                 Reason = "ok"
	StatusRedirect     Reason = "status_3xx"
	StatusClient       Reason = "status_4xx"
	StatusGone         Reason = "status_410"
	StatusThrottled    Reason = "status_429"
	StatusServer       Reason = "status_5xx"
	Timeout            Reason = "timeout"
	DNS                Reason = "dns"
	Connect            Reason = "connect"
	ConnectTimeout     Reason = "connect_timeout"
	TLS                Reason = "tls"
	Reset              Reason = "reset"
	Protocol           Reason = "protocol"
	HeaderTooLarge     Reason = "header_too_large"
	BlockedDestination Reason = "blocked_destination"
	Interrupted        Reason = "interrupted"
	Stale              Reason = "stale"
	Local              Reason = "local"
)

// The reasons of endpoint and delivery facts.
const (
	ByRequest           Reason = "by_request"
	Gone                Reason = "gone"
	FailingPersistently Reason = "failing_persistently"
	EndpointGoneForGood Reason = "endpoint_deleted"
	RetriesUsedUp       Reason = "retries_used_up"
)

// Charged reports whether an attempt that ended so uses up a retry (invariant I9: only completed attempts count).
func (r Reason) Charged() bool {
	return r != Interrupted && r != Stale && r != Local
}

// Known reports whether the reason is of the set.
func (r Reason) Known() bool { return r.Words() != string(r) }

// Words says the reason to a person, with what to do where there is something to do.
func (r Reason) Words() string {
	switch r {
	case OK:
		return "answered with success"
	case StatusRedirect:
		return "answered with a redirect, which is never followed: give the final URL"
	case StatusClient:
		return "answered with a client error: check path and authentication of the receiver"
	case StatusGone:
		return "answered 410 Gone: the endpoint was disabled; enable it to go on"
	case StatusThrottled:
		return "answered 429 Too Many Requests: it is sent again later"
	case StatusServer:
		return "answered with a server error: check the receiver's log"
	case Timeout:
		return "did not answer within 30 s: answer first, work later"
	case DNS:
		return "the host name could not be resolved"
	case Connect:
		return "the connection was refused"
	case ConnectTimeout:
		return "the connection could not be made in time: check firewall and address"
	case TLS:
		return "the TLS handshake failed: check the certificate"
	case Reset:
		return "the connection was cut before an answer"
	case Protocol:
		return "the answer was not HTTP as it should be"
	case HeaderTooLarge:
		return "the answer's headers were larger than 64 KiB"
	case BlockedDestination:
		return "the destination is not allowed: use a public address"
	case Interrupted:
		return "our process ended during the attempt: the outcome is unknown, and it is sent again"
	case Stale:
		return "recorded by a process that had lost its lease: another one went on"
	case Local:
		return "could not be sent for a fault of ours: no retry was used up"
	case ByRequest:
		return "somebody asked for it"
	case Gone:
		return "the endpoint answered 410 Gone"
	case FailingPersistently:
		return "every attempt failed for days"
	case EndpointGoneForGood:
		return "the endpoint was deleted"
	case RetriesUsedUp:
		return "the first attempt and all retries failed"
	default:
		return string(r)
	}
}
