package projections

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/outbox/wire"
)

// SentRequest is the HTTP request of one attempt, as it was sent.
type SentRequest struct {
	Method  string       `json:"method"`
	URL     string       `json:"url"`     // the values of its query are never kept
	Headers []wire.Field `json:"headers"` // the customer's own with *** for their values; empty when the attempt ended before it was signed
	Body    []byte       `json:"-"`       // nil when it is Gone
	Gone    bool         `json:"gone"`    // the outbox no longer keeps the event
	// Exact says that the body has the length that was recorded when it was sent. Without it the body is what would be
	// sent now: the attempt was interrupted, and nobody knows what left.
	Exact bool `json:"exact"`
}

// Request returns the request of an attempt of the company, or ErrNotFound. The bytes are made again from the outbox, by
// the code that made them for sending.
func (r *Reader) Request(ctx context.Context, company uuid.UUID, delivery int64, attempt int) (SentRequest, error) {
	page, err := list(ctx, r.db, all(company, selectRequest, delivery, attempt), noKey[sent])
	row, err := only(page, err, delivery != 0)
	if err != nil {
		return SentRequest{}, err
	}
	out := SentRequest{Method: "POST", URL: row.url, Headers: []wire.Field{}, Gone: !row.kept}
	if row.signature != "" {
		out.Headers = wire.Request{ID: row.event, Type: row.eventType, Timestamp: row.timestamp, Signature: row.signature}.Fields()
		custom, err := row.custom()
		if err != nil {
			return SentRequest{}, err
		}
		out.Headers = append(out.Headers, custom...)
	}
	if row.kept && row.firstAttemptAt != nil {
		out.Body = wire.Body(wire.Event{ID: row.event, Type: row.eventType, CreatedAt: *row.createdAt, Data: row.data}, *row.firstAttemptAt)
		out.Exact = len(out.Body) == row.bytes
	}
	return out, nil
}

// Curl is a command line that makes the same request: the same bytes, and the signature that the receiver has checked
// already, which grows too old for it after a few minutes.
func (s SentRequest) Curl() string {
	var b strings.Builder
	b.WriteString("curl --request " + s.Method + " " + quoted(s.URL))
	for _, h := range s.Headers {
		b.WriteString(" \\\n  --header " + quoted(h.Name+": "+h.Value))
	}
	if s.Body != nil {
		b.WriteString(" \\\n  --data-binary " + quoted(string(s.Body)))
	}
	return b.String()
}

// quoted is one word of a shell, whatever is in it.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

type sent struct {
	url            string
	eventType      string
	timestamp      int64
	signature      string
	bytes          int
	headers        []byte // JSON, or nil
	event          uuid.UUID
	firstAttemptAt *time.Time
	kept           bool
	createdAt      *time.Time
	data           []byte
}

func (s *sent) fields() []any {
	return []any{
		&s.url, &s.eventType, &s.timestamp, &s.signature, &s.bytes, &s.headers, &s.event, &s.firstAttemptAt, &s.kept, &s.createdAt, &s.data,
	}
}

// custom are the customer's own headers, by name.
func (s *sent) custom() ([]wire.Field, error) {
	if s.headers == nil {
		return nil, nil
	}
	var masked map[string]string
	if err := json.Unmarshal(s.headers, &masked); err != nil {
		return nil, fmt.Errorf("read headers of a request: %w", err)
	}
	fields := make([]wire.Field, 0, len(masked))
	for _, name := range slices.Sorted(maps.Keys(masked)) {
		fields = append(fields, wire.Field{Name: name, Value: masked[name]})
	}
	return fields, nil
}

func (s *sent) times() []*time.Time { return []*time.Time{s.firstAttemptAt, s.createdAt} }
