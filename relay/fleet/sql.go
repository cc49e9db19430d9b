package fleet

const (
	pauseColumns = `p.pause_id, p.paused_by, p.paused_at, p.reason`

	selectPause = `SELECT ` + pauseColumns + ` FROM webhooks.pause p`

	// Of two at once the second waits for the first one's row, and then leaves it.
	insertPause = `INSERT INTO webhooks.pause AS p (paused_by, reason) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING ` + pauseColumns

	deletePause = `DELETE FROM webhooks.pause p RETURNING ` + pauseColumns

	selectOrders = `SELECT r.drained_at, ` + pauseColumns + `
  FROM (SELECT) always
  LEFT JOIN webhooks.relays r ON r.relay_id = $1
  LEFT JOIN webhooks.pause p ON true`

	relayColumns = `r.relay_id, r.host, r.started_at, r.lease_until, r.lease_until > clock_timestamp(),
       (SELECT count(*) FROM webhooks.lanes l WHERE l.holder = r.relay_id), coalesce(r.drained_by, ''), r.drained_at`

	selectRelays = `SELECT ` + relayColumns + ` FROM webhooks.relays r ORDER BY r.started_at, r.relay_id LIMIT 100`

	selectRelay = `SELECT ` + relayColumns + ` FROM webhooks.relays r WHERE r.relay_id = $1 FOR UPDATE`

	// $2 is who drains it; empty: nobody does any longer.
	setDrained = `UPDATE webhooks.relays
   SET drained_by = nullif($2, ''), drained_at = CASE WHEN $2 <> '' THEN clock_timestamp() END
 WHERE relay_id = $1`

	notifyRelays = `SELECT pg_notify('webhooks_lanes', $1)`
)
