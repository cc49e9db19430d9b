package lane

import (
	"database/sql"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// The endpoints of the tests of plans.
const mine, foreign = "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"

// TestF53_ReadOfALaneTouchesNoNeighbour has 100 000 rows of one neighbour, half of them retries, and looks at how many
// pages the read of another lane touches.
func TestF53_ReadOfALaneTouchesNoNeighbour(t *testing.T) {
	t.Parallel()
	db := schematest.New(t)
	_, err := db.ExecContext(t.Context(), `INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id, due_at)
	  SELECT CASE n % 10000 WHEN 0 THEN $1::uuid ELSE $2::uuid END, n, gen_random_uuid(),
	         CASE n % 3 WHEN 0 THEN now() - interval '1 second' WHEN 1 THEN now() + interval '1 hour' END
	    FROM generate_series(1, 100000) n`, mine, foreign)
	require.NoError(t, err)
	_, err = db.Owner.ExecContext(t.Context(), `ANALYZE webhooks.pending`)
	require.NoError(t, err)

	for name, onlyTests := range map[string]bool{"Running": false, "Disabled": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plan := explain(t, db, 0, onlyTests)
			require.NotContains(t, plan, "Seq Scan")
			require.NotContains(t, plan, "Rows Removed by Filter: 1000", plan)
			for _, index := range []string{"pending_is_read_by_lane", "pending_due", "pending_test"} {
				require.Contains(t, plan, index, plan)
			}
		})
	}
}

// TestReadOfALaneTouchesNothingThatIsDueLater: after an outage of its endpoint a lane has many retries, and reads all the time.
func TestReadOfALaneTouchesNothingThatIsDueLater(t *testing.T) {
	t.Parallel()
	db := schematest.New(t)
	_, err := db.ExecContext(t.Context(), `INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id, due_at)
	  SELECT $1::uuid, n, gen_random_uuid(), now() + CASE n % 1000 WHEN 0 THEN interval '-1 second' ELSE interval '1 hour' END
	    FROM generate_series(1, 30000) n`, mine)
	require.NoError(t, err)
	_, err = db.Owner.ExecContext(t.Context(), `ANALYZE webhooks.pending`)
	require.NoError(t, err)
	plan := explain(t, db, 30000, false)
	require.Regexp(t, `rows=30(\.00)? `, plan) // PostgreSQL 18 counts hundredths
	require.Less(t, buffers(t, plan), 60, plan)
}

// TestF21_ReadOfALanePassesByWhatIsOver has somebody hold a snapshot, so that nothing that is deleted can be cleared away,
// while a lane sends 30 000 deliveries, and a neighbour 30 000 retries. A lane reads on from where it is; only whoever takes
// it over walks over all that lies there, once.
func TestF21_ReadOfALanePassesByWhatIsOver(t *testing.T) {
	t.Parallel()
	db := schematest.New(t)
	const dead = 30000
	_, err := db.ExecContext(t.Context(), `INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id, due_at)
	  SELECT $1::uuid, n, gen_random_uuid(), NULL::timestamptz FROM generate_series(1, $3::int) n
	   UNION ALL
	  SELECT $2::uuid, $3 + n, gen_random_uuid(), now() - n * interval '1 ms' FROM generate_series(1, $3::int) n`, mine, foreign, dead)
	require.NoError(t, err)
	_, err = db.Owner.ExecContext(t.Context(), `ANALYZE webhooks.pending`)
	require.NoError(t, err)
	fresh := buffers(t, explain(t, db, dead, false))

	dump, err := db.Owner.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	require.NoError(t, err)
	defer dump.Rollback() //nolint:errcheck // it only holds a snapshot
	var seen int
	require.NoError(t, dump.QueryRowContext(t.Context(), `SELECT count(*) FROM webhooks.pending`).Scan(&seen))
	_, err = db.ExecContext(t.Context(), `DELETE FROM webhooks.pending`)
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), `INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id)
	  SELECT $1::uuid, 2 * $2::int + n, gen_random_uuid() FROM generate_series(1, 100) n`, mine, dead)
	require.NoError(t, err)
	_, err = db.Owner.ExecContext(t.Context(), `VACUUM webhooks.pending`) // in vain
	require.NoError(t, err)
	plan := explain(t, db, dead, false)
	require.Contains(t, plan, "rows=100")
	require.Less(t, buffers(t, plan), fresh+20, "as if there were nothing: %s", plan)
	require.Greater(t, buffers(t, explain(t, db, 0, false)), 10*fresh, "what it passes by is there")
	require.NoError(t, dump.QueryRowContext(t.Context(), `SELECT count(*) FROM webhooks.pending`).Scan(&seen))
	require.Equal(t, 2*dead, seen)
}

// explain is the plan of one lane's read after a delivery, and what it touched.
func explain(t *testing.T, db *schematest.DB, after int64, onlyTests bool) string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), `EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, SUMMARY OFF) `+selectDue,
		pq.Array([]string{mine}), pq.Array([]int64{after}), pq.Array([]int64{256}), pq.Array([]bool{onlyTests}), pq.Array([]int64{7}))
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

// buffers are the pages that a plan touched, in memory or not.
func buffers(t *testing.T, plan string) (pages int) {
	t.Helper()
	_, counts, _ := strings.Cut(plan, "Buffers:") // the first is the whole plan's
	line, _, _ := strings.Cut(counts, "\n")
	for _, count := range regexp.MustCompile(`(?:hit|read)=(\d+)`).FindAllStringSubmatch(line, -1) {
		n, err := strconv.Atoi(count[1])
		require.NoError(t, err)
		pages += n
	}
	return pages
}

func TestCacheForgetsTheOldestFirst(t *testing.T) {
	t.Parallel()
	c := newCache(10)
	events := make([]*Event, 4)
	for i := range events {
		events[i] = &Event{Data: make([]byte, 4), CreatedAt: time.Unix(int64(i), 0)}
		events[i].ID[0] = byte(i + 1)
		c.put(events[i])
	}
	require.Nil(t, c.get(events[0].ID))
	require.Nil(t, c.get(events[1].ID))
	require.Same(t, events[2], c.get(events[2].ID))
	require.Same(t, events[3], c.get(events[3].ID))
	c.put(&Event{Data: make([]byte, 11)})
	require.Empty(t, c.events, "an event that is larger than the cache is not kept")
	require.Zero(t, c.bytes)
}

func TestReadAheadIsSharedByTheLanes(t *testing.T) {
	t.Parallel()
	s := NewSource(Config{})
	require.Equal(t, 256, s.page(1))
	require.Equal(t, 64, s.page(256), "those that ask at once share")
	s.busy.Store(512)
	require.Equal(t, 32, s.page(1), "with those that have something")
	require.Equal(t, 16, s.page(100_000), "and each gets on")
}
