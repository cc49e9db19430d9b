package projections_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/schema/fact"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// scenario is one database with a company, an endpoint and the facts about them.
type scenario struct {
	*testing.T

	db        *schematest.DB
	company   uuid.UUID
	endpoint  uuid.UUID
	event     uuid.UUID
	noon      time.Time
	position  int64 // of the event in the outbox
	projector *projections.Projector
}

func setup(t *testing.T) *scenario {
	t.Helper()
	db := schematest.New(t)
	return &scenario{
		T: t, db: db, company: uuid.New(), endpoint: uuid.New(), event: uuid.New(),
		position: 7, noon: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		projector: projections.New(projections.Config{DB: db.DB}),
	}
}

// given appends facts in a transaction of their own.
func (s *scenario) given(bodies ...fact.Fact) {
	s.Helper()
	tx, err := s.db.BeginTx(s.Context(), nil)
	require.NoError(s, err)
	defer tx.Rollback() //nolint:errcheck // a test that failed
	require.NoError(s, commitlog.Append(s.Context(), tx, bodies...))
	require.NoError(s, tx.Commit())
}

// when applies everything.
func (s *scenario) when() {
	s.Helper()
	require.NoError(s, s.projector.RunToEnd(s.Context()))
}

func (s *scenario) of(name fact.Name, body any) fact.Fact {
	return fact.Fact{Name: name, CompanyID: s.company, Body: body}
}

func (s *scenario) fannedOut(ids ...int64) fact.Fact {
	f := fact.FannedOut{EventID: s.event, EventType: "conversation.started", CreatedAt: s.noon, Position: s.position}
	for _, id := range ids {
		f.Decisions = append(f.Decisions, fact.EndpointChoice{
			EndpointID: s.endpoint, Version: 1, Decision: fact.Chosen, DeliveryID: &id, Trigger: fact.Automatic,
		})
	}
	return s.of(fact.EventFannedOut, f)
}

// attempt is the n-th attempt of a delivery, n minutes past noon.
func (s *scenario) attempt(id int64, n int, state fact.State) fact.Attempt {
	at := s.noon.Add(time.Duration(n) * time.Minute)
	a := fact.Attempt{
		AttemptID: fact.AttemptID{DeliveryID: id, Attempt: n}, EndpointID: s.endpoint, EventID: s.event,
		EventType: "conversation.started", Generation: 1, Trigger: fact.Automatic, StartedAt: at,
		Reason: fact.OK, Status: 200, Completed: n, State: state, FirstAttemptAt: s.noon.Add(time.Minute),
		Request:    fact.Request{ConfigVersion: 3, URL: "https://example.com/hook", Timestamp: at.Unix(), Signature: "v1,abc", Bytes: 512},
		Response:   fact.Response{Headers: map[string][]string{"Server": {"x"}}, Body: []byte("no\x00t"), Truncated: true},
		RemoteAddr: "192.0.2.1:443",
		Timing:     fact.Timing{DNS: 1, Connect: 2, TLS: 3, FirstByte: 4, Total: 1000},
	}
	if state != fact.Delivered {
		a.Reason, a.Status = fact.StatusServer, 503
	}
	if state == fact.Retrying {
		next := at.Add(time.Minute)
		a.NextAttemptAt = &next
	}
	return a
}

func (s *scenario) succeeded(id int64, n int) fact.Fact {
	return s.of(fact.AttemptSucceeded, s.attempt(id, n, fact.Delivered))
}

func (s *scenario) failed(id int64, n int) fact.Fact {
	return s.of(fact.AttemptFailed, s.attempt(id, n, fact.Retrying))
}

func (s *scenario) delivery(name fact.Name, id int64, generation int, state fact.State) fact.Fact {
	return s.of(name, fact.Delivery{
		DeliveryID: id, EndpointID: s.endpoint, EventID: s.event, Generation: generation, State: state,
		Actor: "cli", Reason: fact.ByRequest,
	})
}

// requested is the birth of a delivery that the event's fan-out has not made.
func (s *scenario) requested(id int64) fact.Fact {
	return s.of(fact.DeliveryRequested, fact.Requested{
		DeliveryID: id, EndpointID: s.endpoint, EventID: s.event, EventType: "conversation.started", Version: 3,
		Trigger: fact.Manual, Actor: "carol", Reason: fact.ByRequest,
	})
}

func (s *scenario) thenDelivery(id int64) projections.Delivery {
	s.Helper()
	d, err := projections.NewReader(s.db.DB).Delivery(s.Context(), s.company, id)
	require.NoError(s, err)
	return d.Delivery
}

// history is every row of the history as text.
func history(t *testing.T, db *sql.DB) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, table := range []string{"events", "deliveries", "attempts", "endpoint_slots", "endpoint_changes"} {
		rows, err := db.QueryContext(t.Context(), `SELECT x::text FROM webhooks.`+table+` x ORDER BY 1`)
		require.NoError(t, err)
		defer rows.Close()
		for rows.Next() {
			var row string
			require.NoError(t, rows.Scan(&row))
			all[table] = append(all[table], row)
		}
		require.NoError(t, rows.Err())
	}
	return all
}

// rewind makes the projector read the journal again from its first fact.
func (s *scenario) rewind() {
	s.Helper()
	_, err := s.db.ExecContext(s.Context(), `UPDATE webhooks.cursors SET from_snapshot = '1:1:', to_snapshot = NULL, after_xid = '0', after_position = 0`)
	require.NoError(s, err)
}
