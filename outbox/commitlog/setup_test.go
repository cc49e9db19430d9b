package commitlog_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

const (
	group   = "test"
	patient = 30 * time.Second // no test waits so long unless it fails
	never   = time.Hour        // a poll that no test lives to see: what happens does so without it

	insertNumbered = `INSERT INTO webhooks.outbox (event_type, company_id, data)
SELECT 'conversation.started', $1, json_build_object('n', n) FROM generate_series($2::bigint, $3::bigint) n`

	// No constraint: a row that is applied twice must show.
	makeSeen   = `CREATE TABLE public.seen (seq bigint GENERATED ALWAYS AS IDENTITY, n bigint NOT NULL, xid xid8, at timestamptz DEFAULT clock_timestamp())`
	insertSeen = `INSERT INTO public.seen (n, xid) SELECT (r.data->>'n')::bigint, r.transaction_id
  FROM webhooks.outbox_rows($1, $2, $3, $4, $5, $6, $7, $8) r ORDER BY r.transaction_id, r.position`
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testBundle is a migrated database with a table that remembers what was applied, and a log that can be read.
type testBundle struct {
	*schematest.DB
	company uuid.UUID
	log     *journalOfLines
}

func setup(t *testing.T) *testBundle {
	t.Helper()

	b := &testBundle{DB: schematest.New(t), company: uuid.New(), log: &journalOfLines{}}
	b.exec(t, makeSeen)
	b.exec(t, `GRANT ALL ON public.seen TO webhooks_relay`)
	return b
}

// exec does what no relay may: it makes fixtures and faults.
func (b *testBundle) exec(t *testing.T, query string) {
	t.Helper()

	_, err := b.Owner.ExecContext(t.Context(), query)
	require.NoError(t, err)
}

// insert commits the rows numbered first to last, as the survey app.
func (b *testBundle) insert(t *testing.T, first, last int) {
	t.Helper()
	_, err := b.App.ExecContext(t.Context(), insertNumbered, b.company, first, last)
	require.NoError(t, err)
}

func (b *testBundle) number(t *testing.T, query string, args ...any) int {
	t.Helper()

	var n int
	require.NoError(t, b.Owner.QueryRowContext(t.Context(), query, args...).Scan(&n))
	return n
}

func (b *testBundle) seen(t *testing.T) []int {
	t.Helper()

	rows, err := b.Owner.QueryContext(t.Context(), `SELECT n FROM public.seen ORDER BY seq`)
	require.NoError(t, err)
	defer rows.Close()
	var seen []int
	for rows.Next() {
		var n int
		require.NoError(t, rows.Scan(&n))
		seen = append(seen, n)
	}
	require.NoError(t, rows.Err())
	return seen
}

func (b *testBundle) config() commitlog.Config {
	return commitlog.Config{
		DB: b.DB.DB, Topic: commitlog.Outbox, Group: group, PageRows: 10, Apply: see,
		Logger: slog.New(slog.NewTextHandler(b.log, nil)),
	}
}

// bell gives the config a doorbell that is closed when the test has ended.
func (b *testBundle) bell(t *testing.T, cfg commitlog.Config) commitlog.Config {
	t.Helper()

	bell, err := commitlog.NewDoorbell(context.Background(), b.DB.DB, b.DSN, cfg.Topic, cfg.Logger)
	require.NoError(t, err)
	t.Cleanup(bell.Close)
	cfg.Wake = bell
	return cfg
}

// rung is bell for a reader that no poll saves: what it reads, it was rung for.
func (b *testBundle) rung(t *testing.T, cfg commitlog.Config) commitlog.Config {
	t.Helper()

	cfg = b.bell(t, cfg)
	cfg.Poll = never
	return cfg
}

// see remembers the rows of a page.
func see(ctx context.Context, tx *sql.Tx, page commitlog.Page) error {
	result, err := tx.ExecContext(ctx, insertSeen, page.Args()...)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n != int64(page.Rows) {
		return fmt.Errorf("page of %d rows holds %d: %w", page.Rows, n, err)
	}
	return nil
}

// run starts a reader and returns what stops it and waits for its end. It is stopped at the end of the test at last.
func run(t *testing.T, cfg commitlog.Config) (stop func()) {
	t.Helper()

	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- commitlog.Run(ctx, cfg) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			require.NoError(t, err)
		case <-time.After(patient):
			require.FailNow(t, "the reader did not stop")
		}
	}
	t.Cleanup(stop)
	return stop
}

// eventually asks every few milliseconds until the condition holds.
func eventually(t *testing.T, condition func() bool, why string) {
	t.Helper()

	deadline := time.NewTimer(patient)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline.C:
			require.FailNow(t, why)
		case <-tick.C:
		}
	}
}

// numbers are first to last.
func numbers(first, last int) []int {
	all := make([]int, 0, last-first+1)
	for n := first; n <= last; n++ {
		all = append(all, n)
	}
	return all
}

// journalOfLines keeps what was logged.
type journalOfLines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journalOfLines) Write(line []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(line)
}

func (j *journalOfLines) failedPages() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), "page failed")
}

func (j *journalOfLines) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}
