package main

const (
	// serverFacts says which server this is, and whether it can write.
	serverFacts = `SELECT current_setting('server_version_num')::int, current_setting('server_version'), pg_is_in_recovery()`

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
)
