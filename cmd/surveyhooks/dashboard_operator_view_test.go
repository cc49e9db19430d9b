package main

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/endpoint"
)

const calm = "Nothing needs attention."

// broken is a page of operations over so many endpoints, a relay, and what is done to them.
func (p *pages) broken(endpoints int, statements ...string) string {
	p.Helper()
	for i := range endpoints {
		p.endpoint(fmt.Sprintf("https://example.com/%d/%s", i, uuid.New()), "")
	}
	relayRow(p.T, p.db, "relay-1.internal")
	for _, statement := range statements {
		_, err := p.db.ExecContext(p.Context(), statement)
		require.NoError(p, err)
	}
	page := p.do(p.operator(), http.MethodGet, "/ops", nil).Body.String()
	requirePage(p.T, "ops", page)
	return page
}

const pendingForAll = `INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id, due_at)
  SELECT endpoint_id, nextval('webhooks.delivery_id'), gen_random_uuid(), clock_timestamp() + %s FROM webhooks.endpoints`

// TestOperatorsAreToldWhenManyBreakersAreOpen at once; one customer's trouble is no alarm.
func TestOperatorsAreToldWhenManyBreakersAreOpen(t *testing.T) {
	t.Parallel()
	of := func(state string, n int) string {
		return fmt.Sprintf(`UPDATE webhooks.lanes SET breaker = '%s' WHERE endpoint_id IN (SELECT endpoint_id FROM webhooks.lanes WHERE breaker = 'closed' LIMIT %d)`, state, n)
	}
	page := newTestPages(t).broken(8, of("open", 3), of("half_open", 2))
	require.Contains(t, page, "The breakers of 3 of 8 enabled endpoints are open.")
	require.NotContains(t, page, calm)
	require.Contains(t, page, `<dt>Breakers open</dt><dd>3<span class="unit">+ 2 trying</span></dd>`, "one that tries is not open")
	require.Contains(t, newTestPages(t).broken(8, of("open", 2)), calm, "few of them")
	require.Contains(t, newTestPages(t).broken(16, of("open", 3)), calm, "a small part")
}

// TestOperatorsAreToldOfDeliveriesThatAreDueAndNotSent, but not of those that something of their endpoint holds back.
func TestOperatorsAreToldOfDeliveriesThatAreDueAndNotSent(t *testing.T) {
	t.Parallel()
	late := fmt.Sprintf(pendingForAll, "interval '-6 minutes'")
	page := newTestPages(t).broken(2, late)
	require.Contains(t, page, "Deliveries that nothing holds back have been due for up to 6 min.")
	require.NotContains(t, page, calm)
	require.Contains(t, page, `<dt>Due now</dt><dd>2</dd>`)
	require.Contains(t, page, `<dt>Held back</dt><dd>0</dd>`)
	require.Contains(t, page, `<dt>Due later</dt><dd>0</dd>`)

	fresh := `WITH p AS (INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id)
	  SELECT endpoint_id, 1, gen_random_uuid() FROM webhooks.endpoints RETURNING event_id)
	INSERT INTO webhooks.event_ids (event_id, recorded_at, transaction_id, position)
	SELECT event_id, now() - interval '7 minutes', '1', row_number() OVER () FROM p`
	require.Contains(t, newTestPages(t).broken(1, fresh), "due for up to 7 min.", "what was never tried is as old as its event")

	page = newTestPages(t).broken(2, fmt.Sprintf(pendingForAll, "interval '1 hour'"))
	require.Contains(t, page, calm)
	require.Contains(t, page, `<dt>Due now</dt><dd>0</dd>`)
	require.Contains(t, page, `<dt>Due later</dt><dd>2</dd>`)
	for _, held := range []string{
		`UPDATE webhooks.lanes SET breaker = 'open'`, `UPDATE webhooks.endpoints SET rate_limit = 1`,
		`UPDATE webhooks.endpoints SET state = 'disabled'`, `INSERT INTO webhooks.pause (paused_by, reason) VALUES ('olga', 'a test')`,
	} {
		page = newTestPages(t).broken(2, late, fmt.Sprintf(pendingForAll, "interval '1 hour'"), held)
		require.NotContains(t, page, "nothing holds back", held)
		require.Contains(t, page, `<dt>Due now</dt><dd>0</dd>`, held)
		require.Contains(t, page, `<dt>Held back</dt><dd>2</dd>`, held)
		require.Contains(t, page, `<dt>Due later</dt><dd>2</dd>`, held)
	}
	page = newTestPages(t).broken(2, late, `UPDATE webhooks.lanes SET breaker = 'open' WHERE endpoint_id = (SELECT endpoint_id FROM webhooks.lanes LIMIT 1)`)
	require.Contains(t, page, `<dt>Due now</dt><dd>1</dd>`)
	require.Contains(t, page, `<dt>Held back</dt><dd>1</dd>`)
}

// TestOperatorsSeeHeartbeatsRetentionAndCompanies.
func TestOperatorsSeeHeartbeatsRetentionAndCompanies(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	p.clock = time.Now
	page := p.broken(0, `UPDATE webhooks.relays SET lease_until = now() + interval '40 seconds'`)
	require.Regexp(t, `data-label="Heartbeat"><time[^>]*><span class="rel">(just now|\d+ s ago)`, page)
	require.Contains(t, page, "Days are dropped after 30 d")

	mine := p.endpoint("https://example.com/hook", "")
	theirs, _, err := p.store.Create(t.Context(), endpoint.Create{CompanyID: uuid.New(), URL: "https://example.com/hook", Actor: "test"})
	require.NoError(t, err)
	for _, path := range []string{"/endpoints", "/event-types"} {
		page := p.do(p.operator(), http.MethodGet, path, nil).Body.String()
		for _, e := range []endpoint.Endpoint{mine, theirs} {
			require.Contains(t, page, e.CompanyID.String()[:8], "%s: two endpoints with one URL are told apart", path)
		}
		require.NotContains(t, p.get(path).Body.String(), mine.CompanyID.String()[:8], "one's own company need not be told")
		requirePage(t, path, page)
	}
}
