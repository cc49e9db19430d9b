-- Deliveries that were asked for after the fan-out had decided against them, and recoveries of what is missing.

-- +goose Up
CREATE TABLE webhooks.requested_deliveries (
  event_id    uuid   NOT NULL,
  endpoint_id uuid   NOT NULL,
  delivery_id bigint NOT NULL,
  CONSTRAINT event_is_requested_once PRIMARY KEY (event_id, endpoint_id)
);
COMMENT ON TABLE webhooks.requested_deliveries IS 'The delivery of each event that an endpoint was sent on request, since the fan-out had made none. Kept as long as the event is remembered, so that no request makes a second one.';
SELECT webhooks.isolate('webhooks.requested_deliveries');
GRANT SELECT, INSERT ON webhooks.requested_deliveries TO webhooks_tenant;
GRANT USAGE ON SEQUENCE webhooks.delivery_id TO webhooks_tenant;

ALTER TABLE webhooks.deliveries ADD COLUMN requested_by text;
COMMENT ON COLUMN webhooks.deliveries.requested_by IS 'Who asked for it when the fan-out had made none; NULL: the fan-out made it.';

ALTER TABLE webhooks.recoveries
  ADD COLUMN kind        text NOT NULL DEFAULT 'failed' CONSTRAINT recovery_kind_is_known CHECK (kind IN ('failed', 'missing')),
  ADD COLUMN event_types text[],
  ADD CONSTRAINT recovery_of_types_is_of_the_missing CHECK (event_types IS NULL OR kind = 'missing');
COMMENT ON TABLE  webhooks.recoveries IS 'Jobs that send an endpoint what failed for good there, or what it was never sent. Whoever works on one holds its row lock, so a crash frees it.';
COMMENT ON COLUMN webhooks.recoveries.kind IS 'failed: deliveries that are exhausted are sent again. missing: events without a delivery for the endpoint get one.';
COMMENT ON COLUMN webhooks.recoveries.event_types IS 'Only missing events of these types; NULL: of all that the endpoint selects.';
COMMENT ON COLUMN webhooks.recoveries.since IS 'Deliveries that were exhausted, or events that happened, from then on, until the time in until.';
COMMENT ON COLUMN webhooks.recoveries.skipped IS 'What could not be sent: the event is no longer kept, or somebody retried or requested it already.';
COMMENT ON COLUMN webhooks.recoveries.after_id IS 'With after_time, the last delivery (when it was exhausted) or event (its position, and when it was fanned out) that was handled.';

-- +goose Down
DELETE FROM webhooks.recoveries WHERE kind = 'missing';
ALTER TABLE webhooks.recoveries DROP COLUMN event_types, DROP COLUMN kind;
COMMENT ON TABLE  webhooks.recoveries IS 'Jobs that send again what failed for good at an endpoint. Whoever works on one holds its row lock, so a crash frees it.';
COMMENT ON COLUMN webhooks.recoveries.since IS 'Deliveries that were exhausted from then on, until the time in until.';
COMMENT ON COLUMN webhooks.recoveries.skipped IS 'Deliveries that could not be sent again: the event is no longer kept, or somebody retried it already.';
COMMENT ON COLUMN webhooks.recoveries.after_id IS 'With after_time, the last delivery that was handled.';
ALTER TABLE webhooks.deliveries DROP COLUMN requested_by;
REVOKE USAGE ON SEQUENCE webhooks.delivery_id FROM webhooks_tenant;
DROP TABLE webhooks.requested_deliveries;
