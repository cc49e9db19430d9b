-- One page of the journal, applied to the history in one statement. {history} is the schema of the tables: the live one,
-- or the one that a rebuild makes beside it.
--
-- Every JSON body is parsed once. A delivery is moved at most once a page: its facts are folded first. The fold, and the
-- guard against the row that is there already, follow the same order, so that the cut into pages never shows:
--   a higher generation wins; within one generation
--   3  an attempt that ended the delivery (the last one wins; it may end after a cancellation),
--   2  a delivery.* fact that ended it (the first one wins),
--   1  an attempt that left it open (the last one wins),
--   0  a replay, which only opens a generation.
-- An attempt counts only when its row is new: that alone makes a second application of any page a no-op.
WITH page AS MATERIALIZED (
  SELECT row_number() OVER (ORDER BY transaction_id, position) AS n, recorded_at, position, company_id, fact, version, data
    FROM webhooks.journal_rows($1::pg_snapshot, $2::pg_snapshot, $3::xid8, $4::bigint, $5::xid8, $6::bigint,
                               $7::timestamptz, $8::timestamptz)
   WHERE fact IN ('event.fanned_out', 'attempt.succeeded', 'attempt.failed', 'attempt.interrupted', 'attempt.stale',
                  'delivery.requested', 'delivery.exhausted', 'delivery.cancelled', 'delivery.replayed',
                  'endpoint.created', 'endpoint.updated', 'endpoint.enabled', 'endpoint.disabled', 'endpoint.deleted',
                  'endpoint.secret_rotated')
), changed AS (
  INSERT INTO {history}.endpoint_changes
         (position, recorded_at, endpoint_id, company_id, fact, version, actor, reason, note, old, new)
  SELECT p.position, p.recorded_at, e.endpoint_id, p.company_id, p.fact, e.version, e.actor, e.reason, coalesce(e.note, ''), e.old, e.new
    FROM page p
   CROSS JOIN LATERAL json_to_record(p.data)
      AS e(endpoint_id uuid, version integer, actor text, reason text, note text, old json, new json)
   WHERE p.fact LIKE 'endpoint.%' AND p.version = 1
  ON CONFLICT DO NOTHING
), fanned_out AS MATERIALIZED (
  SELECT p.recorded_at, p.company_id, e.event_id, e.event_type, e.created_at, e.position, coalesce(e.decisions, '[]') AS decisions
    FROM page p
   CROSS JOIN LATERAL json_to_record(p.data)
      AS e(event_id uuid, event_type text, created_at timestamptz, position bigint, decisions json)
   WHERE p.fact = 'event.fanned_out' AND p.version = 1
), new_events AS (
  INSERT INTO {history}.events (event_id, company_id, event_type, created_at, position, fanned_out_at, decisions)
  SELECT event_id, company_id, event_type, created_at, position, recorded_at, decisions FROM fanned_out
  ON CONFLICT DO NOTHING
), told AS MATERIALIZED (
  -- The same attempt may be told twice in a page; the first telling stands, as it would in two pages.
  SELECT DISTINCT ON (u.delivery_id, u.attempt, u.started_at) u.*
    FROM (
      SELECT p.n, p.recorded_at, p.company_id, substr(p.fact, 9) AS outcome, a.*
        FROM page p
       CROSS JOIN LATERAL json_to_record(p.data)
          AS a(delivery_id bigint, attempt smallint, endpoint_id uuid, event_id uuid, event_type text, generation smallint,
               trigger text, started_at timestamptz, reason text, detail text, status smallint, completed smallint,
               state text, first_attempt_at timestamptz, next_attempt_at timestamptz, config_version integer, url text,
               request_timestamp bigint, request_signature text, request_bytes integer, request_headers json,
               response_headers json, response_body text, response_truncated boolean, remote_addr text, dns_us integer, connect_us integer, tls_us integer,
               first_byte_us integer, total_us integer)
       WHERE p.fact LIKE 'attempt.%' AND p.version = 2
      UNION ALL
      -- Version 1 was nested.
      SELECT p.n, p.recorded_at, p.company_id, substr(p.fact, 9), a.delivery_id, a.attempt, a.endpoint_id, a.event_id,
             a.event_type, a.generation, a.trigger, a.started_at, a.reason, a.detail, a.status, a.completed, a.state,
             a.first_attempt_at, a.next_attempt_at, q.config_version, q.url, q.timestamp, q.signature, q.bytes, NULL, s.headers,
             s.body, s.truncated, a.remote_addr, t.dns, t.connect, t.tls, t.first_byte, t.total
        FROM page p
       CROSS JOIN LATERAL json_to_record(p.data)
          AS a(delivery_id bigint, attempt smallint, endpoint_id uuid, event_id uuid, event_type text, generation smallint,
               trigger text, started_at timestamptz, reason text, detail text, status smallint, completed smallint,
               state text, first_attempt_at timestamptz, next_attempt_at timestamptz, request json, response json,
               remote_addr text, timing_us json)
       CROSS JOIN LATERAL json_to_record(coalesce(a.request, '{}'))
          AS q(config_version integer, url text, "timestamp" bigint, signature text, bytes integer)
       CROSS JOIN LATERAL json_to_record(coalesce(a.response, '{}')) AS s(headers json, body text, truncated boolean)
       CROSS JOIN LATERAL json_to_record(coalesce(a.timing_us, '{}'))
          AS t(dns integer, connect integer, tls integer, first_byte integer, total integer)
       WHERE p.fact LIKE 'attempt.%' AND p.version = 1
    ) u
   ORDER BY u.delivery_id, u.attempt, u.started_at, u.n
), new_attempts AS (
  INSERT INTO {history}.attempts
         (delivery_id, attempt, started_at, endpoint_id, company_id, event_id, event_type, generation, trigger, outcome,
          reason, detail, status, config_version, url, request_timestamp, request_signature, request_bytes,
          response_headers, response_body, response_truncated, remote_addr,
          dns_us, connect_us, tls_us, first_byte_us, total_us, next_attempt_at, request_headers)
  SELECT delivery_id, attempt, started_at, endpoint_id, company_id, event_id, event_type, generation, trigger, outcome,
         reason, coalesce(detail, ''), nullif(status, 0), coalesce(config_version, 0), coalesce(url, ''), request_timestamp,
         coalesce(request_signature, ''), coalesce(request_bytes, 0), response_headers,
         decode(coalesce(response_body, ''), 'base64'), coalesce(response_truncated, false), coalesce(remote_addr, ''),
         coalesce(dns_us, 0), coalesce(connect_us, 0), coalesce(tls_us, 0), coalesce(first_byte_us, 0), coalesce(total_us, 0),
         next_attempt_at, request_headers
    FROM told
  ON CONFLICT DO NOTHING
  RETURNING delivery_id, attempt, started_at, endpoint_id, company_id, event_type, outcome, reason, status, total_us
), slots AS MATERIALIZED (
  SELECT endpoint_id, date_bin('5 minutes', started_at, '2000-01-01 00:00:00+00') AS slot, event_type, reason, coalesce(status, 0) AS status,
         company_id, count(*) AS attempts,
         coalesce(sum(total_us) FILTER (WHERE timed), 0)::bigint AS total_us, coalesce(max(total_us) FILTER (WHERE timed), 0) AS max_us,
         count(*) FILTER (WHERE bucket = 0) AS under_1, count(*) FILTER (WHERE bucket = 1) AS under_2, count(*) FILTER (WHERE bucket = 2) AS under_4, count(*) FILTER (WHERE bucket = 3) AS under_8,
         count(*) FILTER (WHERE bucket = 4) AS under_16, count(*) FILTER (WHERE bucket = 5) AS under_32, count(*) FILTER (WHERE bucket = 6) AS under_64, count(*) FILTER (WHERE bucket = 7) AS under_128,
         count(*) FILTER (WHERE bucket = 8) AS under_256, count(*) FILTER (WHERE bucket = 9) AS under_512, count(*) FILTER (WHERE bucket = 10) AS under_1024, count(*) FILTER (WHERE bucket = 11) AS under_2048,
         count(*) FILTER (WHERE bucket = 12) AS under_4096, count(*) FILTER (WHERE bucket = 13) AS under_8192, count(*) FILTER (WHERE bucket = 14) AS under_16384, count(*) FILTER (WHERE bucket = 15) AS over_16384
    FROM (SELECT a.*, outcome <> 'interrupted' AS timed,
                 CASE WHEN outcome <> 'interrupted'
                      THEN width_bucket(total_us, '{1000,2000,4000,8000,16000,32000,64000,128000,256000,512000,1024000,2048000,4096000,8192000,16384000}'::integer[])
                 END AS bucket
            FROM new_attempts a
           WHERE outcome <> 'stale') t
   GROUP BY 1, 2, 3, 4, 5, 6
), new_slots AS (
  INSERT INTO {history}.endpoint_slots AS s
         (endpoint_id, slot, event_type, reason, status, company_id, attempts, total_us, max_us,
          under_1, under_2, under_4, under_8, under_16, under_32, under_64, under_128,
          under_256, under_512, under_1024, under_2048, under_4096, under_8192, under_16384, over_16384, minutes)
  SELECT *, 5 FROM slots
  UNION ALL
  SELECT endpoint_id, date_bin('1 hour', slot, '2000-01-01 00:00:00+00'), event_type, reason, status, company_id,
         sum(attempts), sum(total_us), max(max_us),
         sum(under_1), sum(under_2), sum(under_4), sum(under_8), sum(under_16), sum(under_32), sum(under_64), sum(under_128),
         sum(under_256), sum(under_512), sum(under_1024), sum(under_2048), sum(under_4096), sum(under_8192), sum(under_16384), sum(over_16384), 60
    FROM slots GROUP BY 1, 2, 3, 4, 5, 6
  ON CONFLICT (endpoint_id, minutes, slot, event_type, reason, status) DO UPDATE
     SET attempts = s.attempts + excluded.attempts, total_us = s.total_us + excluded.total_us,
         max_us = greatest(s.max_us, excluded.max_us),
         under_1 = s.under_1 + excluded.under_1, under_2 = s.under_2 + excluded.under_2, under_4 = s.under_4 + excluded.under_4, under_8 = s.under_8 + excluded.under_8,
         under_16 = s.under_16 + excluded.under_16, under_32 = s.under_32 + excluded.under_32, under_64 = s.under_64 + excluded.under_64, under_128 = s.under_128 + excluded.under_128,
         under_256 = s.under_256 + excluded.under_256, under_512 = s.under_512 + excluded.under_512, under_1024 = s.under_1024 + excluded.under_1024, under_2048 = s.under_2048 + excluded.under_2048,
         under_4096 = s.under_4096 + excluded.under_4096, under_8192 = s.under_8192 + excluded.under_8192, under_16384 = s.under_16384 + excluded.under_16384, over_16384 = s.over_16384 + excluded.over_16384
), moves AS MATERIALIZED (
  SELECT t.n, t.recorded_at, t.delivery_id, t.generation,
         CASE WHEN t.state IN ('delivered', 'exhausted', 'cancelled') THEN 3 ELSE 1 END AS rank,
         t.state, t.trigger, t.completed,
         nullif(coalesce(t.first_attempt_at, t.started_at), '0001-01-01 00:00:00+00') AS first_attempt_at,
         t.started_at, t.next_attempt_at, nullif(t.status, 0) AS status, t.reason,
         CASE WHEN t.outcome <> 'interrupted' THEN coalesce(t.total_us, 0) END AS total_us
    FROM told t JOIN new_attempts USING (delivery_id, attempt, started_at)
   WHERE t.outcome <> 'stale'
  UNION ALL
  SELECT p.n, p.recorded_at, d.delivery_id, d.generation,
         CASE WHEN d.state IN ('delivered', 'exhausted', 'cancelled') THEN 2 ELSE 0 END AS rank,
         d.state, CASE WHEN d.generation > 1 THEN 'manual' END, NULL, NULL, NULL, NULL, NULL, NULL, NULL
    FROM page p
   CROSS JOIN LATERAL json_to_record(p.data) AS d(delivery_id bigint, generation smallint, state text)
   WHERE p.fact LIKE 'delivery.%' AND p.version = 1
     AND (d.state IN ('delivered', 'exhausted', 'cancelled') OR d.generation > 1)
), stands AS (
  SELECT DISTINCT ON (delivery_id) delivery_id, generation, rank, state, trigger,
         CASE WHEN rank = 1 THEN next_attempt_at END AS next_attempt_at,
         CASE WHEN rank >= 2 THEN recorded_at END AS finished_at
    FROM moves
   ORDER BY delivery_id, generation DESC, rank DESC, CASE WHEN rank = 2 THEN -n ELSE n END DESC
), counted AS (
  SELECT DISTINCT ON (delivery_id) delivery_id, generation, completed
    FROM moves WHERE started_at IS NOT NULL
   ORDER BY delivery_id, generation DESC, n DESC
), latest AS (
  SELECT DISTINCT ON (delivery_id) delivery_id, first_attempt_at, started_at, status, reason, total_us
    FROM moves WHERE started_at IS NOT NULL
   ORDER BY delivery_id, n DESC
), folded AS MATERIALIZED (
  SELECT s.delivery_id, s.generation, s.rank, s.state, s.trigger, s.next_attempt_at, s.finished_at, c.completed,
         l.delivery_id IS NOT NULL AS attempted, l.first_attempt_at, l.started_at, l.status, l.reason, l.total_us
    FROM stands s
    LEFT JOIN counted c ON c.delivery_id = s.delivery_id AND c.generation = s.generation
    LEFT JOIN latest l ON l.delivery_id = s.delivery_id
), born AS MATERIALIZED (
  SELECT c.delivery_id, c.endpoint_id, e.event_id, e.company_id, e.event_type, e.recorded_at, c.trigger, NULL AS requested_by
    FROM fanned_out e
   CROSS JOIN LATERAL json_to_recordset(e.decisions)
      AS c(endpoint_id uuid, decision text, delivery_id bigint, trigger text)
   WHERE c.decision = 'chosen' AND c.delivery_id IS NOT NULL
  UNION ALL
  SELECT r.delivery_id, r.endpoint_id, r.event_id, p.company_id, r.event_type, p.recorded_at, r.trigger, r.actor
    FROM page p
   CROSS JOIN LATERAL json_to_record(p.data)
      AS r(delivery_id bigint, endpoint_id uuid, event_id uuid, event_type text, trigger text, actor text)
   WHERE p.fact = 'delivery.requested' AND p.version = 1
), fed AS (
  INSERT INTO {history}.delivery_feed (endpoint_ids, delivery_ids)
  SELECT endpoint_ids, delivery_ids
    FROM (SELECT array_agg(endpoint_id) AS endpoint_ids, array_agg(delivery_id) AS delivery_ids
            FROM (SELECT endpoint_id, delivery_id FROM new_attempts UNION SELECT endpoint_id, delivery_id FROM born) u) f
   WHERE delivery_ids IS NOT NULL
  RETURNING page
), forgotten AS (
  DELETE FROM {history}.delivery_feed f USING fed WHERE f.page <= fed.page - 256
), new_deliveries AS (
  INSERT INTO {history}.deliveries
         (delivery_id, endpoint_id, event_id, company_id, event_type, state, trigger, generation, attempts, created_at,
          first_attempt_at, last_attempt_at, next_attempt_at, finished_at, last_status, last_reason, last_total_us, requested_by)
  SELECT b.delivery_id, b.endpoint_id, b.event_id, b.company_id, b.event_type, coalesce(f.state, 'pending'),
         coalesce(f.trigger, nullif(b.trigger, ''), 'automatic'), coalesce(f.generation, 1), coalesce(f.completed, 0),
         b.recorded_at, f.first_attempt_at, f.started_at, f.next_attempt_at, f.finished_at, f.status, f.reason, f.total_us, b.requested_by
    FROM born b LEFT JOIN folded f USING (delivery_id)
  ON CONFLICT DO NOTHING
), guarded AS MATERIALIZED (
  -- The array makes this an index scan whatever the planner thinks of the size of a page. A delivery that is born in
  -- this page is not seen here: the INSERT above has written its last state.
  SELECT f.*, f.generation > d.generation AS reopened,
         f.generation > d.generation OR f.generation = d.generation AND f.rank > 0
           AND (f.rank = 3 OR d.state NOT IN ('delivered', 'exhausted', 'cancelled')) AS moved,
         f.generation = d.generation AS same
    FROM {history}.deliveries d JOIN folded f USING (delivery_id)
   WHERE d.delivery_id = ANY (ARRAY(SELECT delivery_id FROM folded))
)
UPDATE {history}.deliveries d
   SET state            = CASE WHEN g.moved THEN g.state ELSE d.state END,
       trigger          = CASE WHEN g.moved THEN coalesce(g.trigger, d.trigger) ELSE d.trigger END,
       generation       = greatest(d.generation, g.generation),
       attempts         = CASE WHEN g.reopened THEN coalesce(g.completed, 0)
                               WHEN g.same THEN coalesce(g.completed, d.attempts) ELSE d.attempts END,
       first_attempt_at = coalesce(d.first_attempt_at, g.first_attempt_at),
       last_attempt_at  = CASE WHEN g.attempted THEN g.started_at ELSE d.last_attempt_at END,
       next_attempt_at  = CASE WHEN g.moved THEN g.next_attempt_at ELSE d.next_attempt_at END,
       finished_at      = CASE WHEN g.moved THEN g.finished_at ELSE d.finished_at END,
       last_status      = CASE WHEN g.attempted THEN g.status ELSE d.last_status END,
       last_reason      = CASE WHEN g.attempted THEN g.reason ELSE d.last_reason END,
       last_total_us    = CASE WHEN g.attempted THEN g.total_us ELSE d.last_total_us END
  FROM guarded g
 WHERE d.delivery_id = g.delivery_id AND (g.moved OR g.attempted)
   AND d.delivery_id = ANY (ARRAY(SELECT delivery_id FROM guarded))
