package projections_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

func TestDeliveriesSince(t *testing.T) {
	t.Parallel()
	s := owned(t)
	r := projections.NewReader(s.db.DB)
	mine := projections.Filter{CompanyID: s.company, EndpointID: s.endpoint}
	since := func(f projections.Filter, point int64) projections.Changes {
		t.Helper()
		changes, err := r.DeliveriesSince(t.Context(), f, point)
		require.NoError(t, err)
		return changes
	}
	empty := since(mine, projections.Now)
	require.Zero(t, empty.Next)
	s.given(s.fannedOut(1, 2))
	s.when()
	require.Len(t, since(mine, empty.Next).Deliveries, 2, "the first of all changes are changes too")
	begin := since(mine, projections.Now)
	require.Empty(t, begin.Deliveries)
	require.Positive(t, begin.Next)
	require.Equal(t, begin, since(mine, begin.Next))

	s.given(s.failed(1, 1))
	s.when()
	s.given(s.failed(1, 2))
	s.when()
	changed := since(mine, begin.Next)
	require.Len(t, changed.Deliveries, 1, "each once, as it is now")
	require.Equal(t, 2, changed.Deliveries[0].Attempts)
	require.False(t, changed.Reset)
	require.Empty(t, since(mine, changed.Next).Deliveries)

	other := *s
	other.position, other.company, other.event, other.endpoint = 8, uuid.New(), uuid.New(), uuid.New()
	s.given(other.fannedOut(6))
	s.when()
	require.Empty(t, since(mine, changed.Next).Deliveries)
	require.Empty(t, since(projections.Filter{CompanyID: uuid.New()}, begin.Next).Deliveries)
	require.Empty(t, since(projections.Filter{CompanyID: other.company, EndpointID: s.endpoint}, begin.Next).Deliveries)
	require.Len(t, since(projections.Filter{CompanyID: s.company}, begin.Next).Deliveries, 1, "of a whole company")

	// A point that is too old or unknown, or too much to tell, is a reset.
	one := mine
	one.Limit = 1
	s.given(s.succeeded(1, 3), s.succeeded(2, 1))
	s.when()
	require.True(t, since(one, begin.Next).Reset, "more than one answer holds")
	s.exec(`SELECT setval('webhooks.delivery_feed_page', 1000)`)
	s.given(s.fannedOut(9))
	s.when()
	require.True(t, since(mine, begin.Next).Reset, "forgotten")
	require.True(t, since(mine, 5000).Reset, "from before a crash")
	require.Equal(t, int64(1001), since(mine, projections.Now).Next)
}

func TestUpcoming(t *testing.T) {
	t.Parallel()
	s := owned(t)
	s.given(s.fannedOut(1, 2, 3))
	s.when()
	s.exec(`INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id, due_at, completed, generation) VALUES
		($1, 1, $2, $3::timestamptz + interval '2 hours', 2, 1), ($1, 2, $2, $3, 1, 2), ($1, 3, $2, NULL, 0, 1)`, s.endpoint, s.event, s.noon)
	s.exec(`UPDATE webhooks.lanes SET breaker = 'open', not_before = $1`, s.noon.Add(time.Hour))
	r := projections.NewReader(s.db.DB)
	list, err := r.Upcoming(t.Context(), s.company, s.endpoint, 10)
	require.NoError(t, err)
	require.Equal(t, []projections.Upcoming{
		{
			DeliveryID: 2, EventID: s.event, EventType: "conversation.started", Trigger: "automatic", Generation: 2, Attempt: 2,
			DueAt: s.noon, At: s.noon.Add(time.Hour),
		},
		{
			DeliveryID: 1, EventID: s.event, EventType: "conversation.started", Trigger: "automatic", Generation: 1, Attempt: 3,
			DueAt: s.noon.Add(2 * time.Hour), At: s.noon.Add(2 * time.Hour),
		},
	}, list)
	list, err = r.Upcoming(t.Context(), s.company, s.endpoint, 1)
	require.NoError(t, err)
	require.Len(t, list, 1)
	list, err = r.Upcoming(t.Context(), uuid.New(), s.endpoint, 10)
	require.NoError(t, err)
	require.Empty(t, list)
	s.exec(`UPDATE webhooks.endpoints SET state = 'disabled'`)
	list, err = r.Upcoming(t.Context(), s.company, s.endpoint, 1)
	require.NoError(t, err)
	require.True(t, list[0].Held)
}

func TestFailedDeliveriesOfASpan(t *testing.T) {
	t.Parallel()
	s := owned(t)
	s.given(s.fannedOut(1, 2, 3, 4, 5))
	s.given(s.failed(1, 1), s.failed(2, 1), s.failed(2, 2), s.succeeded(3, 1), s.failed(4, 1))
	for _, id := range []int64{2, 1, 5} {
		s.given(s.delivery(fact.DeliveryExhausted, id, 1, fact.Exhausted))
	}
	s.when()
	s.exec(`UPDATE webhooks.deliveries SET trigger = 'test' WHERE delivery_id = 5`)
	r := projections.NewReader(s.db.DB)
	span := projections.Span{CompanyID: s.company, EndpointID: s.endpoint, Since: time.Now().Add(-time.Hour)}
	n, err := r.CountFailed(t.Context(), span, 10)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	n, err = r.CountFailed(t.Context(), span, 1)
	require.NoError(t, err)
	require.Equal(t, 1, n, "counting ends at the limit")

	list, err := r.Failed(t.Context(), span, projections.Failed{}, 1)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, int64(2), list[0].DeliveryID, "in the order in which they failed")
	require.Equal(t, 2, list[0].Attempts)
	require.Equal(t, s.noon.Add(time.Minute), *list[0].FirstAttemptAt)
	list, err = r.Failed(t.Context(), span, list[0], 10)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, int64(1), list[0].DeliveryID)

	for name, change := range map[string]func(*projections.Span){
		"Later":   func(s *projections.Span) { s.Since = time.Now().Add(time.Hour) },
		"Earlier": func(s *projections.Span) { s.Until = time.Now().Add(-time.Minute) },
		"Foreign": func(s *projections.Span) { s.CompanyID = uuid.New() },
		"Unknown": func(s *projections.Span) { s.EndpointID = uuid.New() },
	} {
		none := span
		change(&none)
		n, err := r.CountFailed(t.Context(), none, 10)
		require.NoError(t, err)
		require.Zero(t, n, name)
		list, err := r.Failed(t.Context(), none, projections.Failed{}, 10)
		require.NoError(t, err)
		require.Empty(t, list, name)
	}
	_, err = r.Failed(t.Context(), span, projections.Failed{}, 0)
	require.ErrorContains(t, err, "want 1 to 10000")
}

func TestDeliveryFilters(t *testing.T) {
	t.Parallel()
	s := owned(t)
	s.given(s.fannedOut(1, 2, 3, 4, 5, 6))
	client := s.attempt(2, 1, fact.Exhausted)
	client.Reason, client.Status = fact.StatusClient, 404
	silent := s.attempt(3, 1, fact.Retrying)
	silent.Reason, silent.Status = fact.Timeout, 0
	s.given(s.failed(1, 1), s.of(fact.AttemptFailed, client), s.of(fact.AttemptFailed, silent), s.succeeded(4, 1))
	s.given(s.succeeded(6, 1), s.delivery(fact.DeliveryReplayed, 6, 2, fact.Pending))
	s.when()
	r := projections.NewReader(s.db.DB)
	ids := func(change func(*projections.Filter)) []int64 {
		t.Helper()
		// Both ways: through the endpoints of a company, and in the order of ids.
		var both [2][]int64
		for i, company := range []uuid.UUID{s.company, uuid.Nil} {
			f := projections.Filter{CompanyID: company, Limit: 2}
			change(&f)
			list := []int64{}
			for _, d := range pages(t, func(f projections.Filter) (projections.Page[projections.Delivery], error) {
				return r.Deliveries(t.Context(), f)
			}, f) {
				list = append(list, d.DeliveryID)
			}
			both[i] = list
		}
		require.Equal(t, both[0], both[1])
		return both[0]
	}
	for name, c := range map[string]struct {
		change func(*projections.Filter)
		want   []int64
	}{
		"All":             {func(*projections.Filter) {}, []int64{6, 5, 4, 3, 2, 1}},
		"States":          {func(f *projections.Filter) { f.States = []string{"exhausted", "retrying"} }, []int64{3, 2, 1}},
		"StateAndStates":  {func(f *projections.Filter) { f.State, f.States = "delivered", []string{"exhausted"} }, []int64{4, 2}},
		"Pending":         {func(f *projections.Filter) { f.State = "pending" }, []int64{6, 5}},
		"Class2xx":        {func(f *projections.Filter) { f.StatusClass = "2xx" }, []int64{6, 4}},
		"Class4xx":        {func(f *projections.Filter) { f.StatusClass = "4xx" }, []int64{2}},
		"Class5xx":        {func(f *projections.Filter) { f.StatusClass = "5xx" }, []int64{1}},
		"NoAnswer":        {func(f *projections.Filter) { f.StatusClass = "none" }, []int64{3}},
		"Trigger":         {func(f *projections.Filter) { f.Trigger = "manual" }, []int64{6}},
		"Reason":          {func(f *projections.Filter) { f.Reason = "timeout" }, []int64{3}},
		"SearchDelivery":  {func(f *projections.Filter) { f.Search = "4" }, []int64{4}},
		"SearchEvent":     {func(f *projections.Filter) { f.Search = s.event.String() }, []int64{6, 5, 4, 3, 2, 1}},
		"SearchUnknown":   {func(f *projections.Filter) { f.Search = uuid.NewString() }, []int64{}},
		"ClassAndPending": {func(f *projections.Filter) { f.StatusClass, f.State = "4xx", "pending" }, []int64{}},
	} {
		require.Equal(t, c.want, ids(c.change), name)
	}
	for _, f := range []projections.Filter{{Search: "%"}, {Search: "' OR 1"}, {Search: "-1"}, {StatusClass: "6xx"}} {
		_, err := r.Deliveries(t.Context(), f)
		var bad *projections.BadFilterError
		require.ErrorAs(t, err, &bad)
	}
	s.exec(`UPDATE webhooks.endpoints SET state = 'disabled'`)
	require.Equal(t, []int64{6, 5, 3, 1}, ids(func(f *projections.Filter) { f.State = "held" }))
	require.Equal(t, []int64{}, ids(func(f *projections.Filter) { f.State = "retrying" }))
}

// A question that finds little is answered in parts: none looks through more than 10 000 deliveries, and together they
// look through all of them.
func TestAWalkIsCutAndGoesOn(t *testing.T) {
	t.Parallel()
	f := fill(t, 40000)
	r := projections.NewReader(f.DB.DB)
	f2 := projections.Filter{CompanyID: f.company, EndpointID: f.endpoint, EventType: "conversation.started", Trigger: "manual", Limit: 10}
	f.oneOfEach(t)
	walked, found := 0, []int64{}
	for {
		page, err := r.Deliveries(t.Context(), f2)
		require.NoError(t, err)
		for _, d := range page.Items {
			found = append(found, d.DeliveryID)
		}
		walked++
		if page.Next == "" {
			break
		}
		f2.Cursor = page.Next
	}
	require.Equal(t, []int64{39996, 19998, 6}, found)
	require.GreaterOrEqual(t, walked, 2)
	require.LessOrEqual(t, walked, 3)
}

func (f filled) oneOfEach(t *testing.T) {
	t.Helper()
	_, err := f.ExecContext(t.Context(), `UPDATE webhooks.deliveries SET trigger = 'manual' WHERE delivery_id IN (6, 19998, 39996)`)
	require.NoError(t, err)
}
