package projections_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox/wire"
	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/schema/fact"
	"github.com/chattosurvey/surveyhooks/schema/retention"
)

// decided is the event's fact with one decision about the endpoint.
func (s *scenario) decided(d fact.Decision, version int, delivery *int64) fact.Fact {
	return s.of(fact.EventFannedOut, fact.FannedOut{
		EventID: s.event, EventType: "conversation.started", CreatedAt: s.noon, Position: s.position,
		Decisions: []fact.EndpointChoice{{EndpointID: s.endpoint, Version: version, Decision: d, DeliveryID: delivery, Trigger: fact.Automatic}},
	})
}

func (s *scenario) changed(name fact.Name, version int, actor string, reason fact.Reason, types ...string) fact.Fact {
	return s.of(name, fact.Endpoint{
		EndpointID: s.endpoint, Version: version, Actor: actor, Reason: reason, New: &fact.EndpointConfig{EventTypes: types, State: "enabled"},
	})
}

func TestDecision(t *testing.T) {
	t.Parallel()
	one := int64(1)
	for name, c := range map[string]struct {
		given func(*scenario)
		want  projections.Verdict
		words string
		check func(*testing.T, projections.Decision)
	}{
		"TypeNotSelected": {
			func(s *scenario) {
				s.given(s.changed(fact.EndpointCreated, 1, "ada", fact.ByRequest), s.changed(fact.EndpointUpdated, 2, "bob", fact.ByRequest, "test.webhook"))
				s.given(s.decided(fact.TypeNotSelected, 2, nil))
				s.given(s.changed(fact.EndpointUpdated, 3, "carol", fact.ByRequest))
			},
			projections.TypeNotSelected, "it had test.webhook, as bob set it at 20",
			func(t *testing.T, d projections.Decision) {
				t.Helper()
				require.Equal(t, 2, *d.Version)
				require.Equal(t, "bob", d.Config.Actor)
				require.Equal(t, []string{"test.webhook"}, d.Selected)
			},
		},
		"Disabled": {
			func(s *scenario) {
				s.given(s.changed(fact.EndpointCreated, 1, "ada", fact.ByRequest), s.changed(fact.EndpointDisabled, 2, "relay", fact.Gone))
				s.given(s.decided(fact.EndpointIsDisabled, 2, nil))
			},
			projections.EndpointIsDisabled, "by relay: the endpoint answered 410 Gone",
			func(t *testing.T, d projections.Decision) {
				t.Helper()
				require.Equal(t, fact.Gone, d.Disabled.Reason)
			},
		},
		"DisabledWithANote": {
			func(s *scenario) {
				off := s.changed(fact.EndpointDisabled, 2, "ada", fact.ByRequest)
				body, _ := off.Body.(fact.Endpoint) // made so by changed
				body.Note = "Moving to the new CRM."
				off.Body = body
				s.given(s.changed(fact.EndpointCreated, 1, "ada", fact.ByRequest), off)
				s.given(s.decided(fact.EndpointIsDisabled, 2, nil))
			},
			projections.EndpointIsDisabled, "by ada: somebody asked for it (“Moving to the new CRM.”)",
			func(t *testing.T, d projections.Decision) {
				t.Helper()
				require.Equal(t, "Moving to the new CRM.", d.Disabled.Note)
			},
		},
		"CreatedAfterButSeen": {
			func(s *scenario) { s.given(s.decided(fact.CreatedAfterEvent, 1, nil)) },
			projections.CreatedAfterEvent, "after the event", nil,
		},
		"CreatedAfterTheFanOut": {
			func(s *scenario) {
				s.given(s.of(fact.EventFannedOut, fact.FannedOut{EventID: s.event, EventType: "conversation.started", CreatedAt: s.noon}))
			},
			projections.CreatedAfterEvent, "after the event", nil,
		},
		"DeletedBefore": {
			func(s *scenario) {
				s.exec(`UPDATE webhooks.endpoints SET deleted_at = $1`, s.noon)
				s.given(s.of(fact.EventFannedOut, fact.FannedOut{EventID: s.event, EventType: "conversation.started", CreatedAt: s.noon}))
			},
			projections.EndpointWasDeleted, "had been deleted", nil,
		},
		"AddressedElsewhere": {
			func(s *scenario) {
				s.publish(`{}`, uuid.MustParse("ffffffff-0000-7000-8000-000000000002"))
				s.given(s.decided(fact.AddressedElsewhere, 1, nil))
			},
			projections.AddressedElsewhere, "another endpoint",
			func(t *testing.T, d projections.Decision) {
				t.Helper()
				require.Equal(t, "ffffffff-0000-7000-8000-000000000002", d.AddressedTo.String())
			},
		},
		"Sent": {
			func(s *scenario) { s.given(s.decided(fact.Chosen, 1, &one), s.succeeded(1, 1)) },
			projections.WasChosen, "delivery 1 is delivered", nil,
		},
		"RequestedAfterwards": {
			func(s *scenario) {
				s.given(s.decided(fact.TypeNotSelected, 1, nil))
				s.claimed(9)
				s.given(s.requested(9), s.succeeded(9, 1))
			},
			projections.TypeNotSelected, "had not selected conversation.started; it was requested by carol at 20",
			func(t *testing.T, d projections.Decision) {
				t.Helper()
				require.Contains(t, d.Words(), "and it was sent: delivery 9 is delivered")
				require.Equal(t, int64(9), d.Delivery.DeliveryID)
				require.False(t, d.MayBeRequested(), "once")
			},
		},
		"RequestedAndHeld": {
			func(s *scenario) {
				s.given(s.changed(fact.EndpointDisabled, 2, "bob", fact.Gone), s.decided(fact.EndpointIsDisabled, 2, nil))
				s.claimed(9)
				s.given(s.requested(9))
				s.exec(`UPDATE webhooks.endpoints SET state = 'disabled'`)
			},
			projections.EndpointIsDisabled, "by bob: the endpoint answered 410 Gone; it was requested by carol at 20",
			func(t *testing.T, d projections.Decision) {
				t.Helper()
				require.Equal(t, "held", d.Delivery.State)
				require.Equal(t, "manual", d.Delivery.Trigger)
			},
		},
		"HeldByTheBreaker": {
			func(s *scenario) {
				s.given(s.decided(fact.Chosen, 1, &one), s.failed(1, 1))
				s.exec(`UPDATE webhooks.lanes SET breaker = 'open', not_before = $1`, s.noon.AddDate(100, 0, 0))
			},
			projections.WasChosen, "held until 2126-03-01 12:00:00Z", nil,
		},
		"BreakerHalfOpen": {
			func(s *scenario) {
				s.given(s.decided(fact.Chosen, 1, &one), s.failed(1, 1))
				s.exec(`UPDATE webhooks.lanes SET breaker = 'open', not_before = $1`, s.noon)
			},
			projections.WasChosen, "delivery 1 is retrying", func(t *testing.T, d projections.Decision) {
				t.Helper()
				require.Nil(t, d.HeldUntil, "never a time that has passed")
			},
		},
		"NotSentYet": {
			func(s *scenario) { s.given(s.decided(fact.Chosen, 1, &one)) },
			projections.WasChosen, "it is to be sent: delivery 1 is pending", nil,
		},
		"BeingSent": {
			func(s *scenario) {
				s.given(s.decided(fact.Chosen, 1, &one))
				s.exec(`INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id) VALUES ($1, 1, $2)`, s.endpoint, s.event)
				s.exec(`INSERT INTO webhooks.intents (relay_id, batch, started_at, endpoint_ids, delivery_ids, attempts)
					VALUES ($1, 1, $2, ARRAY[$1]::uuid[], '{1}', '{1}')`, s.endpoint, s.noon)
			},
			projections.WasChosen, "it is being sent now: delivery 1", nil,
		},
		"HeldByTheEndpointsState": {
			func(s *scenario) {
				s.given(s.decided(fact.Chosen, 1, &one), s.changed(fact.EndpointDisabled, 2, "bob", fact.ByRequest))
				s.exec(`UPDATE webhooks.endpoints SET state = 'disabled'`)
			},
			projections.WasChosen, "by bob: somebody asked for it", nil,
		},
		"NotYetFannedOut": {
			func(s *scenario) {
				s.exec(`INSERT INTO webhooks.cursors (topic, consumer_group, from_snapshot, system_identifier) VALUES ('outbox', 'fan-out', pg_current_snapshot(), 1)`)
				s.exec(`INSERT INTO webhooks.outbox (event_id, event_type, company_id, data) VALUES ($1, 'conversation.started', $2, '{}')`, s.event, s.company)
			},
			projections.NotFannedOut, "look again", nil,
		},
		"NotYetInTheHistory": {
			func(s *scenario) { s.publish(`{}`, uuid.Nil) },
			projections.NotFannedOut, "look again", nil,
		},
		"Unknown": {func(*scenario) {}, projections.UnknownEvent, "no such event", nil},
		"AnotherCompanysEvent": {
			func(s *scenario) {
				other := *s
				other.company = uuid.New()
				other.publish(`{}`, uuid.Nil)
				s.given(other.decided(fact.Chosen, 1, &one))
			},
			projections.UnknownEvent, "no such event", nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := owned(t)
			c.given(s)
			s.when()
			d, err := projections.NewReader(s.db.DB).Decision(t.Context(), s.company, s.event, s.endpoint)
			require.NoError(t, err)
			require.Equal(t, c.want, d.Verdict)
			require.Contains(t, d.Words(), c.words)
			require.Equal(t, s.event, d.EventID)
			require.Equal(t, s.endpoint, d.EndpointID)
			if c.check != nil {
				c.check(t, d)
			}
			_, err = projections.NewReader(s.db.DB).Decision(t.Context(), uuid.New(), s.event, s.endpoint)
			require.ErrorIs(t, err, projections.ErrNotFound)
		})
	}
}

// TestWhyIsAnsweredWhateverIsPruned: a young decision under a configuration that is older than what is kept of changes.
func TestWhyIsAnsweredWhateverIsPruned(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		decided fact.Decision
		changes func(s *scenario) []fact.Fact // their versions are in order
		left    []int64                       // versions
	}{
		"TypeNotSelected": {fact.TypeNotSelected, func(s *scenario) []fact.Fact {
			return []fact.Fact{
				s.changed(fact.EndpointCreated, 1, "ada", fact.ByRequest), s.changed(fact.EndpointDisabled, 2, "relay", fact.Gone),
				s.changed(fact.EndpointEnabled, 3, "ada", fact.ByRequest), s.changed(fact.EndpointUpdated, 4, "bob", fact.ByRequest, "test.webhook"),
			}
		}, []int64{4}},
		"Disabled": {fact.EndpointIsDisabled, func(s *scenario) []fact.Fact {
			return []fact.Fact{
				s.changed(fact.EndpointCreated, 1, "ada", fact.ByRequest), s.changed(fact.EndpointDisabled, 2, "relay", fact.Gone),
				s.changed(fact.EndpointUpdated, 3, "bob", fact.ByRequest),
			}
		}, []int64{2, 3}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := owned(t)
			changes := c.changes(s)
			s.given(changes...)
			s.given(s.decided(c.decided, len(changes), nil))
			s.when()
			s.exec(`UPDATE webhooks.endpoint_changes SET recorded_at = recorded_at - interval '500 days'`)
			s.exec(`INSERT INTO webhooks.event_ids (event_id, recorded_at, transaction_id, position) VALUES ($1, now(), '1', 1)`, s.event)
			_, err := s.db.Owner.ExecContext(t.Context(), `INSERT INTO webhooks.retention VALUES ('journal', now() - interval '30 days', false)`)
			require.NoError(t, err)
			read := func() projections.Decision {
				d, err := projections.NewReader(s.db.DB).Decision(t.Context(), s.company, s.event, s.endpoint)
				require.NoError(t, err)
				return d
			}
			before := read()
			require.NotNil(t, before.Config)
			_, err = retention.Prune(t.Context(), s.db.DB, retention.Default)
			require.NoError(t, err)
			require.Equal(t, before, read())
			var left pq.Int64Array
			require.NoError(t, s.db.QueryRowContext(t.Context(), `SELECT array_agg(version ORDER BY version) FROM webhooks.endpoint_changes`).Scan(&left))
			require.Equal(t, pq.Int64Array(c.left), left)
		})
	}
}

// claimed is what a request leaves beside its fact.
func (s *scenario) claimed(delivery int64) {
	s.Helper()
	s.exec(`INSERT INTO webhooks.requested_deliveries VALUES ($1, $2, $3)`, s.event, s.endpoint, delivery)
}

func TestOnlyWhatWasDecidedOtherwiseMayBeRequested(t *testing.T) {
	t.Parallel()
	elsewhere, now := uuid.New(), time.Now()
	for verdict, want := range map[projections.Verdict]bool{
		projections.TypeNotSelected: true, projections.EndpointIsDisabled: true, projections.CreatedAfterEvent: true,
		projections.WasChosen: false, projections.AddressedElsewhere: false, projections.EndpointWasDeleted: false,
		projections.NotFannedOut: false, projections.UnknownEvent: false,
	} {
		require.Equal(t, want, projections.Decision{Verdict: verdict}.MayBeRequested(), "%s", verdict)
		require.False(t, projections.Decision{Verdict: verdict, Requested: &projections.Change{}}.MayBeRequested())
		require.False(t, projections.Decision{Verdict: verdict, EndpointDeletedAt: &now}.MayBeRequested())
		require.False(t, projections.Decision{Verdict: verdict, AddressedTo: &elsewhere}.MayBeRequested(), "a test of another endpoint")
	}
}

// publish puts the event where the fan-out leaves it.
func (s *scenario) publish(data string, to uuid.UUID) {
	s.Helper()
	s.exec(`WITH o AS (
		INSERT INTO webhooks.outbox (event_id, event_type, company_id, data, created_at, endpoint_id)
		VALUES ($1, 'conversation.started', $2, $3, $4, nullif($5, '00000000-0000-0000-0000-000000000000'::uuid)) RETURNING *)
		INSERT INTO webhooks.event_ids SELECT event_id, recorded_at, transaction_id, position FROM o`, s.event, s.company, data, s.noon, to)
}

func TestRequestIsWhatWasSent(t *testing.T) {
	t.Parallel()
	s := owned(t)
	data := `{"survey": {"name":"it's"}}`
	s.publish(data, uuid.Nil)
	body := wire.Body(wire.Event{ID: s.event, Type: "conversation.started", CreatedAt: s.noon, Data: []byte(data)}, s.noon.Add(time.Minute))
	first := s.attempt(1, 1, fact.Retrying)
	first.Bytes = len(body)
	first.CustomHeaders = map[string]string{"x-team": "***", "Authorization": "***"}
	unsigned := s.attempt(1, 2, fact.Retrying)
	unsigned.Request = fact.Request{}
	s.given(s.fannedOut(1), s.of(fact.AttemptFailed, first), s.of(fact.AttemptInterrupted, unsigned))
	s.when()
	r := projections.NewReader(s.db.DB)
	request, err := r.Request(t.Context(), s.company, 1, 1)
	require.NoError(t, err)
	require.Equal(t, string(body), string(request.Body))
	require.True(t, request.Exact)
	require.Equal(t, "https://example.com/hook", request.URL)
	require.Equal(t, wire.Request{ID: s.event, Type: "conversation.started", Timestamp: first.Request.Timestamp, Signature: "v1,abc"}.Fields(), request.Headers[:len(request.Headers)-2])
	require.Equal(t, []wire.Field{{Name: "Authorization", Value: "***"}, {Name: "x-team", Value: "***"}}, request.Headers[len(request.Headers)-2:])
	curl := request.Curl()
	require.Contains(t, curl, "curl --request POST 'https://example.com/hook'")
	require.Contains(t, curl, "--header 'webhook-signature: v1,abc'")
	require.Contains(t, curl, `"name":"it'\''s"`, "no byte of it is the shell's")
	require.Equal(t, 1, strings.Count(curl, "--data-binary"))

	request, err = r.Request(t.Context(), s.company, 1, 2)
	require.NoError(t, err)
	require.Empty(t, request.Headers)
	require.False(t, request.Exact)

	_, err = r.Request(t.Context(), uuid.New(), 1, 1)
	require.ErrorIs(t, err, projections.ErrNotFound)
	_, err = r.Request(t.Context(), s.company, 1, 9)
	require.ErrorIs(t, err, projections.ErrNotFound)

	s.exec(`DELETE FROM webhooks.outbox`)
	request, err = r.Request(t.Context(), s.company, 1, 1)
	require.NoError(t, err)
	require.True(t, request.Gone)
	require.Nil(t, request.Body)
	require.False(t, request.Exact)
	require.NotContains(t, request.Curl(), "--data-binary")
}
