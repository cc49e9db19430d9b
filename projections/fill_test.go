package projections_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// filled is a history of many deliveries, written set by set: 20 companies with 5 endpoints each, over 30 days, each
// delivery with an attempt. Every third is for one endpoint. One in 50 is exhausted; one in 100 000 is for a test.
type filled struct {
	*schematest.DB

	company  uuid.UUID // the one with the busy endpoint
	endpoint uuid.UUID // the busy one
	n        int
	from     time.Time // 30 days ago
	every    time.Duration
}

func endpointID(n int) string {
	return fmt.Sprintf("00000000-0000-7000-8000-%012d", n)
}

func fill(t testing.TB, n int) filled {
	t.Helper()
	span := 30 * 24 * time.Hour
	f := filled{
		DB: schematest.New(t), company: uuid.MustParse(endpointID(900000)), endpoint: uuid.MustParse(endpointID(0)), n: n,
		from: time.Now().UTC().Add(-span).Truncate(time.Second), every: span / time.Duration(n),
	}
	const (
		endpoint = `('00000000-0000-7000-8000-' || lpad((CASE WHEN i % 3 = 0 THEN 0 ELSE i % 100 END)::text, 12, '0'))::uuid`
		company  = `('00000000-0000-7000-8000-' || lpad((900000 + (CASE WHEN i % 3 = 0 THEN 0 ELSE i % 100 END) / 5)::text, 12, '0'))::uuid`
		event    = `('00000000-0000-7000-9000-' || lpad(i::text, 12, '0'))::uuid`
		at       = `($2::timestamptz + i * $3::float8 * interval '1 second')`
		kind     = `CASE WHEN i % 100000 = 99 THEN 'test.webhook' WHEN i % 2 = 0 THEN 'conversation.started' ELSE 'question_response.upserted' END`
		failed   = `i % 50 = 0`
		series   = ` FROM generate_series(1, $1::bigint) i`
	)
	for _, statement := range []string{
		`INSERT INTO webhooks.events (event_id, company_id, event_type, created_at, position, fanned_out_at, decisions)
		 SELECT ` + event + `, ` + company + `, ` + kind + `, ` + at + `, i, ` + at + `,
		        json_build_array(json_build_object('endpoint_id', ` + endpoint + `, 'version', 1, 'decision', 'chosen', 'delivery_id', i))` + series,
		`INSERT INTO webhooks.deliveries (delivery_id, endpoint_id, event_id, company_id, event_type, state, trigger, attempts, created_at,
		        first_attempt_at, last_attempt_at, finished_at, last_status, last_reason, last_total_us)
		 SELECT i, ` + endpoint + `, ` + event + `, ` + company + `, ` + kind + `, CASE WHEN ` + failed + ` THEN 'exhausted' ELSE 'delivered' END,
		        CASE WHEN i % 100000 = 99 THEN 'test' ELSE 'automatic' END, 1, ` + at + `, ` + at + `, ` + at + `, ` + at + `,
		        CASE WHEN ` + failed + ` THEN 503 ELSE 200 END, CASE WHEN ` + failed + ` THEN 'status_5xx' ELSE 'ok' END, 1000 + i % 500000` + series,
		`INSERT INTO webhooks.attempts (delivery_id, attempt, started_at, endpoint_id, company_id, event_id, event_type, generation, trigger, outcome,
		        reason, detail, status, config_version, url, request_signature, request_bytes, response_body, response_truncated, remote_addr,
		        dns_us, connect_us, tls_us, first_byte_us, total_us)
		 SELECT i, 1, ` + at + `, ` + endpoint + `, ` + company + `, ` + event + `, ` + kind + `, 1, 'automatic',
		        CASE WHEN ` + failed + ` THEN 'failed' ELSE 'succeeded' END, CASE WHEN ` + failed + ` THEN 'status_5xx' ELSE 'ok' END, '',
		        CASE WHEN ` + failed + ` THEN 503 ELSE 200 END, 1, 'https://example.com/hook', 'v1,abc', 512, 'ok', false, '192.0.2.1:443',
		        0, 0, 0, 900, 1000 + i % 500000` + series,
	} {
		_, err := f.Owner.ExecContext(t.Context(), statement, n, f.from, f.every.Seconds())
		require.NoError(t, err)
	}
	for _, statement := range []string{
		`INSERT INTO webhooks.endpoints (endpoint_id, company_id, url, state_actor, created_at)
		 SELECT endpoint_id, company_id, 'https://example.com/' || endpoint_id, 'ada', min(created_at) FROM webhooks.deliveries GROUP BY 1, 2`,
		`INSERT INTO webhooks.lanes (endpoint_id) SELECT endpoint_id FROM webhooks.endpoints`,
		`INSERT INTO webhooks.endpoint_changes (position, recorded_at, endpoint_id, company_id, fact, version, actor, reason)
		 SELECT row_number() OVER (), created_at, endpoint_id, company_id, 'endpoint.created', v, 'ada', 'by_request'
		   FROM webhooks.endpoints, generate_series(1, 200) v`,
		`INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id, due_at, completed)
		 SELECT endpoint_id, delivery_id + 10000000, event_id, now() + delivery_id * interval '1 ms', 1 FROM webhooks.deliveries WHERE failing`,
		`INSERT INTO webhooks.endpoint_slots
		 SELECT endpoint_id, date_bin(minutes * interval '1 minute', started_at, '2000-01-01 00:00:00+00'), event_type, reason, status, company_id, count(*),
		        sum(total_us), max(total_us), 0, 0, 0, 0, 0, 0, 0, 0, count(*), 0, 0, 0, 0, 0, 0, 0, minutes
		   FROM webhooks.attempts, (VALUES (5), (60)) w(minutes) GROUP BY 1, 2, 3, 4, 5, 6, minutes`,
		// Older slots, so that a chart of 30 days is a small part even of a small history.
		fmt.Sprintf(`INSERT INTO webhooks.endpoint_slots
		 SELECT endpoint_id, slot - k * interval '31 days', event_type, reason, status, company_id, attempts, total_us, max_us,
		        0, 0, 0, 0, 0, 0, 0, 0, attempts, 0, 0, 0, 0, 0, 0, 0, minutes
		   FROM webhooks.endpoint_slots, generate_series(1, %d) k`, 160_000/n),
		`INSERT INTO webhooks.delivery_feed (page, endpoint_ids, delivery_ids)
		 SELECT p, array_agg(endpoint_id), array_agg(delivery_id)
		   FROM generate_series(1, 256) p JOIN webhooks.deliveries d ON d.delivery_id BETWEEN p * 20 AND p * 20 + 1999 GROUP BY p`,
		`VACUUM ANALYZE`,
	} {
		_, err := f.Owner.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	// A VACUUM or an ANALYZE of what one does not own ends well, with a warning that nobody reads.
	var unknown []string
	require.NoError(t, f.Owner.QueryRowContext(t.Context(), `SELECT array_agg(relname) FROM pg_class
	  WHERE relnamespace = 'webhooks'::regnamespace AND relkind = 'r' AND reltuples < 0`).Scan(pq.Array(&unknown)))
	require.Empty(t, unknown, "tables without statistics: what is planned on them hangs on when autovacuum comes")
	return f
}
