package outbox

import (
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

func fixed(n byte) uuid.UUID { return uuid.UUID{15: n} }

// The seed's example values, in a zone of their own so that UTC is seen to be made.
func parts() (Survey, Respondent, Conversation, Response) {
	noon := time.Date(2024, 3, 6, 13, 0, 0, 0, time.FixedZone("CET", 3600))
	return Survey{ID: fixed(1), Name: "Q&A <Feedback>", CompanyID: fixed(2)},
		Respondent{ID: fixed(3), FirstName: "John", LastName: "Doe", Phone: "+1234567890", Verified: true},
		Conversation{ID: fixed(4), ChannelType: "embedded_chat", State: "active", StartedAt: noon},
		Response{ID: fixed(5), QuestionID: fixed(6), QuestionText: "Why?", Answer: []string{"a", "b"}, AnsweredAt: noon}
}

const (
	surveyJSON       = `{"survey":{"id":"00000000-0000-0000-0000-000000000001","name":"Q&A <Feedback>","company_id":"00000000-0000-0000-0000-000000000002"}`
	respondentJSON   = `,"respondent":{"id":"00000000-0000-0000-0000-000000000003","first_name":"John","last_name":"Doe","phone":"+1234567890","verified":true}`
	conversationJSON = `,"conversation":{"id":"00000000-0000-0000-0000-000000000004","channel_type":"embedded_chat","state":"active","started_at":"2024-03-06T12:00:00Z"}`
	responseJSON     = `{"id":"00000000-0000-0000-0000-000000000005","question_id":"00000000-0000-0000-0000-000000000006","question_text":"Why?","answer":["a","b"],"answered_at":"2024-03-06T12:00:00Z"}`
)

func TestPayloadJSONIsTheDocumentedShape(t *testing.T) {
	t.Parallel()

	s, r, c, a := parts()
	ended := c
	ended.EndedAt = c.StartedAt.Add(time.Minute)
	endedJSON := conversationJSON[:len(conversationJSON)-1] + `,"ended_at":"2024-03-06T12:01:00Z"}`
	for name, test := range map[string]struct {
		payload Payload
		want    string
	}{
		"ConversationStarted":      {ConversationStarted{s, r, c}, surveyJSON + respondentJSON + conversationJSON + `}`},
		"TestWebhook":              {TestWebhook{s, r, c}, surveyJSON + respondentJSON + conversationJSON + `}`},
		"QuestionResponseUpserted": {QuestionResponseUpserted{s, r, c, a}, surveyJSON + respondentJSON + conversationJSON + `,"response":` + responseJSON + `}`},
		"ConversationCompleted":    {ConversationCompleted{s, r, ended, []Response{a, a}}, surveyJSON + respondentJSON + endedJSON + `,"responses":[` + responseJSON + `,` + responseJSON + `]}`},
		"CompletedWithoutResponse": {ConversationCompleted{s, r, c, nil}, surveyJSON + respondentJSON + conversationJSON + `,"responses":[]}`},
		"RawIsLeftAlone":           {Raw(" {\"b\" : 1.0,\n\"a\":\"\\u0026\"} "), " {\"b\" : 1.0,\n\"a\":\"\\u0026\"} "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := test.payload.encode()
			require.NoError(t, err)
			require.Equal(t, test.want, string(got))
		})
	}
}

func TestPayloadEncodingLeavesTheCallersSliceAlone(t *testing.T) {
	t.Parallel()

	s, r, c, a := parts()
	responses := []Response{a}
	_, err := ConversationCompleted{s, r, c, responses}.encode()
	require.NoError(t, err)
	require.Equal(t, "CET", responses[0].AnsweredAt.Location().String())
}

func TestSamplesAreValidAndOfTheirType(t *testing.T) {
	t.Parallel()

	require.Len(t, Types(), 4)
	require.Empty(t, Type("other").Description())
	for _, typ := range append(Types(), "custom.type") {
		t.Run(string(typ), func(t *testing.T) {
			t.Parallel()
			if typ != "custom.type" {
				require.NotEmpty(t, typ.Description())
			}
			company := uuid.New()
			messages, ids, err := marshal([]Event{NewSample(typ, company)}, time.Now())
			require.NoError(t, err)
			require.Equal(t, ids[0].String(), messages[0].UUID)
			require.Equal(t, string(typ), messages[0].Metadata.Get(metaEventType))
			require.Equal(t, company.String(), messages[0].Metadata.Get(metaCompanyID))
			var data struct {
				Survey Survey `json:"survey"`
			}
			require.NoError(t, json.Unmarshal(messages[0].Payload, &data))
			require.Equal(t, company, data.Survey.CompanyID)
		})
	}
}

func TestUnencodableAnswerIsAFaultOfData(t *testing.T) {
	t.Parallel()

	s, r, c, a := parts()
	a.Answer = math.Inf(1)
	_, _, err := marshal([]Event{{CompanyID: s.CompanyID, Data: QuestionResponseUpserted{s, r, c, a}}}, time.Now())
	var cause *json.UnsupportedValueError
	require.ErrorAs(t, err, &cause)
	require.ErrorContains(t, err, "event 0: data is no JSON")
}
