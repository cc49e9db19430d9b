package commitlog_test

import (
	"context"
	"database/sql"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
)

// restoreElsewhere makes the database look as a logical restore into another cluster leaves it: everything from the old
// cluster's transaction ids on, far above what this one has reached.
func (b *testBundle) restoreElsewhere(t *testing.T) {
	t.Helper()

	b.exec(t, `UPDATE webhooks.outbox SET transaction_id = (transaction_id::text::bigint + 1000000000)::text::xid8`)
	b.exec(t, `UPDATE webhooks.event_ids SET transaction_id = (transaction_id::text::bigint + 1000000000)::text::xid8`)
	b.exec(t, `UPDATE webhooks.cursors SET from_snapshot = '1100000000:1100000000:', system_identifier = 1`)
}

func TestLogRestoredIntoAnotherClusterIsReadAgain(t *testing.T) {
	t.Parallel()

	b := setup(t)
	b.insert(t, 1, 30)
	stop := run(t, b.config())
	eventually(t, func() bool { return len(b.seen(t)) == 30 }, "rows are missing")
	stop()
	b.insert(t, 31, 40) // not read yet when the dump was made
	b.exec(t, `INSERT INTO webhooks.event_ids (event_id, recorded_at, transaction_id, position)
		SELECT event_id, recorded_at, transaction_id, position FROM webhooks.outbox`)
	b.restoreElsewhere(t)
	b.exec(t, `TRUNCATE public.seen`)
	b.insert(t, 41, 45) // written here, before the first reader started

	var starts sync.WaitGroup
	for range 3 { // they compete for the log, and for mending it
		starts.Go(func() { run(t, b.config()) })
	}
	starts.Wait()
	eventually(t, func() bool { return len(b.seen(t)) >= 45 }, "restored rows are missing")
	b.insert(t, 46, 46)
	eventually(t, func() bool { return len(b.seen(t)) >= 46 }, "new rows are missing")
	require.ElementsMatch(t, numbers(1, 46), b.seen(t))
	require.Zero(t, b.number(t, `SELECT count(*) FROM webhooks.outbox WHERE transaction_id >= pg_snapshot_xmax(pg_current_snapshot())`))
	require.Equal(t, 40, b.number(t, `SELECT count(*) FROM webhooks.event_ids JOIN webhooks.outbox USING (event_id, transaction_id, position)`),
		"fanned out events find their rows again")
}

func TestGroupThatStartsLaterAfterARestoreReadsEverythingToo(t *testing.T) {
	t.Parallel()

	b := setup(t)
	other := b.config()
	other.Group = "other"
	b.insert(t, 1, 15)
	for _, cfg := range []commitlog.Config{b.config(), other} {
		stop := run(t, cfg)
		eventually(t, func() bool { return len(b.seen(t)) == 15 }, "rows are missing")
		stop()
		b.exec(t, `TRUNCATE public.seen`)
	}
	b.restoreElsewhere(t)
	for _, cfg := range []commitlog.Config{b.config(), other} {
		stop := run(t, cfg)
		eventually(t, func() bool { return len(b.seen(t)) == 15 }, "restored rows are missing")
		stop()
		b.exec(t, `TRUNCATE public.seen`)
	}
}

// The database moves under a running reader: a server is replaced by one of the next version, at the same address, and
// the pool's next connection leads there.
func TestReaderThatRunsNoticesAnotherCluster(t *testing.T) {
	t.Parallel()

	b := setup(t)
	run(t, b.bell(t, b.config()))
	b.insert(t, 1, 30)
	eventually(t, func() bool { return len(b.seen(t)) == 30 }, "rows are missing")
	b.exec(t, `TRUNCATE public.seen`)
	b.restoreElsewhere(t)
	b.insert(t, 31, 40)
	eventually(t, func() bool { return len(b.seen(t)) >= 40 }, "the reader goes on with the cursor of the other cluster")
	b.insert(t, 41, 41)
	eventually(t, func() bool { return len(b.seen(t)) >= 41 }, "new rows are missing")
	require.ElementsMatch(t, numbers(1, 41), b.seen(t))
	require.Equal(t, 1, strings.Count(b.log.String(), "log was restored from another cluster"), b.log.String())
}

// A database that moves is not all there at once: its rights, say, come last. A reader that runs waits for it, as it does for
// a server that is away.
func TestReaderThatRunsWaitsForAnotherClusterToBeReady(t *testing.T) {
	t.Parallel()

	b := setup(t)
	cfg := b.config()
	cfg.Poll = 10 * time.Millisecond
	run(t, cfg)
	b.insert(t, 1, 30)
	eventually(t, func() bool { return len(b.seen(t)) == 30 }, "rows are missing")
	b.exec(t, `TRUNCATE public.seen`)
	b.exec(t, `REVOKE UPDATE (transaction_id) ON webhooks.outbox FROM webhooks_relay`)
	b.restoreElsewhere(t)
	eventually(t, func() bool { return strings.Contains(b.log.String(), "permission denied") }, "nothing is told of what is wrong")
	b.exec(t, `GRANT UPDATE (transaction_id) ON webhooks.outbox TO webhooks_relay`)
	eventually(t, func() bool { return len(b.seen(t)) >= 30 }, "restored rows are missing")
	require.ElementsMatch(t, numbers(1, 30), b.seen(t))
}

// To give all rows of a log new ids takes longer than any statement that a relay repeats, and is begun from nothing whenever
// it is cut off.
func TestRestampingOfARestoredLogIsNotCutOff(t *testing.T) {
	t.Parallel()

	b := setup(t)
	b.insert(t, 1, 10)
	stop := run(t, b.config())
	eventually(t, func() bool { return len(b.seen(t)) == 10 }, "rows are missing")
	stop()
	b.exec(t, `TRUNCATE public.seen`)
	b.restoreElsewhere(t)
	slow, err := b.Owner.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer slow.Rollback() //nolint:errcheck // it only holds rows
	_, err = slow.ExecContext(t.Context(), `SELECT FROM webhooks.outbox FOR UPDATE`)
	require.NoError(t, err)

	cfg := b.config()
	cfg.DB, err = commitlog.Open(b.DSN, "a-test", 2, map[string]string{"statement_timeout": "200"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, cfg.DB.Close()) })
	run(t, cfg)
	eventually(t, func() bool {
		return b.number(t, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'a-test'
			AND query LIKE 'UPDATE webhooks.outbox%' AND wait_event_type = 'Lock' AND query_start < clock_timestamp() - interval '400 ms'`) == 1
	}, "it was cut off")
	require.NoError(t, slow.Rollback())
	eventually(t, func() bool { return len(b.seen(t)) >= 10 }, "restored rows are missing")
}

func TestReaderHealsAfterEveryConnectionWasLost(t *testing.T) {
	t.Parallel()

	b := setup(t)
	own, err := sql.Open("postgres", b.DSN)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, own.Close()) })
	cfg := b.config()
	cfg.DB = own
	bell, err := commitlog.NewDoorbell(context.Background(), own, b.DSN, cfg.Topic, cfg.Logger)
	require.NoError(t, err)
	t.Cleanup(bell.Close)
	cfg.Wake, cfg.Poll = bell, never
	run(t, cfg)
	b.insert(t, 1, 5)
	eventually(t, func() bool { return len(b.seen(t)) == 5 }, "rows are missing")
	b.untilAsleep(t)

	b.exec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND usename = 'surveyhooks_test_relay'`)
	b.insert(t, 6, 10)
	eventually(t, func() bool { return len(b.seen(t)) >= 10 }, "the reader did not heal")
	require.Equal(t, numbers(1, 10), b.seen(t))

	b.untilAsleep(t)
	b.flows(t, 11) // the doorbell is not deaf
}
