package relay

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
	"github.com/chattosurvey/surveyhooks/relay/lane"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// BenchmarkFanOut fans one event out to ten endpoints: with few days of partitions and with a month of them, which the page
// says it needs or leaves open; at once, and after the pause of a trickle, when the server's caches are cold.
func BenchmarkFanOut(b *testing.B) {
	for _, days := range []int{0, 31} {
		for _, bounded := range []bool{true, false} {
			for _, idle := range []time.Duration{0, 20 * time.Millisecond} {
				b.Run(fmt.Sprintf("pastDays=%d/bounded=%t/idle=%s", days, bounded, idle), func(b *testing.B) { benchmarkFanOut(b, days, bounded, idle) })
			}
		}
	}
}

func benchmarkFanOut(b *testing.B, days int, bounded bool, idle time.Duration) {
	b.Helper()
	test := schematest.New(b)
	company := uuid.New()
	_, err := test.Owner.Exec(`INSERT INTO webhooks.endpoints (company_id, url, description, state_actor, state_reason)
		SELECT $1, 'https://example.com/' || n, '', 'bench', 'created' FROM generate_series(1, 10) n`, company)
	require.NoError(b, err)
	_, err = test.Owner.Exec(`SELECT webhooks.make_partition('outbox', current_date - n) FROM generate_series(1, $1::int) n`, days)
	require.NoError(b, err)
	db, err := commitlog.Open(test.DSN, "bench", 2, settings())
	require.NoError(b, err)
	defer db.Close()
	fan := newFanner(lane.NewSource(lane.Config{DB: db}), new(recorder), 500)
	page := commitlog.Page{AfterXID: "0", UntilXID: "9223372036854775807", UntilPosition: 1 << 62, Rows: 1}
	if bounded {
		page.Since, page.Until = time.Now().UTC().Format(time.RFC3339), time.Now().UTC().Add(time.Hour).Format(time.RFC3339)
	}
	publish := func() {
		require.NoError(b, db.QueryRow(`SELECT pg_current_snapshot()::text`).Scan(&page.FromSnapshot))
		tx, err := db.Begin()
		require.NoError(b, err)
		_, err = outbox.Publish(b.Context(), tx, outbox.NewSample(outbox.ConversationStartedType, company))
		require.NoError(b, err)
		require.NoError(b, tx.Commit())
		require.NoError(b, db.QueryRow(`SELECT pg_current_snapshot()::text`).Scan(&page.ToSnapshot))
	}
	for b.Loop() {
		b.StopTimer()
		publish()
		tx, err := db.Begin()
		require.NoError(b, err)
		<-time.After(idle) // what is measured is what comes after it
		b.StartTimer()
		require.NoError(b, fan.apply(b.Context(), tx, page))
		b.StopTimer()
		require.NoError(b, tx.Commit())
		b.StartTimer()
	}
}
