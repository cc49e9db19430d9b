package relay_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox/wire"
	"github.com/chattosurvey/surveyhooks/relay/delivery"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/fleet"
	"github.com/chattosurvey/surveyhooks/relay/relaytest"
)

// calm is how long a test looks whether something happens that must not: a lane that may sends within milliseconds.
const calm = 300 * time.Millisecond

// order commits one.
func (b *testBundle) order(do func(context.Context, *sql.Tx) error) {
	b.t.Helper()
	tx, err := b.BeginTx(b.t.Context(), nil)
	require.NoError(b.t, err)
	require.NoError(b.t, do(b.t.Context(), tx))
	require.NoError(b.t, tx.Commit())
}

func (b *testBundle) pause() {
	b.t.Helper()
	b.order(func(ctx context.Context, tx *sql.Tx) error {
		_, _, err := fleet.PauseSending(ctx, tx, "operator:olga", "a test")
		return err
	})
}

func (b *testBundle) resume() {
	b.t.Helper()
	b.order(func(ctx context.Context, tx *sql.Tx) error { _, err := fleet.ResumeSending(ctx, tx); return err })
}

// relays are the ids of the running ones, the oldest first.
func (b *testBundle) relays(n int) []uuid.UUID {
	b.t.Helper()
	b.await(n, `SELECT count(*) FROM webhooks.relays`)
	list, err := fleet.Relays(b.t.Context(), b.DB.DB)
	require.NoError(b.t, err)
	ids := make([]uuid.UUID, n)
	for i := range ids {
		ids[i] = list[i].ID
	}
	return ids
}

// awaitPaused awaits what the relay's gauge says.
func awaitPaused(t *testing.T, from prometheus.Gatherer, want float64) {
	t.Helper()
	awaitGauge(t, from, "surveyhooks_paused", want)
}

// awaitGauge is for those without a label.
func awaitGauge(t *testing.T, from prometheus.Gatherer, name string, want float64) {
	t.Helper()
	require.Eventually(t, func() bool {
		families, err := from.Gather()
		for _, f := range families {
			if f.GetName() == name {
				return err == nil && f.GetMetric()[0].GetGauge().GetValue() == want
			}
		}
		return false
	}, within, 5*time.Millisecond, "%s is not %v", name, want)
}

// TestWhilePausedEventsBecomeDeliveriesAndNothingIsSent, however often a relay starts anew meanwhile; then everything
// flows, and nobody was charged.
func TestWhilePausedEventsBecomeDeliveriesAndNothingIsSent(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	metrics := prometheus.NewRegistry()
	b.cfg.Metrics = metrics
	e, _ := b.endpoint(receiver.URL)
	stop := b.run()
	b.await(1, `SELECT count(*) FROM webhooks.lanes WHERE holder IS NOT NULL`)
	b.pause()
	awaitPaused(t, metrics, 1)
	b.publish(b.started(), b.started())
	b.await(2, `SELECT count(*) FROM webhooks.pending`)
	require.Never(t, func() bool { return len(receiver.Arrivals()) > 0 }, calm, 10*time.Millisecond)

	stop()
	b.cfg.Metrics = nil
	b.run()
	b.await(1, `SELECT count(*) FROM webhooks.lanes WHERE holder IS NOT NULL`)
	b.publish(b.started())
	b.await(3, `SELECT count(*) FROM webhooks.pending`)
	require.Never(t, func() bool { return len(receiver.Arrivals()) > 0 }, calm, 10*time.Millisecond)
	b.await(3, `SELECT count(*) FROM webhooks.pending WHERE started = 0 AND completed = 0`)
	_, err := b.store.Test(t.Context(), endpoint.Ref{Scope: endpoint.Company(b.company), ID: e.ID, Actor: "test"})
	var paused *fleet.PausedError
	require.ErrorAs(t, err, &paused)
	require.ErrorContains(t, err, "sending is paused by operator:olga since")

	b.resume()
	receiver.Await(t, 3, within)
	b.await(0, `SELECT count(*) FROM webhooks.pending`)
	require.Len(t, receiver.Arrivals(), 3)
	require.Len(t, b.facts("attempt.succeeded"), 3)
	require.Empty(t, b.facts("attempt.failed"))
	require.Empty(t, b.facts("breaker.opened"))
}

// TestAttemptsUnderWayEndWhilePaused: what fails is due again, and waits with the rest. Deliveries that were read ahead
// before the pause are no exception.
func TestAttemptsUnderWayEndWhilePaused(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	metrics := prometheus.NewRegistry()
	b.cfg.Metrics, b.cfg.Concurrency = metrics, 1
	slow := make(chan struct{})
	release := sync.OnceFunc(func() { close(slow) })
	defer release() // however the test ends
	var once sync.Once
	receiver.Answer(func(w http.ResponseWriter, _ *http.Request) {
		once.Do(func() {
			<-slow
			w.WriteHeader(http.StatusInternalServerError)
		})
	})
	b.endpoint(receiver.URL)
	b.run()
	b.publish(b.started(), b.started(), b.started())
	receiver.Await(t, 1, within)
	b.pause()
	awaitPaused(t, metrics, 1)
	release()
	b.await(1, `SELECT count(*) FROM webhooks.pending WHERE completed = 1`)
	require.Never(t, func() bool { return len(receiver.Arrivals()) > 1 }, calm, 10*time.Millisecond)
	b.resume()
	b.await(0, `SELECT count(*) FROM webhooks.pending`)
	require.Len(t, receiver.Arrivals(), 4)
	awaitPaused(t, metrics, 0)
}

// TestALostNoticeOfAPauseHealsWithTheNextHeartbeat: rows that nobody was notified of are obeyed all the same.
func TestALostNoticeOfAPauseHealsWithTheNextHeartbeat(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	metrics := prometheus.NewRegistry()
	b.cfg.Metrics, b.cfg.Lease = metrics, 2*time.Second
	b.endpoint(receiver.URL)
	b.run()
	b.await(1, `SELECT count(*) FROM webhooks.lanes WHERE holder IS NOT NULL`)
	_, err := b.Exec(`INSERT INTO webhooks.pause (paused_by, reason) VALUES ('operator:olga', 'a test')`)
	require.NoError(t, err)
	awaitPaused(t, metrics, 1)
	_, err = b.Exec(`DELETE FROM webhooks.pause`)
	require.NoError(t, err)
	awaitPaused(t, metrics, 0)
	b.publish(b.started())
	receiver.Await(t, 1, within)
}

// TestAPauseDoesNotCountAsFailing: endpoints are given up after days of nothing but failure, and in a pause they had no
// chance to do better.
func TestAPauseDoesNotCountAsFailing(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	metrics := prometheus.NewRegistry()
	b.cfg.Metrics = metrics
	b.endpoint(receiver.URL)
	for _, statement := range []string{
		`UPDATE webhooks.lanes SET failing_since = now() - interval '3 hours'`,
		`INSERT INTO webhooks.pause (paused_by, reason, paused_at) VALUES ('operator:olga', 'a test', now() - interval '2 hours')`,
	} {
		_, err := b.Exec(statement)
		require.NoError(t, err)
	}
	b.run()
	awaitGauge(t, metrics, "surveyhooks_lanes", 1)
	b.resume()
	b.await(1, `SELECT count(*) FROM webhooks.lanes WHERE failing_since BETWEEN now() - interval '61 minutes' AND now() - interval '59 minutes'`)
}

// TestADrainedRelayHandsItsLanesOverInOrder: the other one takes them, nothing is sent twice or out of order, and what is
// under way ends where it began.
func TestADrainedRelayHandsItsLanesOverInOrder(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.cfg.Concurrency, b.cfg.Lease = 1, 4*time.Second
	const endpoints, events = 4, 12
	receivers := make([]*relaytest.Receiver, endpoints)
	slow := make(chan struct{})
	release := sync.OnceFunc(func() { close(slow) })
	defer release() // however the test ends
	for i := range receivers {
		receivers[i] = relaytest.NewReceiver(t)
		b.endpoint(receivers[i].URL)
	}
	receivers[0].Answer(func(http.ResponseWriter, *http.Request) { <-slow })
	held := `SELECT count(*) FROM webhooks.lanes WHERE holder = $1`

	b.run()
	first := b.relays(1)[0]
	b.await(endpoints, held, first)
	var want []uuid.UUID
	want = append(want, b.publish(b.started())...)
	receivers[0].Await(t, 1, within) // under way at the first relay
	b.run()
	second := b.relays(2)[1]
	b.order(func(ctx context.Context, tx *sql.Tx) error {
		_, _, err := fleet.Drain(ctx, tx, first, "operator:olga")
		return err
	})
	b.await(1, held, first)
	b.await(endpoints-1, held, second)
	for range events {
		want = append(want, b.publish(b.started())...)
	}
	// The lease is kept all the while: what waits for a slow endpoint is not what renews it.
	var lease time.Time
	require.NoError(t, b.QueryRow(`SELECT lease_until FROM webhooks.relays WHERE relay_id = $1`, first).Scan(&lease))
	b.await(1, `SELECT count(*) FROM webhooks.relays WHERE relay_id = $1 AND lease_until > $2`, first, lease.Add(time.Second))
	require.Len(t, receivers[0].Arrivals(), 1)
	release()
	b.await(endpoints, held, second)
	for i, receiver := range receivers {
		var got []uuid.UUID
		for _, a := range receiver.Await(t, len(want), within) {
			got = append(got, uuid.MustParse(a.Header.Get(wire.XID)))
		}
		require.Equal(t, want, got, fmt.Sprint("endpoint ", i))
	}
	b.await(0, `SELECT count(*) FROM webhooks.pending`)

	b.order(func(ctx context.Context, tx *sql.Tx) error { _, _, err := fleet.Undrain(ctx, tx, first); return err })
	b.await(endpoints/2, held, first)
	b.await(endpoints/2, held, second)
}

// TestARelayThatDrainsAloneSendsNothingUntilItHasItsShareAgain: it is alive all the while.
func TestARelayThatDrainsAloneSendsNothingUntilItHasItsShareAgain(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	b.endpoint(receiver.URL)
	b.run()
	id := b.relays(1)[0]
	b.await(1, `SELECT count(*) FROM webhooks.lanes WHERE holder = $1`, id)
	b.order(func(ctx context.Context, tx *sql.Tx) error {
		_, _, err := fleet.Drain(ctx, tx, id, "operator:olga")
		return err
	})
	b.await(1, `SELECT count(*) FROM webhooks.lanes WHERE holder IS NULL`)
	b.publish(b.started())
	b.await(1, `SELECT count(*) FROM webhooks.pending`)
	require.Never(t, func() bool { return len(receiver.Arrivals()) > 0 }, calm, 10*time.Millisecond)
	b.order(func(ctx context.Context, tx *sql.Tx) error { _, _, err := fleet.Undrain(ctx, tx, id); return err })
	receiver.Await(t, 1, within)
	require.Equal(t, id, b.relays(1)[0])
}

// TestLimitsOrdersAndOffersTogether: events that are published one by one are offered to a lane that has a limit and is
// paused; the lane goes to another relay, and a missed event is requested, before the pause ends. Each arrives once, the
// live ones in order.
func TestLimitsOrdersAndOffersTogether(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	metrics := prometheus.NewRegistry()
	b.cfg.Metrics, b.cfg.Concurrency, b.cfg.Lease = metrics, 1, 4*time.Second
	missed := b.publish(b.started())
	limit := 50
	e, _, err := b.store.Create(t.Context(), endpoint.Create{CompanyID: b.company, URL: receiver.URL, RateLimit: &limit, Actor: "test"})
	require.NoError(t, err)
	held := `SELECT count(*) FROM webhooks.lanes WHERE holder = $1`
	b.run()
	first := b.relays(1)[0]
	b.await(1, held, first)
	var want []uuid.UUID
	publish := func() { // pages of one event each
		for range 3 {
			want = append(want, b.publish(b.started())...)
			b.await(len(want)+len(missed), `SELECT count(*) FROM webhooks.event_ids`)
		}
	}
	publish()
	b.pause()
	awaitPaused(t, metrics, 1)
	publish()
	b.cfg.Metrics = nil
	b.run()
	second := b.relays(2)[1]
	b.order(func(ctx context.Context, tx *sql.Tx) error {
		_, _, err := fleet.Drain(ctx, tx, first, "operator:olga")
		return err
	})
	b.await(1, held, second)
	publish()
	b.order(func(ctx context.Context, tx *sql.Tx) error {
		_, err := delivery.RequestPage{Scope: endpoint.Company(b.company), Actor: "bob", EndpointID: e.ID, Events: missed}.Apply(ctx, tx)
		return err
	})
	b.await(1, `SELECT count(*) FROM webhooks.pending WHERE event_id = $1`, missed[0])
	b.resume()
	publish()
	var live []uuid.UUID
	for _, a := range receiver.Await(t, len(want)+len(missed), within) {
		if id := uuid.MustParse(a.Header.Get(wire.XID)); id != missed[0] {
			live = append(live, id)
		}
	}
	require.Equal(t, want, live)
	b.await(0, `SELECT count(*) FROM webhooks.pending`)
	require.Len(t, receiver.Arrivals(), len(want)+len(missed))
}
