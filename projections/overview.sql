-- A page of endpoints with what a list shows of each: its last 24 hours in bars of an hour, how long its attempts took,
-- and its last delivery. $5 is the begin of the first bar. For each endpoint an index range of 24 hours.
WITH page AS MATERIALIZED (
  SELECT e.*
    FROM webhooks.endpoints e
   WHERE ($1::uuid IS NULL OR e.company_id = $1) AND ($2::uuid IS NULL OR e.endpoint_id = $2)
     AND ($3::text IS NULL OR e.state = $3)
     AND ($4::uuid IS NULL OR e.endpoint_id > $4)
     AND ($7::text IS NULL OR strpos(lower(e.url || ' ' || e.description || ' ' || e.endpoint_id), lower($7)) > 0)
     AND e.deleted_at IS NULL
   ORDER BY e.endpoint_id LIMIT $6
)
SELECT e.endpoint_id, e.company_id, e.url, e.description, e.event_types, e.state, e.state_reason, e.state_note, e.state_actor, e.state_since,
       e.version, e.created_at, coalesce(l.breaker, 'closed'), l.not_before, l.failing_since,
       coalesce(h.bars, '{}'), coalesce(h.succeeded, '{}'), coalesce(h.failed, '{}'), coalesce(h.interrupted, '{}'),
       coalesce(h.total_us, 0)::bigint, coalesce(h.max_us, 0), h.took, d.delivery_id, d.state, d.at
  FROM page e
  LEFT JOIN webhooks.lanes l ON l.endpoint_id = e.endpoint_id
  LEFT JOIN LATERAL (
    SELECT array_agg(floor(extract(epoch FROM b.bar - $5)::float8 / 3600)::integer) AS bars, array_agg(b.succeeded) AS succeeded, array_agg(b.failed) AS failed,
           array_agg(b.interrupted) AS interrupted, sum(b.total_us) AS total_us, max(b.max_us) AS max_us,
           ARRAY[sum(t0), sum(t1), sum(t2), sum(t3), sum(t4), sum(t5), sum(t6), sum(t7), sum(t8), sum(t9), sum(t10), sum(t11),
                 sum(t12), sum(t13), sum(t14), sum(t15)]::bigint[] AS took
      FROM (
        SELECT date_bin('1 hour', s.slot, $5::timestamptz) AS bar,
               coalesce(sum(s.attempts) FILTER (WHERE s.reason = 'ok'), 0) AS succeeded,
               coalesce(sum(s.attempts) FILTER (WHERE s.reason NOT IN ('ok', 'interrupted')), 0) AS failed,
               coalesce(sum(s.attempts) FILTER (WHERE s.reason = 'interrupted'), 0) AS interrupted,
               sum(s.total_us) AS total_us, max(s.max_us) AS max_us,
               sum(under_1) AS t0, sum(under_2) AS t1, sum(under_4) AS t2, sum(under_8) AS t3, sum(under_16) AS t4,
               sum(under_32) AS t5, sum(under_64) AS t6, sum(under_128) AS t7, sum(under_256) AS t8, sum(under_512) AS t9,
               sum(under_1024) AS t10, sum(under_2048) AS t11, sum(under_4096) AS t12, sum(under_8192) AS t13,
               sum(under_16384) AS t14, sum(over_16384) AS t15
          FROM webhooks.endpoint_slots s
         WHERE s.endpoint_id = e.endpoint_id AND s.company_id = e.company_id
           AND s.minutes = 60 AND s.slot >= $5 AND s.slot < $5 + interval '24 hours'
         GROUP BY 1
      ) b
    HAVING count(*) > 0
  ) h ON true
  LEFT JOIN LATERAL (
    SELECT d.delivery_id, coalesce(d.last_attempt_at, d.created_at) AS at,
           CASE WHEN d.state IN ('pending', 'retrying') AND e.state = 'disabled' AND d.trigger <> 'test' THEN 'held' ELSE d.state END AS state
      FROM webhooks.deliveries d
     WHERE d.endpoint_id = e.endpoint_id AND d.company_id = e.company_id
     ORDER BY d.created_at DESC, d.delivery_id DESC LIMIT 1
  ) d ON true
 ORDER BY e.endpoint_id
