package operator_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/operator"
	"github.com/chattosurvey/surveyhooks/relay/fleet"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func olga() access.Caller { return access.Caller{Role: access.Operator, Actor: "operator:olga"} }

// TestAnActAndItsLineOfTheTrailAreOneTransaction: what the trail refuses to tell does not happen.
func TestAnActAndItsLineOfTheTrailAreOneTransaction(t *testing.T) {
	t.Parallel()
	db := schematest.New(t)
	s := operator.New(operator.Config{DB: db.DB})
	_, err := db.Owner.ExecContext(t.Context(), `ALTER TABLE webhooks.access_trail ADD CONSTRAINT trail_is_full CHECK (false)`)
	require.NoError(t, err)
	_, err = s.Pause(t.Context(), olga(), "a test")
	require.ErrorContains(t, err, "tell the trail of sending.paused")
	pause, err := s.Paused(t.Context())
	require.NoError(t, err)
	require.Nil(t, pause)
	_, err = s.Rebuild(t.Context(), olga(), true)
	require.Error(t, err)
	latest, err := s.Latest(t.Context())
	require.NoError(t, err)
	require.Nil(t, latest)
}

// TestTwoOperatorsDoNotDrainBothRelays: each sees that the other relay is there, and only one of them is right.
func TestTwoOperatorsDoNotDrainBothRelays(t *testing.T) {
	t.Parallel()
	db := schematest.New(t)
	s := operator.New(operator.Config{DB: db.DB})
	relays := []uuid.UUID{uuid.New(), uuid.New()}
	for _, id := range relays {
		_, err := db.ExecContext(t.Context(), `INSERT INTO webhooks.relays (relay_id, host, lease_until) VALUES ($1, 'here', now() + interval '1 hour')`, id)
		require.NoError(t, err)
	}
	tx, err := db.Owner.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer tx.Rollback() //nolint:errcheck // it only holds a lock, so that both orders are under way
	_, err = tx.ExecContext(t.Context(), `LOCK TABLE webhooks.access_trail`)
	require.NoError(t, err)
	drained := make(chan error, len(relays))
	for _, id := range relays {
		go func() {
			_, err := s.Drain(t.Context(), olga(), id, false)
			drained <- err
		}()
	}
	require.Eventually(t, func() bool {
		var waiting int
		err := db.QueryRow(`SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&waiting)
		return err == nil && waiting == len(relays)
	}, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, tx.Rollback())
	one, other := <-drained, <-drained
	var alone *operator.AloneError
	require.ErrorAs(t, errors.Join(one, other), &alone)
	require.True(t, one == nil || other == nil)
}

func TestNobodyButAnOperatorActs(t *testing.T) {
	t.Parallel()
	db := schematest.New(t)
	s := operator.New(operator.Config{DB: db.DB})
	for _, by := range []access.Caller{
		{}, {Role: access.Owner, CompanyID: uuid.New(), Actor: "portal:ada"}, {Role: access.Operator, CompanyID: uuid.New(), Actor: "key:one"},
	} {
		_, err := s.Pause(t.Context(), by, "mine")
		require.Error(t, err)
		_, err = s.Start(t.Context(), by, true)
		require.Error(t, err)
	}
	require.NoError(t, fleet.MustSend(t.Context(), db.DB))
}

// TestOneRebuildRunsAtATime in all processes together; one whose process died stands in nobody's way for long.
func TestOneRebuildRunsAtATime(t *testing.T) {
	t.Parallel()
	db := schematest.New(t)
	first, second := operator.New(operator.Config{DB: db.DB}), operator.New(operator.Config{DB: db.DB})
	_, err := first.Start(t.Context(), olga(), true) // and nobody runs it: its process has died
	require.NoError(t, err)
	var running *operator.RunningError
	_, err = second.Start(t.Context(), access.Caller{Role: access.Operator, Actor: "operator:paul"}, true)
	require.ErrorAs(t, err, &running)
	require.Equal(t, "operator:olga", running.Actor)

	_, err = db.ExecContext(t.Context(), `UPDATE webhooks.rebuilds SET alive_at = alive_at - interval '1 minute'`)
	require.NoError(t, err)
	latest, err := second.Latest(t.Context())
	require.NoError(t, err)
	require.Equal(t, operator.Interrupted, latest.State)
	done, err := second.Rebuild(t.Context(), olga(), true)
	require.NoError(t, err)
	require.Equal(t, operator.Done, done.State)
	require.True(t, done.Report.Equal)
	require.NotNil(t, done.EndedAt)
}

// TestARebuildSaysHowItEnded when it failed, or when its process was stopped: stored, and with nothing left behind.
func TestARebuildSaysHowItEnded(t *testing.T) {
	t.Parallel()
	db := schematest.New(t)
	s := operator.New(operator.Config{DB: db.DB})
	// Whoever holds this lock rebuilds; here it is somebody who told nobody.
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	var alone bool
	require.NoError(t, tx.QueryRowContext(t.Context(), `SELECT pg_try_advisory_xact_lock(hashtextextended('webhooks.rebuild', 0))`).Scan(&alone))
	require.True(t, alone)
	failed, err := s.Rebuild(t.Context(), olga(), true)
	require.NoError(t, err)
	require.Equal(t, operator.Failed, failed.State)
	require.Contains(t, failed.Fault, "another rebuild is running")
	require.Nil(t, failed.Report)
	require.NoError(t, tx.Rollback())

	// A job that waits for a table is under way for as long as this test likes.
	tx, err = db.Owner.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), `LOCK TABLE webhooks.deliveries`)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	_, err = s.Start(t.Context(), olga(), false)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		var waiting bool
		err := db.QueryRow(`SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'webhooks.deliveries'::regclass)`).Scan(&waiting)
		return err == nil && waiting
	}, 20*time.Second, 10*time.Millisecond)
	stop()
	require.NoError(t, <-ended)
	require.NoError(t, tx.Rollback())
	latest, err := s.Latest(t.Context())
	require.NoError(t, err)
	require.Equal(t, operator.Interrupted, latest.State)
	require.Equal(t, "its process ended", latest.Fault)
}
