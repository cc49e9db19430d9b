package lane

import (
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// TestF53_ReadOfALaneTouchesNoNeighbour has 100 000 rows of one neighbour, half of them retries, and looks at how many
// pages the read of another lane touches.
func TestF53_ReadOfALaneTouchesNoNeighbour(t *testing.T) {
	t.Parallel()
	db := schematest.New(t)
	const mine, foreign = "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"
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
			rows, err := db.QueryContext(t.Context(), `EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) `+selectDue,
				pq.Array([]string{mine}), pq.Array([]int64{0}), pq.Array([]int64{256}), pq.Array([]bool{onlyTests}), pq.Array([]int64{7}))
			require.NoError(t, err)
			defer rows.Close()
			var plan strings.Builder
			for rows.Next() {
				var line string
				require.NoError(t, rows.Scan(&line))
				plan.WriteString(line + "\n")
			}
			require.NoError(t, rows.Err())
			require.NotContains(t, plan.String(), "Seq Scan")
			require.NotContains(t, plan.String(), "Rows Removed by Filter: 1000", plan.String())
			for _, index := range []string{"pending_is_read_by_lane", "pending_due", "pending_test"} {
				require.Contains(t, plan.String(), index, plan.String())
			}
		})
	}
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
