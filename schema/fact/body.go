package fact

import (
	"time"

	"github.com/google/uuid"
)

// Endpoint is the body of every endpoint.* fact: who changed what.
type Endpoint struct {
	EndpointID uuid.UUID       `json:"endpoint_id"`
	Version    int             `json:"version"` // the configuration's version after the change
	Actor      string          `json:"actor"`   // who asked: a person, "cli", or "relay"
	Reason     Reason          `json:"reason"`
	Note       string          `json:"note,omitempty"` // why, in the words of who asked; left out when nothing was said
	Old        *EndpointConfig `json:"old,omitempty"`
	New        *EndpointConfig `json:"new,omitempty"`
}

// EndpointConfig is what can be changed about an endpoint. Secrets are never in a fact.
type EndpointConfig struct {
	URL         string            `json:"url"`
	Description string            `json:"description"`
	EventTypes  []string          `json:"event_types"` // null means all
	State       string            `json:"state"`
	RateLimit   *int              `json:"rate_limit,omitempty"` // attempts a second; left out when there is none
	Headers     map[string]string `json:"headers,omitempty"`    // custom ones by name; each value is ***
}

// FannedOut is the body of event.fanned_out: one decision for each endpoint of the event's company.
type FannedOut struct {
	EventID   uuid.UUID        `json:"event_id"`
	EventType string           `json:"event_type"`
	CreatedAt time.Time        `json:"created_at"`
	Position  int64            `json:"position"` // in the outbox
	Decisions []EndpointChoice `json:"decisions"`
}

// EndpointChoice is the recorded decision about one endpoint.
type EndpointChoice struct {
	EndpointID uuid.UUID `json:"endpoint_id"`
	Version    int       `json:"version"` // of the configuration that decided
	Decision   Decision  `json:"decision"`
	DeliveryID *int64    `json:"delivery_id"` // set when chosen
	Trigger    Trigger   `json:"trigger"`
}

// Started is the body of attempts.started: the attempts that a relay meant to make in one commit, before any byte left.
type Started struct {
	RelayID   uuid.UUID   `json:"relay_id"`
	Batch     int64       `json:"batch"`
	StartedAt time.Time   `json:"started_at"`
	Attempts  []AttemptID `json:"attempts"`
}

// AttemptID names one attempt.
type AttemptID struct {
	DeliveryID int64 `json:"delivery_id"`
	Attempt    int   `json:"attempt"` // 1 is the first ever, over all generations
}

// Attempt is the body of every attempt.* fact: one HTTP request, and where its delivery stands after it. Its JSON is
// flat, so that the history parses it in one go.
type Attempt struct {
	AttemptID
	EndpointID     uuid.UUID  `json:"endpoint_id"`
	EventID        uuid.UUID  `json:"event_id"`
	EventType      string     `json:"event_type"`
	Generation     int        `json:"generation"`
	Trigger        Trigger    `json:"trigger"`
	StartedAt      time.Time  `json:"started_at"`
	Reason         Reason     `json:"reason"`
	Detail         string     `json:"detail,omitempty"` // the reason in the operator's words; no secret, no address
	Status         int        `json:"status,omitempty"`
	Completed      int        `json:"completed"`                 // attempts of this generation that used up a retry, after this one
	State          State      `json:"state"`                     // of the delivery, after this one
	FirstAttemptAt time.Time  `json:"first_attempt_at,omitzero"` // left out when it is this one
	NextAttemptAt  *time.Time `json:"next_attempt_at,omitempty"`
	Request
	Response
	RemoteAddr string `json:"remote_addr,omitempty"`
	Timing
}

// Request is what was sent, less what the event already says.
type Request struct {
	ConfigVersion int    `json:"config_version"`
	URL           string `json:"url"`                         // without its query
	Timestamp     int64  `json:"request_timestamp,omitempty"` // X-Webhook-Timestamp, Unix seconds
	Signature     string `json:"request_signature,omitempty"` // webhook-signature
	Bytes         int    `json:"request_bytes,omitempty"`
	// CustomHeaders are the customer's own by name; each value is ***.
	CustomHeaders map[string]string `json:"request_headers,omitempty"`
}

// Response is what came back, cut to its limits.
type Response struct {
	Headers   map[string][]string `json:"response_headers,omitempty"`
	Body      []byte              `json:"response_body,omitempty"` // base64 in JSON; the first 16 KiB
	Truncated bool                `json:"response_truncated,omitempty"`
}

// Timing is how long each step took, in microseconds; a step that did not happen is 0.
type Timing struct {
	DNS       int64 `json:"dns_us,omitempty"`
	Connect   int64 `json:"connect_us,omitempty"`
	TLS       int64 `json:"tls_us,omitempty"`
	FirstByte int64 `json:"first_byte_us,omitempty"`
	Total     int64 `json:"total_us,omitempty"`
}

// Requested is the body of delivery.requested: the birth of a delivery that the fan-out of its event had not made.
type Requested struct {
	DeliveryID int64     `json:"delivery_id"`
	EndpointID uuid.UUID `json:"endpoint_id"`
	EventID    uuid.UUID `json:"event_id"`
	EventType  string    `json:"event_type"`
	Version    int       `json:"version"` // of the endpoint's configuration at that time
	Trigger    Trigger   `json:"trigger"`
	Actor      string    `json:"actor"`
	Reason     Reason    `json:"reason"`
}

// Delivery is the body of every other delivery.* fact.
type Delivery struct {
	DeliveryID int64     `json:"delivery_id"`
	EndpointID uuid.UUID `json:"endpoint_id"`
	EventID    uuid.UUID `json:"event_id"`
	Generation int       `json:"generation"`
	State      State     `json:"state"` // after it
	Actor      string    `json:"actor"`
	Reason     Reason    `json:"reason"`
}

// Breaker is the body of every breaker.* fact.
type Breaker struct {
	EndpointID uuid.UUID  `json:"endpoint_id"`
	NotBefore  *time.Time `json:"not_before,omitempty"` // when open: the earliest probe
}
