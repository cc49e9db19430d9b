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

	hasRole = `SELECT to_regrole($1) IS NOT NULL`
	// Not MEMBER: since PostgreSQL 16 that is also who may only grant the role to others, as its maker may.
	hasRights = `SELECT pg_has_role($1::name, $2::name, 'USAGE')`

	// These write a statement: names and passwords cannot be parameters of one.
	orderLogin = `SELECT format('CREATE ROLE %I LOGIN PASSWORD %L IN ROLE webhooks_relay', $1::text, $2::text)`
	orderGrant = `SELECT format('GRANT %I TO %I', $1::text, $2::text)` + wholly
	ownGrant   = `SELECT format('GRANT webhooks_relay TO %I', current_user)` + wholly
	// A membership that is there already, without rights, is changed by what is said alone.
	wholly = ` || CASE WHEN current_setting('server_version_num')::int >= 160000 THEN ' WITH INHERIT TRUE, SET TRUE' ELSE '' END`

	otherConnections = `SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()`

	ownPrivileges = `
SELECT current_user::text, r.rolsuper,
       pg_has_role((SELECT nspowner FROM pg_namespace WHERE nspname = 'webhooks'), 'MEMBER'), pg_has_role('webhooks_relay', 'USAGE'),
       pg_has_role('webhooks_tenant', CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END)
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
