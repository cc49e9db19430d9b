package delivery

const (
	// Shared, so that the endpoint is not deleted before this transaction ends.
	lockEndpoint = `SELECT company_id, deleted_at IS NOT NULL FROM webhooks.endpoints
 WHERE endpoint_id = $1 AND ($2 OR company_id = $3)
   FOR SHARE`

	// An intent stays open as long as any attempt of its batch; the attempt's number tells whether this one is over.
	lockPending = `SELECT p.due_at IS NULL OR p.due_at <= clock_timestamp()
       OR EXISTS (SELECT FROM webhooks.intents i, unnest(i.delivery_ids, i.attempts) u(delivery_id, attempt)
                   WHERE u.delivery_id = p.delivery_id AND u.attempt = p.started + 1)
  FROM webhooks.pending p
 WHERE p.endpoint_id = $1 AND p.delivery_id = $2
   FOR UPDATE OF p`

	pullForward = `UPDATE webhooks.pending SET due_at = clock_timestamp() WHERE endpoint_id = $1 AND delivery_id = $2`

	eventIsKept = `SELECT EXISTS (
  SELECT FROM webhooks.event_ids i
    JOIN webhooks.outbox o ON o.recorded_at = i.recorded_at AND o.transaction_id = i.transaction_id AND o.position = i.position
   WHERE i.event_id = $1 AND o.company_id = $2)`

	countGeneration = `INSERT INTO webhooks.replays AS r (endpoint_id, delivery_id, generation) VALUES ($1, $2, $3)
ON CONFLICT (endpoint_id, delivery_id) DO UPDATE SET generation = excluded.generation WHERE r.generation < excluded.generation`

	insertGeneration = `INSERT INTO webhooks.pending
       (endpoint_id, delivery_id, event_id, due_at, first_attempt_at, generation, completed, started, trigger)
VALUES ($1, $2, $3, clock_timestamp(), $4, $5, 0, $6, $7)
ON CONFLICT DO NOTHING`

	notify = `SELECT pg_notify('webhooks_lanes', $1)`
)
