package commitlog_test

import (
	"strings"
	"testing"

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
