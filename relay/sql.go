package relay

import "github.com/chattosurvey/surveyhooks/outbox/commitlog"

const (
	// Bounds $1..$8 are a page of the outbox. One statement for the page, so that deliveries, facts and the memory of
	// event ids are there together or not at all. The delivery ids follow commit order, since only one reader fans out
	// at a time and each page's ids are drawn in its order. Of a page of up to $10 events it returns each delivery, the event's
	// data with the first one of it; of a larger page the endpoints alone. Each row has the number of relays. The decisions
	// are put together by hand: none of their values needs escaping, and json_build_object takes three times as long.
	fanOut = `WITH page AS MATERIALIZED (
  SELECT * FROM webhooks.outbox_rows($1, $2, $3, $4, $5, $6, $7, $8)
), judged AS MATERIALIZED (
  SELECT p.*,
         CASE WHEN json_typeof(p.data) <> 'object' THEN 'data is a JSON ' || json_typeof(p.data) || ': want an object'
              WHEN octet_length(p.data::text) > 262144 THEN 'data has ' || octet_length(p.data::text) || ' bytes: want at most 262144'
              WHEN p.created_at < '0001-01-01 00:00:00+00' OR p.created_at >= '10000-01-01 00:00:00+00'
                THEN 'created_at is ' || p.created_at || ': want a year of 1 to 9999'
         END AS fault
    FROM page p
), quarantined AS (
  INSERT INTO webhooks.quarantine (topic, consumer_group, transaction_id, position, reason, content)
  SELECT 'outbox', 'fan-out', transaction_id, position, fault,
         json_build_object('event_id', event_id, 'event_type', left(event_type, 80), 'company_id', company_id)
    FROM judged WHERE fault IS NOT NULL
  ON CONFLICT DO NOTHING
), first AS (
  INSERT INTO webhooks.event_ids (event_id, recorded_at, transaction_id, position)
  SELECT DISTINCT ON (event_id) event_id, recorded_at, transaction_id, position
    FROM judged WHERE fault IS NULL
   ORDER BY event_id, transaction_id, position
  ON CONFLICT DO NOTHING
  RETURNING event_id, transaction_id, position
), decided AS MATERIALIZED (
  SELECT e.transaction_id, e.position, e.event_id, e.event_type, e.company_id, e.created_at, n.endpoint_id, n.version,
         CASE WHEN e.endpoint_id = n.endpoint_id AND e.event_type = ANY ($9::text[]) THEN 'chosen'
              WHEN e.endpoint_id IS NOT NULL THEN 'addressed_elsewhere'
              WHEN n.state <> 'enabled' THEN 'endpoint_disabled'
              WHEN n.created_at > e.recorded_at THEN 'created_after_event'
              WHEN e.event_type = ANY (n.event_types) OR n.event_types IS NULL AND e.event_type = ANY ($9::text[]) THEN 'chosen'
              ELSE 'type_not_selected'
         END AS decision,
         CASE WHEN e.endpoint_id IS NULL THEN 'automatic' ELSE 'test' END AS trigger
    FROM first f
    JOIN judged e USING (transaction_id, position)
    LEFT JOIN webhooks.endpoints n ON n.company_id = e.company_id AND n.deleted_at IS NULL
), numbered AS MATERIALIZED (
  SELECT d.*, CASE WHEN d.endpoint_id IS NOT NULL AND d.decision = 'chosen' THEN nextval('webhooks.delivery_id') END AS delivery_id
    FROM (SELECT * FROM decided ORDER BY transaction_id, position) d
), queued AS (
  INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id, trigger, config_version)
  SELECT endpoint_id, delivery_id, event_id, trigger, version FROM numbered WHERE delivery_id IS NOT NULL ORDER BY delivery_id
), told AS (
  INSERT INTO webhooks.journal (fact, company_id, data)
  SELECT 'event.fanned_out', company_id,
         json_build_object('event_id', event_id, 'event_type', event_type,
           'created_at', to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'position', position,
           'decisions', concat('[', string_agg(concat('{"endpoint_id":"', endpoint_id, '","version":', version,
               ',"decision":"', decision, '","delivery_id":', coalesce(delivery_id::text, 'null'), ',"trigger":"', trigger, '"}'), ',')
               FILTER (WHERE endpoint_id IS NOT NULL), ']')::json)
    FROM numbered
   GROUP BY transaction_id, position, event_id, event_type, company_id, created_at
   ORDER BY transaction_id, position
)
SELECT n.endpoint_id, r.number, n.delivery_id, n.version, n.trigger, n.event_id, n.event_type, n.company_id, n.created_at,
       CASE WHEN n.delivery_id = min(n.delivery_id) OVER (PARTITION BY n.transaction_id, n.position) THEN j.data END
  FROM numbered n JOIN judged j USING (transaction_id, position), (SELECT count(*) AS number FROM webhooks.relays) r
 WHERE n.delivery_id IS NOT NULL AND (SELECT count(*) FROM page) <= $10
UNION ALL
SELECT n.endpoint_id, r.number, NULL::bigint, NULL::integer, NULL::text, NULL::uuid, NULL::text, NULL::uuid, NULL::timestamptz, NULL::json
  FROM (SELECT DISTINCT endpoint_id FROM numbered WHERE delivery_id IS NOT NULL AND (SELECT count(*) FROM page) > $10) n,
       (SELECT count(*) AS number FROM webhooks.relays) r
 ORDER BY 3`

	notifyLanes = `SELECT pg_notify('webhooks_lanes', $1)`

	// The fence: the row is there as long as nobody has declared this relay dead, and whoever wants to waits for this
	// transaction. Every other part hangs on it.
	record = `WITH fence AS MATERIALIZED (
  SELECT relay_id FROM webhooks.relays WHERE relay_id = $1 FOR KEY SHARE
), done AS (
  DELETE FROM webhooks.pending p
   USING fence, unnest($2::uuid[], $3::bigint[], $4::int[]) d(endpoint_id, delivery_id, started)
   WHERE p.endpoint_id = d.endpoint_id AND p.delivery_id = d.delivery_id AND p.started = d.started
  RETURNING p.delivery_id
), again AS (
  UPDATE webhooks.pending p
     SET due_at = r.due_at, first_attempt_at = r.first_attempt_at, completed = r.completed, started = r.started + 1
    FROM fence, unnest($5::uuid[], $6::bigint[], $7::int[], $8::int[], $9::timestamptz[], $10::timestamptz[])
           r(endpoint_id, delivery_id, started, completed, due_at, first_attempt_at)
   WHERE p.endpoint_id = r.endpoint_id AND p.delivery_id = r.delivery_id AND p.started = r.started
  RETURNING p.delivery_id
), opened AS (
  INSERT INTO webhooks.intents (relay_id, batch, started_at, endpoint_ids, delivery_ids, attempts)
  SELECT relay_id, $11, $12, $13, $14, $15 FROM fence WHERE cardinality($14::bigint[]) > 0
), closed AS (
  DELETE FROM webhooks.intents i USING fence WHERE i.relay_id = fence.relay_id AND i.batch = ANY ($16::bigint[])
)
SELECT (SELECT count(*) FROM fence), pg_current_xact_id()::text, ARRAY(SELECT delivery_id FROM done UNION ALL SELECT delivery_id FROM again)`

	// Intents without outcomes. A repetition after a lost answer finds its row, and waits for it if it must.
	intents = `WITH fence AS MATERIALIZED (
  SELECT relay_id FROM webhooks.relays WHERE relay_id = $1 FOR KEY SHARE
), opened AS (
  INSERT INTO webhooks.intents (relay_id, batch, started_at, endpoint_ids, delivery_ids, attempts)
  SELECT relay_id, $2, $3, $4, $5, $6 FROM fence
  ON CONFLICT DO NOTHING
  RETURNING batch
), told AS (
  INSERT INTO webhooks.journal (fact, version, data) SELECT $7, $8, $9 FROM opened
)
`

	// A commit of intents alone needs no transaction of several statements: every round trip here is one before the first byte.
	begin = intents + `SELECT count(*) FROM fence`

	// Intents in the transaction that makes their deliveries. It must not hold if this relay was declared dead, nor on another
	// server than the one that knows what this relay sent, whose timeline is $10.
	beginWithCommit = commitlog.WithCommit + intents + `SELECT CASE WHEN count(*) = 0 THEN (count(*) || ' leases: this relay lost its own')::boolean
            WHEN (` + timeline + `) <> $10 THEN (count(*) || ' servers: another one took over')::boolean END
  FROM fence`

	// What is so old that PostgreSQL has forgotten it has ended.
	commitStatus = `SELECT coalesce(pg_xact_status($1::xid8), 'committed')`

	// The number alone proves nothing: a server that crashed before any of a transaction reached its log gives the number to
	// another one. The journal tells whose it is. A statement of its own: one that began before the commit's end does not
	// see what it wrote.
	commitIsOurs = `SELECT EXISTS (SELECT FROM webhooks.relays WHERE relay_id = $2),
       EXISTS (SELECT FROM webhooks.journal WHERE transaction_id = $1::xid8 AND data::text = $3)`

	saveLane = `UPDATE webhooks.lanes SET breaker = $3, not_before = $4, failing_since = $5
 WHERE endpoint_id = $2 AND holder = $1`

	join = `INSERT INTO webhooks.relays (relay_id, host, lease_until)
VALUES ($1, $2, clock_timestamp() + $3 * interval '1 second')
RETURNING clock_timestamp()`

	// A server that is promoted goes on with a timeline of its own, which its log's files are named after. One that the
	// database was restored to, or upgraded to, is another cluster.
	timeline = `SELECT system_identifier || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8) FROM pg_control_system()`

	heartbeat = `UPDATE webhooks.relays SET lease_until = clock_timestamp() + $2 * interval '1 second'
 WHERE relay_id = $1
RETURNING clock_timestamp()`

	// Settles the account of relays whose lease has ended (or of $1, which leaves): deleting the row frees their lanes by
	// foreign key and fences them out.
	reap = `WITH dead AS (
  DELETE FROM webhooks.relays WHERE lease_until < clock_timestamp() AND relay_id <> $2 OR relay_id = $1 RETURNING relay_id
)
SELECT coalesce(array_agg(relay_id), '{}')::text[] FROM dead`

	// What the dead had under way was interrupted. A statement of its own, after the fence: reap may have waited for the
	// last commit of one of them, and only a snapshot that is taken after it shows that commit's intents.
	interrupt = `WITH left_behind AS (
  DELETE FROM webhooks.intents i WHERE i.relay_id = ANY ($1::uuid[])
  RETURNING i.started_at, i.endpoint_ids, i.delivery_ids, i.attempts
), broken AS (
  SELECT b.started_at, u.endpoint_id, u.delivery_id, u.attempt
    FROM left_behind b, unnest(b.endpoint_ids, b.delivery_ids, b.attempts) u(endpoint_id, delivery_id, attempt)
), moved AS (
  UPDATE webhooks.pending p
     SET started = p.started + 1, first_attempt_at = coalesce(p.first_attempt_at, b.started_at)
    FROM broken b
   WHERE p.endpoint_id = b.endpoint_id AND p.delivery_id = b.delivery_id AND p.started = b.attempt - 1
  RETURNING p.delivery_id, p.endpoint_id, p.event_id, p.generation, p.completed, p.started, p.trigger, p.first_attempt_at,
            p.due_at, b.started_at
)
SELECT m.delivery_id, m.endpoint_id, m.event_id, m.generation, m.completed, m.started, m.trigger, m.first_attempt_at,
       m.started_at, n.company_id, n.version, coalesce(o.event_type, '')
  FROM moved m
  JOIN webhooks.endpoints n ON n.endpoint_id = m.endpoint_id
  LEFT JOIN webhooks.event_ids i ON i.event_id = m.event_id
  LEFT JOIN webhooks.outbox o ON o.recorded_at = i.recorded_at AND o.transaction_id = i.transaction_id AND o.position = i.position`

	share = `SELECT (SELECT count(*) FROM webhooks.relays WHERE lease_until > clock_timestamp() AND drained_at IS NULL),
       (SELECT count(*) FROM webhooks.lanes l JOIN webhooks.endpoints e USING (endpoint_id) WHERE e.deleted_at IS NULL)`

	takeLanes = `UPDATE webhooks.lanes l SET holder = $1
  FROM (SELECT f.endpoint_id FROM webhooks.lanes f JOIN webhooks.endpoints e USING (endpoint_id)
         WHERE f.holder IS NULL AND e.deleted_at IS NULL ORDER BY f.endpoint_id LIMIT $2
           FOR UPDATE OF f SKIP LOCKED) free
 WHERE l.endpoint_id = free.endpoint_id
RETURNING l.endpoint_id, l.breaker, l.not_before, l.failing_since`

	releaseLane = `UPDATE webhooks.lanes SET holder = NULL WHERE holder = $1 AND endpoint_id = $2`

	// All lanes that $1 holds but those that it knows of.
	releaseStrays = `UPDATE webhooks.lanes l SET holder = NULL
 WHERE l.holder = $1 AND NOT EXISTS (SELECT FROM unnest($2::uuid[]) k(endpoint_id) WHERE k.endpoint_id = l.endpoint_id)`

	ensurePartitions = `SELECT webhooks.ensure_partitions()`
)
