package delivery_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/delivery"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// A breaker that is open is said to be, and lets nothing pass for a retry.
func TestRetryBehindAnOpenBreakerSaysUntilWhen(t *testing.T) {
	t.Parallel()

	b := setup(t)
	b.pend(t)
	until := time.Now().Add(time.Minute).UTC().Truncate(time.Microsecond)
	b.exec(t, `UPDATE webhooks.lanes SET breaker = 'open', not_before = $1`, until)
	retry := delivery.Retry{Scope: endpoint.Company(b.known.CompanyID), Actor: "bob", Delivery: b.known}
	for range 2 { // a second click sees what the first one did
		held, err := b.queue.Retry(t.Context(), retry)
		require.NoError(t, err)
		require.Equal(t, until, held)
		require.True(t, b.pending(t).due, "it is the first when the breaker lets go")
	}
	require.Len(t, b.trail(t), 1)
	b.exec(t, `UPDATE webhooks.pending SET due_at = NULL`)
	held, err := b.queue.Retry(t.Context(), retry)
	require.NoError(t, err)
	require.Equal(t, until, held, "one of the fresh queue is neither due now nor being sent")

	b.exec(t, `DELETE FROM webhooks.pending`)
	held, err = b.queue.Retry(t.Context(), retry)
	require.NoError(t, err)
	require.Equal(t, until, held)
	require.Equal(t, 2, b.pending(t).generation)

	b.exec(t, `UPDATE webhooks.lanes SET not_before = now() - interval '1 second'`)
	_, err = b.queue.Retry(t.Context(), retry)
	var already *delivery.AlreadyPendingError
	require.ErrorAs(t, err, &already, "due, and the next one is the probe")
	require.False(t, already.UnderWay)
	var company, stranger int
	require.NoError(t, b.db.Owner.QueryRowContext(t.Context(), `SELECT count(*) FILTER (WHERE company_id = $1), count(*) FILTER (WHERE company_id <> $1)
		FROM webhooks.access_trail`, b.known.CompanyID).Scan(&company, &stranger))
	require.Equal(t, 2, company)
	require.Zero(t, stranger)
}

// A test passes the breaker, so that its retry is not held.
func TestRetryOfATestIsHeldByNoBreaker(t *testing.T) {
	t.Parallel()

	b := setup(t)
	b.pend(t)
	b.exec(t, `UPDATE webhooks.lanes SET breaker = 'open', not_before = now() + interval '1 minute'`)
	b.exec(t, `UPDATE webhooks.pending SET trigger = 'test'`)
	retry := delivery.Retry{Scope: endpoint.Company(b.known.CompanyID), Actor: "bob", Delivery: b.known}
	held, err := b.queue.Retry(t.Context(), retry)
	require.NoError(t, err)
	require.Zero(t, held)
	require.True(t, b.pending(t).due)
	var already *delivery.AlreadyPendingError
	_, err = b.queue.Retry(t.Context(), retry)
	require.ErrorAs(t, err, &already)
}

// Nothing is sent to a disabled endpoint: the retry says so, instead of being held without a word.
func TestRetryOfADisabledEndpointIsRefused(t *testing.T) {
	t.Parallel()

	b := setup(t)
	_, err := b.store.Disable(t.Context(), endpoint.Ref{Scope: endpoint.Company(b.known.CompanyID), ID: b.known.EndpointID, Actor: "ada"}, "", "")
	require.NoError(t, err)
	var held *delivery.HeldError
	require.ErrorAs(t, b.retry(t, b.known), &held)
	require.False(t, held.Waits)
	require.ErrorContains(t, held, "enable the endpoint, then retry")
	b.pend(t)
	b.known.State = fact.Retrying
	require.ErrorAs(t, b.retry(t, b.known), &held)
	require.True(t, held.Waits)
	require.Equal(t, b.known.EndpointID, held.EndpointID)
	require.False(t, b.pending(t).due)
	require.Empty(t, b.trail(t))

	b.exec(t, `UPDATE webhooks.pending SET trigger = 'test'`)
	require.NoError(t, b.retry(t, b.known), "tests reach it")
}

// Who asked is kept beside the delivery, and in the trail of its company.
func TestRetryKeepsWhoAsked(t *testing.T) {
	t.Parallel()

	b := setup(t)
	asker := func() (actor string, generation int) {
		t.Helper()
		require.NoError(t, b.db.QueryRowContext(t.Context(), `SELECT actor, generation FROM webhooks.replays
			WHERE endpoint_id = $1 AND delivery_id = 7 AND asked_at > now() - interval '1 minute'`, b.known.EndpointID).Scan(&actor, &generation))
		return actor, generation
	}
	require.NoError(t, b.retry(t, b.known))
	actor, generation := asker()
	require.Equal(t, "bob", actor)
	require.Equal(t, 2, generation)

	b.exec(t, `UPDATE webhooks.pending SET due_at = now() + interval '1 hour'`)
	_, err := b.queue.Retry(t.Context(), delivery.Retry{Scope: endpoint.AnyCompany(), Actor: "carol", Delivery: b.known})
	require.NoError(t, err)
	actor, generation = asker()
	require.Equal(t, "carol", actor)
	require.Equal(t, 2, generation, "as the relay counts, not as the history knows")
	require.Equal(t, []line{
		{"delivery.retried", "bob", 7, 2}, {"delivery.retried", "carol", 7, 2},
	}, b.trail(t))
}

// line is one of the trail of deliveries.
type line struct {
	action, actor        string
	delivery, generation int
}

func (b testBundle) trail(t *testing.T) (lines []line) {
	t.Helper()

	rows, err := b.db.QueryContext(t.Context(), `SELECT action, actor, detail FROM webhooks.access_trail
		WHERE action LIKE 'delivery.%' AND subject_id = $1 ORDER BY position`, b.known.EndpointID)
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var l line
		var text []byte
		var detail struct {
			DeliveryID int `json:"delivery_id"`
			Generation int `json:"generation"`
		}
		require.NoError(t, rows.Scan(&l.action, &l.actor, &text))
		require.NoError(t, json.Unmarshal(text, &detail))
		l.delivery, l.generation = detail.DeliveryID, detail.Generation
		lines = append(lines, l)
	}
	require.NoError(t, rows.Err())
	return lines
}
