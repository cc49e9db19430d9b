package relay_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/relaytest"
)

// Of an event that comes alone, one commit makes the delivery and its intent: a second one would stand before the first byte.
func TestFirstAttemptStartsWithTheCommitThatMakesItsDelivery(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	b.endpoint(receiver.URL)
	b.endpoint(receiver.URL)
	b.cfg.Poll = within // a lane that is reading claims nothing
	b.run()
	for i := range 3 {
		b.publish(b.started())
		receiver.Await(t, 2*(i+1), within)
		b.await(0, `SELECT count(*) FROM webhooks.pending`)
	}
	b.await(2, `SELECT count(DISTINCT f.transaction_id) FROM webhooks.journal f JOIN webhooks.journal s USING (transaction_id)
		WHERE f.fact = 'event.fanned_out' AND s.fact = 'attempts.started' AND json_array_length(s.data->'attempts') = 2`)
	b.await(0, `SELECT count(*) FROM webhooks.intents`)
}

// A commit that fails takes the intents back with the deliveries: nothing is sent, and nothing is told of it. Then all goes on.
func TestNothingIsSentOfAClaimWhoseCommitFails(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	b.endpoint(receiver.URL)
	b.cfg.Concurrency = 1 // which nothing may keep that is given up
	b.run()
	b.publish(b.started())
	receiver.Await(t, 1, within)
	_, err := b.Owner.Exec(`CREATE SEQUENCE public.stumbled;
		CREATE TABLE public.obstacle AS SELECT 1 AS there;
		CREATE FUNCTION public.stumble() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
		BEGIN
		  IF EXISTS (SELECT FROM public.obstacle) THEN
		    PERFORM nextval('public.stumbled');
		    RAISE EXCEPTION 'stumbled';
		  END IF;
		  RETURN NULL;
		END $$;
		CREATE CONSTRAINT TRIGGER stumbles AFTER INSERT ON webhooks.pending DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION public.stumble()`)
	require.NoError(t, err)
	id := b.publish(b.started())[0]
	require.Eventually(t, func() bool {
		var tries int
		return b.Owner.QueryRow(`SELECT last_value FROM public.stumbled`).Scan(&tries) == nil && tries >= 2
	}, within, within/1000, "it is tried again")
	require.Len(t, receiver.Arrivals(), 1)
	_, err = b.Owner.Exec(`DELETE FROM public.obstacle`)
	require.NoError(t, err)
	require.Equal(t, id.String(), receiver.Await(t, 2, within)[1].Header.Get("X-Webhook-ID"))
	b.await(0, `SELECT count(*) FROM webhooks.pending`)
	b.await(0, `SELECT count(*) FROM webhooks.intents`)
	require.Len(t, b.facts("attempts.started"), 2)
	require.Len(t, b.facts("attempt.succeeded"), 2)
	require.Empty(t, b.facts("attempt.interrupted"))
	require.Empty(t, b.facts("attempt.stale"))
	require.Len(t, receiver.Arrivals(), 2)
}

// Outcomes that cannot be recorded are sent again after a crash. So nothing more starts until they can.
func TestNothingIsClaimedWhileOutcomesCannotBeRecorded(t *testing.T) {
	t.Parallel()
	b, receiver, hang := setup(t), relaytest.NewReceiver(t), make(chan struct{})
	receiver.Answer(func(http.ResponseWriter, *http.Request) { <-hang })
	b.endpoint(receiver.URL)
	b.run()
	b.publish(b.started())
	receiver.Await(t, 1, within)
	tx, err := b.Owner.Begin()
	require.NoError(t, err)
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	_, err = tx.Exec(`SELECT FROM webhooks.pending FOR UPDATE`)
	require.NoError(t, err)
	close(hang)
	require.Eventually(t, func() bool {
		var waits bool
		return b.Owner.QueryRow(`SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
			AND query_start < clock_timestamp() - interval '300 ms')`). // longer than a commit takes that is well
			Scan(&waits) == nil && waits
	}, within, 5*time.Millisecond, "no outcome is being recorded")
	for range 5 {
		b.publish(b.started())
	}
	b.await(6, `SELECT count(*) FROM webhooks.pending`)
	b.await(1, `SELECT count(*) FROM webhooks.intents`)
	require.NoError(t, tx.Rollback())
	receiver.Await(t, 6, within)
	b.await(0, `SELECT count(*) FROM webhooks.pending`)
	require.Len(t, receiver.Arrivals(), 6, "each once")
}
