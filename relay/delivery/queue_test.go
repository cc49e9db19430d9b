package delivery_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/delivery"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/relaytest"
	"github.com/chattosurvey/surveyhooks/schema/fact"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

type testBundle struct {
	db    *schematest.DB
	store *endpoint.Store
	queue *delivery.Queue
	known delivery.Known // exhausted after six attempts
}

func setup(t *testing.T) testBundle {
	t.Helper()

	db := schematest.New(t)
	store, err := endpoint.New(endpoint.Options{DB: db.DB, Keys: relaytest.Keys(t)})
	require.NoError(t, err)
	company, event := uuid.New(), uuid.New()
	e, _, err := store.Create(t.Context(), endpoint.Create{CompanyID: company, URL: "https://example.com", Actor: "ada"})
	require.NoError(t, err)
	b := testBundle{db: db, store: store, queue: &delivery.Queue{DB: db.DB}}
	b.exec(t, `WITH o AS (
		INSERT INTO webhooks.outbox (event_id, event_type, company_id, data) VALUES ($1, 'test.webhook', $2, '{}') RETURNING *)
		INSERT INTO webhooks.event_ids SELECT event_id, recorded_at, transaction_id, position FROM o`, event, company)
	b.known = delivery.Known{
		DeliveryID: 7, EndpointID: e.ID, EventID: event, CompanyID: company, Generation: 1, Attempts: 6,
		FirstAttemptAt: time.Date(2024, 3, 6, 12, 0, 0, 123456000, time.UTC), State: fact.Exhausted,
	}
	return b
}

func (b testBundle) exec(t *testing.T, query string, args ...any) {
	t.Helper()

	_, err := b.db.Owner.ExecContext(t.Context(), query, args...)
	require.NoError(t, err)
}

func (b testBundle) retry(t *testing.T, known delivery.Known) error {
	t.Helper()

	heldUntil, err := b.queue.Retry(t.Context(), delivery.Retry{Scope: endpoint.Company(b.known.CompanyID), Actor: "bob", Delivery: known})
	require.Zero(t, heldUntil)
	return err
}

// pend makes the delivery a live one, whose second attempt is due in an hour.
func (b testBundle) pend(t *testing.T) {
	t.Helper()

	b.exec(t, `INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id, due_at, started, completed)
		VALUES ($1, 7, $2, now() + interval '1 hour', 1, 1)`, b.known.EndpointID, b.known.EventID)
}

func (b testBundle) replayed(t *testing.T) (bodies []fact.Delivery) {
	t.Helper()

	rows, err := b.db.QueryContext(t.Context(), `SELECT data FROM webhooks.journal WHERE fact = 'delivery.replayed' AND company_id = $1`,
		b.known.CompanyID)
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var text []byte
		var body fact.Delivery
		require.NoError(t, rows.Scan(&text))
		require.NoError(t, json.Unmarshal(text, &body))
		bodies = append(bodies, body)
	}
	require.NoError(t, rows.Err())
	return bodies
}

type pendingRow struct {
	generation, completed, started int
	trigger                        string
	first                          *time.Time
	due                            bool
}

func (b testBundle) pending(t *testing.T) (row pendingRow) {
	t.Helper()

	require.NoError(t, b.db.QueryRowContext(t.Context(), `SELECT generation, completed, started, trigger, first_attempt_at,
		coalesce(due_at <= clock_timestamp(), false) FROM webhooks.pending WHERE endpoint_id = $1 AND delivery_id = 7`, b.known.EndpointID).
		Scan(&row.generation, &row.completed, &row.started, &row.trigger, &row.first, &row.due))
	return row
}

func TestRetryOfOneThatIsOver(t *testing.T) {
	t.Parallel()

	for _, state := range []fact.State{fact.Exhausted, fact.Delivered} {
		t.Run("StartsANewGenerationOf_"+string(state), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.known.State = state
			require.NoError(t, b.retry(t, b.known))
			row := b.pending(t)
			require.NotNil(t, row.first)
			require.True(t, row.first.Equal(b.known.FirstAttemptAt), "the body stays byte-identical")
			row.first = nil
			require.Equal(t, pendingRow{generation: 2, started: 6, trigger: "manual", due: true}, row)
			require.Equal(t, []fact.Delivery{{
				DeliveryID: 7, EndpointID: b.known.EndpointID, EventID: b.known.EventID, Generation: 2,
				State: fact.Pending, Actor: "bob", Reason: fact.ByRequest,
			}}, b.replayed(t))
		})
	}

	t.Run("TwiceIsOnceHoweverFast", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		results := make(chan error)
		for range 4 {
			go func() {
				_, err := b.queue.Retry(t.Context(), delivery.Retry{Scope: endpoint.Company(b.known.CompanyID), Actor: "bob", Delivery: b.known})
				results <- err
			}()
		}
		won := 0
		for range 4 {
			if err := <-results; err == nil {
				won++
			} else {
				var already *delivery.AlreadyPendingError
				require.ErrorAs(t, err, &already)
			}
		}
		require.Equal(t, 1, won)
		require.Len(t, b.replayed(t), 1)
	})

	t.Run("B57_IsRefusedOnceCancelled", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.known.State = fact.Cancelled
		var cancelled *delivery.CancelledError
		require.ErrorAs(t, b.retry(t, b.known), &cancelled)
	})

	t.Run("IsRefusedWhenTheEndpointIsDeleted", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		require.NoError(t, b.store.Delete(t.Context(), endpoint.Ref{
			Scope: endpoint.Company(b.known.CompanyID), ID: b.known.EndpointID, Actor: "ada",
		}))
		var deleted *delivery.EndpointDeletedError
		require.ErrorAs(t, b.retry(t, b.known), &deleted)
	})

	t.Run("IsRefusedWhenTheEventIsNoLongerKept", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.exec(t, `DELETE FROM webhooks.outbox`)
		var expired *delivery.EventExpiredError
		require.ErrorAs(t, b.retry(t, b.known), &expired)
		require.Empty(t, b.replayed(t))
	})

	t.Run("IsRefusedWhenTheHistoryHasNotHeardOfTheLastReplay", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		require.NoError(t, b.retry(t, b.known))
		b.exec(t, `DELETE FROM webhooks.pending`) // it was sent and is over, and the history still shows generation 1
		var behind *delivery.BehindError
		require.ErrorAs(t, b.retry(t, b.known), &behind)
		b.known.Generation, b.known.Attempts = 2, 7
		require.NoError(t, b.retry(t, b.known))
		require.Equal(t, 3, b.pending(t).generation)
		replays := b.replayed(t)
		require.Len(t, replays, 2)
		require.NotEqual(t, replays[0].Generation, replays[1].Generation)
	})

	t.Run("IsRefusedWhenTheHistoryIsBehind", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.known.State = fact.Retrying
		var behind *delivery.BehindError
		require.ErrorAs(t, b.retry(t, b.known), &behind)
	})
}

func TestRetryOfALiveOne(t *testing.T) {
	t.Parallel()

	t.Run("IsPulledForwardOnce", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.pend(t)
		require.NoError(t, b.retry(t, b.known))
		require.Equal(t, pendingRow{generation: 1, completed: 1, started: 1, trigger: "automatic", due: true}, b.pending(t))
		require.Empty(t, b.replayed(t))
		var already *delivery.AlreadyPendingError
		require.ErrorAs(t, b.retry(t, b.known), &already)
	})

	t.Run("IsLeftAloneInTheFreshQueue", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.pend(t)
		b.exec(t, `UPDATE webhooks.pending SET due_at = NULL`)
		var already *delivery.AlreadyPendingError
		require.ErrorAs(t, b.retry(t, b.known), &already)
	})

	t.Run("IsLeftAloneWhileBeingSent", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.pend(t)
		intend := `INSERT INTO webhooks.intents (relay_id, batch, started_at, endpoint_ids, delivery_ids, attempts)
			VALUES (gen_random_uuid(), 1, now(), ARRAY[$1::uuid], ARRAY[7::bigint], ARRAY[$2::smallint])`
		b.exec(t, intend, b.known.EndpointID, 2)
		var already *delivery.AlreadyPendingError
		require.ErrorAs(t, b.retry(t, b.known), &already)
		require.True(t, already.UnderWay)
		require.ErrorContains(t, already, "being sent now")

		// The batch is open for others' sake; this delivery's attempt is over.
		b.exec(t, `UPDATE webhooks.intents SET attempts = '{1}'`)
		require.NoError(t, b.retry(t, b.known))
	})
}

func TestB57_RetryReachesItsScopeAlone(t *testing.T) {
	t.Parallel()

	b := setup(t)
	stranger := uuid.New()
	forged := b.known
	forged.CompanyID = stranger
	for name, r := range map[string]delivery.Retry{
		"AnotherCompany": {Scope: endpoint.Company(stranger), Delivery: b.known},
		"Forged":         {Scope: endpoint.Company(stranger), Delivery: forged},
		"ZeroScope":      {Delivery: b.known},
		"WrongHistory":   {Scope: endpoint.AnyCompany(), Delivery: forged},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r.Actor = "mallory"
			var missing *delivery.NotFoundError
			_, err := b.queue.Retry(t.Context(), r)
			require.ErrorAs(t, err, &missing)
		})
	}
	t.Run("NobodyIsAnError", func(t *testing.T) {
		t.Parallel()
		_, err := b.queue.Retry(t.Context(), delivery.Retry{Scope: endpoint.AnyCompany(), Delivery: b.known})
		require.ErrorContains(t, err, "Actor is empty")
	})
}

func TestRetryNotifiesRelays(t *testing.T) {
	t.Parallel()

	b := setup(t)
	listener := pq.NewListener(b.db.DSN, time.Second, time.Second, nil)
	defer func() { _ = listener.Close() }()
	require.NoError(t, listener.Listen("webhooks_lanes"))
	_, err := b.queue.Retry(t.Context(), delivery.Retry{Scope: endpoint.AnyCompany(), Actor: "cli", Delivery: b.known})
	require.NoError(t, err)
	select {
	case n := <-listener.Notify:
		require.NotNil(t, n)
		require.Equal(t, b.known.EndpointID.String(), n.Extra)
	case <-time.After(10 * time.Second):
		require.Fail(t, "no notification")
	}
}
