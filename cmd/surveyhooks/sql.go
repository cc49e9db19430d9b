package main

const (
	// serverFacts says which server this is, and whether it can write.
	serverFacts = `SELECT current_setting('server_version_num')::int, current_setting('server_version'), pg_is_in_recovery()`

	// withoutJIT holds until the end of the transaction.
	withoutJIT = `SELECT set_config('jit', 'off', true)`

	makeLogins = `
DO $$
BEGIN
  IF to_regrole('` + devRelay + `') IS NULL THEN
    CREATE ROLE ` + devRelay + ` LOGIN IN ROLE webhooks_relay;
  END IF;
  IF to_regrole('` + devApp + `') IS NULL THEN
    CREATE ROLE ` + devApp + ` LOGIN IN ROLE webhooks_app;
  END IF;
END
$$`

	// readLag counts what each consumer group has not read yet: the rest of its window, and what was committed after
	// it. The count stops at 100 000, so that asking stays cheap when things are bad.
	readLag = `
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

	ownPrivileges = `
SELECT current_user::text, r.rolsuper,
       pg_has_role((SELECT nspowner FROM pg_namespace WHERE nspname = 'webhooks'), 'MEMBER'), pg_has_role('webhooks_relay', 'MEMBER')
  FROM pg_roles r WHERE r.rolname = current_user`

	outboxIsEmpty = `SELECT NOT EXISTS (SELECT FROM webhooks.outbox)`

	// lastPartition is the last day (UTC) that each partitioned table has a partition for.
	lastPartition = `
SELECT p.relname, coalesce(max(substring(c.relname FROM '_([0-9]{8})$')), '')
  FROM pg_class p
  JOIN pg_namespace n ON n.oid = p.relnamespace AND n.nspname = 'webhooks'
  LEFT JOIN pg_inherits i ON i.inhparent = p.oid
  LEFT JOIN pg_class c ON c.oid = i.inhrelid
 WHERE p.relkind = 'p'
 GROUP BY p.relname ORDER BY p.relname`

	relayLeases = `
SELECT count(*) FILTER (WHERE lease_until >= clock_timestamp()), count(*) FILTER (WHERE lease_until < clock_timestamp()),
       count(*) FILTER (WHERE lease_until >= clock_timestamp() AND drained_at IS NOT NULL)
  FROM webhooks.relays`

	trouble = `
SELECT (SELECT count(*) FROM webhooks.lanes WHERE breaker <> 'closed'),
       (SELECT count(*) FROM webhooks.quarantine),
       (SELECT count(*) FROM webhooks.endpoints WHERE deleted_at IS NULL AND url LIKE 'http:%')`

	endpointGauges = `
SELECT e.state, l.breaker, count(*)
  FROM webhooks.endpoints e JOIN webhooks.lanes l USING (endpoint_id)
 WHERE e.deleted_at IS NULL
 GROUP BY 1, 2`

	// Counts for the operator's page. Each stops at a million, so that the page stays quick when things are bad.
	operationCounts = `
SELECT (SELECT count(*) FROM (SELECT FROM webhooks.pending LIMIT 1000000) p),
       (SELECT count(*) FROM (SELECT FROM webhooks.pending WHERE due_at IS NULL OR due_at <= clock_timestamp() LIMIT 1000000) p),
       (SELECT coalesce(sum(cardinality(delivery_ids)), 0) FROM webhooks.intents),
       (SELECT count(*) FROM webhooks.quarantine)`

	// Where most is waiting; the secrets that a URL's query may hold are masked by the page.
	operationWorst = `
SELECT e.endpoint_id, e.company_id, e.url, l.breaker, p.waiting, l.failing_since
  FROM webhooks.lanes l
  JOIN webhooks.endpoints e USING (endpoint_id)
 CROSS JOIN LATERAL (SELECT count(*) AS waiting FROM (SELECT FROM webhooks.pending q WHERE q.endpoint_id = l.endpoint_id LIMIT 10000) q) p
 WHERE e.deleted_at IS NULL AND (p.waiting > 0 OR l.breaker <> 'closed')
 ORDER BY l.breaker <> 'closed' DESC, p.waiting DESC, e.endpoint_id LIMIT 10`

	operationPartitions = `
SELECT p.relname, count(*), coalesce(min(d.day), ''), coalesce(max(d.day), '')
  FROM pg_class p
  JOIN pg_namespace n ON n.oid = p.relnamespace AND n.nspname = 'webhooks'
  JOIN pg_inherits i ON i.inhparent = p.oid
  JOIN pg_class c ON c.oid = i.inhrelid
 CROSS JOIN LATERAL (SELECT substring(c.relname FROM '_([0-9]{8})$') AS day) d
 WHERE p.relkind = 'p' AND d.day IS NOT NULL
 GROUP BY p.relname ORDER BY p.relname`
)
