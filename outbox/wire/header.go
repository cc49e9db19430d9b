package wire

import (
	"strconv"

	"github.com/google/uuid"
)

// The headers of every request, spelt as they are sent: those of the customers' documentation, and those of Standard
// Webhooks 1.0.0 beside them.
const (
	ContentType    = "Content-Type"
	UserAgent      = "User-Agent"
	AcceptEncoding = "Accept-Encoding"
	XEvent         = "X-Webhook-Event"
	XID            = "X-Webhook-ID"
	XTimestamp     = "X-Webhook-Timestamp"
	ID             = "webhook-id"
	Timestamp      = "webhook-timestamp"
	Signature      = "webhook-signature"
)

// The values that never change.
const (
	JSON     = "application/json"
	Agent    = "HS-Webhook/1.0"
	Identity = "identity" // an answer that is shown to people is not compressed
)

// Field is one header.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Request is what the headers of one attempt are made of.
type Request struct {
	ID        uuid.UUID // the event's
	Type      string
	Timestamp int64 // Unix seconds
	Signature string
}

// Fields lists the headers of an attempt in the order of the documentation.
func (r Request) Fields() []Field {
	id, timestamp := r.ID.String(), strconv.FormatInt(r.Timestamp, 10)
	return []Field{
		{ContentType, JSON},
		{UserAgent, Agent},
		{AcceptEncoding, Identity},
		{XEvent, r.Type},
		{XID, id},
		{XTimestamp, timestamp},
		{ID, id},
		{Timestamp, timestamp},
		{Signature, r.Signature},
	}
}
