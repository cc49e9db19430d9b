package recovery

const (
	columns = `r.recovery_id, r.company_id, r.endpoint_id, r.kind, r.event_types, r.since, r.until, r.actor, r.reason, r.state, r.total, r.replayed,
       r.skipped, r.waits_for, r.created_at, r.ended_at, r.ended_by`

	findEndpoint = `SELECT company_id, event_types, clock_timestamp() FROM webhooks.endpoints
 WHERE endpoint_id = $1 AND ($2::uuid IS NULL OR company_id = $2) AND deleted_at IS NULL`

	selectByKey = `SELECT ` + columns + ` FROM webhooks.recoveries r WHERE r.company_id = $1 AND r.request_key = $2`

	selectRunning = `SELECT ` + columns + ` FROM webhooks.recoveries r WHERE r.company_id = $1 AND r.endpoint_id = $2 AND r.state = 'running'`

	selectOne = `SELECT ` + columns + ` FROM webhooks.recoveries r
 WHERE r.recovery_id = $2 AND ($1::uuid IS NULL OR r.company_id = $1)`

	// The index recovery_by_company; ids are in order of creation.
	selectList = `SELECT ` + columns + ` FROM webhooks.recoveries r
 WHERE ($1::uuid IS NULL OR r.company_id = $1) AND ($2::uuid IS NULL OR r.endpoint_id = $2)
 ORDER BY r.recovery_id DESC LIMIT $3`

	// Neither the same key twice, nor two running ones for an endpoint.
	insert = `WITH made AS (
  INSERT INTO webhooks.recoveries (company_id, endpoint_id, request_key, since, until, actor, reason, total, after_time, kind, event_types)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $4, $9, $10)
  ON CONFLICT DO NOTHING
  RETURNING *
)
SELECT ` + columns + `
  FROM made r CROSS JOIN LATERAL webhooks.tell_trail('recovery.started', r.endpoint_id, r.actor,
         jsonb_build_object('recovery_id', r.recovery_id, 'kind', r.kind, 'since', r.since, 'until', r.until, 'found', r.total)) t`

	cancel = `WITH gone AS (
  UPDATE webhooks.recoveries r SET state = 'cancelled', ended_at = clock_timestamp(), ended_by = $3, waits_for = ''
   WHERE r.recovery_id = $2 AND ($1::uuid IS NULL OR r.company_id = $1) AND r.state = 'running'
  RETURNING *
)
SELECT ` + columns + `
  FROM gone r CROSS JOIN LATERAL webhooks.tell_trail('recovery.cancelled', r.endpoint_id, r.ended_by,
         jsonb_build_object('recovery_id', r.recovery_id, 'sent', r.replayed)) t`

	// The next recovery that is due, with what decides whether it may go on: $1 live deliveries that are due are too many.
	// Locked, so that nobody else works on it; without one it burns no transaction id.
	take = `SELECT ` + columns + `, r.after_time, r.after_id,
       n.deleted_at IS NOT NULL, n.state = 'disabled', coalesce(l.breaker, 'closed') <> 'closed',
       (SELECT count(*) FROM (SELECT FROM webhooks.pending p
          WHERE p.endpoint_id = r.endpoint_id AND (p.due_at IS NULL OR p.due_at <= clock_timestamp()) LIMIT $1) b) >= $1
  FROM webhooks.recoveries r
  JOIN webhooks.endpoints n ON n.endpoint_id = r.endpoint_id
  LEFT JOIN webhooks.lanes l ON l.endpoint_id = r.endpoint_id
 WHERE r.state = 'running' AND r.next_at <= clock_timestamp()
 ORDER BY r.next_at LIMIT 1
   FOR UPDATE OF r SKIP LOCKED`

	advance = `UPDATE webhooks.recoveries
   SET replayed = replayed + $2, skipped = skipped + $3, after_time = $4, after_id = $5, waits_for = '',
       next_at = clock_timestamp() + $6 * interval '1 second'
 WHERE recovery_id = $1`

	wait = `UPDATE webhooks.recoveries SET waits_for = $2, next_at = clock_timestamp() + $3 * interval '1 second' WHERE recovery_id = $1`

	end = `UPDATE webhooks.recoveries SET state = $2, ended_at = clock_timestamp(), ended_by = 'relay', waits_for = '' WHERE recovery_id = $1`
)
