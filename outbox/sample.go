package outbox

import (
	"time"

	"github.com/google/uuid"
)

// NewSample makes an event for demonstrations and tests: the people and texts of the documentation's example, fresh
// ids, now. A type outside of the catalogue gets Raw data with the same members as conversation.started.
func NewSample(t Type, company uuid.UUID) Event {
	now := time.Now().UTC().Truncate(time.Second)
	event := Event{Type: t, CompanyID: company, CreatedAt: now}
	survey := Survey{ID: uuid.New(), Name: "Customer Feedback Survey", CompanyID: company}
	respondent := Respondent{ID: uuid.New(), FirstName: "John", LastName: "Doe", Phone: "+1234567890", Verified: true}
	active := Conversation{ID: uuid.New(), ChannelType: "embedded_chat", State: "active", StartedAt: now}
	response := Response{
		ID: uuid.New(), QuestionID: uuid.New(), QuestionText: "How likely are you to recommend us?",
		Answer: 9, AnsweredAt: now,
	}

	switch t {
	case ConversationStartedType:
		event.Data = ConversationStarted{Survey: survey, Respondent: respondent, Conversation: active}
	case ConversationCompletedType:
		completed := active
		completed.State, completed.StartedAt, completed.EndedAt = "completed", now.Add(-2*time.Minute), now
		response.AnsweredAt = now.Add(-time.Minute)
		event.Data = ConversationCompleted{Survey: survey, Respondent: respondent, Conversation: completed, Responses: []Response{response}}
	case QuestionResponseUpsertedType:
		active.StartedAt = now.Add(-time.Minute)
		event.Data = QuestionResponseUpserted{Survey: survey, Respondent: respondent, Conversation: active, Response: response}
	case TestWebhookType:
		event.Data = NewTestWebhook(company)
	default:
		data, _ := ConversationStarted{Survey: survey, Respondent: respondent, Conversation: active}.encode() // plain values: it encodes
		event.Data = Raw(data)
	}
	return event
}

// NewTestWebhook makes the data of a test event: invented people, fresh ids, now.
func NewTestWebhook(company uuid.UUID) TestWebhook {
	return TestWebhook{
		Survey:     Survey{ID: uuid.New(), Name: "Test survey", CompanyID: company},
		Respondent: Respondent{ID: uuid.New(), FirstName: "John", LastName: "Doe", Phone: "+1234567890", Verified: true},
		Conversation: Conversation{
			ID: uuid.New(), ChannelType: "embedded_chat", State: "active", StartedAt: time.Now().UTC().Truncate(time.Second),
		},
	}
}
