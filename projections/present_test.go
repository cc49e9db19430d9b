package projections_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// everywhere asks for a delivery in each way that there is, and wants the same answer of all.
func (s *scenario) everywhere(id int64) projections.Delivery {
	s.Helper()
	r := projections.NewReader(s.db.DB)
	one := s.thenDelivery(id)
	for _, f := range []projections.Filter{
		{CompanyID: s.company}, {CompanyID: s.company, EndpointID: s.endpoint}, {CompanyID: s.company, EventID: s.event}, {},
	} {
		page, err := r.Deliveries(s.Context(), f)
		require.NoError(s, err)
		require.Contains(s, page.Items, one)
	}
	changes, err := r.DeliveriesSince(s.Context(), projections.Filter{CompanyID: s.company}, 0)
	require.NoError(s, err)
	require.Contains(s, changes.Deliveries, one)
	return one
}

// What holds now is told beside what the history knows, and the view agrees.
func TestWhatHoldsNow(t *testing.T) {
	t.Parallel()
	s := owned(t)
	s.given(s.fannedOut(1, 2), s.failed(2, 1))
	s.when()
	next := func() (at, since *time.Time) {
		t.Helper()
		err := s.db.QueryRowContext(t.Context(), `SELECT next_attempt_at, delivering_since FROM webhooks.delivery_history WHERE delivery_id = 2`).Scan(&at, &since)
		require.NoError(t, err)
		return at, since
	}
	soon, later := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond), time.Now().Add(2*time.Hour).UTC().Truncate(time.Microsecond)
	s.exec(`INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id, due_at, completed, started) VALUES
		($1, 1, $2, NULL, 0, 0), ($1, 2, $2, $3, 1, 1)`, s.endpoint, s.event, soon)

	fresh, retrying := s.everywhere(1), s.everywhere(2)
	require.Nil(t, fresh.NextAttemptAt, "at once")
	require.Empty(t, fresh.WaitsFor)
	require.Equal(t, &soon, retrying.NextAttemptAt, "as the relay knows it")
	require.Empty(t, retrying.WaitsFor)

	// Behind a breaker.
	s.exec(`UPDATE webhooks.lanes SET breaker = 'open', not_before = $1`, later)
	for _, id := range []int64{1, 2} {
		d := s.everywhere(id)
		require.Equal(t, &later, d.NextAttemptAt)
		require.Equal(t, projections.WaitsForBreaker, d.WaitsFor)
	}
	at, _ := next()
	require.Equal(t, later, at.UTC())
	s.exec(`UPDATE webhooks.deliveries SET trigger = 'test' WHERE delivery_id = 2`)
	require.Equal(t, &soon, s.everywhere(2).NextAttemptAt, "tests pass it")
	s.exec(`UPDATE webhooks.deliveries SET trigger = 'automatic' WHERE delivery_id = 2`)
	s.exec(`UPDATE webhooks.lanes SET not_before = $1`, s.noon)
	require.Equal(t, projections.WaitsForProbe, s.everywhere(1).WaitsFor)
	require.Empty(t, s.everywhere(2).WaitsFor, "its time has not come")

	// Disabled.
	s.exec(`UPDATE webhooks.endpoints SET state = 'disabled'`)
	held := s.everywhere(2)
	require.Equal(t, "held", held.State)
	require.Nil(t, held.NextAttemptAt)
	require.Equal(t, projections.WaitsForEnabled, held.WaitsFor)
	at, _ = next()
	require.Nil(t, at)
	s.exec(`UPDATE webhooks.endpoints SET state = 'enabled'`)

	// Under way: an intent of another attempt, or of another's delivery, is not it.
	began := time.Now().UTC().Truncate(time.Microsecond)
	s.exec(`INSERT INTO webhooks.intents (relay_id, batch, started_at, endpoint_ids, delivery_ids, attempts) VALUES
		($1, 1, $4, ARRAY[$2, $2, $3]::uuid[], '{2,1,1}', '{1,2,1}')`, uuid.New(), s.endpoint, uuid.New(), s.noon)
	require.Nil(t, s.everywhere(2).DeliveringSince)
	require.Nil(t, s.everywhere(1).DeliveringSince)
	s.exec(`INSERT INTO webhooks.intents (relay_id, batch, started_at, endpoint_ids, delivery_ids, attempts) VALUES
		($1, 2, $3, ARRAY[$2, $2]::uuid[], '{2,1}', '{2,1}')`, uuid.New(), s.endpoint, began)
	for _, id := range []int64{1, 2} {
		d := s.everywhere(id)
		require.Equal(t, &began, d.DeliveringSince)
		require.Nil(t, d.NextAttemptAt)
		require.Empty(t, d.WaitsFor)
	}
	_, since := next()
	require.Equal(t, began, since.UTC())

	// Who asked for it again.
	s.exec(`INSERT INTO webhooks.replays (endpoint_id, delivery_id, generation, actor, asked_at) VALUES ($1, 2, 2, 'portal:anna', $2)`, s.endpoint, began)
	again := s.everywhere(2)
	require.Equal(t, "portal:anna", again.RetriedBy)
	require.Equal(t, &began, again.RetriedAt)
	s.given(s.requested(3))
	s.when()
	require.Equal(t, "carol", s.thenDelivery(3).RequestedBy)

	// Over: nothing of that holds.
	s.given(s.delivery(fact.DeliveryExhausted, 2, 1, fact.Exhausted))
	s.when()
	over := s.everywhere(2)
	require.Nil(t, over.DeliveringSince)
	require.Nil(t, over.NextAttemptAt)
	require.Empty(t, over.WaitsFor)
}
