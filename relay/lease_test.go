package relay_test

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/relaytest"
)

// Giving lanes back takes as long as their slowest requests, and neither the lease nor the other lanes wait for it: a
// relay that joins beside one whose endpoints hang costs nobody an attempt.
func TestLanesThatHangAreGivenBackWithoutTheLease(t *testing.T) {
	t.Parallel()
	b, hanging, healthy := setup(t), relaytest.NewReceiver(t), relaytest.NewReceiver(t)
	b.cfg.Lease = 2 * time.Second
	hang := make(chan struct{})
	release := sync.OnceFunc(func() { close(hang) })
	t.Cleanup(release)
	hanging.Answer(func(http.ResponseWriter, *http.Request) { <-hang })
	for range 6 {
		b.endpoint(hanging.URL)
	}
	b.run()
	b.publish(b.started())
	hanging.Await(t, 6, within)
	b.run()
	b.await(2, `SELECT count(*) FROM webhooks.relays`)
	b.endpoint(healthy.URL)
	var until time.Time
	require.NoError(t, b.QueryRow(`SELECT clock_timestamp() + $1 * interval '1 second'`, (2*b.cfg.Lease).Seconds()).Scan(&until))
	b.await(2, `SELECT count(*) FROM webhooks.relays WHERE lease_until > $1`, until)
	b.publish(b.started())
	healthy.Await(t, 1, within)
	release()
	b.await(0, `SELECT count(*) FROM webhooks.pending`)
	b.await(2, `SELECT count(DISTINCT holder) FROM webhooks.lanes WHERE holder IS NOT NULL`)
	require.Len(t, hanging.Arrivals(), 12, "each event once to each endpoint")
	require.Empty(t, b.facts("attempt.interrupted"))
}

// The answer to a take or a release can be lost after its commit: the table then gives the relay a lane that it knows
// nothing of. It must not stay so.
func TestLaneThatItsHolderDoesNotKnowIsServed(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	b.cfg.Lease = 2 * time.Second
	b.run()
	b.await(1, `SELECT count(*) FROM webhooks.relays`)
	_, err := b.Owner.Exec(`CREATE FUNCTION public.born_held() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  SELECT relay_id INTO NEW.holder FROM webhooks.relays;
  RETURN NEW;
END $$;
CREATE TRIGGER born_held BEFORE INSERT ON webhooks.lanes FOR EACH ROW EXECUTE FUNCTION public.born_held()`)
	require.NoError(t, err)
	b.endpoint(receiver.URL)
	b.publish(b.started())
	receiver.Await(t, 1, within)
}

// A relay that learns in a commit that it was declared dead still has attempts under way. They are in the history too.
func TestAttemptUnderWayAtTheFenceIsToldAsStale(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hang := make([]chan struct{}, 2)
	for i := range hang {
		hang[i] = make(chan struct{})
		t.Cleanup(sync.OnceFunc(func() { close(hang[i]) }))
		var arrivals atomic.Int64
		receiver := relaytest.NewReceiver(t)
		receiver.Answer(func(http.ResponseWriter, *http.Request) {
			if arrivals.Add(1) == 1 {
				<-hang[i]
			}
		})
		b.endpoint(receiver.URL)
	}
	b.run()
	b.publish(b.started())
	b.await(2, `SELECT coalesce(sum(cardinality(delivery_ids)), 0) FROM webhooks.intents`)
	_, err := b.Exec(`UPDATE webhooks.relays SET lease_until = clock_timestamp() - interval '1 second'`)
	require.NoError(t, err)
	b.run() // declares the first one dead
	b.await(2, `SELECT count(*) FROM webhooks.journal WHERE fact = 'attempt.interrupted'`)
	hang[0] <- struct{}{}
	b.await(1, `SELECT count(*) FROM webhooks.journal WHERE fact = 'attempt.stale'`)
	hang[1] <- struct{}{}
	b.await(2, `SELECT count(*) FROM webhooks.journal WHERE fact = 'attempt.stale' AND data ->> 'status' = '200'`)
	b.await(0, `SELECT count(*) FROM webhooks.pending`)
}

// A stop may take longer than the lease: nobody takes the lanes of a relay that is still at work.
func TestLeaseIsKeptUntilTheLastRequestHasEnded(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	b.cfg.Lease, b.cfg.Drain = time.Second, within
	hang := make(chan struct{})
	release := sync.OnceFunc(func() { close(hang) })
	t.Cleanup(release)
	receiver.Answer(func(http.ResponseWriter, *http.Request) { <-hang })
	b.endpoint(receiver.URL)
	stop := b.run()
	b.publish(b.started())
	receiver.Await(t, 1, within)
	b.run()
	b.await(2, `SELECT count(*) FROM webhooks.relays`)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		stop()
	}()
	var until time.Time
	require.NoError(t, b.QueryRow(`SELECT clock_timestamp() + $1 * interval '1 second'`, (3*b.cfg.Lease).Seconds()).Scan(&until))
	b.await(2, `SELECT count(*) FROM webhooks.relays WHERE lease_until > $1`, until)
	release()
	<-stopped
	b.await(0, `SELECT count(*) FROM webhooks.pending`)
	require.Len(t, receiver.Arrivals(), 1)
	require.Empty(t, b.facts("attempt.interrupted"))
}
