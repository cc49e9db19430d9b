-- Why an endpoint was or was not told of an event: one row, if the endpoint is the company's. $2 is the event, $3 the
-- endpoint. The outbox is looked at only behind the cursor of the fan-out, or at the place that event_ids names.
WITH endpoint AS (
  SELECT * FROM webhooks.endpoints WHERE endpoint_id = $3 AND ($1::uuid IS NULL OR company_id = $1)
), waiting AS (
  SELECT o.event_type, o.endpoint_id
    FROM endpoint n, webhooks.outbox o
   WHERE o.transaction_id >= coalesce((SELECT pg_snapshot_xmin(c.from_snapshot) FROM webhooks.cursors c
                                        WHERE c.topic = 'outbox' AND c.consumer_group = 'fan-out'), '0')
     AND o.event_id = $2 AND o.company_id = n.company_id
   LIMIT 1
), told AS (
  SELECT o.event_type, o.endpoint_id
    FROM endpoint n, webhooks.event_ids i
    JOIN webhooks.outbox o ON o.recorded_at = i.recorded_at AND o.transaction_id = i.transaction_id AND o.position = i.position
   WHERE i.event_id = $2 AND o.company_id = n.company_id
)
SELECT n.created_at, n.deleted_at, n.state, coalesce(e.event_type, told.event_type, waiting.event_type), e.fanned_out_at, d.decision, d.version, coalesce(d.delivery_id, r.delivery_id),
       coalesce(told.endpoint_id, waiting.endpoint_id),
       e.event_id IS NULL AND told.event_type IS NULL AND waiting.event_type IS NULL,
       c.recorded_at, c.fact, c.actor, c.reason, c.note, c.new, x.recorded_at, x.actor, x.reason, x.note, y.recorded_at, y.actor, y.reason, y.note,
       r.created_at, r.requested_by
  FROM endpoint n
  LEFT JOIN webhooks.events e ON e.event_id = $2 AND e.company_id = n.company_id
  LEFT JOIN LATERAL (
    SELECT j.decision, j.version, j.delivery_id
      FROM json_to_recordset(e.decisions) AS j(endpoint_id uuid, decision text, version integer, delivery_id bigint)
     WHERE j.endpoint_id = n.endpoint_id LIMIT 1
  ) d ON true
  LEFT JOIN LATERAL (
    SELECT v.delivery_id, v.created_at, v.requested_by
      FROM webhooks.requested_deliveries q JOIN webhooks.deliveries v ON v.delivery_id = q.delivery_id
     WHERE q.event_id = e.event_id AND q.endpoint_id = n.endpoint_id AND v.requested_by IS NOT NULL
  ) r ON true
  LEFT JOIN told ON true
  LEFT JOIN waiting ON true
  LEFT JOIN LATERAL (
    SELECT h.recorded_at, h.fact, h.actor, h.reason, h.note, h.new FROM webhooks.endpoint_changes h
     WHERE h.endpoint_id = n.endpoint_id AND h.version <= d.version AND h.new IS NOT NULL ORDER BY h.position DESC LIMIT 1
  ) c ON true
  LEFT JOIN LATERAL (
    SELECT h.recorded_at, h.actor, h.reason, h.note FROM webhooks.endpoint_changes h
     WHERE h.endpoint_id = n.endpoint_id AND h.version <= d.version AND h.fact = 'endpoint.disabled' ORDER BY h.position DESC LIMIT 1
  ) x ON true
  LEFT JOIN LATERAL (
    SELECT h.recorded_at, h.actor, h.reason, h.note FROM webhooks.endpoint_changes h
     WHERE h.endpoint_id = n.endpoint_id AND h.fact = 'endpoint.disabled' ORDER BY h.position DESC LIMIT 1
  ) y ON true
