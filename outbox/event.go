package outbox

import (
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
)

// Type says what kind of thing happened: 1 to 64 of a-z 0-9 _ and dot. A type outside of the catalogue (see Types) is
// stored, and no endpoint is told of it, not even one that is told of everything.
type Type string

// The catalogue that customers are promised.
const (
	ConversationStartedType      Type = "conversation.started"
	ConversationCompletedType    Type = "conversation.completed"
	QuestionResponseUpsertedType Type = "question_response.upserted"
	TestWebhookType              Type = "test.webhook"
)

// Types lists the catalogue in the order of a conversation, the test last.
func Types() []Type {
	return []Type{ConversationStartedType, ConversationCompletedType, QuestionResponseUpsertedType, TestWebhookType}
}

// Description says in one sentence when an event of this type is sent; it is "" for a type outside of the catalogue.
func (t Type) Description() string {
	switch t {
	case ConversationStartedType:
		return "Sent when a respondent starts a conversation with your survey."
	case ConversationCompletedType:
		return "Sent when a conversation is completed, with all responses collected in it."
	case QuestionResponseUpsertedType:
		return "Sent whenever a response to a question is created or updated."
	case TestWebhookType:
		return "Sent when you ask for a test, to verify that your endpoint works."
	default:
		return ""
	}
}

// Event is one thing that happened. Its zero fields are filled in by Publish where their comments say so.
type Event struct {
	// ID is the event's identity, sent as X-Webhook-ID; the same ID again is sent once. Zero: a UUID version 7 is
	// minted, and Publish returns it.
	ID uuid.UUID
	// Type may stay empty with a typed payload, which knows its own.
	Type Type
	// CompanyID is the tenant: only this company's endpoints are told. Required, and never zero.
	CompanyID uuid.UUID
	// CreatedAt is when it happened, sent as created_at and kept to the microsecond; a year of 1 to 9999 in UTC. Zero:
	// now, by this process's clock. Nothing is scheduled by it.
	CreatedAt time.Time
	// Data is a typed payload, such as ConversationStarted, or Raw. Required.
	Data Payload
	// EndpointID makes it a test of one endpoint: no other endpoint is told. Nil for everything that really happened.
	EndpointID *uuid.UUID
}

// The metadata of an event's Watermill message.
const (
	metaEventType  = "event_type"
	metaCompanyID  = "company_id"
	metaCreatedAt  = "created_at"
	metaEndpointID = "endpoint_id" // absent when the event is for everyone
)

// filled returns the event with its zero fields set; now is the time of the call, one for all of its events.
func (e Event) filled(now time.Time) (Event, error) {
	if e.ID == uuid.Nil {
		id, err := uuid.NewV7()
		if err != nil {
			return e, fmt.Errorf("mint event id: %w", err)
		}
		e.ID = id
	}
	if v := reflect.ValueOf(e.Data); v.Kind() == reflect.Pointer && v.IsNil() {
		e.Data = nil // a nil pointer to a payload is no payload, and must not panic
	}
	if e.Type == "" && e.Data != nil {
		e.Type = e.Data.eventType()
	}
	if e.CreatedAt.IsZero() {
		e.CreatedAt = now
	}
	// PostgreSQL keeps microseconds and would round: the last moment of year 9999 must not become year 10000.
	e.CreatedAt = e.CreatedAt.UTC().Truncate(time.Microsecond)
	return e, nil
}

// message is the event on its way to the table: UUID = event id, payload = the bytes of data, the rest as metadata.
func (e Event) message(data json.RawMessage) *message.Message {
	msg := message.NewMessage(e.ID.String(), message.Payload(data))
	msg.Metadata.Set(metaEventType, string(e.Type))
	msg.Metadata.Set(metaCompanyID, e.CompanyID.String())
	msg.Metadata.Set(metaCreatedAt, e.CreatedAt.Format(time.RFC3339Nano))
	if e.EndpointID != nil {
		msg.Metadata.Set(metaEndpointID, e.EndpointID.String())
	}
	return msg
}
