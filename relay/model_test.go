package relay_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/relay/relaytest"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// Transactions that have written and stay open hold back the oldest running transaction id: of the whole cluster, for a
// reader that waits for it. Events that commit after them must not wait, and their own follow when they commit.
func TestIsolationFromOpenTransactions(t *testing.T) {
	t.Parallel()
	b, receiver, elsewhere := setup(t), relaytest.NewReceiver(t), schematest.New(t)
	b.endpoint(receiver.URL)
	b.run()
	b.publish(b.started()) // the relay is at work
	receiver.Await(t, 1, within)

	other, err := elsewhere.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer other.Rollback() //nolint:errcheck // it is never committed
	_, err = other.ExecContext(t.Context(), `SELECT pg_current_xact_id()`)
	require.NoError(t, err)
	open, err := b.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer open.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	late, err := outbox.Publish(t.Context(), open, b.started())
	require.NoError(t, err)

	const atOnce = 5 * time.Second // of a tired machine; a relay that waits for the oldest transaction waits for ever
	for n := range 5 {
		id := b.publish(b.started())[0]
		arrivals := receiver.Await(t, n+2, atOnce)
		require.Equal(t, id.String(), arrivals[n+1].ID())
	}
	require.NoError(t, open.Commit())
	arrivals := receiver.Await(t, 7, atOnce)
	require.Equal(t, late[0].String(), arrivals[6].ID(), "it is behind the reader's position by its number, and not lost")
	b.await(0, `SELECT count(*) FROM webhooks.pending`)
	require.Len(t, receiver.Arrivals(), 7, "nothing twice")
}
