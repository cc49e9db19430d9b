package relay_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/relay"
	"github.com/chattosurvey/surveyhooks/relay/breaker"
	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/relaytest"
	"github.com/chattosurvey/surveyhooks/relay/retry"
	"github.com/chattosurvey/surveyhooks/relay/seal"
	"github.com/chattosurvey/surveyhooks/relay/sign"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

func TestMain(m *testing.M) {
	relayProcess() // chaos_test.go: never returns in a process that is to be a relay
	goleak.VerifyTestMain(m)
}

// within bounds every wait of a test; it is generous, since other tests share the cores.
const within = 20 * time.Second

type testBundle struct {
	*schematest.DB
	t       *testing.T
	store   *endpoint.Store
	keys    *seal.Ring // of the store and of every relay
	company uuid.UUID
	cfg     relay.Config
}

// setup makes a database, and a relay configuration whose retries take milliseconds. It cuts no request by its own clock:
// what a test holds is held until the test lets go.
func setup(t *testing.T) *testBundle {
	t.Helper()
	db := schematest.New(t)
	policy := egress.Policy{Insecure: true}
	keys := relaytest.Keys(t)
	store, err := endpoint.New(endpoint.Options{DB: db.DB, Policy: policy, Keys: keys})
	require.NoError(t, err)
	return &testBundle{DB: db, t: t, store: store, keys: keys, company: uuid.New(), cfg: relay.Config{
		DSN: db.DSN, Keys: keys, Egress: egress.Config{Policy: policy, Timeout: 2 * within}, Poll: 20 * time.Millisecond,
		Retry:  retry.Policy{First: time.Millisecond, Factor: 1.01},
		Drain:  5 * time.Second,
		Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}}
}

// run starts a relay; the function that it returns stops it and checks that it ended well.
func (b *testBundle) run() (stop func()) {
	b.t.Helper()
	r, err := relay.New(b.cfg)
	require.NoError(b.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			require.NoError(b.t, err)
		case <-time.After(within):
			require.Fail(b.t, "the relay did not stop")
		}
	}
	b.t.Cleanup(stop)
	return stop
}

func (b *testBundle) endpoint(url string, events ...string) (endpoint.Endpoint, sign.Secret) {
	b.t.Helper()
	e, secret, err := b.store.Create(b.t.Context(), endpoint.Create{
		CompanyID: b.company, URL: url + "/" + uuid.NewString(), EventTypes: events, Actor: "test",
	})
	require.NoError(b.t, err)
	return e, secret
}

func (b *testBundle) publish(events ...outbox.Event) []uuid.UUID {
	b.t.Helper()
	return b.publishAs(b.DB.DB, events...)
}

// publishAs is publish by whomever the pool logs in.
func (b *testBundle) publishAs(pool *sql.DB, events ...outbox.Event) []uuid.UUID {
	b.t.Helper()
	tx, err := pool.BeginTx(b.t.Context(), nil)
	require.NoError(b.t, err)
	ids, err := outbox.Publish(b.t.Context(), tx, events...)
	require.NoError(b.t, err)
	require.NoError(b.t, tx.Commit())
	return ids
}

func (b *testBundle) started() outbox.Event {
	return outbox.NewSample(outbox.ConversationStartedType, b.company)
}

// await polls until query gives want.
func (b *testBundle) await(want int, query string, args ...any) {
	b.t.Helper()
	var got int
	require.Eventually(b.t, func() bool {
		return b.QueryRow(query, args...).Scan(&got) == nil && got == want
	}, within, 10*time.Millisecond, "%s %v", query, args)
}

func (b *testBundle) facts(name string) []json.RawMessage {
	b.t.Helper()
	rows, err := b.Query(`SELECT data FROM webhooks.journal WHERE fact = $1 ORDER BY transaction_id, position`, name)
	require.NoError(b.t, err)
	defer rows.Close()
	var list []json.RawMessage
	for rows.Next() {
		var data []byte
		require.NoError(b.t, rows.Scan(&data))
		list = append(list, data)
	}
	require.NoError(b.t, rows.Err())
	return list
}

func verify(t *testing.T, secret sign.Secret, a relaytest.Arrival) {
	t.Helper()
	official, err := webhooks.NewWebhook(secret.Reveal())
	require.NoError(t, err)
	require.NoError(t, official.Verify(a.Body, a.Header))
}

func TestCommittedEventArrivesAsPromised(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	e, secret := b.endpoint(receiver.URL)
	b.run()
	id := b.publish(b.started())[0]
	a := receiver.Await(t, 1, within)[0]

	verify(t, secret, a)
	require.Equal(t, "application/json", a.Header.Get("Content-Type"))
	require.Equal(t, "HS-Webhook/1.0", a.Header.Get("User-Agent"))
	require.Equal(t, "conversation.started", a.Header.Get("X-Webhook-Event"))
	require.Equal(t, id.String(), a.Header.Get("X-Webhook-ID"))
	require.Equal(t, a.Header.Get("webhook-timestamp"), a.Header.Get("X-Webhook-Timestamp"))
	require.Equal(t, id.String(), a.Header.Get("webhook-id"))

	var body struct {
		ID, Event string
		CreatedAt time.Time `json:"created_at"`
		Data      struct {
			EventType string `json:"event_type"`
			Survey    struct {
				CompanyID uuid.UUID `json:"company_id"`
			}
			Metadata struct {
				WebhookVersion string    `json:"webhook_version"`
				DeliveredAt    time.Time `json:"delivered_at"`
			}
		}
	}
	require.NoError(t, json.Unmarshal(a.Body, &body))
	require.Equal(t, id.String(), body.ID)
	require.Equal(t, "conversation.started", body.Event)
	require.Equal(t, "conversation.started", body.Data.EventType)
	require.Equal(t, b.company, body.Data.Survey.CompanyID)
	require.Equal(t, "2.0", body.Data.Metadata.WebhookVersion)
	require.WithinDuration(t, time.Now(), body.Data.Metadata.DeliveredAt, time.Minute)

	b.await(0, `SELECT count(*) FROM webhooks.pending`)
	b.await(0, `SELECT count(*) FROM webhooks.intents`)
	require.Len(t, b.facts("attempt.succeeded"), 1)
	require.Len(t, b.facts("attempts.started"), 1)
	require.Contains(t, string(b.facts("event.fanned_out")[0]), e.ID.String())
}

func TestRolledBackEventIsNeverSent(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	b.endpoint(receiver.URL)
	b.run()
	tx, err := b.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = outbox.Publish(t.Context(), tx, b.started())
	require.NoError(t, err)
	require.NoError(t, tx.Rollback())
	id := b.publish(b.started())[0]
	arrivals := receiver.Await(t, 1, within)
	b.await(0, `SELECT count(*) FROM webhooks.pending`)
	require.Len(t, arrivals, 1)
	require.Equal(t, id.String(), arrivals[0].ID())
}

func TestFailureIsRetriedFiveTimesWithTheSameBytes(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	b.cfg.Breaker = breaker.Config{Failures: 100}
	receiver.Answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	_, secret := b.endpoint(receiver.URL)
	b.run()
	b.publish(b.started())
	arrivals := receiver.Await(t, 6, within)
	b.await(0, `SELECT count(*) FROM webhooks.pending`)
	require.Len(t, receiver.Arrivals(), 6, "the first attempt and five retries")
	for _, a := range arrivals {
		verify(t, secret, a)
		require.Equal(t, arrivals[0].Body, a.Body)
		require.Equal(t, arrivals[0].ID(), a.ID())
	}
	require.Len(t, b.facts("attempt.failed"), 6)
	require.Len(t, b.facts("delivery.exhausted"), 1)
}

func TestRedirectIsAFailureAndNotFollowed(t *testing.T) {
	t.Parallel()
	b, receiver, elsewhere := setup(t), relaytest.NewReceiver(t), relaytest.NewReceiver(t)
	receiver.Answer(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
	})
	b.endpoint(receiver.URL)
	b.cfg.Retry.First = time.Hour
	b.run()
	b.publish(b.started())
	b.await(1, `SELECT count(*) FROM webhooks.pending WHERE due_at > now() + interval '30 minutes' AND completed = 1`)
	require.Empty(t, elsewhere.Arrivals())
	require.Contains(t, string(b.facts("attempt.failed")[0]), `"status_3xx"`)
}

func TestGoneDisablesTheEndpointAndHoldsItsDeliveries(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	receiver.Answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) })
	e, _ := b.endpoint(receiver.URL)
	b.run()
	b.publish(b.started())
	b.await(1, `SELECT count(*) FROM webhooks.endpoints WHERE endpoint_id = $1 AND state = 'disabled' AND state_reason = 'gone'`, e.ID)
	b.await(1, `SELECT count(*) FROM webhooks.pending WHERE completed = 1`)

	receiver.Answer(nil)
	_, err := b.store.Enable(t.Context(), endpoint.Ref{Scope: endpoint.Company(b.company), ID: e.ID, Actor: "test"})
	require.NoError(t, err)
	b.await(0, `SELECT count(*) FROM webhooks.pending`)
	require.Len(t, b.facts("attempt.succeeded"), 1)
}

func TestTestEventReachesADisabledEndpoint(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	e, secret := b.endpoint(receiver.URL)
	ref := endpoint.Ref{Scope: endpoint.Company(b.company), ID: e.ID, Actor: "test"}
	_, err := b.store.Disable(t.Context(), ref, "", "")
	require.NoError(t, err)
	b.run()
	b.publish(b.started())
	id, err := b.store.Test(t.Context(), ref)
	require.NoError(t, err)
	a := receiver.Await(t, 1, within)[0]
	require.Equal(t, id.String(), a.ID())
	require.Equal(t, "test.webhook", a.Header.Get("X-Webhook-Event"))
	verify(t, secret, a)
	b.await(0, `SELECT count(*) FROM webhooks.pending`)
}

func TestOnlySubscribedTypesAndTheOwnCompanyAreTold(t *testing.T) {
	t.Parallel()
	b, started, completed := setup(t), relaytest.NewReceiver(t), relaytest.NewReceiver(t)
	b.endpoint(started.URL, "conversation.started")
	b.endpoint(completed.URL, "conversation.completed")
	b.run()
	b.publish(b.started(), outbox.NewSample(outbox.ConversationStartedType, uuid.New()))
	started.Await(t, 1, within)
	b.await(2, `SELECT count(*) FROM webhooks.event_ids`)
	b.await(0, `SELECT count(*) FROM webhooks.pending`)
	require.Len(t, started.Arrivals(), 1)
	require.Empty(t, completed.Arrivals())
}

func TestSameEventIDIsSentOnce(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	b.endpoint(receiver.URL)
	b.run()
	e := b.started()
	e.ID = uuid.New()
	b.publish(e)
	receiver.Await(t, 1, within)
	b.publish(e)
	other := b.publish(b.started())[0]
	arrivals := receiver.Await(t, 2, within)
	require.Equal(t, other.String(), arrivals[1].ID())
}

func TestF55_OpenBreakerHoldsTheBacklogUncharged(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	b.cfg.Retry.First, b.cfg.Concurrency = time.Hour, 1
	b.cfg.Breaker = breaker.Config{Failures: 3, Open: time.Hour}
	receiver.Answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	e, _ := b.endpoint(receiver.URL)
	stop := b.run()
	events := make([]outbox.Event, 10)
	for i := range events {
		events[i] = b.started()
	}
	b.publish(events...)
	b.await(1, `SELECT count(*) FROM webhooks.lanes WHERE endpoint_id = $1 AND breaker = 'open' AND not_before > now()`, e.ID)
	b.await(3, `SELECT count(*) FROM webhooks.pending WHERE completed = 1`)
	b.await(7, `SELECT count(*) FROM webhooks.pending WHERE completed = 0`)
	stop()

	receiver.Answer(nil)
	b.run() // the breaker outlives the process
	b.await(1, `SELECT count(*) FROM webhooks.lanes WHERE holder IS NOT NULL`)
	other := relaytest.NewReceiver(t)
	b.endpoint(other.URL)
	b.publish(b.started())
	other.Await(t, 1, within)
	require.Len(t, receiver.Arrivals(), 3)
}

func TestTwoRelaysShareTheLanesAndOneTakesOver(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.cfg.Lease = 2 * time.Second
	receivers := make([]*relaytest.Receiver, 4)
	for i := range receivers {
		receivers[i] = relaytest.NewReceiver(t)
		b.endpoint(receivers[i].URL)
	}
	stop := b.run()
	b.await(4, `SELECT count(*) FROM webhooks.lanes WHERE holder IS NOT NULL`)
	b.run()
	b.await(2, `SELECT count(DISTINCT holder) FROM webhooks.lanes WHERE holder IS NOT NULL`)
	b.publish(b.started())
	for _, r := range receivers {
		r.Await(t, 1, within)
	}
	stop()
	b.await(1, `SELECT count(DISTINCT holder) FROM webhooks.lanes HAVING count(holder) = 4`)
	b.publish(b.started())
	for _, r := range receivers {
		r.Await(t, 2, within)
		require.Len(t, r.Arrivals(), 2)
	}
}

// A relay that dies leaves its row and its intents; the next one settles them.
func TestInterruptedAttemptIsInTheHistoryAndSentAgain(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	b.cfg.Lease = 400 * time.Millisecond
	e, _ := b.endpoint(receiver.URL)
	b.publish(b.started())
	dead := uuid.New()
	tx, err := b.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	for _, statement := range []string{
		`INSERT INTO webhooks.event_ids SELECT event_id, recorded_at, transaction_id, position FROM webhooks.outbox`,
		`INSERT INTO webhooks.relays VALUES ($1, 'dead', now(), now() - interval '1 second')`,
		`UPDATE webhooks.lanes SET holder = $1`,
		`INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id)
		 SELECT l.endpoint_id, nextval('webhooks.delivery_id'), e.event_id FROM webhooks.lanes l, webhooks.event_ids e`,
		`INSERT INTO webhooks.intents
		 SELECT $1, 1, '2026-01-02 03:04:05Z', array_agg(endpoint_id), array_agg(delivery_id), array_agg(1::smallint)
		   FROM webhooks.pending`,
	} {
		var args []any
		if strings.Contains(statement, "$1") {
			args = append(args, dead)
		}
		_, err := tx.Exec(statement, args...)
		require.NoError(t, err)
	}
	require.NoError(t, tx.Commit())
	b.run()
	a := receiver.Await(t, 1, within)[0]
	require.Contains(t, string(a.Body), `"delivered_at":"2026-01-02T03:04:05Z"`, "frozen by the interrupted attempt")
	interrupted := b.facts("attempt.interrupted")
	require.Len(t, interrupted, 1)
	require.Contains(t, string(interrupted[0]), e.ID.String())
	b.await(0, `SELECT count(*) FROM webhooks.pending`)
	require.Contains(t, string(b.facts("attempt.succeeded")[0]), `"attempt":2`)
	require.Contains(t, string(b.facts("attempt.succeeded")[0]), `"completed":1`)
}

// TestTheIntentIsCommittedBeforeTheFirstByteLeaves asks the database from within the receiver.
func TestTheIntentIsCommittedBeforeTheFirstByteLeaves(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	const n = 50
	seen := make(chan int, 2*n)
	receiver.Answer(func(_ http.ResponseWriter, r *http.Request) {
		intents := -1
		_ = b.QueryRow(`SELECT count(*) FROM webhooks.pending p JOIN webhooks.intents i ON p.delivery_id = ANY (i.delivery_ids)
		 WHERE p.event_id = $1`, r.Header.Get("X-Webhook-ID")).Scan(&intents) // an error is the -1
		seen <- intents
	})
	b.endpoint(receiver.URL)
	b.run()
	for range n {
		b.publish(b.started())
		select {
		case intents := <-seen:
			require.Equal(t, 1, intents)
		case <-time.After(within):
			require.Fail(t, "nothing arrived")
		}
	}
}

func TestHangingEndpointCostsTheOthersNothing(t *testing.T) {
	t.Parallel()
	b, healthy, hanging := setup(t), relaytest.NewReceiver(t), relaytest.NewReceiver(t)
	b.cfg.Drain = 100 * time.Millisecond
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	hanging.Answer(func(http.ResponseWriter, *http.Request) { <-release })
	b.endpoint(hanging.URL, string(outbox.ConversationStartedType))
	b.endpoint(healthy.URL, string(outbox.ConversationCompletedType))
	r, err := relay.New(b.cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	events := func(of outbox.Type) []outbox.Event {
		return slices.Repeat([]outbox.Event{outbox.NewSample(of, b.company)}, 200)
	}
	b.publish(events(outbox.ConversationStartedType)...)
	hanging.Await(t, 16, within) // it has every slot that it can have before the other one wants its first
	b.publish(events(outbox.ConversationCompletedType)...)
	healthy.Await(t, 200, within)
	cancel()
	require.NoError(t, <-ended)
	b.await(0, `SELECT count(*) FROM webhooks.intents`)
	require.LessOrEqual(t, len(hanging.Arrivals()), 16)
}
