package projections_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox/wire"
	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// pages walks a list to its end by its cursors.
func pages[T any](t *testing.T, read func(projections.Filter) (projections.Page[T], error), f projections.Filter) []T {
	t.Helper()
	var all []T
	for {
		page, err := read(f)
		require.NoError(t, err)
		require.LessOrEqual(t, len(page.Items), f.Limit)
		all = append(all, page.Items...)
		if page.Next == "" {
			return all
		}
		f.Cursor = page.Next
	}
}

// TestB24_TheViewMasksAQueryLikeEverythingElse: who reads it, such as the survey app, may not change an endpoint.
func TestB24_TheViewMasksAQueryLikeEverythingElse(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for _, url := range []string{
		"https://example.com/a", "https://example.com/a?", "https://example.com/a?token=s&b=c", "https://example.com/a?s3cret",
		"https://example.com/a?t=a?b=c&&d=e", "https://example.com/a?=x&y=", "https://example.com/a?a=b=c&" + `\1`,
	} {
		id := uuid.New()
		s.exec(`INSERT INTO webhooks.endpoints (endpoint_id, company_id, url, state_actor) VALUES ($1, $2, $3, 'ada')`, id, s.company, url)
		var seen string
		require.NoError(t, s.db.App.QueryRowContext(t.Context(), `SELECT url FROM webhooks.endpoint_health WHERE endpoint_id = $1`, id).Scan(&seen))
		require.Equal(t, wire.MaskQuery(url), seen)
	}
}

// TestTheViewOfHealthCountsAsTheReaderDoes: each attempt once, though it stands in a slot of five minutes and in one of an hour.
func TestTheViewOfHealthCountsAsTheReaderDoes(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.exec(`INSERT INTO webhooks.endpoints (endpoint_id, company_id, url, state_actor) VALUES ($1, $2, 'https://example.com', 'ada')`, s.endpoint, s.company)
	s.given(s.fannedOut(1, 2), s.failed(1, 1), s.failed(1, 2), s.succeeded(1, 3), s.succeeded(2, 1), s.succeeded(3, 1))
	s.when()
	s.exec(`UPDATE webhooks.endpoint_slots SET slot = now()`) // the scenario is of another day
	page, err := projections.NewReader(s.db.DB).Health(t.Context(), projections.Filter{Limit: 1})
	require.NoError(t, err)
	var seen projections.EndpointHealth
	require.NoError(t, s.db.App.QueryRowContext(t.Context(), `SELECT succeeded_24h, failed_24h, mean_ms_24h, max_ms_24h FROM webhooks.endpoint_health`).
		Scan(&seen.Succeeded24h, &seen.Failed24h, &seen.MeanMs24h, &seen.MaxMs24h))
	h := page.Items[0]
	require.Equal(t, []int64{3, 2}, []int64{seen.Succeeded24h, seen.Failed24h})
	require.Equal(t, []any{h.Succeeded24h, h.Failed24h, h.MeanMs24h, h.MaxMs24h},
		[]any{seen.Succeeded24h, seen.Failed24h, seen.MeanMs24h, seen.MaxMs24h})
	require.InDelta(t, 0.6, *h.SuccessRate, 1e-9)

	_, err = s.db.Owner.ExecContext(t.Context(), `TRUNCATE webhooks.endpoint_slots`)
	require.NoError(t, err)
	idle, err := projections.NewReader(s.db.DB).Health(t.Context(), projections.Filter{Limit: 1})
	require.NoError(t, err)
	require.Nil(t, idle.Items[0].SuccessRate)
	require.Nil(t, idle.Items[0].P95Ms24h)
	require.LessOrEqual(t, *h.P95Ms24h, *h.MaxMs24h)
	require.Positive(t, *h.P95Ms24h)
}

func TestReader(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.given(s.of(fact.EndpointCreated, fact.Endpoint{EndpointID: s.endpoint, Version: 1, Actor: "ada", New: &fact.EndpointConfig{}}))
	s.given(s.of(fact.EndpointDisabled, fact.Endpoint{EndpointID: s.endpoint, Version: 2, Actor: "relay", Reason: fact.Gone}))
	s.exec(`INSERT INTO webhooks.endpoints (endpoint_id, company_id, url, state_actor) VALUES ($1, $2, 'https://example.com', 'ada')`, s.endpoint, s.company)
	s.given(s.fannedOut(1, 2, 3, 4, 5))
	s.given(s.failed(1, 1), s.failed(1, 2), s.succeeded(1, 3), s.succeeded(2, 1), s.succeeded(3, 1))
	other := *s
	other.position = 8
	other.company, other.event, other.endpoint = uuid.New(), uuid.New(), uuid.New()
	s.given(other.fannedOut(6), other.failed(6, 1))
	s.exec(`INSERT INTO webhooks.endpoints (endpoint_id, company_id, url, state_actor) VALUES ($1, $2, 'https://example.org', 'bob')`, other.endpoint, other.company)
	s.when()
	r := projections.NewReader(s.db.DB)
	ctx := t.Context()
	deliveries := func(f projections.Filter) (projections.Page[projections.Delivery], error) {
		return r.Deliveries(ctx, f)
	}
	attempts := func(f projections.Filter) (projections.Page[projections.Attempt], error) { return r.Attempts(ctx, f) }
	events := func(f projections.Filter) (projections.Page[projections.Event], error) { return r.Events(ctx, f) }
	changes := func(f projections.Filter) (projections.Page[projections.EndpointChange], error) {
		return r.EndpointChanges(ctx, f)
	}
	health := func(f projections.Filter) (projections.Page[projections.EndpointHealth], error) {
		return r.Health(ctx, f)
	}

	t.Run("PagesMeetWithoutGapOrRepeat", func(t *testing.T) {
		t.Parallel()
		for limit := 1; limit <= 7; limit++ {
			f := projections.Filter{Limit: limit}
			require.Len(t, pages(t, events, f), 2)
			require.Len(t, pages(t, health, f), 2)
			require.Len(t, pages(t, changes, f), 2)
			ids := make([]int64, 0, 6)
			for _, d := range pages(t, deliveries, f) {
				ids = append(ids, d.DeliveryID)
			}
			require.Equal(t, []int64{6, 5, 4, 3, 2, 1}, ids)
			require.Len(t, pages(t, attempts, f), 6)
		}
	})

	t.Run("B54_CompanySeesOnlyItsOwn", func(t *testing.T) {
		t.Parallel()
		f := projections.Filter{CompanyID: other.company, Limit: 10}
		require.Len(t, pages(t, events, f), 1)
		require.Len(t, pages(t, deliveries, f), 1)
		require.Len(t, pages(t, attempts, f), 1)
		require.Len(t, pages(t, health, f), 1)
		require.Empty(t, pages(t, changes, f))
		f.EndpointID = s.endpoint
		require.Empty(t, pages(t, deliveries, f))
		require.Empty(t, pages(t, attempts, f))
		_, err := r.Delivery(ctx, other.company, 1)
		require.ErrorIs(t, err, projections.ErrNotFound)
		_, err = r.Event(ctx, other.company, s.event)
		require.ErrorIs(t, err, projections.ErrNotFound)
	})

	t.Run("FiltersNarrow", func(t *testing.T) {
		t.Parallel()
		count := func(f projections.Filter) (int, int) {
			f.CompanyID, f.Limit = s.company, 500
			return len(pages(t, deliveries, f)), len(pages(t, attempts, f))
		}
		for _, c := range []struct {
			filter               projections.Filter
			deliveries, attempts int
		}{
			{projections.Filter{}, 5, 5},
			{projections.Filter{State: "delivered"}, 3, 0},
			{projections.Filter{State: "failed"}, 0, 2},
			{projections.Filter{Status: 503}, 0, 2},
			{projections.Filter{Reason: "ok"}, 3, 3},
			{projections.Filter{EventID: s.event}, 5, 5},
			{projections.Filter{EventID: other.event}, 0, 0},
			{projections.Filter{EventType: "test.webhook"}, 0, 0},
			{projections.Filter{DeliveryID: 1}, 1, 3},
			{projections.Filter{Until: s.noon}, 0, 0},
			{projections.Filter{From: s.noon.Add(2 * time.Minute), Until: s.noon.Add(3 * time.Minute)}, 0, 1},
		} {
			d, a := count(c.filter)
			require.Equal(t, c.deliveries, d, "%+v", c.filter)
			require.Equal(t, c.attempts, a, "%+v", c.filter)
		}
	})

	t.Run("B59_BadCursorIsATypedError", func(t *testing.T) {
		t.Parallel()
		page, err := r.Deliveries(ctx, projections.Filter{Limit: 1})
		require.NoError(t, err)
		for _, cursor := range []string{"?", "bm8", page.Next} {
			_, err := r.Attempts(ctx, projections.Filter{Cursor: cursor})
			var bad *projections.BadCursorError
			require.ErrorAs(t, err, &bad)
		}
	})

	t.Run("DeliveryComesWithItsAttemptsNewestFirst", func(t *testing.T) {
		t.Parallel()
		d, err := r.Delivery(ctx, s.company, 1)
		require.NoError(t, err)
		require.Len(t, d.AttemptRows, 3)
		require.Equal(t, 3, d.AttemptRows[0].Attempt)
	})

	t.Run("AttemptJSONIsStable", func(t *testing.T) {
		t.Parallel()
		page, err := r.Attempts(ctx, projections.Filter{DeliveryID: 2})
		require.NoError(t, err)
		text, err := json.Marshal(page.Items[0])
		require.NoError(t, err)
		var got map[string]any
		require.NoError(t, json.Unmarshal(text, &got))
		require.Equal(t, "2026-03-01T12:01:00Z", got["started_at"])
		require.Equal(t, "no\x00t", got["response_body"])
		require.Equal(t, false, got["response_body_base64"])
		require.InDelta(t, 1000, got["total_us"], 0)
		require.InDelta(t, 200, got["status"], 0)
		require.Equal(t, map[string]any{"Server": []any{"x"}}, got["response_headers"])
		page.Items[0].ResponseBody = []byte{0xff}
		text, err = json.Marshal(page.Items[0])
		require.NoError(t, err)
		require.Contains(t, string(text), `"response_body":"/w==","response_body_base64":true`)
	})
}
