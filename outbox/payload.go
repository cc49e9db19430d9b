package outbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Payload is the data of an event: ConversationStarted, ConversationCompleted, QuestionResponseUpserted, TestWebhook,
// or Raw. The structs are also what raw data of their types is held to; a field that may be absent is omitzero. The relay
// adds event_type as its first key and metadata as its last when it sends.
type Payload interface {
	// eventType is "" when the payload fits any type.
	eventType() Type
	// survey is nil when the payload's content is the caller's own.
	survey() *Survey
	encode() (json.RawMessage, error)
}

// Raw is a JSON object that the caller wrote; its bytes are stored and sent exactly as given. The top-level keys
// event_type and metadata are the relay's. For a type of the catalogue it has the members of that type's own payload, and
// may have more; survey.company_id is the event's company, whatever the type. That keys are unique is the caller's care.
type Raw json.RawMessage

// Survey is what the conversation is about.
type Survey struct {
	ID        uuid.UUID `json:"id"`
	Name      string    `json:"name"`
	CompanyID uuid.UUID `json:"company_id"` // the same as the event's CompanyID
}

// Respondent is who takes part. Fields that are not known are sent as "".
type Respondent struct {
	ID        uuid.UUID `json:"id"`
	FirstName string    `json:"first_name"`
	LastName  string    `json:"last_name"`
	Phone     string    `json:"phone"` // E.164
	Verified  bool      `json:"verified"`
}

// Conversation is one session of a respondent with a survey. Times are sent in UTC.
type Conversation struct {
	ID          uuid.UUID `json:"id"`
	ChannelType string    `json:"channel_type"` // such as embedded_chat
	State       string    `json:"state"`        // such as active or completed
	StartedAt   time.Time `json:"started_at"`
	EndedAt     time.Time `json:"ended_at,omitzero"` // absent while zero
}

// Response is the answer to one question. Times are sent in UTC.
type Response struct {
	ID           uuid.UUID `json:"id"`
	QuestionID   uuid.UUID `json:"question_id"`
	QuestionText string    `json:"question_text"`
	Answer       any       `json:"answer"` // any JSON value: a text, a number, a list of choices, null for a skipped question
	AnsweredAt   time.Time `json:"answered_at"`
	UpdatedAt    time.Time `json:"updated_at,omitzero"` // when the answer was changed last; absent while zero
}

// ConversationStarted is the data of conversation.started.
type ConversationStarted struct {
	Survey       Survey       `json:"survey"`
	Respondent   Respondent   `json:"respondent"`
	Conversation Conversation `json:"conversation"`
}

// ConversationCompleted is the data of conversation.completed. No responses are sent as an empty list.
type ConversationCompleted struct {
	Survey       Survey       `json:"survey"`
	Respondent   Respondent   `json:"respondent"`
	Conversation Conversation `json:"conversation"`
	Responses    []Response   `json:"responses"`
}

// QuestionResponseUpserted is the data of question_response.upserted.
type QuestionResponseUpserted struct {
	Survey       Survey       `json:"survey"`
	Respondent   Respondent   `json:"respondent"`
	Conversation Conversation `json:"conversation"`
	Response     Response     `json:"response"`
}

// TestWebhook is the data of test.webhook: shaped like a conversation.started, so that a receiver can try its parser.
type TestWebhook struct {
	Survey       Survey       `json:"survey"`
	Respondent   Respondent   `json:"respondent"`
	Conversation Conversation `json:"conversation"`
}

var (
	_ Payload = Raw(nil)
	_ Payload = ConversationStarted{}
	_ Payload = ConversationCompleted{}
	_ Payload = QuestionResponseUpserted{}
	_ Payload = TestWebhook{}
)

func (Raw) eventType() Type                      { return "" }
func (ConversationStarted) eventType() Type      { return ConversationStartedType }
func (ConversationCompleted) eventType() Type    { return ConversationCompletedType }
func (QuestionResponseUpserted) eventType() Type { return QuestionResponseUpsertedType }
func (TestWebhook) eventType() Type              { return TestWebhookType }

func (Raw) survey() *Survey                        { return nil }
func (p ConversationStarted) survey() *Survey      { return &p.Survey }
func (p ConversationCompleted) survey() *Survey    { return &p.Survey }
func (p QuestionResponseUpserted) survey() *Survey { return &p.Survey }
func (p TestWebhook) survey() *Survey              { return &p.Survey }

func (p Raw) encode() (json.RawMessage, error) { return json.RawMessage(p), nil }

func (p ConversationStarted) encode() (json.RawMessage, error) {
	p.Conversation = p.Conversation.inUTC()
	return encode(p)
}

func (p ConversationCompleted) encode() (json.RawMessage, error) {
	p.Conversation = p.Conversation.inUTC()
	responses := make([]Response, 0, len(p.Responses)) // never null, and never the caller's own slice
	for _, r := range p.Responses {
		responses = append(responses, r.inUTC())
	}
	p.Responses = responses
	return encode(p)
}

func (p QuestionResponseUpserted) encode() (json.RawMessage, error) {
	p.Conversation = p.Conversation.inUTC()
	p.Response = p.Response.inUTC()
	return encode(p)
}

func (p TestWebhook) encode() (json.RawMessage, error) {
	p.Conversation = p.Conversation.inUTC()
	return encode(p)
}

func (c Conversation) inUTC() Conversation {
	c.StartedAt, c.EndedAt = c.StartedAt.UTC(), c.EndedAt.UTC()
	return c
}

func (r Response) inUTC() Response {
	r.AnsweredAt, r.UpdatedAt = r.AnsweredAt.UTC(), r.UpdatedAt.UTC()
	return r
}

// encode is json.Marshal without its HTML escapes: receivers read an ampersand in an answer as one.
func encode(payload any) (json.RawMessage, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(payload); err != nil {
		return nil, fmt.Errorf("encode payload: %w", err)
	}
	return bytes.TrimSuffix(buffer.Bytes(), []byte("\n")), nil
}
