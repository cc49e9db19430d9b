package delivery

const (
	// Shared, so that the endpoint is not deleted before this transaction ends.
	lockEndpoint = `SELECT company_id, deleted_at IS NOT NULL, state = 'disabled' FROM webhooks.endpoints
 WHERE endpoint_id = $1 AND ($2 OR company_id = $3)
   FOR SHARE`

	lockPending = `SELECT p.due_at IS NULL OR p.due_at <= clock_timestamp(), p.trigger, p.generation,
       webhooks.attempt_is_under_way(p.endpoint_id, p.delivery_id, p.started + 1)
  FROM webhooks.pending p
 WHERE p.endpoint_id = $1 AND p.delivery_id = $2
   FOR UPDATE OF p`

	pullForward = `UPDATE webhooks.pending SET due_at = clock_timestamp() WHERE endpoint_id = $1 AND delivery_id = $2`

	// Until when the endpoint's breaker does not let the delivery pass; no row: it does, as it does with a test.
	breakerUntil = `SELECT not_before FROM webhooks.lanes
 WHERE endpoint_id = $1 AND breaker = 'open' AND not_before > clock_timestamp()
   AND NOT EXISTS (SELECT FROM webhooks.pending p WHERE p.endpoint_id = $1 AND p.delivery_id = $2 AND p.trigger = 'test')`

	// Who had the next attempt of the generation pulled forward.
	nameAsker = `INSERT INTO webhooks.replays AS r (endpoint_id, delivery_id, generation, actor, asked_at) VALUES ($1, $2, $3, $4, clock_timestamp())
ON CONFLICT (endpoint_id, delivery_id) DO UPDATE SET actor = excluded.actor, asked_at = excluded.asked_at`

	tellTrail = `SELECT webhooks.tell_trail($1, $2, $3, $4)`

	// Until this transaction ends, no day of the outbox is dropped: see webhooks.prune_partition.
	holdEvents = `SELECT pg_advisory_xact_lock_shared(hashtextextended('webhooks.retention', 0))`

	eventIsKept = `SELECT EXISTS (
  SELECT FROM webhooks.event_ids i
    JOIN webhooks.outbox o ON o.recorded_at = i.recorded_at AND o.transaction_id = i.transaction_id AND o.position = i.position
   WHERE i.event_id = $1 AND o.company_id = $2)`

	countGeneration = `INSERT INTO webhooks.replays AS r (endpoint_id, delivery_id, generation, actor, asked_at) VALUES ($1, $2, $3, $4, clock_timestamp())
ON CONFLICT (endpoint_id, delivery_id) DO UPDATE SET generation = excluded.generation, actor = excluded.actor, asked_at = excluded.asked_at
 WHERE r.generation < excluded.generation`

	insertGeneration = `INSERT INTO webhooks.pending
       (endpoint_id, delivery_id, event_id, due_at, first_attempt_at, generation, completed, started, trigger)
VALUES ($1, $2, $3, clock_timestamp(), $4, $5, 0, $6, $7)
ON CONFLICT DO NOTHING`

	// As insertGeneration, and the facts of it, for many deliveries of the endpoint $1 and the company $7.
	insertGenerations = `WITH wanted AS MATERIALIZED (
  SELECT u.*
    FROM unnest($2::bigint[], $3::uuid[], $4::smallint[], $5::smallint[], $6::timestamptz[])
      AS u(delivery_id, event_id, generation, attempts, first_attempt_at)
    JOIN webhooks.event_ids i ON i.event_id = u.event_id
    JOIN webhooks.outbox o ON o.recorded_at = i.recorded_at AND o.transaction_id = i.transaction_id AND o.position = i.position
   WHERE o.company_id = $7
     AND NOT EXISTS (SELECT FROM webhooks.pending p WHERE p.endpoint_id = $1 AND p.delivery_id = u.delivery_id)
), counted AS (
  INSERT INTO webhooks.replays AS r (endpoint_id, delivery_id, generation, actor, asked_at)
  SELECT $1, delivery_id, generation, $12::text, clock_timestamp() FROM wanted ORDER BY delivery_id
  ON CONFLICT (endpoint_id, delivery_id) DO UPDATE SET generation = excluded.generation, actor = excluded.actor, asked_at = excluded.asked_at
   WHERE r.generation < excluded.generation
  RETURNING delivery_id
), again AS (
  INSERT INTO webhooks.pending
         (endpoint_id, delivery_id, event_id, due_at, first_attempt_at, generation, completed, started, trigger)
  SELECT $1, delivery_id, event_id, clock_timestamp(), first_attempt_at, generation, 0, attempts, $8
    FROM wanted JOIN counted USING (delivery_id) ORDER BY delivery_id
  ON CONFLICT DO NOTHING
  RETURNING delivery_id, event_id, generation
), told AS (
  INSERT INTO webhooks.journal (fact, version, company_id, data)
  SELECT $9, $10, $7, json_build_object('delivery_id', delivery_id, 'endpoint_id', $1::uuid, 'event_id', event_id,
           'generation', generation, 'state', $11::text, 'actor', $12::text, 'reason', $13::text)
    FROM again ORDER BY delivery_id
)
SELECT count(*) FROM again`

	// Deliveries of the events $2 for the endpoint $1 of the company $3, and the facts of them. Their ids follow the order of
	// $2; they are claimed in the order of the events' own ids, so that two pages never wait for each other in a circle.
	insertRequested = `WITH wanted AS MATERIALIZED (
  SELECT w.event_id, w.event_type, nextval('webhooks.delivery_id') AS delivery_id
    FROM (SELECT u.event_id, o.event_type
            FROM unnest($2::uuid[]) WITH ORDINALITY AS u(event_id, n)
            JOIN webhooks.event_ids i ON i.event_id = u.event_id
            JOIN webhooks.outbox o ON o.recorded_at = i.recorded_at AND o.transaction_id = i.transaction_id AND o.position = i.position
           WHERE o.company_id = $3 AND o.endpoint_id IS NULL AND o.event_type = ANY ($4::text[])
           ORDER BY u.n) w
), claimed AS (
  INSERT INTO webhooks.requested_deliveries (event_id, endpoint_id, delivery_id)
  SELECT event_id, $1, delivery_id FROM wanted ORDER BY event_id
  ON CONFLICT DO NOTHING
  RETURNING delivery_id
), born AS MATERIALIZED (
  SELECT w.event_id, w.event_type, delivery_id FROM wanted w JOIN claimed USING (delivery_id)
), queued AS (
  INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id, due_at, trigger)
  SELECT $1, delivery_id, event_id, clock_timestamp(), $5 FROM born ORDER BY delivery_id
), told AS (
  INSERT INTO webhooks.journal (fact, version, company_id, data)
  SELECT $6, $7, $3, json_build_object('delivery_id', b.delivery_id, 'endpoint_id', n.endpoint_id, 'event_id', b.event_id,
           'event_type', b.event_type, 'version', n.version, 'trigger', $5::text, 'actor', $8::text, 'reason', $9::text)
    FROM born b JOIN webhooks.endpoints n ON n.endpoint_id = $1 AND n.company_id = $3 ORDER BY b.delivery_id
)
SELECT coalesce(array_agg(delivery_id ORDER BY delivery_id), '{}') FROM born`

	selectRequested = `SELECT delivery_id FROM webhooks.requested_deliveries WHERE event_id = $1 AND endpoint_id = $2`

	notify = `SELECT pg_notify('webhooks_lanes', $1)`
)
