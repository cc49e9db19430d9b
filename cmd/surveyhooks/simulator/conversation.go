package simulator

import (
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/outbox"
)

// Talk says which conversation to invent.
type Talk struct {
	Company   uuid.UUID
	Questions int
	Began     time.Time     // of the first event;
	Pause     time.Duration // the others follow it at this distance
}

// Conversation is what happens from a respondent's first message to the last, in order: people and answers are invented,
// the survey and its questions are the company's same ones each time. Nothing is published.
func Conversation(t Talk) []outbox.Event {
	survey := outbox.Survey{ID: uuid.NewSHA1(t.Company, []byte("survey")), Name: "Customer Feedback Survey", CompanyID: t.Company}
	respondent := respondent()
	talk := outbox.Conversation{ID: uuid.New(), ChannelType: pick("embedded_chat", "whatsapp", "sms"), State: "active", StartedAt: t.Began}

	var events []outbox.Event
	happens := func(kind outbox.Type, data outbox.Payload) {
		events = append(events, outbox.Event{
			ID: uuid.Must(uuid.NewV7()), Type: kind, CompanyID: t.Company,
			CreatedAt: t.Began.Add(time.Duration(len(events)) * t.Pause), Data: data,
		})
	}
	happens(outbox.ConversationStartedType, outbox.ConversationStarted{Survey: survey, Respondent: respondent, Conversation: talk})
	var responses []outbox.Response
	for i := range t.Questions {
		response := t.response(i)
		responses = append(responses, response)
		happens(outbox.QuestionResponseUpsertedType, outbox.QuestionResponseUpserted{Survey: survey, Respondent: respondent, Conversation: talk, Response: response})
	}
	// The first answer is thought over: the same response once more, which is why the event is called upserted.
	if len(responses) > 0 {
		responses[0].UpdatedAt = responses[0].AnsweredAt.Add(time.Second)
		happens(outbox.QuestionResponseUpsertedType, outbox.QuestionResponseUpserted{Survey: survey, Respondent: respondent, Conversation: talk, Response: responses[0]})
	}
	talk.State, talk.EndedAt = "completed", t.Began.Add(time.Duration(len(events))*t.Pause)
	happens(outbox.ConversationCompletedType, outbox.ConversationCompleted{Survey: survey, Respondent: respondent, Conversation: talk, Responses: responses})
	return events
}

// respondent is invented; the numbers are reserved for fiction.
func respondent() outbox.Respondent {
	return outbox.Respondent{
		ID: uuid.New(), FirstName: pick("Ada", "Grace", "Alan", "Edsger", "Barbara"),
		LastName: pick("Moreno", "Okafor", "Lindqvist", "Tanaka", "Novák"),
		Phone:    "+120255501" + pick("10", "23", "47", "86"), Verified: pick(true, false),
	}
}

// response answers the question of that number; each answer is of another kind of JSON.
func (t Talk) response(question int) outbox.Response {
	texts := []string{"How likely are you to recommend us?", "What do you like best?", "Which of these do you use?"}
	var answer any
	switch question % len(texts) {
	case 0:
		answer = pick(6, 8, 9, 10)
	case 1:
		answer = pick("The quick answers", "That it just works", "Fünf Sterne – très bien 🌟")
	default:
		answer = strings.Split(pick("chat", "chat,email", "chat,email,phone"), ",")
	}
	return outbox.Response{
		ID: uuid.New(), QuestionID: uuid.NewSHA1(t.Company, []byte(texts[question%len(texts)])),
		QuestionText: texts[question%len(texts)], Answer: answer,
		AnsweredAt: t.Began.Add(time.Duration(question+1) * t.Pause),
	}
}
