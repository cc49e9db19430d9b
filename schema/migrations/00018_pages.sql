-- What lists and charts of a long history ask for: how long a delivery's last attempt took, and counts by the hour.

-- +goose Up
ALTER TABLE webhooks.deliveries ADD COLUMN last_total_us integer;
COMMENT ON COLUMN webhooks.deliveries.last_total_us IS 'How long the last attempt took, in microseconds; NULL when nobody knows.';
UPDATE webhooks.deliveries d
   SET last_total_us = a.total_us
  FROM webhooks.attempts a
 WHERE a.delivery_id = d.delivery_id AND a.started_at = d.last_attempt_at AND a.outcome IN ('succeeded', 'failed');

CREATE OR REPLACE VIEW webhooks.delivery_history AS
SELECT d.delivery_id, d.event_id, d.endpoint_id, d.company_id, d.event_type,
       CASE WHEN d.state IN ('pending', 'retrying') AND e.state = 'disabled' AND d.trigger <> 'test' THEN 'held' ELSE d.state END AS state,
       d.trigger, d.generation, d.attempts, d.created_at, d.first_attempt_at, d.last_attempt_at, d.next_attempt_at,
       d.finished_at, d.last_status, d.last_reason, d.last_total_us
  FROM webhooks.deliveries d LEFT JOIN webhooks.endpoints e USING (endpoint_id);
COMMENT ON COLUMN webhooks.delivery_history.last_total_us IS 'How long the last attempt took, in microseconds; NULL when nobody knows.';

-- A chart of 30 days reads 720 hours instead of 8640 slots, which lie on as many blocks as there are slots.
ALTER TABLE webhooks.endpoint_slots ADD COLUMN minutes smallint NOT NULL DEFAULT 5;
ALTER TABLE webhooks.endpoint_slots
  ALTER minutes DROP DEFAULT,
  DROP CONSTRAINT endpoint_slot_is_counted_once,
  ADD CONSTRAINT endpoint_slot_is_counted_once PRIMARY KEY (endpoint_id, minutes, slot, event_type, reason, status),
  ADD CONSTRAINT endpoint_slot_has_a_known_width CHECK (minutes IN (5, 60));
INSERT INTO webhooks.endpoint_slots
SELECT endpoint_id, date_bin('1 hour', slot, '2000-01-01 00:00:00+00'), event_type, reason, status, company_id,
       sum(attempts), sum(total_us), max(max_us),
       sum(under_1), sum(under_2), sum(under_4), sum(under_8), sum(under_16), sum(under_32), sum(under_64), sum(under_128),
       sum(under_256), sum(under_512), sum(under_1024), sum(under_2048), sum(under_4096), sum(under_8192), sum(under_16384), sum(over_16384),
       60
  FROM webhooks.endpoint_slots GROUP BY 1, 2, 3, 4, 5, 6;
COMMENT ON TABLE webhooks.endpoint_slots IS 'Attempts of five minutes, and again of an hour, by endpoint, event type, reason and status; stale ones are left out.';
COMMENT ON COLUMN webhooks.endpoint_slots.minutes IS 'The width of the slot: 5 or 60. Each attempt is counted once in either.';
COMMENT ON COLUMN webhooks.endpoint_slots.slot IS 'The start of the minutes in which the attempts started.';

CREATE OR REPLACE VIEW webhooks.endpoint_health AS
SELECT e.endpoint_id, e.company_id, e.url, e.state, e.state_reason, e.state_since, l.breaker, l.not_before, l.failing_since,
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

-- +goose Down
DELETE FROM webhooks.endpoint_slots WHERE minutes = 60;
CREATE OR REPLACE VIEW webhooks.endpoint_health AS
SELECT e.endpoint_id, e.company_id, e.url, e.state, e.state_reason, e.state_since, l.breaker, l.not_before, l.failing_since,
       coalesce(h.succeeded, 0) AS succeeded_24h, coalesce(h.failed, 0) AS failed_24h, h.mean_ms_24h, h.max_ms_24h
  FROM webhooks.endpoints e
  LEFT JOIN webhooks.lanes l USING (endpoint_id)
  LEFT JOIN LATERAL (
    SELECT sum(b.attempts) FILTER (WHERE b.reason = 'ok')::bigint AS succeeded,
           sum(b.attempts) FILTER (WHERE b.reason NOT IN ('ok', 'interrupted'))::bigint AS failed,
           round(sum(b.total_us) / nullif(sum(b.attempts) FILTER (WHERE b.reason <> 'interrupted'), 0) / 1000.0, 1) AS mean_ms_24h,
           round(max(b.max_us) / 1000.0, 1) AS max_ms_24h
      FROM webhooks.endpoint_slots b
     WHERE b.endpoint_id = e.endpoint_id AND b.slot > now() - interval '24 hours'
  ) h ON true
 WHERE e.deleted_at IS NULL;
ALTER TABLE webhooks.endpoint_slots
  DROP CONSTRAINT endpoint_slot_is_counted_once,
  ADD CONSTRAINT endpoint_slot_is_counted_once PRIMARY KEY (endpoint_id, slot, event_type, reason, status),
  DROP COLUMN minutes;
COMMENT ON TABLE webhooks.endpoint_slots IS 'Attempts of five minutes, by endpoint, event type, reason and status; stale ones are left out.';
COMMENT ON COLUMN webhooks.endpoint_slots.slot IS 'The start of the five minutes in which the attempts started.';
DROP VIEW webhooks.delivery_history;
CREATE VIEW webhooks.delivery_history AS
SELECT d.delivery_id, d.event_id, d.endpoint_id, d.company_id, d.event_type,
       CASE WHEN d.state IN ('pending', 'retrying') AND e.state = 'disabled' AND d.trigger <> 'test' THEN 'held' ELSE d.state END AS state,
       d.trigger, d.generation, d.attempts, d.created_at, d.first_attempt_at, d.last_attempt_at, d.next_attempt_at,
       d.finished_at, d.last_status, d.last_reason
  FROM webhooks.deliveries d LEFT JOIN webhooks.endpoints e USING (endpoint_id);
COMMENT ON VIEW webhooks.delivery_history IS 'One event for one endpoint, and where it stands.';
COMMENT ON COLUMN webhooks.delivery_history.state IS 'pending, retrying, held (the endpoint is disabled), delivered, exhausted or cancelled.';
COMMENT ON COLUMN webhooks.delivery_history.attempts IS 'Completed attempts of this generation, of at most six.';
COMMENT ON COLUMN webhooks.delivery_history.generation IS 'Counts manual replays; 1 is the first.';
GRANT SELECT ON webhooks.delivery_history TO webhooks_app;
ALTER TABLE webhooks.deliveries DROP COLUMN last_total_us;
