package operator

const (
	rebuildColumns = `r.rebuild_id, r.verify_only, r.actor, r.state, r.facts, r.report, r.fault, r.started_at, r.ended_at`

	// One whose process has been silent for $1 seconds died with it.
	interruptSilent = `UPDATE webhooks.rebuilds SET state = 'interrupted', ended_at = clock_timestamp(), fault = 'its process ended'
 WHERE state = 'running' AND alive_at < clock_timestamp() - $1 * interval '1 second'`

	insertRebuild = `INSERT INTO webhooks.rebuilds AS r (verify_only, actor) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING ` + rebuildColumns

	// With whether its process has been silent for $1 seconds.
	selectRebuilds = `SELECT ` + rebuildColumns + `, r.state = 'running' AND r.alive_at < clock_timestamp() - $1 * interval '1 second'
  FROM webhooks.rebuilds r`

	// Ids are in order of creation.
	selectLatest = selectRebuilds + ` ORDER BY r.rebuild_id DESC LIMIT 1`

	selectRebuild = selectRebuilds + ` WHERE r.rebuild_id = $2`

	beat = `UPDATE webhooks.rebuilds SET facts = $2, alive_at = clock_timestamp() WHERE rebuild_id = $1 AND state = 'running'`

	endRebuild = `UPDATE webhooks.rebuilds r SET state = $2, facts = $3, report = $4::jsonb, fault = $5, ended_at = clock_timestamp()
 WHERE r.rebuild_id = $1 AND r.state = 'running'
RETURNING ` + rebuildColumns

	// lockDrains holds until the end of the transaction.
	lockDrains = `SELECT pg_advisory_xact_lock(hashtextextended('webhooks.drains', 0))`

	// withoutJIT holds until the end of the transaction.
	withoutJIT = `SELECT set_config('jit', 'off', true)`

	// selectLags counts what each consumer group has not read yet: the rest of its window, and what was committed after
	// it. The count stops at 100 000, so that asking stays cheap when things are bad.
	selectLags = `
SELECT c.topic, c.consumer_group, l.n, coalesce(extract(epoch FROM clock_timestamp() - l.oldest), 0)::float8
  FROM webhooks.cursors c
 CROSS JOIN LATERAL (
   SELECT count(*) AS n, min(u.recorded_at) AS oldest FROM (
     (SELECT r.recorded_at
        FROM webhooks.outbox_rows(c.from_snapshot, coalesce(c.to_snapshot, pg_current_snapshot()),
               c.after_xid, c.after_position, '18446744073709551615', 9223372036854775807) r
       WHERE c.topic = 'outbox' LIMIT 100000)
     UNION ALL
     (SELECT r.recorded_at
        FROM webhooks.outbox_rows(c.to_snapshot, pg_current_snapshot(), '0', 0, '18446744073709551615', 9223372036854775807) r
       WHERE c.topic = 'outbox' AND c.to_snapshot IS NOT NULL LIMIT 100000)
     UNION ALL
     (SELECT r.recorded_at
        FROM webhooks.journal_rows(c.from_snapshot, coalesce(c.to_snapshot, pg_current_snapshot()),
               c.after_xid, c.after_position, '18446744073709551615', 9223372036854775807) r
       WHERE c.topic = 'journal' LIMIT 100000)
     UNION ALL
     (SELECT r.recorded_at
        FROM webhooks.journal_rows(c.to_snapshot, pg_current_snapshot(), '0', 0, '18446744073709551615', 9223372036854775807) r
       WHERE c.topic = 'journal' AND c.to_snapshot IS NOT NULL LIMIT 100000)
   ) u
 ) l
 ORDER BY c.topic, c.consumer_group`

	countEndpoints = `
SELECT e.state, l.breaker, count(*)
  FROM webhooks.endpoints e JOIN webhooks.lanes l USING (endpoint_id)
 WHERE e.deleted_at IS NULL
 GROUP BY 1, 2 ORDER BY 1, 2`

	// It counts a million at most, so that asking stays quick when things are bad, and looks at each once: by endpoint, since it
	// is the endpoint that a delivery is held back by, unless all sending is paused. Fresh deliveries have no time of their own
	// but that of their event, and the oldest is looked for among the first thousand of each endpoint.
	countWork = `
WITH free AS (
  SELECT l.endpoint_id
    FROM webhooks.lanes l
    JOIN webhooks.endpoints e USING (endpoint_id)
   WHERE e.deleted_at IS NULL AND e.state = 'enabled' AND e.rate_limit IS NULL AND l.breaker = 'closed'
     AND NOT EXISTS (SELECT FROM webhooks.pause)
), waiting AS (
  SELECT p.endpoint_id, count(*) AS pending, count(*) FILTER (WHERE p.due_at IS NULL OR p.due_at <= statement_timestamp()) AS due
    FROM (SELECT q.endpoint_id, q.due_at FROM webhooks.pending q LIMIT 1000000) p
   GROUP BY p.endpoint_id
)
SELECT w.pending, w.due, w.held_back,
       (SELECT coalesce(sum(cardinality(delivery_ids)), 0) FROM webhooks.intents),
       (SELECT count(*) FROM webhooks.quarantine),
       (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(least(late.due_at, fresh.recorded_at))), 0)::float8
          FROM free l
          LEFT JOIN LATERAL (
            SELECT q.due_at FROM webhooks.pending q
             WHERE q.endpoint_id = l.endpoint_id AND q.due_at <= statement_timestamp() ORDER BY q.due_at LIMIT 1) late ON true
          LEFT JOIN LATERAL (
            SELECT i.recorded_at
              FROM (SELECT q.event_id, q.due_at FROM webhooks.pending q WHERE q.endpoint_id = l.endpoint_id ORDER BY q.delivery_id LIMIT 1000) q
              JOIN webhooks.event_ids i USING (event_id)
             WHERE q.due_at IS NULL LIMIT 1) fresh ON true)
  FROM (SELECT coalesce(sum(w.pending), 0)::bigint AS pending,
               coalesce(sum(w.due) FILTER (WHERE f.endpoint_id IS NOT NULL), 0)::bigint AS due,
               coalesce(sum(w.due) FILTER (WHERE f.endpoint_id IS NULL), 0)::bigint AS held_back
          FROM waiting w LEFT JOIN free f USING (endpoint_id)) w`

	// Where most is waiting.
	selectWorst = `
SELECT e.endpoint_id, e.company_id, e.url, l.breaker, p.waiting, l.failing_since
  FROM webhooks.lanes l
  JOIN webhooks.endpoints e USING (endpoint_id)
 CROSS JOIN LATERAL (SELECT count(*) AS waiting FROM (SELECT FROM webhooks.pending q WHERE q.endpoint_id = l.endpoint_id LIMIT 10000) q) p
 WHERE e.deleted_at IS NULL AND (p.waiting > 0 OR l.breaker <> 'closed')
 ORDER BY l.breaker <> 'closed' DESC, p.waiting DESC, e.endpoint_id LIMIT 10`

	selectPartitions = `
SELECT p.relname, count(*), min(d.day), max(d.day)
  FROM pg_class p
  JOIN pg_namespace n ON n.oid = p.relnamespace AND n.nspname = 'webhooks'
  JOIN pg_inherits i ON i.inhparent = p.oid
  JOIN pg_class c ON c.oid = i.inhrelid
 CROSS JOIN LATERAL (SELECT to_char(to_date(substring(c.relname FROM '_([0-9]{8})$'), 'YYYYMMDD'), 'YYYY-MM-DD') AS day) d
 WHERE p.relkind = 'p' AND d.day IS NOT NULL
 GROUP BY p.relname ORDER BY p.relname`

	outboxCursors = `
SELECT consumer_group, from_snapshot::text, to_snapshot::text, after_xid::text, after_position
  FROM webhooks.cursors WHERE topic = 'outbox' ORDER BY consumer_group`

	// outboxFacts says whether a reader sleeps, which is the doorbell's lock held exclusively, and what was set aside.
	outboxFacts = `
SELECT EXISTS (
         SELECT FROM pg_locks l, hashtextextended('webhooks.doorbell/outbox', 0) AS key
          WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.mode = 'ExclusiveLock' AND l.granted
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND (l.classid::bigint << 32) | l.objid::bigint = key),
       (SELECT count(*) FROM (SELECT FROM webhooks.quarantine WHERE topic = 'outbox' LIMIT 1000000) q)`
)
