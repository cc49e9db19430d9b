-- What the HTTP API remembers between requests, and the order in which it streams.

-- +goose Up
CREATE TABLE webhooks.idempotency_keys (
  company_id    uuid        NOT NULL,
  actor         text        NOT NULL,
  key           text        NOT NULL,
  request_hash  bytea       NOT NULL,
  claim_id      uuid        NOT NULL,
  claimed_until timestamptz NOT NULL,
  status        smallint,
  location      text        NOT NULL DEFAULT '',
  body          json,
  created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  CONSTRAINT idempotency_key_is_its_owners PRIMARY KEY (company_id, actor, key)
);
CREATE INDEX idempotency_key_by_age ON webhooks.idempotency_keys (created_at);
COMMENT ON TABLE webhooks.idempotency_keys IS 'Requests that were made with an Idempotency-Key in the last 24 hours, and what was answered. Secrets are not kept.';
COMMENT ON COLUMN webhooks.idempotency_keys.company_id IS 'The company of the caller; the nil UUID for an operator.';
COMMENT ON COLUMN webhooks.idempotency_keys.claim_id IS 'Stays when a request that died is made again, so that an event published by it keeps its id.';
COMMENT ON COLUMN webhooks.idempotency_keys.status IS 'NULL: the request is under way, until claimed_until at the latest.';

CREATE TABLE webhooks.test_quota (
  company_id uuid          NOT NULL,
  asked_at   timestamptz[] NOT NULL,
  CONSTRAINT test_quota_is_one_per_company PRIMARY KEY (company_id)
);
COMMENT ON TABLE webhooks.test_quota IS 'When each company asked for its latest test events, so that every process counts the same.';

-- Positions of the outbox are drawn before commits happen; this is the order in which events were told.
CREATE INDEX event_by_fan_out ON webhooks.events (company_id, fanned_out_at, position);

-- +goose Down
DROP INDEX webhooks.event_by_fan_out;
DROP TABLE webhooks.test_quota, webhooks.idempotency_keys;
