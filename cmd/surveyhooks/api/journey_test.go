package api

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/recovery"
	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/relay"
	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/relaytest"
)

// runAll starts a relay and the projections on the database; they end with the test.
func (b *testBundle) runAll() {
	b.Helper()
	quiet := slog.New(slog.NewTextHandler(b.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	sender, err := relay.New(relay.Config{
		Keys: b.keys,
		DSN:  b.db.DSN, Egress: egress.Config{Policy: egress.Policy{Insecure: true}, Timeout: 2 * time.Second},
		Poll: 20 * time.Millisecond, Drain: 5 * time.Second, Logger: quiet,
	})
	require.NoError(b, err)
	projector := projections.New(projections.Config{DB: b.db.DB, DSN: b.db.DSN, Logger: quiet})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- sender.Run(ctx) }()
	go func() { ended <- projector.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		for range 2 {
			require.NoError(b, <-ended)
		}
	})
}

// delivery waits until the only delivery of an event is in a state.
func (b *testBundle) delivery(event uuid.UUID, state string) projections.Delivery {
	b.Helper()
	var d projections.Delivery
	require.Eventually(b, func() bool {
		found := decodeAs[list[projections.Delivery]](b.get("{mine}/deliveries?event=" + event.String()).requireStatus(200))
		if len(found.Items) == 1 {
			d = found.Items[0]
		}
		return d.State == state
	}, within, 20*time.Millisecond, "%s: %+v", state, d)
	return d
}

// TestAWebhookFromTheFirstRequestToTheReceiver is the whole way over the API alone: an endpoint that fails is tested, the
// failure read, the fault mended, the delivery retried, and an event published arrives with its bytes.
func TestAWebhookFromTheFirstRequestToTheReceiver(t *testing.T) {
	t.Parallel()

	b := setup(t)
	b.runAll()
	receiver := relaytest.NewReceiver(t)
	receiver.Answer(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write([]byte("<b>not today</b>"))
	})
	made := decodeAs[withSecret](b.post("{mine}/endpoints", `{"url":"`+receiver.URL+`/hook"}`).requireStatus(201))

	test := decodeAs[tested](b.post("{mine}/endpoints/"+made.ID.String()+"/tests", "").requireStatus(202))
	failed := b.delivery(test.EventID, "exhausted") // a test is one attempt
	require.Equal(t, http.StatusTeapot, *failed.LastStatus)
	path := "{mine}/deliveries/" + number(failed.DeliveryID)
	require.Equal(t, "<b>not today</b>", string(b.get(path+"/attempts/1/response").requireStatus(200).body))

	receiver.Answer(nil)
	endpoint := "{mine}/endpoints/" + made.ID.String()
	b.post(endpoint+"/disable", "").requireStatus(200)
	b.post(path+"/retries", "").requireProblem(409, "endpoint_disabled")
	b.post(endpoint+"/enable", "").requireStatus(200)
	require.Nil(t, decodeAs[queued](b.post(path+"/retries", "").requireStatus(202)).HeldUntil)
	again := b.delivery(test.EventID, "delivered")
	require.Equal(t, "key:owner", again.RetriedBy)
	require.NotNil(t, again.RetriedAt)

	data := strings.Replace(b.data("conversation.completed"), "{", `{"z":1, "a":[2.50],`, 1)
	event := decodeAs[published](b.post("{mine}/events", `{"type":"conversation.completed","data":`+data+`}`).requireStatus(202))
	told := b.delivery(event.EventID, "delivered")
	require.Equal(t, made.ID, told.EndpointID)
	arrivals := receiver.Await(t, 3, within)
	require.Contains(t, string(arrivals[2].Body), `"data":{"event_type":"conversation.completed",`+data[1:len(data)-1]+`,"metadata":`)
	why := decodeAs[explained](b.get("{mine}/events/" + event.EventID.String() + "/decisions/" + made.ID.String()).requireStatus(200))
	require.Equal(t, projections.WasChosen, why.Verdict)
	require.NotEmpty(t, why.Words)
	b.do(call{line: "GET {theirs}/events/" + event.EventID.String(), as: "foreign"}).requireProblem(404, "not_found")
}

// TestAnEndpointThatCameLateIsSentWhatItMissed, one event by itself and the rest by a recovery, and nothing twice.
func TestAnEndpointThatCameLateIsSentWhatItMissed(t *testing.T) {
	t.Parallel()

	b := setup(t)
	b.runAll()
	receiver := relaytest.NewReceiver(t)
	var events []uuid.UUID
	for range 3 {
		e := decodeAs[published](b.post("{mine}/events", `{"type":"conversation.completed","data":`+b.data("conversation.completed")+`}`).requireStatus(202))
		events = append(events, e.EventID)
		require.Eventually(t, func() bool { return b.get("{mine}/events/"+e.EventID.String()).status == http.StatusOK }, within, 20*time.Millisecond)
	}
	made := decodeAs[withSecret](b.post("{mine}/endpoints", `{"url":"`+receiver.URL+`/hook"}`).requireStatus(201))
	why := "{mine}/events/" + events[0].String() + "/decisions/" + made.ID.String()
	require.Nil(t, decodeAs[explained](b.get(why).requireStatus(200)).Requested)

	accepted := b.keyed(why+"/deliveries", "{}", "k", "owner").requireStatus(202)
	require.Equal(t, string(accepted.body), string(b.keyed(why+"/deliveries", "{}", "k", "owner").requireStatus(202).body))
	sent := b.delivery(events[0], "delivered")
	require.Equal(t, sent.DeliveryID, decodeAs[queued](accepted).DeliveryID)
	require.Equal(t, "manual", sent.Trigger)
	b.post(why+"/deliveries", "").requireProblem(409, "not_missing")
	require.Equal(t, "key:owner", decodeAs[explained](b.get(why).requireStatus(200)).Requested.Actor)

	recoveries := "{mine}/endpoints/" + made.ID.String() + "/recoveries"
	count := decodeAs[recovery.Found](b.get(recoveries + "/preview?kind=missing&event_types=conversation.completed&since=2026-01-01T00:00:00Z").requireStatus(200))
	require.Equal(t, []recovery.TypeCount{{EventType: "conversation.completed", Deliveries: 2}}, count.Types)
	job := decodeAs[recovery.Recovery](b.post(recoveries, `{"kind":"missing","event_types":["conversation.completed"],"since":"2026-01-01T00:00:00Z"}`).requireStatus(202))
	require.Equal(t, recovery.Missing, job.Kind)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- recovery.New(recovery.Config{DB: b.db.DB, Poll: 10 * time.Millisecond}).Run(ctx) }()
	for _, event := range events {
		b.delivery(event, "delivered")
	}
	stop()
	require.NoError(t, <-ended)
	require.Len(t, receiver.Await(t, 3, within), 3)
}

// TestB46_AnEventOfACompanyWithoutEndpointsIsSeen as one that nobody was told of.
func TestB46_AnEventOfACompanyWithoutEndpointsIsSeen(t *testing.T) {
	t.Parallel()

	b := setup(t)
	b.runAll()
	event := decodeAs[published](b.post("{mine}/events", `{"type":"conversation.started","data":`+b.data("conversation.started")+`}`).requireStatus(202))
	path := "{mine}/events/" + event.EventID.String()
	require.Eventually(t, func() bool { return b.get(path).status == http.StatusOK }, within, 20*time.Millisecond)
	require.JSONEq(t, `[]`, string(decodeAs[projections.Event](b.get(path)).Decisions))
	require.JSONEq(t, `{"items":[],"next":null}`, string(b.get("{mine}/deliveries?event="+event.EventID.String()).body))
}

// TestB42_ATypeOutsideOfTheCatalogueIsStoredAndTellsNobody, even where an endpoint is told of everything.
func TestB42_ATypeOutsideOfTheCatalogueIsStoredAndTellsNobody(t *testing.T) {
	t.Parallel()

	b := setup(t)
	b.runAll()
	e := b.endpoint(b.mine)
	event := decodeAs[published](b.post("{mine}/events", `{"type":"survey.archived","data":{}}`).requireStatus(202))
	path := "{mine}/events/" + event.EventID.String()
	require.Eventually(t, func() bool { return b.get(path).status == http.StatusOK }, within, 20*time.Millisecond)
	why := decodeAs[explained](b.get(path + "/decisions/" + e.ID.String()).requireStatus(200))
	require.Equal(t, projections.TypeNotSelected, why.Verdict)
}
