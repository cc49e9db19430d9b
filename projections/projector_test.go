package projections_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

func TestHistoryFollowsFacts(t *testing.T) {
	t.Parallel()

	t.Run("FanOutMakesAnEventAndItsDeliveries", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.given(s.fannedOut(1, 2))
		s.when()
		d := s.thenDelivery(2)
		require.Equal(t, "pending", d.State)
		require.Equal(t, s.company, d.CompanyID)
		require.Equal(t, 1, d.Generation)
		require.Zero(t, d.Attempts)
		require.Nil(t, d.FirstAttemptAt)
		e, err := projections.NewReader(s.db.DB).Event(t.Context(), s.company, s.event)
		require.NoError(t, err)
		require.Equal(t, s.noon, e.CreatedAt)
		require.Equal(t, int64(7), e.Position)
	})

	t.Run("BornAndFinishedInOnePage", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.given(s.fannedOut(1))
		s.given(s.failed(1, 1))
		last := s.attempt(1, 2, fact.Delivered)
		last.Total = 7000
		s.given(s.of(fact.AttemptSucceeded, last))
		s.when()
		d := s.thenDelivery(1)
		require.Equal(t, "delivered", d.State)
		require.Equal(t, 2, d.Attempts)
		require.Equal(t, s.noon.Add(60e9), *d.FirstAttemptAt)
		require.Equal(t, s.noon.Add(120e9), *d.LastAttemptAt)
		require.NotNil(t, d.FinishedAt)
		require.Nil(t, d.NextAttemptAt)
		require.Equal(t, 200, *d.LastStatus)
		require.Equal(t, last.Total, *d.LastTotalUs, "of the last attempt")
	})

	t.Run("FailureIsRetriedAtTheTimeItSays", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.given(s.fannedOut(1))
		s.when()
		s.given(s.failed(1, 1))
		s.when()
		d := s.thenDelivery(1)
		require.Equal(t, "retrying", d.State)
		require.Equal(t, s.noon.Add(120e9), *d.NextAttemptAt)
		require.Equal(t, "status_5xx", *d.LastReason)
		require.Nil(t, d.FinishedAt)
	})

	t.Run("InterruptedChangesOnlyWhatItSays", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		a := s.attempt(1, 1, fact.Pending)
		a.Completed, a.Reason, a.Status = 0, fact.Interrupted, 0
		s.given(s.fannedOut(1), s.of(fact.AttemptInterrupted, a))
		s.when()
		d := s.thenDelivery(1)
		require.Equal(t, "pending", d.State)
		require.Zero(t, d.Attempts)
		require.Nil(t, d.LastStatus)
		require.Equal(t, "interrupted", *d.LastReason)
		require.Nil(t, d.LastTotalUs, "nobody knows how long it took")
	})

	t.Run("StaleIsKeptAndMovesNothing", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.given(s.fannedOut(1))
		s.when()
		before := s.thenDelivery(1)
		s.given(s.of(fact.AttemptStale, s.attempt(1, 1, fact.Delivered)))
		s.when()
		require.Equal(t, before, s.thenDelivery(1))
		all := history(t, s.db.DB)
		require.Len(t, all["attempts"], 1)
		require.Empty(t, all["endpoint_slots"])
	})

	t.Run("ReplayOpensAGeneration", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.given(s.fannedOut(1), s.succeeded(1, 1))
		s.when()
		s.given(s.delivery(fact.DeliveryReplayed, 1, 2, fact.Pending))
		s.when()
		d := s.thenDelivery(1)
		require.Equal(t, "pending", d.State)
		require.Equal(t, 2, d.Generation)
		require.Zero(t, d.Attempts)
		require.Equal(t, "manual", d.Trigger)
		require.Nil(t, d.FinishedAt)
		require.NotNil(t, d.FirstAttemptAt)
	})

	t.Run("EndsByDeliveryFacts", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.given(s.fannedOut(1, 2), s.failed(1, 1))
		s.given(s.delivery(fact.DeliveryExhausted, 1, 1, fact.Exhausted), s.delivery(fact.DeliveryCancelled, 2, 1, fact.Cancelled))
		s.when()
		require.Equal(t, "exhausted", s.thenDelivery(1).State)
		require.Nil(t, s.thenDelivery(1).NextAttemptAt)
		require.Equal(t, "cancelled", s.thenDelivery(2).State)
	})

	t.Run("TerminalStaysTerminal", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.given(s.fannedOut(1), s.succeeded(1, 1))
		s.when()
		s.given(s.delivery(fact.DeliveryCancelled, 1, 1, fact.Cancelled))
		s.when()
		require.Equal(t, "delivered", s.thenDelivery(1).State)
	})

	t.Run("UnknownFactsArePassedOver", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.given(s.of("delivery.levitated", map[string]int{"delivery_id": 1}), s.of(fact.BreakerOpened, fact.Breaker{EndpointID: s.endpoint}),
			s.of(fact.AttemptsStarted, fact.Started{Batch: 1}), s.fannedOut(1))
		s.when()
		require.Equal(t, "pending", s.thenDelivery(1).State)
	})

	t.Run("EventWithoutEndpoints", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.given(s.fannedOut())
		s.when()
		require.Len(t, history(t, s.db.DB)["events"], 1)
	})
}

func TestApplyingAgainChangesNothing(t *testing.T) {
	t.Parallel()
	s := setup(t)
	config := &fact.EndpointConfig{URL: "https://example.com", State: "enabled"}
	s.given(s.of(fact.EndpointCreated, fact.Endpoint{EndpointID: s.endpoint, Version: 1, Actor: "ada", Reason: fact.ByRequest, New: config}))
	s.given(s.fannedOut(1, 2, 3))
	s.given(s.failed(1, 1), s.succeeded(2, 1), s.failed(3, 1))
	s.given(s.delivery(fact.DeliveryCancelled, 1, 1, fact.Cancelled))
	s.given(s.delivery(fact.DeliveryReplayed, 1, 2, fact.Pending))
	again := s.attempt(1, 2, fact.Retrying)
	again.Generation, again.Completed, again.Trigger = 2, 1, fact.Manual
	s.given(s.of(fact.AttemptFailed, again))
	s.when()
	want := history(t, s.db.DB)
	require.Equal(t, "retrying", s.thenDelivery(1).State)
	for _, rows := range []int{1, 2, 3, 1000} {
		s.rewind()
		require.NoError(t, projections.New(projections.Config{DB: s.db.DB, PageRows: rows}).RunToEnd(t.Context()))
		require.Equal(t, want, history(t, s.db.DB), "pages of %d", rows)
	}
}

// Only a reader that runs gives restored facts their new ids; whoever reads a few pages must not take none for the end.
func TestJournalRestoredFromAnotherClusterIsNotTakenForRead(t *testing.T) {
	t.Parallel()
	s := setup(t)
	s.given(s.fannedOut(1))
	s.when()
	_, err := s.db.Owner.ExecContext(t.Context(), `UPDATE webhooks.cursors SET system_identifier = 1`)
	require.NoError(t, err)
	_, err = projections.New(projections.Config{DB: s.db.DB}).RunOnce(t.Context())
	require.ErrorContains(t, err, "the log was restored from another cluster")
}
