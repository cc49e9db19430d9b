package projections_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// owned is a scenario whose endpoint is there.
func owned(t *testing.T) *scenario {
	t.Helper()
	s := setup(t)
	s.exec(`INSERT INTO webhooks.endpoints (endpoint_id, company_id, url, description, event_types, state_actor, created_at)
		VALUES ($1, $2, 'https://example.com/hook', 'CRM', '{conversation.started}', 'ada', $3)`, s.endpoint, s.company, s.noon.Add(-time.Hour))
	s.exec(`INSERT INTO webhooks.lanes (endpoint_id) VALUES ($1)`, s.endpoint)
	return s
}

// took is an attempt of a delivery of its own that started so long after noon.
func (s *scenario) took(id int64, after time.Duration, ms int64, change ...func(*fact.Attempt)) fact.Fact {
	a := s.attempt(id, 1, fact.Delivered)
	a.StartedAt, a.Total = s.noon.Add(after), ms*1000
	name := fact.AttemptSucceeded
	for _, c := range change {
		c(&a)
		name = fact.AttemptFailed
	}
	if a.Reason == fact.Interrupted {
		name = fact.AttemptInterrupted
	}
	return s.of(name, a)
}

func broken(reason fact.Reason, status int) func(*fact.Attempt) {
	return func(a *fact.Attempt) { a.Reason, a.Status, a.State = reason, status, fact.Retrying }
}

func TestEndpointStats(t *testing.T) {
	t.Parallel()
	s := owned(t)
	typed := func(a *fact.Attempt) { a.EventType = "conversation.completed" }
	s.given(
		s.took(1, 0, 100), s.took(2, 4*time.Minute, 120), s.took(3, 5*time.Minute, 110), // two slots
		s.took(4, 6*time.Minute, 3000, broken(fact.StatusServer, 503)),
		s.took(5, 7*time.Minute, 40, broken(fact.Timeout, 0), typed),
		s.took(6, 8*time.Minute, 0, broken(fact.Interrupted, 0)),
		s.took(7, -2*time.Hour, 100),                             // before the window
		s.took(8, time.Hour+55*time.Minute, 100),                 // after it
		s.of(fact.AttemptStale, s.attempt(9, 1, fact.Delivered)), // never counts
	)
	s.when()
	r := projections.NewReader(s.db.DB)
	w, err := projections.WindowOf("1h")
	require.NoError(t, err)
	w.Until = s.noon.Add(54 * time.Minute)
	stats, err := r.EndpointStats(t.Context(), s.company, s.endpoint, w)
	require.NoError(t, err)

	require.Len(t, stats.Bars, 12)
	require.Equal(t, projections.Bar{From: s.noon, Succeeded: 2}, stats.Bars[1])
	require.Equal(t, projections.Bar{From: s.noon.Add(5 * time.Minute), Succeeded: 1, Failed: 2, Interrupted: 1}, stats.Bars[2])
	require.Equal(t, projections.Bar{From: s.noon.Add(50 * time.Minute)}, stats.Bars[11], "the last one holds the end")
	require.Equal(t, []int64{3, 2, 1}, []int64{stats.Succeeded, stats.Failed, stats.Interrupted})
	require.InDelta(t, 0.4, *stats.ErrorRate, 1e-9)
	require.Equal(t, []projections.StatusCount{
		{Status: 200, Reason: "ok", Count: 3},
		{Status: 0, Reason: "interrupted", Count: 1},
		{Status: 0, Reason: "timeout", Count: 1},
		{Status: 503, Reason: "status_5xx", Count: 1},
	}, stats.ByStatus)
	require.Equal(t, []projections.TypeCount{
		{EventType: "conversation.completed", Failed: 1}, {EventType: "conversation.started", Succeeded: 3, Failed: 1},
	}, stats.ByEventType)
	require.Equal(t, "2xx", stats.ByStatus[0].Class())
	require.Equal(t, "none", stats.ByStatus[1].Class())
	require.InDelta(t, 3000, *stats.Latency.MaxMs, 0)
	require.InDelta(t, 674, *stats.Latency.MeanMs, 1e-9)
	require.InDelta(t, 110, *stats.Latency.P50Ms, 55)
	require.InDelta(t, 3000, *stats.Latency.P95Ms, 1500)

	t.Run("EveryWindowCountsTheSame", func(t *testing.T) {
		t.Parallel()
		for _, name := range []string{"24h", "7d", "30d"} {
			w, err := projections.WindowOf(name)
			require.NoError(t, err)
			w.Until = s.noon.Add(3 * time.Hour)
			stats, err := r.EndpointStats(t.Context(), s.company, s.endpoint, w)
			require.NoError(t, err)
			require.Equal(t, int64(5), stats.Succeeded, name)
			var bars int64
			for _, b := range stats.Bars {
				require.Zero(t, b.From.Sub(time.Unix(0, 0))%w.Width, "bars begin at multiples of their width")
				bars += b.Succeeded
			}
			require.Equal(t, stats.Succeeded, bars, name)
		}
	})

	t.Run("SilentEndpointHasEmptyBars", func(t *testing.T) {
		t.Parallel()
		w, err := projections.WindowOf("24h")
		require.NoError(t, err)
		w.Until = s.noon.Add(-48 * time.Hour)
		stats, err := r.EndpointStats(t.Context(), s.company, s.endpoint, w)
		require.NoError(t, err)
		require.Len(t, stats.Bars, 24)
		require.Nil(t, stats.ErrorRate)
		require.Equal(t, projections.Latency{}, stats.Latency)
	})

	t.Run("AnotherCompanyFindsNothing", func(t *testing.T) {
		t.Parallel()
		_, err := r.EndpointStats(t.Context(), uuid.New(), s.endpoint, w)
		require.ErrorIs(t, err, projections.ErrNotFound)
		_, err = r.EndpointStats(t.Context(), s.company, uuid.New(), w)
		require.ErrorIs(t, err, projections.ErrNotFound)
	})

	t.Run("BadWindowsAreRefused", func(t *testing.T) {
		t.Parallel()
		_, err := projections.WindowOf("1y")
		require.ErrorContains(t, err, "want 1h, 24h, 7d or 30d")
		for _, w := range []projections.Window{{}, {Bars: 1, Width: time.Minute}, {Bars: 1, Width: 7 * time.Minute}, {Bars: 1e6, Width: time.Hour}} {
			_, err = r.EndpointStats(t.Context(), s.company, s.endpoint, w)
			require.ErrorContains(t, err, "want 1 to 366 bars")
		}
	})

	t.Run("RebuildMakesTheSameSlots", func(t *testing.T) {
		t.Parallel()
		report, err := projections.Rebuild(t.Context(), s.db.DB, projections.Options{Verify: true, PageRows: 2})
		require.NoError(t, err)
		require.True(t, report.Equal, "%+v", report)
	})
}

// The estimate and the true quantile lie in the same step, so neither is twice the other.
func TestQuantileErrsByLessThanTwo(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		times := rapid.SliceOfN(rapid.Int64Range(1000, 16_383_000), 1, 300).Draw(t, "microseconds")
		q := rapid.Float64Range(0.01, 1).Draw(t, "q")
		var h projections.Histogram
		for _, us := range times {
			h[1+int(math.Log2(float64(us)/1000))]++
		}
		slices.Sort(times)
		truth := float64(times[max(0, int(math.Ceil(q*float64(len(times))-1e-9))-1)]) / 1000
		got := *h.QuantileMs(q)
		require.Less(t, got/truth, 2.1, "it is rounded to a tenth of a millisecond")
		require.Greater(t, got/truth, 1/2.1)
	})
	require.Nil(t, (projections.Histogram{}).QuantileMs(0.5))
	require.InDelta(t, 0.5, *projections.Histogram{10}.QuantileMs(0.5), 0.01)
}

func TestHistogramReadsOnlyItsOwnKind(t *testing.T) {
	t.Parallel()
	var h projections.Histogram
	require.NoError(t, h.Scan(nil))
	require.Zero(t, h.Count())
	require.ErrorContains(t, h.Scan([]byte("{1,2}")), "want 16")
	require.Error(t, h.Scan([]byte("{x}")))
}

func TestOverview(t *testing.T) {
	t.Parallel()
	s := owned(t)
	s.exec(`UPDATE webhooks.lanes SET breaker = 'open', not_before = $1, failing_since = $2`, s.noon.Add(time.Hour), s.noon)
	silent := uuid.MustParse("ffffffff-0000-7000-8000-000000000001")
	s.exec(`INSERT INTO webhooks.endpoints (endpoint_id, company_id, url, state, state_reason, state_actor) VALUES ($1, $2, 'https://silent.example', 'disabled', 'gone', 'relay')`,
		silent, s.company)
	s.exec(`INSERT INTO webhooks.endpoints (company_id, url, state_actor, deleted_at) VALUES ($1, 'https://deleted.example', 'ada', now())`, s.company)
	s.exec(`INSERT INTO webhooks.endpoints (company_id, url, state_actor) VALUES ($1, 'https://other.example', 'ada')`, uuid.New())
	s.given(s.fannedOut(1, 2), s.took(1, 0, 100), s.took(2, 90*time.Minute, 200, broken(fact.StatusServer, 503)))
	s.when()
	r := projections.NewReader(s.db.DB)
	filter := projections.Filter{CompanyID: s.company, Until: s.noon.Add(100 * time.Minute)}
	page, err := r.Overview(t.Context(), filter)
	require.NoError(t, err)
	require.Len(t, page.Items, 2)

	e := page.Items[0]
	require.Equal(t, s.endpoint, e.EndpointID)
	require.Equal(t, []string{"conversation.started"}, e.EventTypes)
	require.Equal(t, []string{"CRM", "enabled", "ada", "open"}, []string{e.Description, e.State, e.StateActor, e.Breaker})
	require.Equal(t, s.noon.Add(time.Hour), *e.NotBefore)
	require.Equal(t, s.noon, *e.FailingSince)
	require.Len(t, e.Bars, 24)
	require.Equal(t, projections.Bar{From: s.noon, Succeeded: 1}, e.Bars[22])
	require.Equal(t, projections.Bar{From: s.noon.Add(time.Hour), Failed: 1}, e.Bars[23])
	require.InDelta(t, 0.5, *e.SuccessRate, 1e-9)
	require.InDelta(t, 200, *e.Latency.MaxMs, 0)
	require.Equal(t, &projections.LastDelivery{DeliveryID: 2, State: "retrying", At: s.noon.Add(90 * time.Minute)}, e.Last)

	quiet := page.Items[1]
	require.Equal(t, []string{"disabled", "gone", "relay", "closed"}, []string{quiet.State, quiet.StateReason, quiet.StateActor, quiet.Breaker})
	require.Nil(t, quiet.EventTypes)
	require.Nil(t, quiet.SuccessRate)
	require.Nil(t, quiet.Last)
	require.Len(t, quiet.Bars, 24)

	t.Run("PagesFiltersAndFinds", func(t *testing.T) {
		t.Parallel()
		overview := func(f projections.Filter) (projections.Page[projections.EndpointOverview], error) {
			return r.Overview(t.Context(), f)
		}
		require.Len(t, pages(t, overview, projections.Filter{CompanyID: s.company, Limit: 1}), 2)
		require.Len(t, pages(t, overview, projections.Filter{CompanyID: s.company, Limit: 9, State: "disabled"}), 1)
		require.Len(t, pages(t, overview, projections.Filter{CompanyID: s.company, Limit: 9, Text: "crm"}), 1)
		require.Empty(t, pages(t, overview, projections.Filter{CompanyID: s.company, Limit: 9, Text: "%"}))
		require.Len(t, pages(t, overview, projections.Filter{Limit: 9}), 3, "the operator's")
	})
}
