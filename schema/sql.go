package schema

const ensurePartitions = `SELECT webhooks.ensure_partitions()`
