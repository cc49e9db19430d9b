-- A page of the deliveries of a company, or of one of its endpoints: for each endpoint a stretch of its index, the newest
-- first. Rows that no filter wants are walked over, at most 10 000 of them in all, so that no question takes long
-- whatever it asks; a walk that ended there returns its last row as an edge, and the next page goes on after it.
--
--   Nested Loop
--     ->  CTE Scan on scope s
--     ->  Limit  ->  Subquery Scan on w
--           ->  Limit  ->  WindowAgg  ->  Index Scan Backward using delivery_by_endpoint (or delivery_failing) on deliveries d
WITH scope AS MATERIALIZED (
  SELECT n.endpoint_id, n.state, greatest(10000 / count(*) OVER (), $8::bigint) AS budget
    FROM webhooks.endpoints n
   WHERE ($1::uuid IS NULL OR n.company_id = $1) AND ($2::uuid IS NULL OR n.endpoint_id = $2)
)
SELECT w.delivery_id, w.event_id, w.endpoint_id, w.company_id, w.event_type, w.shown AS state, w.trigger, w.generation, w.attempts,
       w.created_at, w.first_attempt_at, w.last_attempt_at, w.next_attempt_at, w.finished_at, w.last_status, w.last_reason, w.last_total_us,
       w.requested_by, w.wanted, w.n = w.budget AS edge
  FROM scope s
 CROSS JOIN LATERAL (
   SELECT r.*, s.budget
     FROM (
       SELECT m.*,
              ($3::uuid IS NULL OR m.event_id = $3)
              AND ($4::text IS NULL OR m.event_type = $4)
              AND ($9::text[] IS NULL OR m.shown = ANY ($9))
              AND ($10::smallint IS NULL OR m.last_status = $10)
              AND ($11::text IS NULL OR m.last_reason = $11)
              AND ($12::bigint IS NULL OR m.delivery_id = $12)
              AND ($13::smallint IS NULL OR m.class = $13)
              AND ($14::text IS NULL OR m.trigger = $14) AS wanted
         FROM (
           SELECT d.*, row_number() OVER (ORDER BY d.created_at DESC, d.delivery_id DESC) AS n,
                  CASE WHEN d.state IN ('pending', 'retrying') AND s.state = 'disabled' AND d.trigger <> 'test' THEN 'held' ELSE d.state END AS shown,
                  CASE WHEN d.last_reason IS NOT NULL THEN coalesce(d.last_status / 100, 0) END AS class
             FROM webhooks.deliveries d
            WHERE d.endpoint_id = s.endpoint_id AND ($1 IS NULL OR d.company_id = $1)
              AND ($5::timestamptz IS NULL OR d.created_at >= $5)
              AND ($6::timestamptz IS NULL OR d.created_at < $6)
              AND ($7::bigint IS NULL OR (d.created_at, d.delivery_id) < ($15::timestamptz, $7))
              AND (NOT $16::boolean OR d.failing)
            ORDER BY d.created_at DESC, d.delivery_id DESC LIMIT s.budget
         ) m
     ) r
    WHERE r.wanted OR r.n = s.budget
    ORDER BY r.created_at DESC, r.delivery_id DESC LIMIT $8
 ) w
 ORDER BY w.created_at DESC, w.delivery_id DESC LIMIT $8
