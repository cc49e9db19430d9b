-- How an endpoint did: the total, and counts by bar, by event type and by status. The first grouping reads the slots,
-- an index range; the others read its few rows. $5 is the width of a bar in seconds, $6 that of a slot in minutes.
WITH mine AS (
  SELECT endpoint_id FROM webhooks.endpoints WHERE ($1::uuid IS NULL OR company_id = $1) AND endpoint_id = $2
), counted AS MATERIALIZED (
  SELECT date_bin($5::float8 * interval '1 second', s.slot, $3::timestamptz) AS bar, s.event_type, s.reason, s.status,
         sum(s.attempts) AS attempts, sum(s.total_us) AS total_us, max(s.max_us) AS max_us,
         sum(under_1) AS t0, sum(under_2) AS t1, sum(under_4) AS t2, sum(under_8) AS t3, sum(under_16) AS t4,
         sum(under_32) AS t5, sum(under_64) AS t6, sum(under_128) AS t7, sum(under_256) AS t8, sum(under_512) AS t9,
         sum(under_1024) AS t10, sum(under_2048) AS t11, sum(under_4096) AS t12, sum(under_8192) AS t13,
         sum(under_16384) AS t14, sum(over_16384) AS t15
    FROM webhooks.endpoint_slots s
   WHERE s.endpoint_id = $2 AND EXISTS (SELECT FROM mine) AND s.minutes = $6 AND s.slot >= $3 AND s.slot < $4::timestamptz AND ($1 IS NULL OR s.company_id = $1)
   GROUP BY 1, 2, 3, 4
)
SELECT bar, event_type, reason, status,
       coalesce(sum(attempts) FILTER (WHERE reason = 'ok'), 0)::bigint,
       coalesce(sum(attempts) FILTER (WHERE reason NOT IN ('ok', 'interrupted')), 0)::bigint,
       coalesce(sum(attempts) FILTER (WHERE reason = 'interrupted'), 0)::bigint,
       coalesce(sum(total_us), 0)::bigint, coalesce(max(max_us), 0)::bigint,
       CASE WHEN count(*) > 0 THEN ARRAY[sum(t0), sum(t1), sum(t2), sum(t3), sum(t4), sum(t5), sum(t6), sum(t7), sum(t8), sum(t9), sum(t10), sum(t11),
             sum(t12), sum(t13), sum(t14), sum(t15)]::bigint[] END
  FROM counted
 GROUP BY GROUPING SETS ((), (bar), (event_type), (reason, status))
HAVING EXISTS (SELECT FROM mine)
