package projections_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// exec does what no relay may: it makes what must be found.
func (s *scenario) exec(query string, args ...any) {
	s.Helper()
	_, err := s.db.Owner.ExecContext(s.Context(), query, args...)
	require.NoError(s, err)
}

func (s *scenario) audit() projections.Ledger {
	s.Helper()
	ledger, err := projections.Audit(s.Context(), s.db.DB)
	require.NoError(s, err)
	return ledger
}

// sound is an event that was fanned out to one endpoint and is still to be sent.
func (s *scenario) sound() {
	s.Helper()
	s.exec(`INSERT INTO webhooks.outbox (event_id, event_type, company_id, data) VALUES ($1, 'conversation.started', $2, '{}')`, s.event, s.company)
	s.exec(`INSERT INTO webhooks.event_ids SELECT event_id, recorded_at, transaction_id, position FROM webhooks.outbox`)
	s.exec(`INSERT INTO webhooks.cursors (topic, consumer_group, from_snapshot, system_identifier) VALUES ('outbox', 'fan-out', pg_current_snapshot(), 1)`)
	s.exec(`INSERT INTO webhooks.endpoints (endpoint_id, company_id, url, state_actor) VALUES ($1, $2, 'https://example.com', 'ada')`, s.endpoint, s.company)
	s.exec(`INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id) VALUES ($1, 1, $2)`, s.endpoint, s.event)
	s.given(s.fannedOut(1))
}

func TestAuditAccountsForEverything(t *testing.T) {
	t.Parallel()

	t.Run("SoundIsZero", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.sound()
		s.when()
		require.Equal(t, projections.Ledger{Events: 1, Decisions: 1, Deliveries: 1, Pending: 1, Details: []string{}}, s.audit())
	})

	t.Run("LagIsWaiting", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.sound()
		ledger := s.audit()
		require.Zero(t, ledger.Unaccounted, ledger.Details)
		require.Equal(t, int64(1), ledger.ProjectionLagFacts)
		require.Equal(t, int64(1), ledger.Waiting)
		s.when()
		s.given(s.succeeded(1, 1))
		s.exec(`DELETE FROM webhooks.pending`)
		require.Zero(t, s.audit().Unaccounted)
		s.when()
		require.Zero(t, s.audit().Unaccounted)
		require.Equal(t, int64(1), s.audit().Delivered)
	})

	t.Run("UnreadEventIsWaiting", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.sound()
		s.when()
		s.exec(`INSERT INTO webhooks.outbox (event_type, company_id, data) VALUES ('conversation.started', $1, '{}')`, s.company)
		require.Equal(t, int64(1), s.audit().Waiting)
		require.Zero(t, s.audit().Unaccounted)
	})

	t.Run("RequestedIsAccountedForAndRebuilt", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.sound()
		s.exec(`UPDATE webhooks.pending SET delivery_id = 9, trigger = 'manual'`)
		s.exec(`DELETE FROM webhooks.journal`)
		s.given(s.decided(fact.TypeNotSelected, 1, nil))
		s.claimed(9)
		s.given(s.requested(9))
		require.Zero(t, s.audit().Unaccounted, "the facts are unread")
		s.when()
		require.Equal(t, projections.Ledger{Events: 1, Decisions: 1, Deliveries: 1, Pending: 1, Details: []string{}}, s.audit())
		report, err := projections.Rebuild(t.Context(), s.db.DB, projections.Options{Verify: true})
		require.NoError(t, err)
		require.True(t, report.Equal, "%+v", report)
	})

	t.Run("DisabledEndpointHolds", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.sound()
		s.when()
		s.exec(`UPDATE webhooks.endpoints SET state = 'disabled'`)
		require.Equal(t, int64(1), s.audit().Held)
	})

	for name, breakIt := range map[string]func(*scenario){
		"LostEvent": func(s *scenario) {
			s.exec(`DELETE FROM webhooks.event_ids`)
		},
		"UntoldEvent": func(s *scenario) {
			s.exec(`DELETE FROM webhooks.events`)
		},
		"UndecidedEndpoint": func(s *scenario) {
			s.exec(`INSERT INTO webhooks.endpoints (company_id, url, state_actor, created_at) VALUES ($1, 'https://example.com', 'ada', $2)`,
				s.company, time.Now().Add(-time.Hour))
		},
		"ChosenWithoutDelivery": func(s *scenario) {
			s.exec(`DELETE FROM webhooks.deliveries`)
			s.exec(`DELETE FROM webhooks.pending`)
		},
		"Stranded": func(s *scenario) { s.exec(`DELETE FROM webhooks.pending`) },
		"PendingThoughDelivered": func(s *scenario) {
			s.given(s.succeeded(1, 1))
			s.when()
		},
		"RequestedWithoutDelivery": func(s *scenario) {
			s.exec(`UPDATE webhooks.events SET decisions = replace(decisions::text, 'chosen', 'endpoint_disabled')::json`)
			s.claimed(9)
		},
		"ChosenAndRequested": func(s *scenario) {
			s.claimed(1)
		},
		"OrphanedIntent": func(s *scenario) {
			s.exec(`INSERT INTO webhooks.intents VALUES ($1, 1, now(), ARRAY[$2::uuid], ARRAY[1], ARRAY[1])`, uuid.New(), s.endpoint)
		},
	} {
		t.Run(name+"IsUnaccounted", func(t *testing.T) {
			t.Parallel()
			s := setup(t)
			s.sound()
			s.when()
			breakIt(s)
			ledger := s.audit()
			require.Equal(t, int64(1), ledger.Unaccounted, ledger.Details)
			require.Len(t, ledger.Details, 1)
		})
	}
}

func TestRebuild(t *testing.T) {
	t.Parallel()

	full := func(s *scenario) {
		s.given(s.of(fact.EndpointCreated, fact.Endpoint{EndpointID: s.endpoint, Version: 1, Actor: "ada", New: &fact.EndpointConfig{URL: "https://example.com"}}))
		s.given(s.fannedOut(1, 2))
		s.given(s.failed(1, 1), s.succeeded(2, 1))
		s.given(s.succeeded(1, 2))
		require.NoError(s, projections.New(projections.Config{DB: s.db.DB, PageRows: 3}).RunToEnd(s.Context()))
	}

	t.Run("VerifyFindsEquality", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		full(s)
		s.given(s.fannedOut(3)) // unread: not to be rebuilt
		report, err := projections.Rebuild(t.Context(), s.db.DB, projections.Options{Verify: true, PageRows: 2})
		require.NoError(t, err)
		require.True(t, report.Equal, "%+v", report)
		require.Equal(t, 5, report.Facts)
		require.False(t, report.Truncated)
	})

	t.Run("VerifyInTheMiddleOfAWindow", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		s.given(s.fannedOut(1), s.failed(1, 1), s.succeeded(1, 2))
		n, err := projections.New(projections.Config{DB: s.db.DB, PageRows: 2}).RunOnce(t.Context())
		require.NoError(t, err)
		require.Equal(t, 2, n)
		report, err := projections.Rebuild(t.Context(), s.db.DB, projections.Options{Verify: true})
		require.NoError(t, err)
		require.True(t, report.Equal, "%+v", report)
		require.Equal(t, 2, report.Facts)
	})

	t.Run("VerifyNamesTheTableThatDiffersAndLeavesIt", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		full(s)
		s.exec(`UPDATE webhooks.deliveries SET state = 'cancelled' WHERE delivery_id = 1`)
		report, err := projections.Rebuild(t.Context(), s.db.DB, projections.Options{Verify: true})
		require.NoError(t, err)
		require.False(t, report.Equal)
		require.Equal(t, projections.TableDiff{Table: "deliveries", Live: 2, Rebuilt: 2, OnlyLive: 1, OnlyRebuilt: 1}, report.Tables[1])
		require.Equal(t, "cancelled", s.thenDelivery(1).State)
	})

	t.Run("ReplacesTheLiveRows", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		full(s)
		want := history(t, s.db.DB)
		s.exec(`UPDATE webhooks.deliveries SET state = 'cancelled'`)
		s.exec(`DELETE FROM webhooks.attempts`)
		report, err := projections.Rebuild(t.Context(), s.db.DB, projections.Options{})
		require.NoError(t, err)
		require.True(t, report.Replaced)
		require.Equal(t, want, history(t, s.db.DB))
		report, err = projections.Rebuild(t.Context(), s.db.DB, projections.Options{Verify: true})
		require.NoError(t, err)
		require.True(t, report.Equal)
	})

	t.Run("KeepsWhatRetentionMadeUnrebuildable", func(t *testing.T) {
		t.Parallel()
		s := setup(t)
		full(s)
		want := history(t, s.db.DB)
		s.exec(`DELETE FROM webhooks.journal WHERE fact LIKE 'e%'`)
		report, err := projections.Rebuild(t.Context(), s.db.DB, projections.Options{})
		require.NoError(t, err)
		require.True(t, report.Truncated)
		require.Equal(t, want, history(t, s.db.DB))
	})
}
