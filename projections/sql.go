package projections

import (
	_ "embed" // the statements that apply a page
	"strings"
)

// The statements over the tables of the history name their schema as {history}: the live one, or a rebuild's.
const (
	liveSchema    = "webhooks"
	rebuildSchema = "pg_temp" // a relay may make no other tables
)

//go:embed apply.sql
var applyPage string

// The longer queries of Reader.
var (
	//go:embed stats.sql
	selectStats string
	//go:embed overview.sql
	selectOverview string
	//go:embed deliveries.sql
	selectDeliveriesOfCompany string
	//go:embed decision.sql
	selectDecision string
	//go:embed missing.sql
	selectMissing string
	//go:embed health.sql
	selectHealth string
	//go:embed present.sql
	presentPage string
)

// The planner takes a page for ten rows and would join its parts by nested loops, which is quadratic. Without them it
// hashes. Its plan is kept, and one that was made while the journal was small would later read all of it for every page:
// hence no sequential scans. The cost that this adds to what remains of both must not start the JIT compiler.
//
// The commit need not reach the disk: what a crash of the server takes back, the cursor with it, is applied again. So the
// history's commits do not stand between the relay's and the disk.
const tunePlanner = `SELECT set_config('enable_nestloop', 'off', true), set_config('enable_seqscan', 'off', true), set_config('jit', 'off', true),
       set_config('plan_cache_mode', 'force_generic_plan', true), set_config('synchronous_commit', 'off', true)`

func in(schema, text string) string { return strings.ReplaceAll(text, "{history}", schema) }

// Rebuild.
const (
	tryRebuildLock = `SELECT pg_try_advisory_xact_lock(hashtextextended('webhooks.rebuild', 0))`

	// The lock of the group's reader: see webhooks.journal_page.
	lockGroup = `SELECT pg_advisory_xact_lock(hashtextextended('webhooks.journal/' || $1, 0))`

	readCursor = `SELECT from_snapshot::text, to_snapshot::text, after_xid::text, after_position
  FROM webhooks.cursors WHERE topic = 'journal' AND consumer_group = $1`

	// Of the transaction alone: they are gone with it, however it ends.
	makeRebuildTables = `CREATE TEMP TABLE events (LIKE webhooks.events INCLUDING ALL) ON COMMIT DROP;
CREATE TEMP TABLE deliveries (LIKE webhooks.deliveries INCLUDING ALL) ON COMMIT DROP;
CREATE TEMP TABLE attempts (LIKE webhooks.attempts INCLUDING ALL) ON COMMIT DROP;
CREATE TEMP TABLE endpoint_slots (LIKE webhooks.endpoint_slots INCLUDING ALL) ON COMMIT DROP;
CREATE TEMP TABLE delivery_feed (LIKE webhooks.delivery_feed INCLUDING ALL) ON COMMIT DROP;
CREATE TEMP TABLE endpoint_changes (LIKE webhooks.endpoint_changes INCLUDING ALL) ON COMMIT DROP`

	savepoint         = `SAVEPOINT rebuild_page`
	rollbackSavepoint = `ROLLBACK TO SAVEPOINT rebuild_page`
	releaseSavepoint  = `RELEASE SAVEPOINT rebuild_page`

	isQuarantined = `SELECT EXISTS (SELECT FROM webhooks.quarantine
 WHERE topic = 'journal' AND consumer_group = $1 AND transaction_id = $2::xid8 AND position = $3)`

	nextBounds = `SELECT transaction_id::text, position, n
  FROM (SELECT transaction_id, position, row_number() OVER (ORDER BY transaction_id, position) AS n
          FROM (SELECT transaction_id, position FROM webhooks.journal
                 WHERE (transaction_id, position) > ($3::xid8, $4::bigint)
                   AND ($5::xid8 IS NULL OR (transaction_id, position) <= ($5::xid8, $6::bigint))
                   AND pg_visible_in_snapshot(transaction_id, $2::pg_snapshot)
                   AND NOT pg_visible_in_snapshot(transaction_id, $1::pg_snapshot)
                 ORDER BY transaction_id, position LIMIT $7) l) p
 ORDER BY n DESC LIMIT 1`

	// Facts are gone when days of the journal were dropped. A live row that is older than every retained fact can only
	// come from such facts, too.
	readRetention = `SELECT f.first, greatest(f.first, f.pruned_until), f.pruned_until IS NOT NULL
    OR EXISTS (SELECT FROM webhooks.events WHERE fanned_out_at < f.first)
    OR EXISTS (SELECT FROM webhooks.endpoint_changes WHERE recorded_at < f.first)
  FROM (SELECT (SELECT min(recorded_at) FROM webhooks.journal) AS first,
               (SELECT pruned_until FROM webhooks.retention WHERE log = 'journal') AS pruned_until) f`

	// $1 is NULL when every fact is retained, else the earliest time that a row can be rebuilt for.
	compareTable = `WITH live AS MATERIALIZED (
  SELECT x::text AS row FROM webhooks.{table} x WHERE $1::timestamptz IS NULL OR {column} >= $1
), rebuilt AS MATERIALIZED (
  SELECT x::text AS row FROM pg_temp.{table} x WHERE $1::timestamptz IS NULL OR {column} >= $1
)
SELECT (SELECT count(*) FROM live), (SELECT count(*) FROM rebuilt),
       (SELECT count(*) FROM (TABLE live EXCEPT ALL TABLE rebuilt) l),
       (SELECT count(*) FROM (TABLE rebuilt EXCEPT ALL TABLE live) r),
       (SELECT count(*) FROM webhooks.{table} WHERE $1::timestamptz IS NOT NULL AND {column} < $1)`

	clearTable = `DELETE FROM webhooks.{table} WHERE $1::timestamptz IS NULL OR {column} >= $1`

	// Generated columns cannot be given.
	readColumns = `SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
 WHERE attrelid = 'webhooks.{table}'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''`

	fillTable = `INSERT INTO webhooks.{table} ({columns})
SELECT {columns} FROM pg_temp.{table} WHERE $1::timestamptz IS NULL OR {column} >= $1
ON CONFLICT DO NOTHING`
)

// Audit. A finding is a statement whose rows are details; $1 and $2 are the events and the deliveries that unread facts
// speak of, as text: what the history says of them is not the last word.
const (
	// Text and no casts: an unread fact may be one that will be quarantined.
	readLag = `WITH unread AS MATERIALIZED (
  SELECT j.fact, CASE WHEN json_typeof(j.data) = 'object' THEN j.data ELSE '{}' END AS data
    FROM webhooks.journal j
   WHERE NOT EXISTS (SELECT FROM webhooks.cursors c WHERE c.topic = 'journal' AND c.consumer_group = $1
           AND (pg_visible_in_snapshot(j.transaction_id, c.from_snapshot)
             OR c.to_snapshot IS NOT NULL AND pg_visible_in_snapshot(j.transaction_id, c.to_snapshot)
                AND (j.transaction_id, j.position) <= (c.after_xid, c.after_position)))
)
SELECT (SELECT count(*) FROM unread),
       ARRAY(SELECT DISTINCT e.event_id FROM unread u CROSS JOIN LATERAL json_to_record(u.data) AS e(event_id text)
              WHERE u.fact = 'event.fanned_out' AND e.event_id IS NOT NULL),
       ARRAY(SELECT DISTINCT d.delivery_id FROM unread u CROSS JOIN LATERAL json_to_record(u.data) AS d(delivery_id text)
              WHERE (u.fact LIKE 'attempt.%' OR u.fact LIKE 'delivery.%') AND d.delivery_id IS NOT NULL)`

	countAll = `SELECT (SELECT count(*) FROM webhooks.event_ids),
       (SELECT coalesce(sum(json_array_length(decisions)), 0) FROM webhooks.events),
       (SELECT count(*) FROM webhooks.quarantine)`

	countStates = `SELECT state, count(*) FROM webhooks.delivery_history GROUP BY state`

	// Committed and in no fan-out yet. The NOT EXISTS on event_ids also passes over repeated ids.
	countWaiting = `SELECT count(DISTINCT o.event_id) FROM webhooks.outbox o
 WHERE NOT EXISTS (SELECT FROM webhooks.event_ids i WHERE i.event_id = o.event_id)
   AND NOT (` + outboxRowIsRead + `)`

	outboxRowIsRead = `EXISTS (SELECT FROM webhooks.cursors c WHERE c.topic = 'outbox'
           AND (pg_visible_in_snapshot(o.transaction_id, c.from_snapshot)
             OR c.to_snapshot IS NOT NULL AND pg_visible_in_snapshot(o.transaction_id, c.to_snapshot)
                AND (o.transaction_id, o.position) <= (c.after_xid, c.after_position)))`

	lostEvents = `SELECT 'event ' || o.event_id || ' was read from the outbox and is neither fanned out nor quarantined'
  FROM webhooks.outbox o
 WHERE $1::text[] IS NOT NULL AND $2::text[] IS NOT NULL
   AND NOT EXISTS (SELECT FROM webhooks.event_ids i WHERE i.event_id = o.event_id)
   AND NOT EXISTS (SELECT FROM webhooks.quarantine q WHERE q.topic = 'outbox' AND q.position = o.position)
   AND ` + outboxRowIsRead

	untoldEvents = `SELECT 'event ' || i.event_id || ' was fanned out and has no event.fanned_out fact in the history'
  FROM webhooks.event_ids i
 WHERE $2::text[] IS NOT NULL
   AND NOT EXISTS (SELECT FROM webhooks.events e WHERE e.event_id = i.event_id)
   AND NOT EXISTS (SELECT FROM unnest($1::text[]) l(id) WHERE l.id = i.event_id::text)`

	// An endpoint that was made or deleted while the fan-out ran may be in or out: a minute on either side is left out.
	undecided = `WITH decided AS MATERIALIZED (
  SELECT e.event_id, c.endpoint_id, count(*) AS n
    FROM webhooks.events e CROSS JOIN LATERAL json_to_recordset(e.decisions) AS c(endpoint_id uuid)
   GROUP BY 1, 2
)
SELECT 'event ' || event_id || ' has ' || n || ' decisions about endpoint ' || endpoint_id FROM decided
 WHERE n > 1 AND $1::text[] IS NOT NULL AND $2::text[] IS NOT NULL
UNION ALL
SELECT 'event ' || e.event_id || ' has no decision about endpoint ' || p.endpoint_id
  FROM webhooks.events e
  JOIN webhooks.endpoints p ON p.company_id = e.company_id AND p.created_at < e.fanned_out_at - interval '1 minute'
       AND (p.deleted_at IS NULL OR p.deleted_at > e.fanned_out_at + interval '1 minute')
  LEFT JOIN decided d ON d.event_id = e.event_id AND d.endpoint_id = p.endpoint_id
 WHERE d.event_id IS NULL`

	undelivered = `SELECT 'event ' || e.event_id || ' chose endpoint ' || c.endpoint_id || ' and delivery '
       || coalesce(c.delivery_id::text, 'NULL') || ' is not in the history'
  FROM webhooks.events e
 CROSS JOIN LATERAL json_to_recordset(e.decisions) AS c(endpoint_id uuid, decision text, delivery_id bigint)
  LEFT JOIN webhooks.deliveries d ON d.delivery_id = c.delivery_id
 WHERE c.decision = 'chosen' AND d.delivery_id IS NULL AND $1::text[] IS NOT NULL AND $2::text[] IS NOT NULL`

	// The second part breaks the rule that an event has one delivery for an endpoint.
	misrequested = `SELECT 'event ' || r.event_id || ' was requested for endpoint ' || r.endpoint_id || ' and delivery ' || r.delivery_id || ' is not in the history'
  FROM webhooks.requested_deliveries r
  LEFT JOIN webhooks.deliveries d ON d.delivery_id = r.delivery_id
 WHERE d.delivery_id IS NULL AND $1::text[] IS NOT NULL
   AND NOT EXISTS (SELECT FROM unnest($2::text[]) l(id) WHERE l.id = r.delivery_id::text)
UNION ALL
SELECT 'event ' || e.event_id || ' chose endpoint ' || r.endpoint_id || ' and was requested for it as well, as delivery ' || r.delivery_id
  FROM webhooks.requested_deliveries r
  JOIN webhooks.events e ON e.event_id = r.event_id
 CROSS JOIN LATERAL json_to_recordset(e.decisions) AS c(endpoint_id uuid, decision text)
 WHERE c.endpoint_id = r.endpoint_id AND c.decision = 'chosen'`

	stranded = `SELECT 'delivery ' || d.delivery_id || ' is ' || d.state || ' and nothing will send it'
  FROM webhooks.deliveries d
 WHERE d.state NOT IN ('delivered', 'exhausted', 'cancelled') AND $1::text[] IS NOT NULL
   AND NOT EXISTS (SELECT FROM webhooks.pending p WHERE p.endpoint_id = d.endpoint_id AND p.delivery_id = d.delivery_id)
   AND NOT EXISTS (SELECT FROM unnest($2::text[]) l(id) WHERE l.id = d.delivery_id::text)`

	unrecorded = `SELECT 'delivery ' || p.delivery_id || ' is to be sent and is ' || coalesce(d.state, 'unknown') || ' in the history'
  FROM webhooks.pending p
  LEFT JOIN webhooks.deliveries d ON d.delivery_id = p.delivery_id
 WHERE (d.delivery_id IS NULL OR d.state IN ('delivered', 'exhausted', 'cancelled'))
   AND NOT EXISTS (SELECT FROM unnest($2::text[]) l(id) WHERE l.id = p.delivery_id::text)
   AND NOT EXISTS (SELECT FROM unnest($1::text[]) l(id) WHERE l.id = p.event_id::text)`

	orphaned = `SELECT 'batch ' || i.batch || ' with ' || cardinality(i.delivery_ids) || ' attempts belongs to relay ' || i.relay_id || ', which is gone'
  FROM webhooks.intents i
 WHERE $1::text[] IS NOT NULL AND $2::text[] IS NOT NULL
   AND NOT EXISTS (SELECT FROM webhooks.relays r WHERE r.relay_id = i.relay_id)`
)

// Queries. They read tables, since tenants have no view: one reads as its owner, who sees every company. Every filter is
// there and idle when NULL; lib/pq sends values with each statement, so that the planner sees
// which are.
const (
	selectEvents = `SELECT event_id, company_id, event_type, created_at, position, fanned_out_at, decisions
  FROM webhooks.events e
 WHERE ($1::uuid IS NULL OR e.company_id = $1)
   AND ($2::uuid IS NULL OR EXISTS (SELECT FROM json_to_recordset(e.decisions) AS c(endpoint_id uuid) WHERE c.endpoint_id = $2))
   AND ($3::uuid IS NULL OR e.event_id = $3)
   AND ($4::text IS NULL OR e.event_type = $4)
   AND ($5::timestamptz IS NULL OR e.created_at >= $5)
   AND ($6::timestamptz IS NULL OR e.created_at < $6)
   AND ($7::bigint IS NULL OR e.position < $7)
 ORDER BY e.position DESC LIMIT $8`

	// The view delivery_history, with the reader's rights.
	deliveryRows = `(SELECT d.delivery_id, d.event_id, d.endpoint_id, d.company_id, d.event_type,
               CASE WHEN d.state IN ('pending', 'retrying') AND e.state = 'disabled' AND d.trigger <> 'test' THEN 'held' ELSE d.state END AS state,
               d.trigger, d.generation, d.attempts, d.created_at, d.first_attempt_at, d.last_attempt_at, d.next_attempt_at,
               d.finished_at, d.last_status, d.last_reason, d.last_total_us, d.requested_by
          FROM webhooks.deliveries d LEFT JOIN webhooks.endpoints e USING (endpoint_id))`

	deliveryColumns = `delivery_id, event_id, endpoint_id, company_id, event_type, state, trigger, generation, attempts, created_at,
       first_attempt_at, last_attempt_at, next_attempt_at, finished_at, last_status, last_reason, last_total_us, requested_by`

	// One delivery or one event's, which are found through the event's decisions and requests, all by
	// primary key; or every company's, in the order of the primary key, for the operator.
	selectDeliveries = `SELECT ` + deliveryColumns + ` FROM ` + deliveryRows + ` d
 WHERE ($1::uuid IS NULL OR d.company_id = $1)
   AND ($2::uuid IS NULL OR d.endpoint_id = $2)
   AND ($3::uuid IS NULL OR d.event_id = $3 AND d.delivery_id = ANY (ARRAY(
         SELECT c.delivery_id FROM webhooks.events e CROSS JOIN LATERAL json_to_recordset(e.decisions) AS c(delivery_id bigint)
          WHERE e.event_id = $3 AND c.delivery_id IS NOT NULL
          UNION ALL SELECT r.delivery_id FROM webhooks.requested_deliveries r WHERE r.event_id = $3)))
   AND ($4::text IS NULL OR d.event_type = $4)
   AND ($5::timestamptz IS NULL OR d.created_at >= $5)
   AND ($6::timestamptz IS NULL OR d.created_at < $6)
   AND ($7::bigint IS NULL OR d.delivery_id < $7)
   AND ($9::text[] IS NULL OR d.state = ANY ($9))
   AND ($10::smallint IS NULL OR d.last_status = $10)
   AND ($11::text IS NULL OR d.last_reason = $11)
   AND ($12::bigint IS NULL OR d.delivery_id = $12)
   AND ($13::smallint IS NULL OR CASE WHEN d.last_reason IS NOT NULL THEN coalesce(d.last_status / 100, 0) END = $13)
   AND ($14::text IS NULL OR d.trigger = $14)
 ORDER BY d.delivery_id DESC LIMIT $8`

	attemptColumns = `delivery_id, attempt, event_id, endpoint_id, company_id, event_type, generation, trigger, started_at, outcome,
       reason, detail, status, url, request_timestamp, request_signature, request_bytes, response_headers, response_body,
       response_truncated, remote_addr, dns_us, connect_us, tls_us, first_byte_us, total_us, next_attempt_at, config_version,
       request_headers`

	attemptPage = `($1::uuid IS NULL OR a.company_id = $1)
   AND ($2::uuid IS NULL OR a.endpoint_id = $2)
   AND ($3::uuid IS NULL OR a.event_id = $3 AND a.delivery_id = ANY (ARRAY(
         SELECT c.delivery_id FROM webhooks.events e CROSS JOIN LATERAL json_to_recordset(e.decisions) AS c(delivery_id bigint)
          WHERE e.event_id = $3 AND c.delivery_id IS NOT NULL
          UNION ALL SELECT r.delivery_id FROM webhooks.requested_deliveries r WHERE r.event_id = $3)))
   AND ($4::text IS NULL OR a.event_type = $4)
   AND ($5::timestamptz IS NULL OR a.started_at >= $5)
   AND ($6::timestamptz IS NULL OR a.started_at < $6)
   AND ($7::timestamptz IS NULL OR (a.started_at, a.delivery_id, a.attempt) < ($7, $13::bigint, $14::smallint))
   AND ($9::text IS NULL OR a.outcome = $9)
   AND ($10::smallint IS NULL OR a.status = $10)
   AND ($11::text IS NULL OR a.reason = $11)
   AND ($12::bigint IS NULL OR a.delivery_id = $12)
 ORDER BY a.started_at DESC, a.delivery_id DESC, a.attempt DESC LIMIT $8`

	// As selectDeliveries.
	selectAttempts = `SELECT ` + attemptColumns + `
  FROM webhooks.attempts a
 WHERE ` + attemptPage

	// A stretch of the index of each endpoint of the company, merged.
	selectAttemptsOfCompany = `SELECT ` + attemptColumns + `
  FROM (SELECT endpoint_id AS id FROM webhooks.endpoints
         WHERE ($1::uuid IS NULL OR company_id = $1) AND ($2::uuid IS NULL OR endpoint_id = $2)) n
 CROSS JOIN LATERAL (
   SELECT ` + attemptColumns + `
     FROM webhooks.attempts a
    WHERE a.endpoint_id = n.id AND ` + attemptPage + `
 ) a
 ORDER BY a.started_at DESC, a.delivery_id DESC, a.attempt DESC LIMIT $8`

	selectChanges = `SELECT position, recorded_at, endpoint_id, company_id, fact, version, actor, reason, note, old, new
  FROM webhooks.endpoint_changes c
 WHERE ($1::uuid IS NULL OR c.company_id = $1)
   AND ($2::uuid IS NULL OR c.endpoint_id = $2)
   AND ($3::text IS NULL OR c.fact = $3)
   AND ($4::text IS NULL OR c.reason = $4)
   AND ($5::timestamptz IS NULL OR c.recorded_at >= $5)
   AND ($6::timestamptz IS NULL OR c.recorded_at < $6)
   AND ($7::bigint IS NULL OR c.position < $7)
 ORDER BY c.position DESC LIMIT $8`

	// Ends at the first row that is one too many.
	countExhausted = `SELECT count(*) FROM (
  SELECT FROM webhooks.deliveries d
   WHERE ($1::uuid IS NULL OR d.company_id = $1) AND d.endpoint_id = $2
     AND d.exhausted_at >= $3 AND ($4::timestamptz IS NULL OR d.exhausted_at < $4) AND d.trigger <> 'test'
   LIMIT $5) f`

	countMissing = `SELECT m.event_type, count(*) FILTER (WHERE m.kept), count(*) FILTER (WHERE NOT m.kept), min(m.created_at)
  FROM ({missing}) m GROUP BY 1 ORDER BY 1`

	// In the order of the index delivery_exhausted. The number of attempts ever made tells a replay how to number its own.
	selectExhausted = `SELECT d.delivery_id, d.event_id, d.endpoint_id, d.company_id, d.generation, d.first_attempt_at, d.exhausted_at,
       coalesce((SELECT max(a.attempt) FROM webhooks.attempts a WHERE a.delivery_id = d.delivery_id), 0)
  FROM webhooks.deliveries d
 WHERE ($1::uuid IS NULL OR d.company_id = $1) AND d.endpoint_id = $2
   AND d.exhausted_at >= $3 AND ($4::timestamptz IS NULL OR d.exhausted_at < $4) AND d.trigger <> 'test'
   AND (d.exhausted_at, d.delivery_id) > ($5::timestamptz, $6::bigint)
 ORDER BY d.exhausted_at, d.delivery_id LIMIT $7`

	// The index pending_due.
	selectUpcoming = `SELECT p.delivery_id, p.event_id, coalesce(d.event_type, ''), p.trigger, p.generation, p.completed + 1,
       p.due_at, coalesce(webhooks.next_attempt_at(e.state, l.breaker, l.not_before, p.trigger, p.due_at), due_at), e.state = 'disabled' AND p.trigger <> 'test'
  FROM webhooks.endpoints e
  JOIN LATERAL (
    SELECT q.delivery_id, q.event_id, q.trigger, q.generation, q.completed, q.due_at
      FROM webhooks.pending q WHERE q.endpoint_id = e.endpoint_id AND q.due_at IS NOT NULL
     ORDER BY q.due_at LIMIT $3
  ) p ON true
  LEFT JOIN webhooks.lanes l ON l.endpoint_id = e.endpoint_id
  LEFT JOIN webhooks.deliveries d ON d.delivery_id = p.delivery_id
 WHERE ($1::uuid IS NULL OR e.company_id = $1) AND e.endpoint_id = $2 AND e.deleted_at IS NULL
 ORDER BY p.due_at`

	// The last page, and what the pages after $3 changed for the company $1, by primary key. Pages hold the changes of many
	// companies, so that tenants may not read them; what was changed they read themselves, by selectChanged.
	selectFeed = `SELECT coalesce(max(page), 0), ARRAY(
         SELECT DISTINCT u.delivery_id
           FROM webhooks.delivery_feed f CROSS JOIN LATERAL unnest(f.endpoint_ids, f.delivery_ids) AS u(endpoint_id, delivery_id)
          WHERE $3 >= 0 AND f.page > $3
            AND u.endpoint_id = ANY (ARRAY(
                  SELECT n.endpoint_id FROM webhooks.endpoints n
                   WHERE ($1::uuid IS NULL OR n.company_id = $1) AND ($2::uuid IS NULL OR n.endpoint_id = $2)))
          ORDER BY u.delivery_id DESC LIMIT $4)
  FROM webhooks.delivery_feed`

	selectChanged = `SELECT ` + deliveryColumns + ` FROM ` + deliveryRows + ` d
 WHERE ($1::uuid IS NULL OR d.company_id = $1) AND d.delivery_id = ANY ($2)
 ORDER BY d.delivery_id DESC`

	// What made the requests of an attempt. The outbox keeps the bytes as long as it is retained.
	selectRequest = `SELECT a.url, a.event_type, coalesce(a.request_timestamp, 0), a.request_signature, a.request_bytes, a.request_headers, d.event_id, d.first_attempt_at,
       o.event_id IS NOT NULL, o.created_at, o.data
  FROM webhooks.attempts a
  JOIN webhooks.deliveries d ON d.delivery_id = a.delivery_id
  LEFT JOIN webhooks.event_ids i ON i.event_id = d.event_id
  LEFT JOIN webhooks.outbox o ON o.recorded_at = i.recorded_at AND o.transaction_id = i.transaction_id AND o.position = i.position
       AND o.company_id = d.company_id
 WHERE ($1::uuid IS NULL OR d.company_id = $1) AND a.delivery_id = $2 AND a.attempt = $3
 ORDER BY a.started_at DESC LIMIT 1`

	// Read in the order of the fan-outs, which follow one another: by position, an event whose transaction was
	// long would appear behind a reader that has passed it.
	selectToldEnd = `SELECT fanned_out_at, position FROM webhooks.events
 WHERE company_id = $1 ORDER BY fanned_out_at DESC, position DESC LIMIT 1`

	selectTold = `SELECT e.event_id, e.event_type, e.company_id, e.created_at, e.fanned_out_at, e.position, o.data
  FROM webhooks.events e
  LEFT JOIN webhooks.event_ids i ON i.event_id = e.event_id AND ($5 OR e.event_type = ANY ($4::text[]))
  LEFT JOIN webhooks.outbox o ON o.recorded_at = i.recorded_at AND o.transaction_id = i.transaction_id AND o.position = i.position
 WHERE e.company_id = $1 AND (e.fanned_out_at, e.position) > ($2, $3)
 ORDER BY e.fanned_out_at, e.position LIMIT $6`
)
