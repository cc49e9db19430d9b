-- Why an endpoint was disabled, in the words of who did it, beside the code that programs compare.

-- +goose Up
-- Relays run meanwhile, and wait behind whoever waits for a table: rather than behind a long transaction's, it fails.
SET LOCAL lock_timeout = '3s';

-- Defaults that are constants rewrite no row, whatever the size of the tables.
ALTER TABLE webhooks.endpoints ADD COLUMN state_note text NOT NULL DEFAULT ''
  CONSTRAINT endpoint_state_note_is_short CHECK (char_length(state_note) <= 200);
COMMENT ON COLUMN webhooks.endpoints.state_note IS 'Why it was disabled, in the words of who did it; empty: nothing was said, or it is enabled.';
ALTER TABLE webhooks.endpoint_changes ADD COLUMN note text NOT NULL DEFAULT '';
COMMENT ON COLUMN webhooks.endpoint_changes.note IS 'Why, in the words of who did it; empty: nothing was said.';

CREATE OR REPLACE VIEW webhooks.endpoint_health AS
SELECT e.endpoint_id, e.company_id,
       CASE WHEN e.url ~ '[?].' THEN
         split_part(e.url, '?', 1) || '?' || regexp_replace(substr(e.url, strpos(e.url, '?') + 1), '(^|&)([^=&]*=)?[^&]*', '\1\2***', 'g')
       ELSE e.url END AS url, e.state, e.state_reason, e.state_since, l.breaker, l.not_before, l.failing_since,
       coalesce(h.succeeded, 0) AS succeeded_24h, coalesce(h.failed, 0) AS failed_24h, h.mean_ms_24h, h.max_ms_24h, e.state_note
  FROM webhooks.endpoints e
  LEFT JOIN webhooks.lanes l USING (endpoint_id)
  LEFT JOIN LATERAL (
    SELECT sum(b.attempts) FILTER (WHERE b.reason = 'ok')::bigint AS succeeded,
           sum(b.attempts) FILTER (WHERE b.reason NOT IN ('ok', 'interrupted'))::bigint AS failed,
           round(sum(b.total_us) / nullif(sum(b.attempts) FILTER (WHERE b.reason <> 'interrupted'), 0) / 1000.0, 1) AS mean_ms_24h,
           round(max(b.max_us) / 1000.0, 1) AS max_ms_24h
      FROM webhooks.endpoint_slots b
     WHERE b.endpoint_id = e.endpoint_id AND b.minutes = 5 AND b.slot > now() - interval '24 hours'
  ) h ON true
 WHERE e.deleted_at IS NULL;

-- +goose Down
DROP VIEW webhooks.endpoint_health;
CREATE VIEW webhooks.endpoint_health AS
SELECT e.endpoint_id, e.company_id,
       CASE WHEN e.url ~ '[?].' THEN
         split_part(e.url, '?', 1) || '?' || regexp_replace(substr(e.url, strpos(e.url, '?') + 1), '(^|&)([^=&]*=)?[^&]*', '\1\2***', 'g')
       ELSE e.url END AS url, e.state, e.state_reason, e.state_since, l.breaker, l.not_before, l.failing_since,
       coalesce(h.succeeded, 0) AS succeeded_24h, coalesce(h.failed, 0) AS failed_24h, h.mean_ms_24h, h.max_ms_24h
  FROM webhooks.endpoints e
  LEFT JOIN webhooks.lanes l USING (endpoint_id)
  LEFT JOIN LATERAL (
    SELECT sum(b.attempts) FILTER (WHERE b.reason = 'ok')::bigint AS succeeded,
           sum(b.attempts) FILTER (WHERE b.reason NOT IN ('ok', 'interrupted'))::bigint AS failed,
           round(sum(b.total_us) / nullif(sum(b.attempts) FILTER (WHERE b.reason <> 'interrupted'), 0) / 1000.0, 1) AS mean_ms_24h,
           round(max(b.max_us) / 1000.0, 1) AS max_ms_24h
      FROM webhooks.endpoint_slots b
     WHERE b.endpoint_id = e.endpoint_id AND b.minutes = 5 AND b.slot > now() - interval '24 hours'
  ) h ON true
 WHERE e.deleted_at IS NULL;
COMMENT ON VIEW webhooks.endpoint_health IS 'How each endpoint does: its state, its breaker, and its last 24 hours.';
GRANT SELECT ON webhooks.endpoint_health TO webhooks_app;
ALTER TABLE webhooks.endpoint_changes DROP COLUMN note;
ALTER TABLE webhooks.endpoints DROP COLUMN state_note;
