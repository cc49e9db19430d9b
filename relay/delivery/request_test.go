package delivery_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/delivery"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// missed is an event of the company that was fanned out without a delivery.
func (b testBundle) missed(t *testing.T, company uuid.UUID, eventType string, to *uuid.UUID) uuid.UUID {
	t.Helper()

	event := uuid.New()
	b.exec(t, `WITH o AS (
		INSERT INTO webhooks.outbox (event_id, event_type, company_id, data, endpoint_id) VALUES ($1, $2, $3, '{}', $4) RETURNING *)
		INSERT INTO webhooks.event_ids SELECT event_id, recorded_at, transaction_id, position FROM o`, event, eventType, company, to)
	return event
}

func (b testBundle) asking(events ...uuid.UUID) delivery.RequestPage {
	return delivery.RequestPage{Scope: endpoint.Company(b.known.CompanyID), Actor: "bob", EndpointID: b.known.EndpointID, Events: events}
}

func (b testBundle) count(t *testing.T, query string, args ...any) (n int) {
	t.Helper()

	require.NoError(t, b.db.QueryRowContext(t.Context(), query, args...).Scan(&n))
	return n
}

func TestRequest(t *testing.T) {
	t.Parallel()
	const started = "conversation.started"

	t.Run("MakesTheDeliveryThatTheFanOutDidNot", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		event := b.missed(t, b.known.CompanyID, started, nil)
		id, err := b.queue.Request(t.Context(), b.asking(event))
		require.NoError(t, err)
		require.Equal(t, 1, b.count(t, `SELECT count(*) FROM webhooks.pending WHERE endpoint_id = $1 AND delivery_id = $2 AND event_id = $3
			AND trigger = 'manual' AND generation = 1 AND started = 0 AND first_attempt_at IS NULL AND due_at <= clock_timestamp()`,
			b.known.EndpointID, id, event))
		var body []byte
		var requested fact.Requested
		require.NoError(t, b.db.QueryRow(`SELECT data FROM webhooks.journal WHERE fact = 'delivery.requested' AND company_id = $1`, b.known.CompanyID).Scan(&body))
		require.NoError(t, json.Unmarshal(body, &requested))
		require.Equal(t, fact.Requested{
			DeliveryID: id, EndpointID: b.known.EndpointID, EventID: event, EventType: started, Version: 1,
			Trigger: fact.Manual, Actor: "bob", Reason: fact.ByRequest,
		}, requested)
	})

	t.Run("OnceHoweverManyAskAtOnce", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		var events, reversed []uuid.UUID
		for range 40 {
			event := b.missed(t, b.known.CompanyID, started, nil)
			events, reversed = append(events, event), append([]uuid.UUID{event}, reversed...)
		}
		made := make(chan int)
		for i := range 6 { // pages in either order, which would meet in a circle
			page := b.asking([][]uuid.UUID{events, reversed}[i%2]...)
			go func() {
				tx, err := b.db.BeginTx(t.Context(), nil)
				if err != nil {
					t.Error(err)
					made <- 0
					return
				}
				defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
				ids, err := page.Apply(t.Context(), tx)
				if err == nil {
					err = tx.Commit()
				}
				if err != nil {
					t.Error(err)
				}
				made <- len(ids)
			}()
		}
		total := 0
		for range 6 {
			total += <-made
		}
		require.Equal(t, 40, total)
		require.Equal(t, 40, b.count(t, `SELECT count(DISTINCT event_id) FROM webhooks.pending`))
		require.Equal(t, 40, b.count(t, `SELECT count(*) FROM webhooks.pending`))
		require.Equal(t, 40, b.count(t, `SELECT count(*) FROM webhooks.journal WHERE fact = 'delivery.requested'`))
	})

	t.Run("OneThatWasRolledBackIsNone", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		event := b.missed(t, b.known.CompanyID, started, nil)
		tx, err := b.db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		ids, err := b.asking(event).Apply(t.Context(), tx)
		require.NoError(t, err)
		require.Len(t, ids, 1)
		require.NoError(t, tx.Rollback())
		again, err := b.queue.Request(t.Context(), b.asking(event))
		require.NoError(t, err)
		require.Greater(t, again, ids[0])
	})

	t.Run("AgainNamesTheDeliveryThoughItIsOver", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		event := b.missed(t, b.known.CompanyID, started, nil)
		id, err := b.queue.Request(t.Context(), b.asking(event))
		require.NoError(t, err)
		b.exec(t, `DELETE FROM webhooks.pending`) // and the history has not heard of it
		_, err = b.queue.Request(t.Context(), b.asking(event))
		var already *delivery.AlreadyRequestedError
		require.ErrorAs(t, err, &already)
		require.Equal(t, id, already.DeliveryID)
		require.Zero(t, b.count(t, `SELECT count(*) FROM webhooks.pending`))
	})

	t.Run("NotOfWhatCannotBeSent", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		gone := b.missed(t, b.known.CompanyID, started, nil)
		b.exec(t, `DELETE FROM webhooks.outbox WHERE event_id = $1`, gone)
		for name, event := range map[string]uuid.UUID{
			"unknown": uuid.New(), "no longer kept": gone, "a test": b.missed(t, b.known.CompanyID, "test.webhook", nil),
			"an example": b.missed(t, b.known.CompanyID, started, &b.known.EndpointID), "of no type": b.missed(t, b.known.CompanyID, "other", nil),
			"another company's": b.missed(t, uuid.New(), started, nil),
		} {
			_, err := b.queue.Request(t.Context(), b.asking(event))
			var expired *delivery.EventExpiredError
			require.ErrorAs(t, err, &expired, name)
		}
		require.Zero(t, b.count(t, `SELECT count(*) FROM webhooks.requested_deliveries`))
	})

	t.Run("B57_ReachesItsScopeAlone", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		page := b.asking(b.missed(t, b.known.CompanyID, started, nil))
		for _, scope := range []endpoint.Scope{{}, endpoint.Company(uuid.New())} {
			page.Scope = scope
			_, err := b.queue.Request(t.Context(), page)
			var missing *endpoint.NotFoundError
			require.ErrorAs(t, err, &missing)
		}
		page = b.asking(page.Events...)
		require.NoError(t, b.store.Delete(t.Context(), endpoint.Ref{Scope: page.Scope, ID: page.EndpointID, Actor: "ada"}))
		_, err := b.queue.Request(t.Context(), page)
		var deleted *delivery.EndpointDeletedError
		require.ErrorAs(t, err, &deleted)
		page.Actor = " "
		_, err = b.queue.Request(t.Context(), page)
		require.ErrorContains(t, err, "Actor is empty")
	})

	t.Run("NoDayIsDroppedUnderIt", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.exec(t, `INSERT INTO webhooks.cursors (topic, consumer_group, from_snapshot, system_identifier)
			SELECT 'outbox', 'fan-out', pg_current_snapshot(), s.system_identifier FROM pg_control_system() s`)
		day := time.Now().UTC().AddDate(0, 0, -40).Format(time.DateOnly)
		prune := func() (kept *string) {
			require.NoError(t, b.db.QueryRow(`SELECT webhooks.prune_partition('outbox', $1, '30 days')`, day).Scan(&kept))
			return kept
		}
		tx, err := b.db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		_, err = b.asking(b.missed(t, b.known.CompanyID, started, nil)).Apply(t.Context(), tx)
		require.NoError(t, err)
		require.NotNil(t, prune())
		require.NoError(t, tx.Rollback())
		n, err := b.apply(t, b.page())
		require.NoError(t, err)
		require.Positive(t, n)
		require.Nil(t, prune(), "nothing holds it any longer")

		tx, err = b.db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		defer tx.Rollback() //nolint:errcheck // it only holds
		_, err = b.page().Apply(t.Context(), tx)
		require.NoError(t, err)
		require.NotNil(t, prune(), "nor does a page of retries let it go")
	})
}
