package projections

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/outbox/wire"
)

// Event is what happened, and for each endpoint of its company whether it was told, and why not. Times are UTC.
type Event struct {
	EventID     uuid.UUID       `json:"event_id"`
	CompanyID   uuid.UUID       `json:"company_id"`
	EventType   string          `json:"event_type"`
	CreatedAt   time.Time       `json:"created_at"`
	Position    int64           `json:"position"` // in the outbox
	FannedOutAt time.Time       `json:"fanned_out_at"`
	Decisions   json.RawMessage `json:"decisions"` // an array of {endpoint_id, version, decision, delivery_id, trigger}
}

// Delivery is one event for one endpoint, and where it stands.
type Delivery struct {
	DeliveryID     int64      `json:"delivery_id"`
	EventID        uuid.UUID  `json:"event_id"`
	EndpointID     uuid.UUID  `json:"endpoint_id"`
	CompanyID      uuid.UUID  `json:"company_id"`
	EventType      string     `json:"event_type"`
	State          string     `json:"state"` // held: it is open, and its endpoint disabled
	Trigger        string     `json:"trigger"`
	Generation     int        `json:"generation"` // 1, and one more with each manual replay
	Attempts       int        `json:"attempts"`   // of this generation, that used up a retry
	CreatedAt      time.Time  `json:"created_at"`
	FirstAttemptAt *time.Time `json:"first_attempt_at"`
	LastAttemptAt  *time.Time `json:"last_attempt_at"`
	NextAttemptAt  *time.Time `json:"next_attempt_at"` // null: it is over, goes at once, or waits for its endpoint; in the past: due now
	FinishedAt     *time.Time `json:"finished_at"`
	LastStatus     *int       `json:"last_status"`
	LastReason     *string    `json:"last_reason"`
	LastTotalUs    *int64     `json:"last_total_us"` // how long the last attempt took; null: nobody knows

	// What holds now, as the relays know it: the history learns of it later, or never.
	DeliveringSince *time.Time `json:"delivering_since"` // a request is under way
	WaitsFor        string     `json:"waits_for"`        // what keeps it, though it is due: enabled, breaker, probe, or "" for nothing
	RequestedBy     string     `json:"requested_by"`     // who asked for what the fan-out had not made; "": nobody
	RetriedBy       string     `json:"retried_by"`       // who asked for it again, the last time; "": nobody
	RetriedAt       *time.Time `json:"retried_at"`
}

// What an open delivery may wait for when its time has come.
const (
	WaitsForEnabled = "enabled" // its endpoint is disabled
	WaitsForBreaker = "breaker" // NextAttemptAt is when that lets an attempt pass
	WaitsForProbe   = "probe"   // one delivery at a time is tried, to see whether the endpoint works again
)

// DeliveryDetail is a delivery with its attempts, the newest first.
type DeliveryDetail struct {
	Delivery

	AttemptRows []Attempt `json:"attempt_rows"`
}

// Attempt is one HTTP request: what was sent, what came back, how long it took, what comes next. The _us fields are
// whole microseconds; a step that did not happen is 0.
type Attempt struct { //nolint:recvcheck // values are encoded, pointers scanned
	DeliveryID        int64           `json:"delivery_id"`
	Attempt           int             `json:"attempt"` // 1 is the first ever, over all generations
	EventID           uuid.UUID       `json:"event_id"`
	EndpointID        uuid.UUID       `json:"endpoint_id"`
	CompanyID         uuid.UUID       `json:"company_id"`
	EventType         string          `json:"event_type"`
	Generation        int             `json:"generation"`
	Trigger           string          `json:"trigger"`
	StartedAt         time.Time       `json:"started_at"`
	Outcome           string          `json:"outcome"`
	Reason            string          `json:"reason"`
	Detail            string          `json:"detail"`
	Status            *int            `json:"status"` // null: no answer
	URL               string          `json:"url"`
	RequestTimestamp  *int64          `json:"request_timestamp"` // Unix seconds
	RequestSignature  string          `json:"request_signature"`
	RequestBytes      int             `json:"request_bytes"`
	RequestHeaders    json.RawMessage `json:"request_headers"` // the custom ones: names, and *** for each value; null: none
	ResponseHeaders   json.RawMessage `json:"response_headers"`
	ResponseBody      Body            `json:"-"` // as response_body and response_body_base64: see MarshalJSON
	ResponseTruncated bool            `json:"response_truncated"`
	RemoteAddr        string          `json:"remote_addr"`
	DNSUs             int64           `json:"dns_us"`
	ConnectUs         int64           `json:"connect_us"`
	TLSUs             int64           `json:"tls_us"`
	FirstByteUs       int64           `json:"first_byte_us"`
	TotalUs           int64           `json:"total_us"`
	NextAttemptAt     *time.Time      `json:"next_attempt_at"`
	ConfigVersion     int             `json:"config_version"`
}

// Body is what a receiver answered, byte for byte; it may be no text at all.
type Body []byte

// Text returns the body as a JSON string can hold it: itself when it is UTF-8, else its base64 (and true).
func (b Body) Text() (text string, isBase64 bool) {
	if utf8.Valid(b) {
		return string(b), false
	}
	return base64.StdEncoding.EncodeToString(b), true
}

// MarshalJSON adds response_body, and response_body_base64, which is true when the body was no UTF-8 and is given in
// base64.
func (a Attempt) MarshalJSON() ([]byte, error) {
	type plain Attempt
	row := struct {
		plain

		ResponseBody       string `json:"response_body"`
		ResponseBodyBase64 bool   `json:"response_body_base64"`
	}{plain: plain(a)}
	row.ResponseBody, row.ResponseBodyBase64 = a.ResponseBody.Text()
	text, err := json.Marshal(row)
	if err != nil {
		return nil, fmt.Errorf("encode attempt %d/%d: %w", a.DeliveryID, a.Attempt, err)
	}
	return text, nil
}

// EndpointHealth is how an endpoint does: its state, its breaker, and its last 24 hours.
type EndpointHealth struct {
	EndpointID   uuid.UUID  `json:"endpoint_id"`
	CompanyID    uuid.UUID  `json:"company_id"`
	URL          string     `json:"url"` // the values of its query are masked
	State        string     `json:"state"`
	StateReason  string     `json:"state_reason"`
	StateNote    string     `json:"state_note"` // why it was disabled, in the words of who did it
	StateSince   time.Time  `json:"state_since"`
	Breaker      *string    `json:"breaker"` // null: nothing was ever sent
	NotBefore    *time.Time `json:"not_before"`
	FailingSince *time.Time `json:"failing_since"`
	Succeeded24h int64      `json:"succeeded_24h"`
	Failed24h    int64      `json:"failed_24h"`
	SuccessRate  *float64   `json:"success_rate_24h"` // of these attempts; null without any, as are the next three
	MeanMs24h    *float64   `json:"mean_ms_24h"`
	MaxMs24h     *float64   `json:"max_ms_24h"`
	P95Ms24h     *float64   `json:"p95_ms_24h"` // estimated: see Histogram.QuantileMs
}

// EndpointChange is one change of an endpoint: who made it, why, and from what to what.
type EndpointChange struct {
	Position   int64           `json:"position"` // in the journal
	RecordedAt time.Time       `json:"recorded_at"`
	EndpointID uuid.UUID       `json:"endpoint_id"`
	CompanyID  uuid.UUID       `json:"company_id"`
	Fact       string          `json:"fact"`
	Version    int             `json:"version"`
	Actor      string          `json:"actor"`
	Reason     string          `json:"reason"`
	Note       string          `json:"note"` // why, in the words of who did it; empty when nothing was said
	Old        json.RawMessage `json:"old"`
	New        json.RawMessage `json:"new"`
}

func (e *Event) fields() []any {
	return []any{&e.EventID, &e.CompanyID, &e.EventType, &e.CreatedAt, &e.Position, &e.FannedOutAt, (*[]byte)(&e.Decisions)}
}

func (d *Delivery) fields() []any {
	return []any{
		&d.DeliveryID, &d.EventID, &d.EndpointID, &d.CompanyID, &d.EventType, &d.State, &d.Trigger, &d.Generation, &d.Attempts,
		&d.CreatedAt, &d.FirstAttemptAt, &d.LastAttemptAt, &d.NextAttemptAt, &d.FinishedAt, &d.LastStatus, &d.LastReason,
		&d.LastTotalUs, &d.DeliveringSince, &d.WaitsFor, &d.RequestedBy, &d.RetriedBy, &d.RetriedAt,
	}
}

func (a *Attempt) fields() []any {
	return []any{
		&a.DeliveryID, &a.Attempt, &a.EventID, &a.EndpointID, &a.CompanyID, &a.EventType, &a.Generation, &a.Trigger, &a.StartedAt,
		&a.Outcome, &a.Reason, &a.Detail, &a.Status, &a.URL, &a.RequestTimestamp, &a.RequestSignature, &a.RequestBytes,
		(*[]byte)(&a.ResponseHeaders), (*[]byte)(&a.ResponseBody), &a.ResponseTruncated, &a.RemoteAddr,
		&a.DNSUs, &a.ConnectUs, &a.TLSUs, &a.FirstByteUs, &a.TotalUs, &a.NextAttemptAt, &a.ConfigVersion,
		(*[]byte)(&a.RequestHeaders),
	}
}

// maskedURL is where a URL is scanned to that more people see than may manage the endpoint.
type maskedURL struct{ to *string }

// Scan takes a text.
func (m *maskedURL) Scan(from any) error {
	switch from := from.(type) {
	case string:
		*m.to = wire.MaskQuery(from)
	case []byte:
		*m.to = wire.MaskQuery(string(from))
	default:
		return fmt.Errorf("a URL is read as %T: want text", from)
	}
	return nil
}

func (h *EndpointHealth) fields() []any {
	return []any{
		&h.EndpointID, &h.CompanyID, &maskedURL{&h.URL}, &h.State, &h.StateReason, &h.StateNote, &h.StateSince, &h.Breaker,
		&h.NotBefore, &h.FailingSince,
		&h.Succeeded24h, &h.Failed24h, &h.SuccessRate, &h.MeanMs24h, &h.MaxMs24h, &p95{&h.P95Ms24h, &h.MaxMs24h},
	}
}

// p95 reads a histogram as its quantile, which is no longer than the longest, which is scanned before.
type p95 struct{ ms, longest **float64 }

// Scan reads an array of counts.
func (p *p95) Scan(src any) error {
	var took Histogram
	if err := took.Scan(src); err != nil {
		return err
	}
	if *p.ms = took.QuantileMs(0.95); *p.ms != nil && *p.longest != nil {
		**p.ms = min(**p.ms, **p.longest)
	}
	return nil
}

func (c *EndpointChange) fields() []any {
	return []any{
		&c.Position, &c.RecordedAt, &c.EndpointID, &c.CompanyID, &c.Fact, &c.Version, &c.Actor, &c.Reason, &c.Note,
		(*[]byte)(&c.Old), (*[]byte)(&c.New),
	}
}

func (e *Event) times() []*time.Time { return []*time.Time{&e.CreatedAt, &e.FannedOutAt} }

func (d *Delivery) times() []*time.Time {
	return []*time.Time{&d.CreatedAt, d.FirstAttemptAt, d.LastAttemptAt, d.NextAttemptAt, d.FinishedAt, d.DeliveringSince, d.RetriedAt}
}

func (a *Attempt) times() []*time.Time { return []*time.Time{&a.StartedAt, a.NextAttemptAt} }

func (h *EndpointHealth) times() []*time.Time {
	return []*time.Time{&h.StateSince, h.NotBefore, h.FailingSince}
}

func (c *EndpointChange) times() []*time.Time { return []*time.Time{&c.RecordedAt} }
