package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/relay/sign"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

func TestTriggerChangesWhatIsNamed(t *testing.T) {
	t.Parallel()

	event, err := inventedEvent("conversation.completed", uuid.MustParse(company), []string{
		"data.survey.name=Exit = survey", "data.respondent.verified=false", "data.responses.0.answer=[1,2.50]",
	})
	require.NoError(t, err)
	require.Equal(t, outbox.ConversationCompletedType, event.Type)
	text, ok := event.Data.(outbox.Raw)
	require.True(t, ok)
	var data struct {
		Survey     struct{ Name string }
		Respondent struct {
			FirstName string `json:"first_name"`
			Verified  bool
		}
		Responses []struct{ Answer json.RawMessage }
	}
	require.NoError(t, json.Unmarshal(text, &data))
	require.Equal(t, "Exit = survey", data.Survey.Name)
	require.False(t, data.Respondent.Verified)
	require.Equal(t, "[1,2.50]", string(data.Responses[0].Answer), "a number stays as it was written")
	require.Equal(t, "John", data.Respondent.FirstName, "the rest stays")
}

func TestTriggerRefusesAPathThatIsNotThere(t *testing.T) {
	t.Parallel()

	s := shell{t, []string{"SURVEYHOOKS_DATABASE_URL=host=/nonexistent dbname=x"}}
	for change, right := range map[string]string{
		"data.survey.nam=X":         `there is no "nam": want one of ["company_id" "id" "name"]`,
		"data.responses.1.answer=3": `there is no element "1": want 0 to 0`,
		"data.survey.name.first=X":  `"first" lies below a plain value`,
		"survey.name=X":             "want path=value with a path below data",
		"data.survey.name":          "want path=value",
	} {
		got := s.run("trigger", "conversation.completed", "--company", company, "--set", change)
		require.Equal(t, exitUsage, got.code, got.stderr)
		require.Contains(t, got.stderr, right)
	}
	got := s.run("trigger", "conversation.begun", "--company", company)
	require.Equal(t, exitUsage, got.code)
	require.Contains(t, got.stderr, "conversation.started")
}

func TestTriggerPublishesForOneEndpointAlone(t *testing.T) {
	t.Parallel()

	db := schematest.New(t)
	s := shell{t, []string{"SURVEYHOOKS_DATABASE_URL=" + db.DSN}}
	endpoint := uuid.NewString()
	id := s.object("trigger", "conversation.started", "--company", company, "--set", "data.survey.name=X", "--endpoint", endpoint)["event_id"]
	var told, name string
	err := db.QueryRow(`SELECT endpoint_id, data->'survey'->>'name' FROM webhooks.outbox WHERE event_id = $1`, id).Scan(&told, &name)
	require.NoError(t, err)
	require.Equal(t, []string{endpoint, "X"}, []string{told, name})
}

// TestTriggerPrintsAFixtureThatVerifies: the request that a receiver would get, for its own tests, and nothing published.
func TestTriggerPrintsAFixtureThatVerifies(t *testing.T) {
	t.Parallel()

	secret := sign.NewSecret()
	s := shell{t, []string{"SURVEYHOOKS_DATABASE_URL=host=/nonexistent dbname=x", "SURVEYHOOKS_TRIGGER_SECRET=" + secret.Reveal()}}
	fixture := s.object("trigger", "conversation.completed", "--company", company, "--set", "data.responses.0.answer=3", "--print")
	body, _ := fixture["body"].(string)
	headers, _ := fixture["headers"].(map[string]any)
	header := func(name string) string {
		value, _ := headers[name].(string)
		return value
	}
	h := sign.Headers{ID: header("webhook-id"), Timestamp: header("webhook-timestamp"), Signature: header("webhook-signature")}
	require.NoError(t, sign.Verify(secret, h, []byte(body), time.Now()))
	require.Equal(t, "conversation.completed", header("X-Webhook-Event"))
	require.Equal(t, header("X-Webhook-ID"), header("webhook-id"))
	var request struct {
		ID, Event string
		Data      struct {
			EventType string `json:"event_type"`
			Responses []struct{ Answer int }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(body), &request))
	require.Equal(t, header("webhook-id"), request.ID)
	require.Equal(t, "conversation.completed", request.Data.EventType)
	require.Equal(t, 3, request.Data.Responses[0].Answer)
	require.Contains(t, s.ok("trigger", "test.webhook", "--company", company, "--print"), `{"id":"`)

	got := s.run("trigger", "conversation.started", "--company", company, "--set", "data.conversation.started_at=soon", "--print")
	require.Equal(t, exitUsage, got.code, "a fixture holds what is promised, or it tests nothing")
	require.Contains(t, got.stderr, "started_at")
	require.Empty(t, got.stdout)
	got = shell{t: t}.run("trigger", "test.webhook", "--company", company, "--print")
	require.Equal(t, exitUsage, got.code)
	require.Contains(t, got.stderr, "secret")
}
