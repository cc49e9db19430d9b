package recovery_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/recovery"
	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/relay"
	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/relaytest"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// live is a bundle with a relay and the projections at work, and no endpoint yet.
func live(t *testing.T) *testBundle {
	t.Helper()
	db, keys := schematest.New(t), relaytest.Keys(t)
	policy := egress.Policy{Insecure: true}
	store, err := endpoint.New(endpoint.Options{DB: db.DB, Policy: policy, Keys: keys})
	require.NoError(t, err)
	b := &testBundle{T: t, db: db, store: store, company: uuid.New(), first: time.Now().Add(-time.Hour)}
	b.service = b.new(recovery.Config{Poll: 5 * time.Millisecond})
	quiet := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	sender, err := relay.New(relay.Config{
		Keys: keys, DSN: db.DSN, Egress: egress.Config{Policy: policy, Timeout: 2 * time.Second},
		Poll: 20 * time.Millisecond, Drain: 5 * time.Second, Logger: quiet,
	})
	require.NoError(t, err)
	projector := projections.New(projections.Config{DB: db.DB, DSN: db.DSN, Logger: quiet})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- sender.Run(ctx) }()
	go func() { ended <- projector.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			require.NoError(t, <-ended)
		}
	})
	return b
}

func (b *testBundle) publish(n int) (ids []string) {
	b.Helper()
	tx, err := b.db.BeginTx(b.Context(), nil)
	require.NoError(b, err)
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	events := make([]outbox.Event, n)
	for i := range events {
		events[i] = outbox.NewSample(outbox.ConversationStartedType, b.company)
	}
	published, err := outbox.Publish(b.Context(), tx, events...)
	require.NoError(b, err)
	require.NoError(b, tx.Commit())
	for _, id := range published {
		ids = append(ids, id.String())
	}
	return ids
}

// told waits until the history has so many events.
func (b *testBundle) told(n int) {
	b.Helper()
	require.Eventually(b, func() bool { return b.count(`SELECT count(*) FROM webhooks.events`) == n }, 30*time.Second, 5*time.Millisecond)
}

func (b *testBundle) make(url string, types ...string) {
	b.Helper()
	e, _, err := b.store.Create(b.Context(), endpoint.Create{CompanyID: b.company, URL: url, EventTypes: types, Actor: "ada"})
	require.NoError(b, err)
	b.endpoint = e.ID
	b.request = recovery.Request{
		CompanyID: b.company, EndpointID: e.ID, Kind: recovery.Missing, Since: b.first, Actor: "ada", Reason: "made late",
	}
}

// An endpoint is sent, once and through the relay, what happened before it was there, while it had not selected the type
// and while it was disabled, though new events are told meanwhile, several processes work on it, and one of them dies.
func TestMissingIsSentOnceAndAccountedFor(t *testing.T) {
	t.Parallel()
	b, receiver := live(t), relaytest.NewReceiver(t)
	want := b.publish(10)
	b.told(10)
	b.make(receiver.URL, "conversation.completed")
	want = append(want, b.publish(10)...)
	b.told(20)
	ref := endpoint.Ref{Scope: endpoint.Company(b.company), ID: b.endpoint, Actor: "ada"}
	_, err := b.store.Update(t.Context(), endpoint.Update{Ref: ref, EventTypes: []string{"conversation.started"}})
	require.NoError(t, err)
	_, err = b.store.Disable(t.Context(), ref, "", "")
	require.NoError(t, err)
	want = append(want, b.publish(10)...)
	b.told(30)
	b.exec(`UPDATE webhooks.endpoints SET event_types = NULL`)

	found, err := b.service.Count(t.Context(), b.request)
	require.NoError(t, err)
	require.Equal(t, []recovery.TypeCount{{EventType: "conversation.started", Deliveries: 30}}, found.Types)
	require.Equal(t, 30, found.Deliveries)
	require.NotNil(t, found.Earliest)
	r, err := b.service.Start(t.Context(), b.request)
	require.NoError(t, err)
	require.Equal(t, 30, r.Total)
	dies := b.run(b.new(recovery.Config{Rate: 7, Poll: time.Millisecond}))
	b.await(r.ID, func(r recovery.Recovery) bool { return r.WaitsFor == "enabled" })
	require.Zero(t, b.count(`SELECT count(*) FROM webhooks.requested_deliveries`), "nothing goes to a disabled endpoint")
	_, err = b.store.Enable(t.Context(), ref)
	require.NoError(t, err)
	b.exec(`UPDATE webhooks.recoveries SET next_at = now()`)
	want = append(want, b.publish(20)...) // of its own, by the fan-out
	b.await(r.ID, func(r recovery.Recovery) bool { return r.Replayed > 0 })
	dies()
	b.run(b.service, b.new(recovery.Config{Rate: 5, Poll: time.Millisecond}), b.new(recovery.Config{Rate: 5, Poll: time.Millisecond}))
	r = b.await(r.ID, ended)
	require.Equal(t, recovery.Done, r.State)
	require.Equal(t, 30, r.Replayed)
	require.Zero(t, r.Skipped)

	arrivals := receiver.Await(t, 50, 30*time.Second)
	var got []string
	for _, a := range arrivals {
		got = append(got, a.ID())
	}
	require.ElementsMatch(t, want, got)
	require.Eventually(t, func() bool {
		return b.count(`SELECT count(*) FROM webhooks.deliveries WHERE state = 'delivered'`) == 50
	}, 30*time.Second, 5*time.Millisecond)
	require.Equal(t, 30, b.count(`SELECT count(*) FROM webhooks.deliveries WHERE requested_by = 'ada' AND trigger = 'manual' AND generation = 1`))
	ledger, err := projections.Audit(t.Context(), b.db.DB)
	require.NoError(t, err)
	require.Zero(t, ledger.Unaccounted, ledger.Details)
	report, err := projections.Rebuild(t.Context(), b.db.DB, projections.Options{Verify: true})
	require.NoError(t, err)
	require.True(t, report.Equal, "%+v", report)
	d, err := projections.NewReader(b.db.DB).Decision(t.Context(), b.company, uuid.MustParse(want[15]), b.endpoint)
	require.NoError(t, err)
	require.Regexp(t, "had not selected conversation.started.*; it was requested by ada at .*, and it was sent: delivery .* is delivered", d.Words())

	_, err = b.service.Start(t.Context(), b.request)
	var nothing *recovery.NothingError
	require.ErrorAs(t, err, &nothing)
	require.ErrorContains(t, err, "was sent every event that it selects")
}

func TestMissingIsOfTheTypesThatAreAskedFor(t *testing.T) {
	t.Parallel()
	b := setup(t, 1)
	b.request.Kind = recovery.Missing
	b.exec(`UPDATE webhooks.endpoints SET event_types = '{conversation.completed,test.webhook}'`)
	for _, types := range [][]string{{"nonsense"}, {"test.webhook"}, {"conversation.started"}, {"conversation.completed", ""}} {
		b.request.Types = types
		_, err := b.service.Start(t.Context(), b.request)
		var invalid *recovery.InvalidError
		require.ErrorAs(t, err, &invalid, types)
		require.Equal(t, "event_types", invalid.Field)
	}
	b.request.Types = []string{"conversation.completed"}
	b.exec(`INSERT INTO webhooks.events SELECT event_id, company_id, 'conversation.completed', created_at, position, clock_timestamp(), '[]' FROM webhooks.outbox`)
	b.exec(`UPDATE webhooks.events SET event_type = 'conversation.completed'`)
	r, err := b.service.Start(t.Context(), b.request)
	require.NoError(t, err)
	require.Equal(t, b.request.Types, r.Types)
	again, err := b.service.Start(t.Context(), b.request)
	require.NoError(t, err)
	require.Equal(t, r, again)
	var reused *recovery.KeyError
	for _, change := range []func(*recovery.Request){
		func(r *recovery.Request) { r.Types = nil },
		func(r *recovery.Request) { r.Kind, r.Types = recovery.Failures, nil },
	} {
		other := b.request
		change(&other)
		_, err = b.service.Start(t.Context(), other)
		require.ErrorAs(t, err, &reused)
	}

	b.exec(`DELETE FROM webhooks.event_ids`)
	b.request.Key = "other"
	found, err := b.service.Count(t.Context(), b.request)
	require.NoError(t, err)
	require.Equal(t, 1, found.Expired)
	require.Zero(t, found.Deliveries)
	_, err = b.service.Start(t.Context(), b.request)
	require.ErrorContains(t, err, "no longer kept")
	b.run(b.service)
	r = b.await(r.ID, ended)
	require.Equal(t, recovery.Done, r.State)
	require.Equal(t, 1, r.Skipped, "its event is no longer kept")
}
