package projections_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// happened is an event of the company that was fanned out with these decisions, and is kept by the outbox.
func (s *scenario) happened(at time.Time, eventType string, decisions ...fact.EndpointChoice) uuid.UUID {
	s.Helper()
	event := uuid.New()
	told, err := json.Marshal(append([]fact.EndpointChoice{}, decisions...))
	require.NoError(s, err)
	s.exec(`WITH o AS (
		INSERT INTO webhooks.outbox (event_id, event_type, company_id, data, created_at) VALUES ($1, $2, $3, '{}', $4) RETURNING *
	), i AS (
		INSERT INTO webhooks.event_ids SELECT event_id, recorded_at, transaction_id, position FROM o
	)
	INSERT INTO webhooks.journal (fact, company_id, data)
	SELECT 'event.fanned_out', company_id, json_build_object('event_id', event_id, 'event_type', event_type, 'created_at', created_at,
	       'position', position, 'decisions', $5::json) FROM o`, event, eventType, s.company, at, string(told))
	return event
}

func TestMissingIsWhatAnEndpointSelectsAndWasNotSent(t *testing.T) {
	t.Parallel()
	s := owned(t)
	s.exec(`UPDATE webhooks.endpoints SET event_types = NULL`)
	choice := func(d fact.Decision) fact.EndpointChoice {
		return fact.EndpointChoice{EndpointID: s.endpoint, Version: 1, Decision: d, Trigger: fact.Automatic}
	}
	test := choice(fact.AddressedElsewhere)
	test.Trigger = fact.Test
	const started, completed = "conversation.started", "conversation.completed"
	now := time.Now().UTC().Truncate(time.Microsecond)
	at := func(ago time.Duration) time.Time { return now.Add(-ago) }
	one := int64(1)
	sent := fact.EndpointChoice{EndpointID: s.endpoint, Version: 1, Decision: fact.Chosen, DeliveryID: &one, Trigger: fact.Automatic}

	s.happened(at(3*time.Hour), started, choice(fact.EndpointIsDisabled)) // before the span
	disabled := s.happened(at(2*time.Hour), started, choice(fact.EndpointIsDisabled))
	before := s.happened(at(2*time.Hour), completed) // there was no endpoint then
	s.happened(at(2*time.Hour), started, sent)
	s.happened(at(2*time.Hour), started, test)
	s.happened(at(2*time.Hour), "test.webhook", choice(fact.EndpointIsDisabled))
	addressed := s.happened(at(2*time.Hour), started)
	s.exec(`UPDATE webhooks.outbox SET endpoint_id = gen_random_uuid() WHERE event_id = $1`, addressed)
	expired := s.happened(at(2*time.Hour), started, choice(fact.TypeNotSelected))
	s.exec(`DELETE FROM webhooks.outbox WHERE event_id = $1`, expired)
	asked := s.happened(at(2*time.Hour), started, choice(fact.TypeNotSelected))
	s.exec(`INSERT INTO webhooks.requested_deliveries VALUES ($1, $2, 7)`, asked, s.endpoint)
	s.happened(now, started, choice(fact.EndpointIsDisabled)) // the span ends before it
	stranger := *s
	stranger.company = uuid.New()
	stranger.happened(at(2*time.Hour), started)
	s.when()

	r := projections.NewReader(s.db.DB)
	span := projections.Span{CompanyID: s.company, EndpointID: s.endpoint, Since: at(2 * time.Hour), Until: now}
	types := []string{started, completed}
	all, err := r.Missing(t.Context(), span, types, projections.Missing{}, 10)
	require.NoError(t, err)
	var ids []uuid.UUID
	for _, m := range all {
		ids = append(ids, m.EventID)
	}
	require.Equal(t, []uuid.UUID{disabled, before, expired}, ids)
	require.Equal(t, []bool{true, true, false}, []bool{all[0].Kept, all[1].Kept, all[2].Kept})
	rest, err := r.Missing(t.Context(), span, types, all[0], 1)
	require.NoError(t, err)
	require.Equal(t, all[1:2], rest, "the place of one is where the next goes on")

	since := at(2 * time.Hour)
	count := func(types []string, limit int) []projections.MissingCount {
		counts, err := r.CountMissing(t.Context(), span, types, limit)
		require.NoError(t, err)
		return counts
	}
	require.Equal(t, []projections.MissingCount{{completed, 1, 0, &since}, {started, 1, 1, &since}}, count(types, 10))
	require.Equal(t, []projections.MissingCount{{started, 1, 0, &since}}, count(types, 1))
	require.Equal(t, []projections.MissingCount{{completed, 1, 0, &since}}, count([]string{completed}, 10))
	s.exec(`UPDATE webhooks.endpoints SET event_types = '{conversation.completed}' WHERE endpoint_id = $1`, s.endpoint)
	require.Equal(t, []projections.MissingCount{{completed, 1, 0, &since}}, count(types, 10), "of what it selects now")
	span.CompanyID = stranger.company
	require.Empty(t, count(types, 10), "another company's endpoint")
	_, err = r.Missing(t.Context(), span, types, projections.Missing{}, 0)
	require.Error(t, err)
}
