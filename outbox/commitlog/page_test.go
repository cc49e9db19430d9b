package commitlog_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
)

func TestPageFollowsTheOneThatEndedWhereItBegins(t *testing.T) {
	t.Parallel()
	const most = 10
	short := commitlog.Page{
		FromSnapshot: "1:1:", ToSnapshot: "5:5:", AfterXID: "0", UntilXID: "4", UntilPosition: 7, Rows: 3,
	}
	full := short
	full.Rows = most
	next := commitlog.Page{FromSnapshot: "5:5:", ToSnapshot: "9:9:", AfterXID: "0", Rows: 1}
	rest := commitlog.Page{FromSnapshot: "1:1:", ToSnapshot: "5:5:", AfterXID: "4", AfterPosition: 7, Rows: 1}
	require.True(t, next.Follows(short, most), "a short page ends its window, and the next one begins there")
	require.True(t, rest.Follows(full, most), "a full page is gone on with in its window")
	require.False(t, rest.Follows(short, most))
	require.False(t, next.Follows(full, most))
	require.False(t, next.Follows(commitlog.Page{}, most), "nothing is known of what was before the first")

	another := short // was read in between, by another reader
	another.FromSnapshot, another.ToSnapshot = "5:5:", "6:6:"
	require.False(t, commitlog.Page{FromSnapshot: "6:6:", ToSnapshot: "9:9:", AfterXID: "0", Rows: 1}.Follows(short, most))
	require.True(t, commitlog.Page{FromSnapshot: "6:6:", ToSnapshot: "9:9:", AfterXID: "0", Rows: 1}.Follows(another, most))
}

// A page is a range of the index inside the transactions that a snapshot saw running, wherever pages of the index end.
// PostgreSQL 17 finds rows of other transactions there when an array and a comparison of rows meet in one index scan.
func TestPageHoldsRowsOfItsTransactionsAlone(t *testing.T) {
	t.Parallel()

	b := setup(t)
	conn, err := b.Owner.Conn(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	for _, statement := range []string{
		`INSERT INTO webhooks.outbox (transaction_id, position, event_type, company_id, data)
		 SELECT CASE WHEN n <= 300 THEN 1000 + n / 3 WHEN n <= 2300 THEN 2000 ELSE 3000 + n / 3 END::text::xid8, n, 'a', gen_random_uuid(), '{}'
		   FROM generate_series(1, 2600) n`,
		`ANALYZE webhooks.outbox`,
		`SET enable_seqscan = off`,
		`SET enable_bitmapscan = off`,
	} {
		_, err := conn.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	for running, want := range map[string]int{"1001,1002,1003": 0, "1001,2000,2001": 200, "2000": 200} {
		var wrong []int64
		require.NoError(t, conn.QueryRowContext(t.Context(), `SELECT coalesce(array_agg(k ORDER BY k), '{}')
		  FROM generate_series(300, 2100) k
		 WHERE $2 <> (SELECT count(*) FROM webhooks.outbox_rows($1::pg_snapshot, '9000:9000:', '2000', k, '2000', k + 200))`,
			strings.SplitN(running, ",", 2)[0]+":5000:"+running, want).Scan(pq.Array(&wrong)))
		require.Empty(t, wrong, "places after which a page of transactions %s has not %d rows", running, want)
	}
}

// A page says from when its rows are, and nothing of other days is even opened: with a month of partitions that would be most
// of what a small page costs.
func TestPageOpensTheDaysOfItsRowsAlone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, `SELECT webhooks.make_partition('outbox', current_date - 1)`)
	for day := range 2 {
		_, err := b.Owner.ExecContext(t.Context(), `INSERT INTO webhooks.outbox (recorded_at, event_type, company_id, data)
			SELECT ((current_date - $1::int) + time '12:00') AT TIME ZONE 'UTC' + n * interval '1 second', 'a', $2, '{}' FROM generate_series(0, 2) n`, day, b.company)
		require.NoError(t, err)
	}
	reader := commitlog.NewReader(commitlog.Config{DB: b.DB.DB, Topic: commitlog.Outbox, Group: group, PageRows: 3})
	b.exec(t, `INSERT INTO webhooks.cursors (topic, consumer_group, from_snapshot, system_identifier)
		SELECT 'outbox', 'test', '1:1:', system_identifier FROM pg_control_system()`)
	tx, err := b.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer tx.Rollback() //nolint:errcheck // nothing is to be kept
	_, err = tx.ExecContext(t.Context(), `SET LOCAL plan_cache_mode = 'force_generic_plan'; SET LOCAL TIME ZONE 'Pacific/Auckland';
		PREPARE page AS SELECT count(*) FROM webhooks.outbox_rows($1, $2, $3, $4, $5, $6, $7, $8)`)
	require.NoError(t, err)
	for day := range 2 {
		page := b.nextPage(t, tx, reader)
		require.Equal(t, 3, page.Rows)
		var rows int
		var exact bool
		require.NoError(t, tx.QueryRowContext(t.Context(), `SELECT count(*), min(recorded_at) = $7 AND max(recorded_at) = $8
			  FROM webhooks.outbox_rows($1, $2, $3, $4, $5, $6, $7, $8)`, page.Args()...).Scan(&rows, &exact))
		require.Equal(t, 3, rows, "none is left out")
		require.True(t, exact, "from its first row to its last")
		plan := b.planOf(t, tx, page)
		require.Equal(t, 2, strings.Count(plan, "Scan on outbox_")+strings.Count(plan, "Scan using outbox_"), "one day, for each of the two ranges:\n%s", plan)
		name := "outbox_" + time.Now().UTC().AddDate(0, 0, -day).Format("20060102")
		require.Contains(t, plan, name)
		require.NotContains(t, plan, "outbox_default")
	}
}

// nextPage reads a page as Watermill's subscriber does, and moves the cursor behind it.
func (b *testBundle) nextPage(t *testing.T, tx *sql.Tx, reader *commitlog.Reader) commitlog.Page {
	t.Helper()
	query := reader.SelectQuery("outbox", group, reader)
	rows, err := tx.QueryContext(t.Context(), query.Query, query.Args...)
	require.NoError(t, err)
	defer rows.Close()
	require.True(t, rows.Next())
	row, err := reader.UnmarshalMessage(rows)
	require.NoError(t, err)
	require.NoError(t, rows.Err())
	require.NoError(t, rows.Close())
	page, err := commitlog.PageOf(row.Msg)
	require.NoError(t, err)
	ack := reader.AckMessageQuery("outbox", row, group)
	_, err = tx.ExecContext(t.Context(), ack.Query, ack.Args...)
	require.NoError(t, err)
	return page
}

func (b *testBundle) planOf(t *testing.T, tx *sql.Tx, page commitlog.Page) string {
	t.Helper()
	values := make([]string, 0, 8)
	for _, arg := range page.Args() {
		values = append(values, fmt.Sprintf("'%v'", arg))
	}
	rows, err := tx.QueryContext(t.Context(), `EXPLAIN (COSTS OFF) EXECUTE page(`+strings.Join(values, ", ")+`)`)
	require.NoError(t, err)
	defer rows.Close()
	var plan strings.Builder
	for rows.Next() {
		var line string
		require.NoError(t, rows.Scan(&line))
		plan.WriteString(line + "\n")
	}
	require.NoError(t, rows.Err())
	return plan.String()
}
