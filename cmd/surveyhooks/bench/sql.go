package bench

const (
	createDatabase = `CREATE DATABASE `
	dropDatabase   = `DROP DATABASE IF EXISTS %s WITH (FORCE)`

	backendPID = `SELECT pg_backend_pid()`

	walPosition = `SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint`

	// A handful of rows, where the deliveries would be many to count while the CPU is being measured.
	succeededDeliveries = `SELECT coalesce(sum(attempts), 0)::bigint FROM webhooks.endpoint_slots WHERE minutes = 60 AND reason = 'ok'`

	deliveredDeliveries = `SELECT count(*) FROM webhooks.deliveries WHERE state = 'delivered'`
)
