-- The view endpoint_health, with the reader's rights: before PostgreSQL 15 a view reads with its owner's, past the
-- policies that bound a tenant, so this cannot select from it. A test holds them to the same numbers.
SELECT e.endpoint_id, e.company_id, e.url, e.state, e.state_reason, e.state_note, e.state_since, l.breaker, l.not_before,
       l.failing_since, coalesce(h.succeeded, 0), coalesce(h.failed, 0), coalesce(h.succeeded, 0)::float8 / nullif(coalesce(h.succeeded, 0) + coalesce(h.failed, 0), 0),
       h.mean_ms, h.max_ms, h.took
  FROM webhooks.endpoints e
  LEFT JOIN webhooks.lanes l USING (endpoint_id)
  LEFT JOIN LATERAL (
    SELECT sum(b.attempts) FILTER (WHERE b.reason = 'ok')::bigint AS succeeded,
           sum(b.attempts) FILTER (WHERE b.reason NOT IN ('ok', 'interrupted'))::bigint AS failed,
           round(sum(b.total_us) / nullif(sum(b.attempts) FILTER (WHERE b.reason <> 'interrupted'), 0) / 1000.0, 1) AS mean_ms,
           round(max(b.max_us) / 1000.0, 1) AS max_ms,
           CASE WHEN count(*) > 0 THEN ARRAY[sum(under_1), sum(under_2), sum(under_4), sum(under_8), sum(under_16), sum(under_32), sum(under_64), sum(under_128),
                 sum(under_256), sum(under_512), sum(under_1024), sum(under_2048), sum(under_4096), sum(under_8192), sum(under_16384),
                 sum(over_16384)]::bigint[] END AS took
      FROM webhooks.endpoint_slots b
     WHERE b.endpoint_id = e.endpoint_id AND b.minutes = 5 AND b.slot > now() - interval '24 hours'
  ) h ON true
 WHERE e.deleted_at IS NULL
   AND ($1::uuid IS NULL OR e.company_id = $1)
   AND ($2::uuid IS NULL OR e.endpoint_id = $2)
   AND ($3::text IS NULL OR e.state = $3)
   AND ($4::uuid IS NULL OR e.endpoint_id > $4)
 ORDER BY e.endpoint_id LIMIT $5
