package projections

import (
	"context"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// crowd is a history of a hundred companies, with an endpoint each.
var crowd = []string{
	`INSERT INTO webhooks.endpoints (endpoint_id, company_id, url, state_actor)
	 SELECT md5('e' || c)::uuid, md5('c' || c)::uuid, 'https://example.com', 'test' FROM generate_series(1, 100) c`,
	`INSERT INTO webhooks.lanes (endpoint_id) SELECT endpoint_id FROM webhooks.endpoints`,
	`INSERT INTO webhooks.events (event_id, company_id, event_type, created_at, position, fanned_out_at, decisions)
	 SELECT md5('v' || n)::uuid, md5('c' || n % 100 + 1)::uuid, 'a', now(), n, now(),
	        json_build_array(json_build_object('endpoint_id', md5('e' || n % 100 + 1)::uuid, 'decision', 'chosen', 'delivery_id', n))
	   FROM generate_series(1, $1::int) n`,
	`INSERT INTO webhooks.deliveries (delivery_id, endpoint_id, event_id, company_id, event_type, state, trigger, created_at)
	 SELECT n, md5('e' || n % 100 + 1)::uuid, md5('v' || n)::uuid, md5('c' || n % 100 + 1)::uuid, 'a', 'delivered', 'automatic', now()
	   FROM generate_series(1, $1::int) n`,
	`INSERT INTO webhooks.attempts (delivery_id, attempt, started_at, endpoint_id, company_id, event_id, event_type, generation, trigger,
	   outcome, reason, detail, config_version, url, request_signature, request_bytes, response_body, response_truncated, remote_addr,
	   dns_us, connect_us, tls_us, first_byte_us, total_us)
	 SELECT n, 1, now() - n * interval '1 microsecond', md5('e' || n % 100 + 1)::uuid, md5('c' || n % 100 + 1)::uuid, md5('v' || n)::uuid, 'a', 1,
	        'automatic', 'succeeded', 'ok', '', 1, '', '', 0, '', false, '', 0, 0, 0, 0, 0
	   FROM generate_series(1, $1::int) n`,
	`INSERT INTO webhooks.endpoint_changes
	 SELECT n, now(), md5('e' || n % 100 + 1)::uuid, md5('c' || n % 100 + 1)::uuid, 'endpoint.updated', 1, 'test', '', NULL, NULL
	   FROM generate_series(1, $1::int / 10) n`,
	`ANALYZE webhooks.endpoints, webhooks.events, webhooks.deliveries, webhooks.attempts, webhooks.endpoint_changes`,
}

// crowded returns a database, one of its companies and that company's endpoint.
func crowded(t testing.TB, rows int) (db *schematest.DB, company, endpoint uuid.UUID) {
	t.Helper()
	db = schematest.New(t)
	for _, statement := range crowd {
		var args []any
		if strings.Contains(statement, "$1") {
			args = append(args, rows)
		}
		_, err := db.Owner.ExecContext(context.Background(), statement, args...)
		require.NoError(t, err, statement)
	}
	err := db.QueryRowContext(context.Background(), `SELECT md5('c7')::uuid, md5('e7')::uuid`).Scan(&company, &endpoint)
	require.NoError(t, err)
	return db, company, endpoint
}

// TestEveryListOfATenantIsBehindRowLevelSecurity reads with the condition on the company left out.
func TestEveryListOfATenantIsBehindRowLevelSecurity(t *testing.T) {
	t.Parallel()
	db, company, _ := crowded(t, 1000)
	none := make([]any, 6)
	with := func(more ...any) []any { return append(append([]any{}, none...), more...) }

	events, err := list(t.Context(), db.DB, query{company, selectEvents, with(nil, 501), 500}, func(*Event) place { return place{} })
	require.NoError(t, err)
	require.Len(t, events.Items, 10)
	deliveries, err := list(t.Context(), db.DB, query{company, present(selectDeliveries, "page.delivery_id DESC", ""), with(nil, 501, nil, nil, nil, nil, nil, nil), 500}, func(*Delivery) place { return place{} })
	require.NoError(t, err)
	require.Len(t, deliveries.Items, 10)
	attempts, err := list(t.Context(), db.DB, query{company, selectAttempts, with(nil, 501, nil, nil, nil, nil, nil, nil), 500}, func(*Attempt) place { return place{} })
	require.NoError(t, err)
	require.Len(t, attempts.Items, 10)
	health, err := list(t.Context(), db.DB, query{company, selectHealth, []any{nil, nil, nil, nil, 501}, 500}, func(*EndpointHealth) place { return place{} })
	require.NoError(t, err)
	require.Len(t, health.Items, 1)
	changes, err := list(t.Context(), db.DB, query{company, selectChanges, with(nil, 501), 500}, func(*EndpointChange) place { return place{} })
	require.NoError(t, err)
	require.Len(t, changes.Items, 1)
	for _, e := range events.Items {
		require.Equal(t, company, e.CompanyID)
	}

	r := NewReader(db.DB)
	for _, evil := range []string{`a'; RESET ROLE; SELECT '`, `') OR true --`, `$1); SET LOCAL webhooks.company_id = '`} {
		page, err := r.Deliveries(t.Context(), Filter{CompanyID: company, EventType: evil, State: evil})
		require.NoError(t, err)
		require.Empty(t, page.Items)
	}
}

// BenchmarkList shows what row-level security and its transaction add to a page of fifty.
func BenchmarkList(b *testing.B) {
	db, company, endpoint := crowded(b, 200_000)
	r := NewReader(db.DB)
	for name, f := range map[string]Filter{
		"Operator": {EndpointID: endpoint, Limit: 50}, "Tenant": {CompanyID: company, EndpointID: endpoint, Limit: 50},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				page, err := r.Deliveries(b.Context(), f)
				require.NoError(b, err)
				require.Len(b, page.Items, 50)
			}
		})
	}
}
