INSERT INTO {history}.endpoint_changes
       (position, recorded_at, endpoint_id, company_id, fact, version, actor, reason, note, old, new)
SELECT r.position, r.recorded_at, e.endpoint_id, r.company_id, r.fact, e.version, e.actor, e.reason, coalesce(e.note, ''), e.old, e.new
  FROM webhooks.journal_rows($1::pg_snapshot, $2::pg_snapshot, $3::xid8, $4::bigint, $5::xid8, $6::bigint) r
 CROSS JOIN LATERAL json_to_record(r.data)
    AS e(endpoint_id uuid, version integer, actor text, reason text, note text, old json, new json)
 WHERE r.version = 1
   AND r.fact IN ('endpoint.created', 'endpoint.updated', 'endpoint.enabled', 'endpoint.disabled', 'endpoint.deleted',
                  'endpoint.secret_rotated')
ON CONFLICT DO NOTHING
