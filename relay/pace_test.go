package relay_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/relaytest"
)

func (b *testBundle) many(n int) []outbox.Event {
	list := make([]outbox.Event, n)
	for i := range list {
		list[i] = b.started()
	}
	return list
}

// TestARateLimitIsKeptOnTheWayToTheReceiver: the last of n requests cannot have left sooner than n-1 times the limit's
// share of a second after anything was published, whatever triggered them. Waiting uses up no retry, and the endpoint
// beside it is not waited for.
func TestARateLimitIsKeptOnTheWayToTheReceiver(t *testing.T) {
	t.Parallel()
	b, slow, quick := setup(t), relaytest.NewReceiver(t), relaytest.NewReceiver(t)
	limit := 10
	e, _, err := b.store.Create(t.Context(), endpoint.Create{CompanyID: b.company, URL: slow.URL, RateLimit: &limit, Actor: "test"})
	require.NoError(t, err)
	b.endpoint(quick.URL)
	b.run()
	published := time.Now()
	b.publish(b.many(8)...)
	for range 2 {
		_, err := b.store.Test(t.Context(), b.ref(e))
		require.NoError(t, err)
	}
	last := slow.Await(t, 10, within)[9]
	require.GreaterOrEqual(t, last.At.Sub(published), 900*time.Millisecond)
	require.Len(t, quick.Await(t, 8, within), 8)
	b.await(0, `SELECT count(*) FROM webhooks.pending`)
	require.Len(t, b.facts("attempt.succeeded"), 18)
	require.Empty(t, b.facts("attempt.failed"))
}

// TestARateLimitChangesUnderARunningRelay: what would take minutes comes at once when the limit is taken away, and nothing
// is sent twice.
func TestARateLimitChangesUnderARunningRelay(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	limit := 1
	e, _, err := b.store.Create(t.Context(), endpoint.Create{CompanyID: b.company, URL: receiver.URL, RateLimit: &limit, Actor: "test"})
	require.NoError(t, err)
	const events = 300
	b.publish(b.many(events)...)
	b.run()
	receiver.Await(t, 1, within)
	_, err = b.store.Update(t.Context(), endpoint.Update{Ref: b.ref(e), RemoveRateLimit: true})
	require.NoError(t, err)
	receiver.Await(t, events, within)
	b.await(0, `SELECT count(*) FROM webhooks.pending`)
	ids := map[string]bool{}
	for _, a := range receiver.Arrivals() {
		ids[a.ID()] = true
	}
	require.Len(t, ids, events)
	require.Len(t, receiver.Arrivals(), events)
}

// TestARelayStopsWhileALaneWaitsForItsPace: at once, and what waited is as if nobody had looked at it.
func TestARelayStopsWhileALaneWaitsForItsPace(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	b.cfg.Drain = time.Hour // it would be waited for
	limit := 1
	_, _, err := b.store.Create(t.Context(), endpoint.Create{CompanyID: b.company, URL: receiver.URL, RateLimit: &limit, Actor: "test"})
	require.NoError(t, err)
	b.publish(b.many(60)...)
	stop := b.run()
	receiver.Await(t, 1, within)
	stop()
	started := len(b.facts("attempts.started")) // one delivery each: its limit allows no more
	require.Less(t, started, 30)
	b.await(60-started, `SELECT count(*) FROM webhooks.pending WHERE started = 0 AND completed = 0 AND first_attempt_at IS NULL`)
	b.await(0, `SELECT count(*) FROM webhooks.intents`)
}
