-- Live deliveries: what is still to be sent, and what is being sent now.

-- +goose Up
CREATE TABLE webhooks.event_ids (
  event_id       uuid        NOT NULL,
  recorded_at    timestamptz NOT NULL,
  transaction_id xid8        NOT NULL,
  position       bigint      NOT NULL,
  CONSTRAINT event_is_sent_once PRIMARY KEY (event_id)
);
COMMENT ON TABLE webhooks.event_ids IS 'Events that were fanned out, and where the outbox holds them. Kept as long as the outbox, which is the deduplication window.';

CREATE SEQUENCE webhooks.delivery_id;
CREATE TABLE webhooks.pending (
  endpoint_id      uuid     NOT NULL,
  delivery_id      bigint   NOT NULL,
  event_id         uuid     NOT NULL,
  due_at           timestamptz,
  first_attempt_at timestamptz,
  generation       smallint NOT NULL DEFAULT 1,
  completed        smallint NOT NULL DEFAULT 0,
  started          smallint NOT NULL DEFAULT 0,
  trigger          text     NOT NULL DEFAULT 'automatic',
  CONSTRAINT pending_is_read_by_lane PRIMARY KEY (endpoint_id, delivery_id),
  CONSTRAINT pending_trigger_is_known CHECK (trigger IN ('automatic', 'manual', 'test'))
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX pending_due ON webhooks.pending (endpoint_id, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX pending_test ON webhooks.pending (endpoint_id) WHERE trigger = 'test';
COMMENT ON TABLE webhooks.pending IS 'Deliveries that are not over. One narrow row each; the event''s bytes stay in the outbox.';
COMMENT ON COLUMN webhooks.pending.due_at IS 'NULL: at once, in order of delivery_id. Otherwise when the next attempt is due.';
COMMENT ON COLUMN webhooks.pending.completed IS 'Attempts of this generation that used up a retry.';
COMMENT ON COLUMN webhooks.pending.started IS 'Attempts that were ever started and are over, interrupted ones included.';

CREATE TABLE webhooks.intents (
  relay_id     uuid        NOT NULL,
  batch        bigint      NOT NULL,
  started_at   timestamptz NOT NULL,
  endpoint_ids uuid[]      NOT NULL,
  delivery_ids bigint[]    NOT NULL,
  attempts     smallint[]  NOT NULL,
  CONSTRAINT intent_batch_is_one_relays PRIMARY KEY (relay_id, batch)
) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE webhooks.intents IS 'Attempts under way. Committed before the first byte leaves; what a dead relay leaves here was interrupted.';

-- +goose Down
DROP TABLE webhooks.intents, webhooks.pending, webhooks.event_ids;
DROP SEQUENCE webhooks.delivery_id;
