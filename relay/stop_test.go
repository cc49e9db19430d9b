package relay_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay"
	"github.com/chattosurvey/surveyhooks/relay/relaytest"
)

// A lane emits until the moment it is closed. What the Router has not taken by then is under way all the same: its intent
// is committed, and it is not cut as long as it may still end.
func TestF5_StopWaitsForWhatTheLanesEmittedLast(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	b.cfg.Drain = within // nothing is cut but by mistake
	receiver.Answer(func(_ http.ResponseWriter, r *http.Request) { wait(r.Context(), 20*time.Millisecond) })
	const endpoints, events, stops = 40, 20, 6
	for range endpoints {
		b.endpoint(receiver.URL)
	}
	for range stops {
		before := len(receiver.Arrivals())
		b.publish(b.many(events)...)
		stop := b.run()
		receiver.Await(t, before+150, within)
		stop()
		b.await(0, `SELECT (SELECT count(*) FROM webhooks.relays) + (SELECT count(*) FROM webhooks.intents)`)
	}
	require.Less(t, len(receiver.Arrivals()), stops*events*endpoints, "it was stopped in the middle")
	b.run()
	b.await(0, `SELECT count(*) FROM webhooks.pending`)
	require.Len(t, receiver.Arrivals(), stops*events*endpoints)
}

// What else has to come to its end, here a page of the outbox that waits for a lock, is no time in which lanes go on.
func TestF5_StopStartsNothingMore(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	b.cfg.Concurrency = 4
	receiver.Answer(func(_ http.ResponseWriter, r *http.Request) { wait(r.Context(), 50*time.Millisecond) })
	b.endpoint(receiver.URL)
	stop := b.run()
	b.publish(b.many(250)...)
	receiver.Await(t, 1, within)
	tx, err := b.Owner.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer tx.Rollback() //nolint:errcheck // it only holds a lock
	_, err = tx.Exec(`LOCK TABLE webhooks.quarantine`)
	require.NoError(t, err)
	b.publish(b.started())
	b.await(1, `SELECT count(*) FROM pg_locks WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND NOT granted`)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		stop()
	}()
	b.await(0, `SELECT count(*) FROM webhooks.intents`)
	sent := len(receiver.Arrivals())
	require.NoError(t, tx.Rollback())
	<-stopped
	require.Len(t, receiver.Arrivals(), sent)
	require.Less(t, sent, 250, "it was stopped in the middle")
}

// A relay that starts while somebody holds a table waits for it, and is stopped all the same.
func TestF5_StopDoesNotWaitForATable(t *testing.T) {
	t.Parallel()
	for _, table := range []string{"pending", "outbox"} {
		t.Run(table, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			tx, err := b.Owner.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			defer tx.Rollback() //nolint:errcheck // it only holds a lock
			_, err = tx.Exec(`LOCK TABLE webhooks.` + table)
			require.NoError(t, err)
			r, err := relay.New(b.cfg)
			require.NoError(t, err)
			ctx, stop := context.WithCancel(context.Background())
			defer stop()
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_ = r.Run(ctx) // that it could not leave is told
			}()
			b.await(1, `SELECT least(1, count(*)) FROM pg_locks WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND NOT granted`)
			stop()
			select {
			case <-ended:
			case <-time.After(within):
				require.NoError(t, tx.Rollback())
				<-ended
				require.Fail(t, "the relay did not stop")
			}
		})
	}
}
