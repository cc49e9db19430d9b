package commitlog_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

func TestRowsFlowInCommitOrder(t *testing.T) {
	t.Parallel()

	b := setup(t)
	early, err := b.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = early.ExecContext(t.Context(), insertNumbered, b.company, 1, 2)
	require.NoError(t, err)
	b.insert(t, 3, 30)
	run(t, b.config())
	eventually(t, func() bool { return len(b.seen(t)) == 28 }, "rows committed later wait for nobody")
	require.NoError(t, early.Commit())
	b.insert(t, 31, 31)
	eventually(t, func() bool { return len(b.seen(t)) == 31 }, "a transaction that was open is picked up after its end")
	require.Equal(t, append(numbers(3, 30), 1, 2, 31), b.seen(t))
}

func TestOpenTransactionsDelayNobody(t *testing.T) {
	t.Parallel()

	b := setup(t)
	elsewhere := schematest.New(t)
	for _, db := range []*sql.DB{b.DB.DB, elsewhere.DB} {
		open, err := db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		_, err = open.ExecContext(t.Context(), `SELECT pg_current_xact_id()`)
		require.NoError(t, err)
		defer open.Rollback() //nolint:errcheck // it only has to stay open until the end
	}
	writer, err := b.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = writer.ExecContext(t.Context(), insertNumbered, b.company, 1000, 1000)
	require.NoError(t, err)
	defer writer.Rollback() //nolint:errcheck // as above

	run(t, b.rung(t, b.config()))
	for n := 1; n <= 20; n++ {
		b.flows(t, n)
	}
	require.Equal(t, numbers(1, 20), b.seen(t))
}

// flows commits row n and waits until it is applied.
func (b *testBundle) flows(t *testing.T, n int) {
	t.Helper()

	b.insert(t, n, n)
	eventually(t, func() bool { return b.number(t, `SELECT count(*) FROM public.seen WHERE n = $1`, n) == 1 }, "row is missing")
}

func TestB39_PoisonedRowIsQuarantinedAndTheOthersFlow(t *testing.T) {
	t.Parallel()

	for name, code := range map[string]string{"DataException": "22012", "Constraint": "23514", "Raised": "P0001"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			b := setup(t)
			b.exec(t, fmt.Sprintf(`CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN IF NEW.n IN (7, 25) THEN RAISE 'row %% is poison', NEW.n USING ERRCODE = '%s'; END IF; RETURN NEW; END $$`, code))
			b.exec(t, `CREATE TRIGGER refuse BEFORE INSERT ON public.seen FOR EACH ROW EXECUTE FUNCTION public.refuse()`)
			b.insert(t, 1, 30)
			run(t, b.config())
			eventually(t, func() bool { return len(b.seen(t)) == 28 }, "the rows around the poison flow")
			require.Equal(t, append(append(numbers(1, 6), numbers(8, 24)...), numbers(26, 30)...), b.seen(t))
			require.Equal(t, 2, b.number(t, `SELECT count(*) FROM webhooks.quarantine q
				  JOIN webhooks.outbox o USING (transaction_id, position)
				 WHERE q.topic = 'outbox' AND q.consumer_group = $1 AND (o.data->>'n')::int IN (7, 25)
				   AND q.content->'data'->>'n' = o.data->>'n' AND q.reason LIKE '%row ' || (o.data->>'n') || ' is poison%'`, group))
		})
	}
}

func TestFaultOfOursIsRetriedAndQuarantinesNothing(t *testing.T) {
	t.Parallel()

	b := setup(t)
	b.exec(t, `ALTER TABLE public.seen RENAME TO missing`)
	b.insert(t, 1, 30)
	run(t, b.config())
	eventually(t, func() bool { return b.log.failedPages() >= 3 }, "a page that fails is tried again")
	require.Zero(t, b.number(t, `SELECT count(*) FROM webhooks.quarantine`))
	b.exec(t, `ALTER TABLE public.missing RENAME TO seen`)
	eventually(t, func() bool { return len(b.seen(t)) == 30 }, "the page flows once the fault is mended")
	require.Equal(t, numbers(1, 30), b.seen(t))
	require.Zero(t, b.number(t, `SELECT count(*) FROM webhooks.quarantine`))
}

// Who keeps a database may bound what everybody does there. A page that runs into that is not the rows' fault: it is tried
// again, later and later, and applied once.
func TestF26_TimeoutsOfTheDatabaseAreNobodysPoison(t *testing.T) {
	t.Parallel()
	for setting, act := range map[string]func(ctx context.Context, tx *sql.Tx) error{
		"statement_timeout": func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `SELECT pg_sleep(60)`)
			return err
		},
		"lock_timeout": func(ctx context.Context, tx *sql.Tx) error {
			_, err := tx.ExecContext(ctx, `UPDATE public.held SET n = 2`)
			return err
		},
		"idle_in_transaction_session_timeout": func(ctx context.Context, tx *sql.Tx) error {
			for {
				timer := time.NewTimer(120 * time.Millisecond)
				<-timer.C
				if _, err := tx.ExecContext(ctx, `SELECT 1`); err != nil {
					return err
				}
			}
		},
	} {
		t.Run(setting, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.exec(t, `CREATE TABLE public.held AS SELECT 1 AS n`)
			b.exec(t, `GRANT ALL ON public.held TO webhooks_relay`)
			tx, err := b.Owner.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			defer tx.Rollback() //nolint:errcheck // it only holds a lock
			_, err = tx.ExecContext(t.Context(), `UPDATE public.held SET n = 3`)
			require.NoError(t, err)
			b.exec(t, `ALTER DATABASE `+b.Name+` SET `+setting+` = '100ms'`)
			cfg := b.config()
			cfg.DB = b.Open(t) // what is set counts for new connections
			var fires atomic.Bool
			fires.Store(true)
			cfg.Apply = func(ctx context.Context, tx *sql.Tx, page commitlog.Page) error {
				err := see(ctx, tx, page)
				if err == nil && fires.Load() {
					err = act(ctx, tx)
				}
				return err
			}
			b.insert(t, 1, 30)
			run(t, cfg)
			eventually(t, func() bool { return b.log.failedPages() >= 3 }, "it is tried again")
			require.Less(t, b.log.failedPages(), 10, "and not all the time")
			fires.Store(false)
			eventually(t, func() bool { return len(b.seen(t)) >= 30 }, "it flows")
			require.Equal(t, numbers(1, 30), b.seen(t))
			require.Zero(t, b.number(t, `SELECT count(*) FROM webhooks.quarantine`))
		})
	}
}

func TestFaultOfOursWhileIsolatingAPoisonedRowQuarantinesNothing(t *testing.T) {
	t.Parallel()

	b := setup(t)
	var broken atomic.Bool
	broken.Store(true)
	cfg := b.config()
	cfg.Apply = func(ctx context.Context, tx *sql.Tx, page commitlog.Page) error {
		if broken.Load() && page.Rows > 1 {
			_, err := tx.ExecContext(ctx, `SELECT 1/0`)
			return err
		}
		if broken.Load() && page.Rows == 1 {
			return errors.New("out of luck")
		}
		return see(ctx, tx, page)
	}
	b.insert(t, 1, 10)
	run(t, cfg)
	eventually(t, func() bool { return b.log.failedPages() >= 2 }, "it is tried again")
	broken.Store(false)
	eventually(t, func() bool { return len(b.seen(t)) == 10 }, "it flows")
	require.Zero(t, b.number(t, `SELECT count(*) FROM webhooks.quarantine`))
}

func TestPageIsAppliedOnceThoughItsConnectionWasLost(t *testing.T) {
	t.Parallel()

	b := setup(t)
	cfg := b.config()
	var tries atomic.Int32
	cfg.Apply = func(ctx context.Context, tx *sql.Tx, page commitlog.Page) error {
		if err := see(ctx, tx, page); err != nil {
			return err
		}
		if tries.Add(1) == 2 {
			_, err := tx.ExecContext(ctx, `SELECT pg_terminate_backend(pg_backend_pid())`)
			return err
		}
		return nil
	}
	b.insert(t, 1, 30)
	run(t, cfg)
	eventually(t, func() bool { return len(b.seen(t)) >= 30 }, "the reader goes on after a lost connection")
	require.Equal(t, numbers(1, 30), b.seen(t))
	require.EqualValues(t, 4, tries.Load())
}

func TestSecondGroupReadsEverythingToo(t *testing.T) {
	t.Parallel()

	b := setup(t)
	b.insert(t, 1, 15)
	run(t, b.bell(t, b.config()))
	eventually(t, func() bool { return len(b.seen(t)) == 15 }, "the first group reads")
	other := b.config()
	other.Group = "other"
	run(t, b.bell(t, other))
	eventually(t, func() bool { return len(b.seen(t)) == 30 }, "the second group reads from the first row")
	b.insert(t, 16, 16)
	eventually(t, func() bool { return len(b.seen(t)) == 32 }, "both go on")
}

func TestStopBetweenPages(t *testing.T) {
	t.Parallel()

	t.Run("BeforeItBegan", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, commitlog.Run(ctx, setup(t).config()))
	})

	t.Run("WhileIdleAndPolling", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.insert(t, 1, 5)
		cfg := b.config()
		cfg.Poll = never
		stop := run(t, cfg)
		eventually(t, func() bool { return len(b.seen(t)) == 5 }, "rows are missing")
		stop()
	})

	t.Run("WhileAsleep", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.insert(t, 1, 5)
		stop := run(t, b.rung(t, b.config()))
		b.untilAsleep(t)
		stop()
	})

	t.Run("PageUnderWayIsFinished", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		cfg := b.config()
		reached, goOn := make(chan struct{}), make(chan struct{})
		cfg.Apply = func(ctx context.Context, tx *sql.Tx, page commitlog.Page) error {
			if err := see(ctx, tx, page); err != nil {
				return err
			}
			reached <- struct{}{}
			<-goOn
			return ctx.Err()
		}
		b.insert(t, 1, 20)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- commitlog.Run(ctx, cfg) }()
		<-reached
		cancel()
		close(goOn)
		select {
		case err := <-ended:
			require.NoError(t, err)
		case <-time.After(patient):
			require.FailNow(t, "the reader did not stop")
		}
		require.Equal(t, numbers(1, 10), b.seen(t), "the page is applied whole")

		run(t, b.config())
		eventually(t, func() bool { return len(b.seen(t)) >= 20 }, "the next reader goes on")
		require.Equal(t, numbers(1, 20), b.seen(t), "and applies none twice: the cursor moved with the page")
	})

	t.Run("PageUnderWayThatFailsLeavesNothing", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		cfg := b.config()
		ctx, cancel := context.WithCancel(t.Context())
		cfg.Apply = func(applyCtx context.Context, tx *sql.Tx, page commitlog.Page) error {
			err := see(applyCtx, tx, page)
			cancel()
			return errors.Join(err, errors.New("no"))
		}
		b.insert(t, 1, 20)
		require.NoError(t, commitlog.Run(ctx, cfg))
		require.Empty(t, b.seen(t))
		run(t, b.config())
		eventually(t, func() bool { return len(b.seen(t)) >= 20 }, "the next reader goes on")
		require.Equal(t, numbers(1, 20), b.seen(t))
	})
}

func TestPageInTheMiddleOfALargeLogIsReadByIndex(t *testing.T) {
	t.Parallel()

	b := setup(t)
	for n := range 100 { // of many transactions, for the statistics
		b.insert(t, 1000*n+1, 1000*n+1000)
	}
	b.exec(t, `ANALYZE webhooks.outbox`)
	tx, err := b.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer tx.Rollback() //nolint:errcheck // nothing is to be kept
	_, err = tx.ExecContext(t.Context(), `INSERT INTO webhooks.cursors (topic, consumer_group, from_snapshot, to_snapshot,
		after_xid, after_position, system_identifier)
		SELECT 'outbox', $1, '1:1:', pg_current_snapshot(), transaction_id, position, 0
		  FROM webhooks.outbox ORDER BY transaction_id, position OFFSET 50000 LIMIT 1`, group)
	require.NoError(t, err)

	var from, to, after, until, since, last string
	var afterPosition, untilPosition int64
	var rows int
	page := func() error {
		return tx.QueryRowContext(t.Context(), `SELECT from_snapshot::text, to_snapshot::text, after_xid::text, after_position,
			until_xid::text, until_position, row_count, since, until FROM webhooks.outbox_page($1, 500)`, group).
			Scan(&from, &to, &after, &afterPosition, &until, &untilPosition, &rows, &since, &last)
	}
	touched := b.blocksTouched(t, tx, page)
	require.Equal(t, 500, rows)
	require.Less(t, touched, 200, "blocks read to find a page of 500 rows: more than its stretch of the index")

	touched = b.blocksTouched(t, tx, func() error {
		return tx.QueryRowContext(t.Context(), `SELECT count(data) FROM webhooks.outbox_rows($1, $2, $3, $4, $5, $6, $7, $8)`,
			from, to, after, afterPosition, until, untilPosition, since, last).Scan(&rows)
	})
	require.Equal(t, 500, rows)
	require.Less(t, touched, 200, "blocks read to read a page of 500 rows")
}

// blocksTouched counts the blocks of the outbox and its indexes that an act reads, by the transaction's own statistics.
func (b *testBundle) blocksTouched(t *testing.T, tx *sql.Tx, act func() error) int {
	t.Helper()

	count := func() (n int) {
		require.NoError(t, tx.QueryRowContext(t.Context(), `SELECT sum(pg_stat_get_xact_blocks_fetched(c.oid))
			  FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace
			 WHERE s.nspname = 'webhooks' AND c.relname LIKE 'outbox%' AND c.relkind IN ('r', 'i')`).Scan(&n))
		return n
	}
	before := count()
	require.NoError(t, act())
	return count() - before
}

// A COMMIT that fails took the page back, and what is told of it would be of deliveries that do not exist. The library tells
// its logger alone.
func TestPageWhoseCommitFailedIsNotToldAndComesAgain(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testBundle) *sql.DB{
		"AnyPool": func(b *testBundle) *sql.DB { return b.DB.DB },
		"ItsOwn": func(b *testBundle) *sql.DB {
			db, err := commitlog.Open(b.DSN, "a-test", 2, nil)
			require.NoError(t, err)
			return db
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.exec(t, `CREATE TABLE public.obstacle AS SELECT 1 AS there`)
			b.exec(t, `CREATE FUNCTION public.stumble() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
				BEGIN IF EXISTS (SELECT FROM public.obstacle) THEN RAISE EXCEPTION 'stumbled'; END IF; RETURN NULL; END $$`)
			b.exec(t, `CREATE CONSTRAINT TRIGGER stumbles AFTER INSERT ON public.seen DEFERRABLE INITIALLY DEFERRED
				FOR EACH ROW EXECUTE FUNCTION public.stumble()`)
			cfg := b.config()
			cfg.DB = open(b)
			if cfg.DB != b.DB.DB {
				defer cfg.DB.Close()
			}
			var applied, told, failed atomic.Int32
			cfg.Apply = func(ctx context.Context, tx *sql.Tx, page commitlog.Page) error {
				applied.Add(1)
				return see(ctx, tx, page)
			}
			cfg.Committed = func() { told.Add(1) }
			cfg.Failed = func() { failed.Add(1) }
			b.insert(t, 1, 3)
			stop := run(t, cfg)
			eventually(t, func() bool { return applied.Load() >= 2 }, "it is tried again")
			require.Zero(t, told.Load())
			require.Positive(t, failed.Load(), "before it is tried again")
			require.Empty(t, b.seen(t))
			b.exec(t, `DELETE FROM public.obstacle`)
			eventually(t, func() bool { return told.Load() == 1 }, "once it is committed it is told")
			require.Equal(t, []int{1, 2, 3}, b.seen(t))
			stop()
		})
	}
}
