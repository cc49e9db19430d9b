package projections_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/schema/fact"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// life draws the facts of a few deliveries, in any order that the log could hold them, sensible or not.
func (s *scenario) life(t *rapid.T) []fact.Fact {
	facts := []fact.Fact{s.fannedOut(1, 2, 3), s.requested(4)}
	ids := []int64{1, 2, 3, 4}
	for range rapid.IntRange(1, 25).Draw(t, "facts") {
		id := rapid.SampledFrom(ids).Draw(t, "delivery")
		generation := rapid.IntRange(1, 3).Draw(t, "generation")
		state := rapid.SampledFrom([]fact.State{fact.Retrying, fact.Pending, fact.Delivered, fact.Exhausted, fact.Cancelled}).Draw(t, "state")
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0:
			facts = append(facts, s.delivery(fact.DeliveryReplayed, id, generation, fact.Pending))
		case 1:
			facts = append(facts, s.delivery(fact.DeliveryCancelled, id, generation, fact.Cancelled))
		case 2:
			facts = append(facts, s.delivery(fact.DeliveryExhausted, id, generation, fact.Exhausted))
		default:
			a := s.attempt(id, rapid.IntRange(1, 6).Draw(t, "attempt"), state)
			a.Generation = generation
			a.Completed = rapid.IntRange(0, 6).Draw(t, "completed")
			if generation > 1 || id == 4 {
				a.Trigger = fact.Manual
			}
			name := rapid.SampledFrom([]fact.Name{
				fact.AttemptSucceeded, fact.AttemptFailed, fact.AttemptInterrupted, fact.AttemptStale,
			}).Draw(t, "name")
			facts = append(facts, s.of(name, a))
		}
	}
	return facts
}

// What empties the tables of a few rows. TRUNCATE makes new files for every day of each.
const (
	clearHistory = `DELETE FROM webhooks.events; DELETE FROM webhooks.deliveries; DELETE FROM webhooks.attempts;
 DELETE FROM webhooks.endpoint_slots; DELETE FROM webhooks.endpoint_changes;`
	clearAll = clearHistory + ` DELETE FROM webhooks.journal`
)

func TestTheCutIntoPagesNeverShows(t *testing.T) {
	t.Parallel()
	s := setup(t)
	rapid.Check(t, func(rt *rapid.T) {
		_, err := s.db.Owner.ExecContext(t.Context(), clearAll)
		require.NoError(rt, err)
		for _, f := range s.life(rt) {
			s.given(f)
		}
		require.NoError(rt, s.projector.RunToEnd(t.Context()))
		want := history(t, s.db.DB)
		s.rewind()
		require.NoError(rt, s.projector.RunToEnd(t.Context()))
		require.Equal(rt, want, history(t, s.db.DB), "applied twice")

		_, err = s.db.Owner.ExecContext(t.Context(), clearHistory)
		require.NoError(rt, err)
		s.rewind()
		rows := rapid.IntRange(1, 7).Draw(rt, "page rows")
		require.NoError(rt, projections.New(projections.Config{DB: s.db.DB, PageRows: rows}).RunToEnd(t.Context()))
		require.Equal(rt, want, history(t, s.db.DB), "pages of %d", rows)
	})
}

func TestRunFollowsTheJournalAndQuarantines(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.given(s.fannedOut(1), s.of(fact.DeliveryCancelled, json.RawMessage(`{"delivery_id":"no number"}`)))
	s.given(s.succeeded(1, 1))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.projector.Run(ctx) }()
	require.Eventually(t, func() bool {
		d, err := projections.NewReader(s.db.DB).Delivery(t.Context(), s.company, 1)
		return err == nil && d.State == "delivered"
	}, 20*time.Second, 10*time.Millisecond)
	cancel()
	require.NoError(t, <-done)
	var n int
	require.NoError(t, s.db.QueryRowContext(t.Context(), `SELECT count(*) FROM webhooks.quarantine`).Scan(&n))
	require.Equal(t, 1, n)

	report, err := projections.Rebuild(t.Context(), s.db.DB, projections.Options{Verify: true})
	require.NoError(t, err)
	require.True(t, report.Equal, "%+v", report)
}

// BenchmarkApply reports how many attempt facts a second become history, in pages of 2000; each finishes a delivery
// that an earlier page has born.
func BenchmarkApply(b *testing.B) {
	db := schematest.New(b)
	s := &scenario{db: db, company: uuid.New(), endpoint: uuid.New(), event: uuid.New(), noon: time.Now().UTC()}
	write := func(facts []fact.Fact) {
		tx, err := db.BeginTx(b.Context(), nil)
		require.NoError(b, err)
		require.NoError(b, commitlog.Append(b.Context(), tx, facts...))
		require.NoError(b, tx.Commit())
	}
	n := max(b.N, 1)
	var born, made []fact.Fact
	for i := range n {
		s.event = uuid.New()
		if i%10 == 0 {
			ids := make([]int64, 10)
			for k := range ids {
				ids[k] = int64(i + k + 1)
			}
			born = append(born, s.fannedOut(ids...))
		}
		a := s.attempt(int64(i+1), 1, fact.Delivered)
		a.Body = []byte(fmt.Sprintf(`{"ok":true,"n":%d}`, i))
		made = append(made, s.of(fact.AttemptSucceeded, a))
	}
	p := projections.New(projections.Config{DB: db.DB})
	write(born)
	require.NoError(b, p.RunToEnd(b.Context()))
	for len(made) > 0 {
		k := min(len(made), 5000)
		write(made[:k])
		made = made[k:]
	}
	b.ResetTimer()
	require.NoError(b, p.RunToEnd(b.Context()))
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "facts/s")
}
