-- The deliveries of a page, which is a statement in itself, with what holds now. That a request is under way is in the
-- intents alone, and when it is due after somebody asked for it again is in pending alone. Each is found by key for the
-- open rows of the page, so that the cost is the page's, whatever else is under way; the limits keep the planner from reading
-- a whole backlog instead.
--
--   Nested Loop Left Join
--     ->  CTE Scan on page
--     ->  Index Scan using the primary keys of endpoints, lanes, pending, replays
--     ->  Function Scan on attempts_under_way u
WITH page AS MATERIALIZED (
{page}
), open AS (
  SELECT array_agg(endpoint_id ORDER BY delivery_id) AS endpoints, array_agg(delivery_id ORDER BY delivery_id) AS deliveries
    FROM page WHERE state IN ('pending', 'retrying', 'held')
)
SELECT page.delivery_id, page.event_id, page.endpoint_id, page.company_id, page.event_type, page.state, page.trigger,
       page.generation, page.attempts, page.created_at, page.first_attempt_at, page.last_attempt_at,
       CASE WHEN page.state IN ('pending', 'retrying') AND u.started_at IS NULL THEN
         webhooks.next_attempt_at(n.state, l.breaker, l.not_before, page.trigger, d.due_at)
       END,
       page.finished_at, page.last_status, page.last_reason, page.last_total_us, u.started_at,
       CASE WHEN page.state NOT IN ('pending', 'retrying', 'held') OR u.started_at IS NOT NULL THEN ''
            WHEN page.state = 'held' THEN 'enabled'
            WHEN page.trigger = 'test' OR coalesce(l.breaker, 'closed') = 'closed'
              OR d.due_at > greatest(l.not_before, clock_timestamp()) THEN ''
            WHEN l.not_before > clock_timestamp() THEN 'breaker'
            ELSE 'probe'
       END,
       coalesce(page.requested_by, ''), coalesce(r.actor, ''), r.asked_at{more}
  FROM page
 CROSS JOIN open
  LEFT JOIN webhooks.endpoints n ON n.endpoint_id = page.endpoint_id
  LEFT JOIN webhooks.lanes l ON l.endpoint_id = page.endpoint_id
  LEFT JOIN LATERAL (
    SELECT true AS live, q.due_at FROM webhooks.pending q
     WHERE q.endpoint_id = page.endpoint_id AND q.delivery_id = page.delivery_id
       AND page.state IN ('pending', 'retrying', 'held') LIMIT 1) p ON true
 CROSS JOIN LATERAL (SELECT CASE WHEN p.live THEN p.due_at ELSE page.next_attempt_at END AS due_at) d
  LEFT JOIN LATERAL (
    SELECT q.actor, q.asked_at FROM webhooks.replays q
     WHERE q.endpoint_id = page.endpoint_id AND q.delivery_id = page.delivery_id LIMIT 1) r ON true
  LEFT JOIN webhooks.attempts_under_way(open.endpoints, open.deliveries) u ON u.delivery_id = page.delivery_id
 ORDER BY {order}
