package simulator

import (
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/outbox"
)

// conversation is what happens from a respondent's first message to the last, in order.
func (s *Simulator) conversation(now time.Time) []outbox.Event {
	survey := outbox.Survey{ID: uuid.NewSHA1(s.cfg.Company, []byte("survey")), Name: "Customer Feedback Survey", CompanyID: s.cfg.Company}
	respondent := respondent()
	talk := outbox.Conversation{ID: uuid.New(), ChannelType: pick("embedded_chat", "whatsapp", "sms"), State: "active", StartedAt: now}

	events := []outbox.Event{s.event(outbox.ConversationStartedType, outbox.ConversationStarted{Survey: survey, Respondent: respondent, Conversation: talk})}
	var responses []outbox.Response
	for i := range s.cfg.Questions {
		response := s.response(i, now)
		responses = append(responses, response)
		events = append(events, s.event(outbox.QuestionResponseUpsertedType, outbox.QuestionResponseUpserted{
			Survey: survey, Respondent: respondent, Conversation: talk, Response: response,
		}))
	}
	// The first answer is thought over: the same response once more, which is why the event is called upserted.
	if len(responses) > 0 {
		responses[0].UpdatedAt = responses[0].AnsweredAt.Add(time.Second)
		events = append(events, s.event(outbox.QuestionResponseUpsertedType, outbox.QuestionResponseUpserted{
			Survey: survey, Respondent: respondent, Conversation: talk, Response: responses[0],
		}))
	}
	talk.State, talk.EndedAt = "completed", now.Add(time.Duration(len(events))*s.cfg.Pause)
	return append(events, s.event(outbox.ConversationCompletedType, outbox.ConversationCompleted{
		Survey: survey, Respondent: respondent, Conversation: talk, Responses: responses,
	}))
}

func (s *Simulator) event(kind outbox.Type, data outbox.Payload) outbox.Event {
	return outbox.Event{ID: uuid.Must(uuid.NewV7()), Type: kind, CompanyID: s.cfg.Company, Data: data}
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
func (s *Simulator) response(question int, now time.Time) outbox.Response {
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
		ID: uuid.New(), QuestionID: uuid.NewSHA1(s.cfg.Company, []byte(texts[question%len(texts)])),
		QuestionText: texts[question%len(texts)], Answer: answer,
		AnsweredAt: now.Add(time.Duration(question+1) * s.cfg.Pause),
	}
}
