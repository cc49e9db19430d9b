package commitlog_test

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
)

// chaosTimes makes the randomised run longer: CHAOS_TIMES=20 is some minutes.
const chaosTimes = "CHAOS_TIMES"

const (
	chaosWriters = 16
	chaosReaders = 3
	chaosTxs     = 200 // of each writer
)

// committedRows is what the writers know to be committed.
type committedRows struct {
	next   atomic.Int64
	mu     sync.Mutex
	rows   map[int64]bool
	undone int
}

// TestChaosEveryCommittedRowIsAppliedOnce is the proof of the cursor: writers commit in random order, roll back, set
// savepoints and write 700 rows at once, one long transaction is open all the time, and three readers that compete for
// the log fail, are killed, and are restarted.
func TestChaosEveryCommittedRowIsAppliedOnce(t *testing.T) {
	t.Parallel()

	b := setup(t)
	b.SetMaxOpenConns(chaosWriters + 3*chaosReaders)
	times := 1
	if text := os.Getenv(chaosTimes); text != "" {
		var err error
		times, err = strconv.Atoi(text)
		require.NoError(t, err, "%s is a number", chaosTimes)
	}

	committed := &committedRows{rows: map[int64]bool{}}
	var failures atomic.Int64
	victims := b.killer(t)
	for range chaosReaders {
		cfg := b.bell(t, b.config())
		cfg.PageRows = 200
		cfg.Apply = func(ctx context.Context, tx *sql.Tx, page commitlog.Page) error {
			if err := see(ctx, tx, page); err != nil {
				return err
			}
			return misfortune(ctx, tx, &failures, victims)
		}
		run(t, cfg)
	}

	var writers sync.WaitGroup
	short := make(chan struct{})
	faults := make(chan error, chaosWriters)
	for range chaosWriters - 1 {
		writers.Go(func() {
			for range chaosTxs * times {
				if err := committed.write(t.Context(), b, rand.IntN(4)); err != nil {
					faults <- err
					return
				}
			}
		})
	}
	var long sync.WaitGroup
	long.Go(func() {
		for {
			if err := committed.write(t.Context(), b, 1500); err != nil {
				faults <- err
				return
			}
			select {
			case <-short:
				return
			default:
			}
		}
	})
	writers.Wait()
	close(short)
	long.Wait()
	close(faults)
	for err := range faults {
		require.NoError(t, err)
	}

	// However long it takes on a busy machine: standing still is what fails.
	for seen := 0; seen < len(committed.rows); {
		before := seen
		eventually(t, func() bool {
			seen = b.number(t, `SELECT count(*) FROM public.seen`)
			return seen > before
		}, "rows are missing")
	}
	// One more round for every reader: what is applied twice must have the time to show.
	b.insert(t, -1, -1)
	committed.rows[-1] = true
	eventually(t, func() bool { return slices.Contains(b.seen(t), -1) }, "the log stands still")

	missing, duplicate, ghost := committed.compare(b.seen(t))
	require.Zero(t, missing, "missing")
	require.Zero(t, duplicate, "duplicate")
	require.Zero(t, ghost, "ghost: applied, but never committed")
	require.NotZero(t, committed.undone)
	require.NotZero(t, failures.Load())
	require.Zero(t, b.number(t, `SELECT count(*) FROM webhooks.quarantine`), "no fault of ours is a row's fault")
	require.Zero(t, b.number(t, `SELECT count(*) FROM (SELECT n < lag(n) OVER (PARTITION BY xid ORDER BY seq) AS back FROM public.seen) s WHERE back`),
		"rows of one transaction are applied in their order")
	t.Logf("%d rows committed, %d transactions rolled back, %d misfortunes", len(committed.rows), committed.undone, failures.Load())
}

// write makes one transaction that stays open for some milliseconds after its last row.
func (c *committedRows) write(ctx context.Context, b *testBundle, stayMS int) error {
	tx, err := b.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	var mine []int64
	insert := func(n int64) error {
		last := c.next.Add(n)
		first := last - n + 1
		_, err := tx.ExecContext(ctx, insertNumbered, b.company, first, last)
		for id := first; id <= last; id++ {
			mine = append(mine, id)
		}
		return err
	}
	if rand.IntN(50) == 0 {
		err = insert(700)
	}
	for range 1 + rand.IntN(5) {
		if err == nil {
			err = insert(1)
		}
		if err == nil && rand.IntN(40) == 0 {
			_, err = tx.ExecContext(ctx, `SAVEPOINT s`)
		}
	}
	if err == nil && rand.IntN(20) == 0 {
		// A row of a savepoint that is undone is a ghost, if it is ever seen.
		if _, err = tx.ExecContext(ctx, `SAVEPOINT undone`); err == nil {
			kept := mine
			err = insert(1)
			mine = kept
		}
		if err == nil {
			_, err = tx.ExecContext(ctx, `ROLLBACK TO SAVEPOINT undone`)
		}
	}
	if err == nil {
		_, err = tx.ExecContext(ctx, `SELECT pg_sleep($1 / 1000.0)`, stayMS)
	}
	if err != nil {
		return err
	}
	if rand.IntN(5) == 0 {
		c.mu.Lock()
		c.undone++
		c.mu.Unlock()
		return tx.Rollback()
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range mine {
		c.rows[id] = true
	}
	return nil
}

func (c *committedRows) compare(seen []int) (missing, duplicate, ghost int) {
	times := map[int64]int{}
	for _, n := range seen {
		times[int64(n)]++
	}
	for id := range c.rows {
		if times[id] == 0 {
			missing++
		}
	}
	for id, n := range times {
		if n > 1 {
			duplicate++
		}
		if !c.rows[id] {
			ghost++
		}
	}
	return missing, duplicate, ghost
}

// killer ends the backends whose numbers it is sent, a little later and from a session of its own: in the middle of
// Apply, between it and the move of the cursor, at the commit, or in the next poll.
func (b *testBundle) killer(t *testing.T) chan<- int {
	t.Helper()

	victims := make(chan int, 1)
	ctx, cancel := context.WithCancel(context.Background())
	var ended sync.WaitGroup
	ended.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case pid := <-victims:
				_, _ = b.Owner.ExecContext(ctx, `SELECT pg_terminate_backend($1)`, pid) // it may have ended by itself
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		ended.Wait()
	})
	return victims
}

// misfortune strikes now and then, after the page was applied: an error of Apply, a deadlock, a killed backend.
func misfortune(ctx context.Context, tx *sql.Tx, count *atomic.Int64, victims chan<- int) error {
	var err error
	switch rand.IntN(30) {
	case 0:
		err = errors.New("apply lost its way")
	case 1:
		_, err = tx.ExecContext(ctx, `DO $$ BEGIN RAISE 'deadlock, says the test' USING ERRCODE = 'deadlock_detected'; END $$`)
	case 2:
		_, err = tx.ExecContext(ctx, `SELECT pg_terminate_backend(pg_backend_pid())`)
	case 3, 4:
		var pid int
		if err = tx.QueryRowContext(ctx, `SELECT pg_backend_pid()`).Scan(&pid); err != nil {
			return err
		}
		select {
		case victims <- pid:
		default:
		}
	default:
		return nil
	}
	count.Add(1)
	return err
}
