package main

const (
	// serverFacts says which server this is, and whether it can write.
	serverFacts = `SELECT current_setting('server_version_num')::int, current_setting('server_version'), pg_is_in_recovery()`

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
SELECT count(*) FILTER (WHERE lease_until >= clock_timestamp()), count(*) FILTER (WHERE lease_until < clock_timestamp())
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
)
