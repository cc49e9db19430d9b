package operator

const (
	rebuildColumns = `r.rebuild_id, r.verify_only, r.actor, r.state, r.facts, r.report, r.fault, r.started_at, r.ended_at`

	// One whose process has been silent for $1 seconds died with it.
	interruptSilent = `UPDATE webhooks.rebuilds SET state = 'interrupted', ended_at = clock_timestamp(), fault = 'its process ended'
 WHERE state = 'running' AND alive_at < clock_timestamp() - $1 * interval '1 second'`

	insertRebuild = `INSERT INTO webhooks.rebuilds AS r (verify_only, actor) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING ` + rebuildColumns

	// Ids are in order of creation.
	selectLatest = `SELECT ` + rebuildColumns + `, r.state = 'running' AND r.alive_at < clock_timestamp() - $1 * interval '1 second'
  FROM webhooks.rebuilds r ORDER BY r.rebuild_id DESC LIMIT 1`

	beat = `UPDATE webhooks.rebuilds SET facts = $2, alive_at = clock_timestamp() WHERE rebuild_id = $1 AND state = 'running'`

	endRebuild = `UPDATE webhooks.rebuilds r SET state = $2, facts = $3, report = $4::jsonb, fault = $5, ended_at = clock_timestamp()
 WHERE r.rebuild_id = $1 AND r.state = 'running'
RETURNING ` + rebuildColumns
)
