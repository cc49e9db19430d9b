package commitlog_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
)

// sleepers counts the readers of the outbox that hold the doorbell's lock.
const sleepers = `SELECT count(*) FROM pg_locks
 WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND granted
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND (classid::bigint << 32) | objid::bigint = hashtextextended('webhooks.doorbell/outbox', 0)`

// untilAsleep waits until a reader sleeps.
func (b *testBundle) untilAsleep(t *testing.T) {
	t.Helper()
	eventually(t, func() bool { return b.number(t, sleepers) == 1 }, "nobody falls asleep")
}

func TestDoorbellWakesASleepingReader(t *testing.T) {
	t.Parallel()

	b := setup(t)
	run(t, b.rung(t, b.config()))
	for n := 1; n <= 20; n++ {
		b.untilAsleep(t)
		b.flows(t, n)
	}
}

func TestProducerWhoSawTheReaderAwakeIsNotMissed(t *testing.T) {
	t.Parallel()

	b := setup(t)
	cfg := b.config()
	awake, goOn := make(chan struct{}), make(chan struct{})
	pages := 0
	cfg.Apply = func(ctx context.Context, tx *sql.Tx, page commitlog.Page) error {
		if pages++; pages == 2 { // after the first it lets go of the lock
			awake <- struct{}{}
			<-goOn
		}
		return see(ctx, tx, page)
	}
	run(t, b.rung(t, cfg))
	b.untilAsleep(t)

	b.insert(t, 1, 20)
	select {
	case <-awake:
	case <-time.After(patient):
		require.FailNow(t, "nobody rang")
	}
	require.Zero(t, b.number(t, sleepers))
	late, err := b.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer late.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	_, err = late.ExecContext(t.Context(), insertNumbered, b.company, 21, 21)
	require.NoError(t, err)
	close(goOn)
	eventually(t, func() bool { return len(b.seen(t)) == 20 }, "rows are missing")

	for n := 101; n <= 110; n++ {
		b.flows(t, n)
	}
	require.NoError(t, late.Commit())
	eventually(t, func() bool { return len(b.seen(t)) == 31 }, "row is missing")
}

// TestReaderInATrickleKeepsTheLock plays the library's part, since what it tells of is between two polls.
func TestReaderInATrickleKeepsTheLock(t *testing.T) {
	t.Parallel()

	b := setup(t)
	cfg := b.bell(t, b.config())
	reader := commitlog.NewReader(cfg)
	for _, q := range reader.BeforeSubscribingQueries("", "") {
		_, err := b.ExecContext(t.Context(), q.Query, q.Args...)
		require.NoError(t, err)
	}
	look := func() {
		t.Helper()
		q := reader.SelectQuery("", "", nil)
		_, err := reader.UnmarshalMessage(b.QueryRowContext(t.Context(), q.Query, q.Args...))
		require.NoError(t, err)
	}
	cfg.Wake.Sleep(patient)
	b.insert(t, 1, 1)
	look()
	require.Zero(t, reader.HandleError(nil, false, nil), "it was rung, and looks again")
	require.Equal(t, 1, b.number(t, sleepers), "and is rung for the next one, too")

	b.insert(t, 2, 20)
	look()
	reader.HandleError(nil, false, nil)
	require.Zero(t, b.number(t, sleepers), "producers of many events do not ring")
}

func TestProducersDoNotRingWhileNobodySleeps(t *testing.T) {
	t.Parallel()

	b := setup(t)
	rings := b.listen(t)
	b.insert(t, 1, 1)
	b.exec(t, `SELECT pg_notify('webhooks_outbox', 'end')`)
	require.Equal(t, "end", rings(), "the first to be heard is not the insert's")

	run(t, b.bell(t, b.config()))
	b.untilAsleep(t)
	b.insert(t, 2, 2)
	require.Empty(t, rings(), "now the insert rings")
}

func TestClosedDoorbellSilencesTheProducers(t *testing.T) {
	t.Parallel()

	b := setup(t)
	bell, err := commitlog.NewDoorbell(context.Background(), b.DB.DB, b.DSN, commitlog.Outbox, b.config().Logger)
	require.NoError(t, err)
	bell.Sleep(time.Second)
	require.Equal(t, 1, b.number(t, sleepers))
	bell.Close()
	eventually(t, func() bool { return b.number(t, sleepers) == 0 }, "the lock outlives its doorbell in the pool")
}

func TestSecondSleeperIsRungToo(t *testing.T) {
	t.Parallel()

	b := setup(t)
	first, second := b.bell(t, b.config()).Wake, b.bell(t, b.config()).Wake
	first.Sleep(patient)
	second.Sleep(patient)
	require.Equal(t, 1, b.number(t, sleepers), "one lock for all who sleep")
	b.insert(t, 1, 1)
	start := time.Now()
	first.Sleep(patient)
	second.Sleep(patient)
	require.Less(t, time.Since(start), patient, "a sleeper that is not rung sleeps so long")
}

func TestClosedDoorbellLeavesNothingThoughRingsAreUnread(t *testing.T) {
	t.Parallel()

	b := setup(t)
	b.bell(t, b.config()) // nobody reads its rings
	heard := b.listen(t)
	for range 100 {
		b.exec(t, `SELECT pg_notify('webhooks_outbox', '')`)
	}
	for range 100 {
		heard()
	}
	// What it leaves is found when the package's tests have ended.
}

func TestReadersThatStandByDoNotSpin(t *testing.T) {
	t.Parallel()

	b := setup(t)
	other := b.config()
	other.Group = "other"
	begun := &countingBeginner{DB: b.DB.DB, polls: make(chan struct{}, 1000)}
	for _, cfg := range []commitlog.Config{b.config(), b.config(), other} {
		begun.read(t, b.bell(t, cfg))
	}
	b.untilAsleep(t)
	eventually(t, func() bool { return begun.count.Load() >= 12 }, "nobody polls")
	before, start := begun.count.Load(), time.Now()
	eventually(t, func() bool { return time.Since(start) > 3*time.Second }, "")
	polls := begun.count.Load() - before // before the time: a machine that stalls in between makes it more, never less
	require.Less(t, float64(polls), 3*4*time.Since(start).Seconds(), "each polls about twice a second, whoever holds the lock")
}

func TestIdlePollWritesNothing(t *testing.T) {
	t.Parallel()

	b := setup(t)
	stop := run(t, b.config())
	b.insert(t, 1, 10) // a full page, so that the window must be closed by the poll after it
	eventually(t, func() bool {
		return b.number(t, `SELECT count(*) FROM webhooks.cursors WHERE to_snapshot IS NULL AND from_snapshot::text <> '1:1:'`) == 1
	}, "the drained window is closed")
	stop()

	// Only a transaction that writes gets a transaction id: the database itself refuses one that is read only.
	idle := &countingBeginner{DB: b.DB.DB, readOnly: true, polls: make(chan struct{}, 1000)}
	idle.read(t, b.bell(t, b.config()))
	for range 5 {
		<-idle.polls
	}
	require.Empty(t, b.log.String(), "a poll failed")

	tx, err := b.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer tx.Rollback() //nolint:errcheck // nothing is to be kept
	var polled int
	eventually(t, func() bool { // the other reader polls too
		require.NoError(t, tx.QueryRowContext(t.Context(), `SELECT count(*) FROM webhooks.outbox_page($1, 10)`, group).Scan(&polled))
		return polled == 1
	}, "the log is never free")
	var unassigned bool
	require.NoError(t, tx.QueryRowContext(t.Context(), `SELECT pg_current_xact_id_if_assigned() IS NULL`).Scan(&unassigned))
	require.True(t, unassigned)
}

// countingBeginner counts the transactions of subscribers.
type countingBeginner struct {
	*sql.DB

	readOnly bool // from the second transaction on: the first one makes the cursor
	count    atomic.Int64
	polls    chan struct{}
}

// BeginTx begins a transaction.
func (c *countingBeginner) BeginTx(ctx context.Context, opts *sql.TxOptions) (*sql.Tx, error) {
	first := c.count.Add(1) == 1
	if first || !c.readOnly {
		return c.DB.BeginTx(ctx, opts)
	}
	select {
	case c.polls <- struct{}{}:
	default:
	}
	return c.DB.BeginTx(ctx, &sql.TxOptions{Isolation: opts.Isolation, ReadOnly: true})
}

// read subscribes until the test ends.
func (c *countingBeginner) read(t *testing.T, cfg commitlog.Config) {
	t.Helper()

	sub, err := commitlog.NewReader(cfg).Subscriber(c)
	require.NoError(t, err)
	_, err = sub.Subscribe(context.WithoutCancel(t.Context()), string(cfg.Topic))
	require.NoError(t, err)
	t.Cleanup(func() {
		cfg.Wake.Interrupt()
		require.NoError(t, sub.Close())
	})
}

// listen returns what waits for the next ring and gives its payload.
func (b *testBundle) listen(t *testing.T) func() string {
	t.Helper()

	listener := pq.NewListener(b.DSN, time.Millisecond, time.Second, nil)
	require.NoError(t, listener.Listen("webhooks_outbox"))
	t.Cleanup(func() {
		_ = listener.Close()
		for range listener.Notify { // it ends when its last ring is taken
		}
	})
	return func() string {
		select {
		case ring := <-listener.Notify:
			return ring.Extra
		case <-time.After(patient):
			require.FailNow(t, "nobody rings")
			return ""
		}
	}
}

// A database that is away, so that the driver tries for ever: a stop must not wait for it.
func TestDoorbellThatCannotConnectEndsWithItsContext(t *testing.T) {
	t.Parallel()
	away, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer away.Close()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		dsn := fmt.Sprintf("host=127.0.0.1 port=%d sslmode=disable", away.Addr().(*net.TCPAddr).Port)
		_, err := commitlog.NewDoorbell(ctx, nil, dsn, commitlog.Outbox, slog.New(slog.DiscardHandler))
		ended <- err
	}()
	for range 2 { // it tries again
		conn, err := away.Accept()
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	}
	stop()
	select {
	case err := <-ended:
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorContains(t, err, "listen on webhooks_outbox")
	case <-time.After(patient):
		require.Fail(t, "it still waits for the database")
	}
}
