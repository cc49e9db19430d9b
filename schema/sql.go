package schema

const (
	serverVersion = `SELECT current_setting('server_version_num')::int`

	ensurePartitions = `SELECT webhooks.ensure_partitions()`

	migrationsTable   = `public.webhooks_migrations`
	appliedMigrations = `SELECT version_id, max(tstamp) FROM ` + migrationsTable + ` WHERE is_applied GROUP BY 1`
)
