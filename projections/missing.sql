-- Events of the company $1 that the endpoint $2 has no delivery of, in the order in which they were fanned out, behind
-- ($6, $7); they happened from $3 on and before $4, and are of the types $5 and of those that the endpoint selects now.
-- What an event was decided to be is in the history once and for ever, so that none of these is still to be fanned out.
-- Tests and examples are for one endpoint alone and miss nobody.
--
-- The planner believes that a row of an outer join's far side is hardly ever NULL, and so that fewer rows are found than the
-- limit: it would read and sort the whole span for each page of it. A CASE has no such statistics.
--
--   Limit
--     ->  Nested Loop Left Join  ->  (event_ids, outbox by primary key)
--           ->  Index Scan using event_by_fan_out on events e
SELECT e.event_id, e.event_type, e.created_at, e.fanned_out_at, e.position, o.event_id IS NOT NULL AS kept
  FROM webhooks.endpoints n
  JOIN webhooks.events e ON e.company_id = n.company_id
  LEFT JOIN webhooks.event_ids i ON i.event_id = e.event_id AND i.position = e.position
  LEFT JOIN webhooks.outbox o ON o.recorded_at = i.recorded_at AND o.transaction_id = i.transaction_id AND o.position = i.position
 WHERE n.endpoint_id = $2 AND n.company_id = $1 AND n.deleted_at IS NULL
   AND e.company_id = $1 AND (e.fanned_out_at, e.position) > ($6::timestamptz, $7::bigint)
   AND e.created_at >= $3::timestamptz AND e.created_at < $4::timestamptz
   AND e.event_type = ANY ($5::text[]) AND (n.event_types IS NULL OR e.event_type = ANY (n.event_types))
   AND CASE WHEN o.endpoint_id IS NULL THEN true ELSE false END
   AND NOT EXISTS (
     SELECT FROM json_to_recordset(e.decisions) AS c(endpoint_id uuid, decision text, trigger text)
      WHERE c.trigger = 'test' OR c.endpoint_id = n.endpoint_id AND c.decision = 'chosen')
   AND NOT EXISTS (SELECT FROM webhooks.requested_deliveries r WHERE r.event_id = e.event_id AND r.endpoint_id = n.endpoint_id)
 ORDER BY e.fanned_out_at, e.position LIMIT $8
