package relay_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/relaytest"
)

// A stop in the middle of a backlog sends nothing twice and loses nothing: what was begun ends, the rest waits.
func TestF5_StopInTheMiddleOfABatchSendsNothingTwice(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	b.cfg.Concurrency, b.cfg.Drain = 4, within // however slow the machine is, nothing is cut
	receiver.Answer(func(_ http.ResponseWriter, r *http.Request) { wait(r.Context(), 5*time.Millisecond) })
	b.endpoint(receiver.URL)
	const events = 300 // are more than can be sent before the stop
	for range 3 {
		stop := b.run()
		before := len(receiver.Arrivals())
		b.publish(b.many(events)...)
		receiver.Await(t, before+20, within)
		stop()
		b.await(0, `SELECT (SELECT count(*) FROM webhooks.relays) + (SELECT count(*) FROM webhooks.intents)`)
	}
	require.Less(t, len(receiver.Arrivals()), 3*events, "it was stopped in the middle")
	b.run()
	b.await(0, `SELECT count(*) FROM webhooks.outbox WHERE event_id NOT IN (SELECT event_id FROM webhooks.event_ids)`)
	b.await(0, `SELECT count(*) FROM webhooks.pending`)
	require.Len(t, receiver.Arrivals(), 3*events)
}

// A migration adds columns while relays of the version before it run; they go on.
func TestF31_ColumnsOfAMigrationDisturbNobody(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	e, _ := b.endpoint(receiver.URL)
	b.run()
	b.publish(b.started())
	receiver.Await(t, 1, within)
	for _, table := range []string{"outbox", "journal", "event_ids", "pending", "intents", "relays", "lanes", "endpoints", "endpoint_secrets"} {
		_, err := b.Owner.Exec(`ALTER TABLE webhooks.` + table + ` ADD COLUMN later integer NOT NULL DEFAULT 1`)
		require.NoError(t, err)
	}
	b.publish(b.started())
	receiver.Await(t, 2, within)
	other, _ := b.endpoint(receiver.URL)
	require.NotEqual(t, e.ID, other.ID)
	b.publish(b.started())
	receiver.Await(t, 4, within)
	b.await(0, `SELECT count(*) FROM webhooks.pending`)
}

// A time that the driver cannot read, or that no receiver can, is the event's own trouble.
func TestF36_EventOfNoTimeIsQuarantinedAndTheOthersFlow(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	b.endpoint(receiver.URL)
	b.run()
	for _, at := range []string{"infinity", "-infinity", "0044-03-15 12:00:00+00 BC", "12026-01-01 00:00:00+00"} {
		_, err := b.App.Exec(`INSERT INTO webhooks.outbox (event_type, company_id, data, created_at) VALUES ('conversation.started', $1, '{}', $2)`,
			b.company, at)
		require.NoError(t, err)
	}
	id := b.publish(b.started())[0]
	require.Equal(t, id.String(), receiver.Await(t, 1, within)[0].ID())
	b.await(4, `SELECT count(*) FROM webhooks.quarantine WHERE topic = 'outbox' AND reason LIKE 'created_at is %want a year of 1 to 9999'`)
}
