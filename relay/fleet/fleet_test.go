package fleet_test

import (
	"database/sql"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/fleet"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// commit runs one order as its caller would: in a transaction.
func commit(t *testing.T, db *sql.DB, do func(*sql.Tx) error) error {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	if err := do(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// TestSendingIsPausedOnce: whoever pauses second is told of the first one's pause, which stays as it is.
func TestSendingIsPausedOnce(t *testing.T) {
	t.Parallel()
	db := schematest.New(t)
	none, err := fleet.Paused(t.Context(), db.DB)
	require.NoError(t, err)
	require.Nil(t, none)
	require.NoError(t, fleet.MustSend(t.Context(), db.DB))

	var first, second fleet.Pause
	var changed bool
	require.NoError(t, commit(t, db.DB, func(tx *sql.Tx) error {
		first, changed, err = fleet.PauseSending(t.Context(), tx, "operator:olga", "  a wrong price was sent ")
		return err
	}))
	require.True(t, changed)
	require.Equal(t, "a wrong price was sent", first.Reason)
	require.NoError(t, commit(t, db.DB, func(tx *sql.Tx) error {
		second, changed, err = fleet.PauseSending(t.Context(), tx, "operator:paul", "me too")
		return err
	}))
	require.False(t, changed)
	require.Equal(t, first, second)

	var paused *fleet.PausedError
	require.ErrorAs(t, fleet.MustSend(t.Context(), db.DB), &paused)
	require.ErrorContains(t, paused, "paused by operator:olga since")

	var was, again *fleet.Pause
	require.NoError(t, commit(t, db.DB, func(tx *sql.Tx) error { was, err = fleet.ResumeSending(t.Context(), tx); return err }))
	require.Equal(t, first, *was)
	require.NoError(t, commit(t, db.DB, func(tx *sql.Tx) error { again, err = fleet.ResumeSending(t.Context(), tx); return err }))
	require.Nil(t, again, "there is nothing left to resume")
}

func TestAReasonIsALineOfText(t *testing.T) {
	t.Parallel()
	db := schematest.New(t)
	for name, reason := range map[string]string{
		"Empty": " ", "TwoLines": "a\nb", "Escape": "a\x1b[2J", "NotUTF8": "a\xff", "TurnsTheText": "a\u202eb", "Long": strings.Repeat("ä", 201),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var invalid *fleet.InvalidError
			require.ErrorAs(t, commit(t, db.DB, func(tx *sql.Tx) error {
				_, _, err := fleet.PauseSending(t.Context(), tx, "operator:olga", reason)
				return err
			}), &invalid)
			require.Equal(t, "reason", invalid.Field)
		})
	}
}

// TestTheOrderToDrainIsOnTheRelaysRow: it ends with it, and a relay that is not there cannot be ordered.
func TestTheOrderToDrainIsOnTheRelaysRow(t *testing.T) {
	t.Parallel()
	db := schematest.New(t)
	mine, other := uuid.New(), uuid.New()
	for _, id := range []uuid.UUID{mine, other} {
		_, err := db.ExecContext(t.Context(), `INSERT INTO webhooks.relays (relay_id, host, lease_until) VALUES ($1, 'here', now() + interval '1 minute')`, id)
		require.NoError(t, err)
	}
	drain := func(id uuid.UUID) (r fleet.Relay, changed bool, err error) {
		err = commit(t, db.DB, func(tx *sql.Tx) error {
			r, changed, err = fleet.Drain(t.Context(), tx, id, "operator:olga")
			return err
		})
		return r, changed, err
	}
	r, changed, err := drain(mine)
	require.NoError(t, err)
	require.True(t, changed)
	require.Equal(t, "operator:olga", r.DrainedBy)
	require.NotNil(t, r.DrainedAt)
	again, changed, err := drain(mine)
	require.NoError(t, err)
	require.False(t, changed)
	require.Equal(t, r.DrainedAt, again.DrainedAt)

	relays, err := fleet.Relays(t.Context(), db.DB)
	require.NoError(t, err)
	require.Len(t, relays, 2)
	require.True(t, fleet.Alone(relays, other), "the other one drains")
	require.False(t, fleet.Alone(relays, mine))

	orders, err := fleet.OrdersOf(t.Context(), db.DB, mine)
	require.NoError(t, err)
	require.True(t, orders.Drained)
	require.NoError(t, commit(t, db.DB, func(tx *sql.Tx) error { _, _, err := fleet.Undrain(t.Context(), tx, mine); return err }))
	orders, err = fleet.OrdersOf(t.Context(), db.DB, mine)
	require.NoError(t, err)
	require.False(t, orders.Drained)

	var missing *fleet.NotFoundError
	_, _, err = drain(uuid.New())
	require.ErrorAs(t, err, &missing)
}
