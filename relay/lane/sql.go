package lane

// Fresh deliveries come in the order of their ids, which is commit order; retries by due time. Both are index ranges of
// one lane, so a lane's cost does not grow with its neighbours' backlog, nor with its own retries that are due later: for
// that the range has to end at a statement_timestamp(), since clock_timestamp() is volatile and would be asked of each.
//
//	Nested Loop
//	  ->  Function Scan on unnest l
//	  ->  Limit  ->  Index Scan using pending_is_read_by_lane on pending p
const (
	columns = `p.endpoint_id, p.delivery_id, p.event_id, p.generation, p.completed, p.started, p.trigger,
       p.first_attempt_at, p.config_version, p.due_at IS NULL AS fresh`

	selectDue = `SELECT ` + columns + `
  FROM unnest($1::uuid[], $2::bigint[], $3::int[], $4::bool[]) l(endpoint_id, after, wanted, only_tests)
 CROSS JOIN LATERAL (
   (SELECT q.endpoint_id, q.delivery_id, q.event_id, q.generation, q.completed, q.started, q.trigger, q.first_attempt_at, q.config_version, q.due_at
      FROM webhooks.pending q
     WHERE NOT l.only_tests AND q.endpoint_id = l.endpoint_id AND q.due_at <= statement_timestamp()
       AND q.delivery_id <> ALL ($5::bigint[])
     ORDER BY q.due_at LIMIT l.wanted)
   UNION ALL
   (SELECT q.endpoint_id, q.delivery_id, q.event_id, q.generation, q.completed, q.started, q.trigger, q.first_attempt_at, q.config_version, q.due_at
      FROM webhooks.pending q
     WHERE NOT l.only_tests AND q.endpoint_id = l.endpoint_id AND q.delivery_id > l.after AND q.due_at IS NULL
       AND q.delivery_id <> ALL ($5::bigint[])
     ORDER BY q.delivery_id LIMIT l.wanted)
   UNION ALL
   (SELECT q.endpoint_id, q.delivery_id, q.event_id, q.generation, q.completed, q.started, q.trigger, q.first_attempt_at, q.config_version, q.due_at
      FROM webhooks.pending q
     WHERE l.only_tests AND q.endpoint_id = l.endpoint_id AND q.trigger = 'test'
       AND coalesce(q.due_at, '-infinity') <= statement_timestamp() AND q.delivery_id <> ALL ($5::bigint[])
     ORDER BY q.delivery_id LIMIT l.wanted)
 ) p`

	selectEvents = `SELECT o.event_id, o.event_type, o.company_id, o.created_at, o.data
  FROM webhooks.event_ids i
  JOIN webhooks.outbox o ON o.recorded_at = i.recorded_at AND o.transaction_id = i.transaction_id AND o.position = i.position
 WHERE i.event_id = ANY ($1::uuid[])`
)
