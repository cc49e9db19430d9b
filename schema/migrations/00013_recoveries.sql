-- Recoveries: jobs that send again, at their pace, what failed at an endpoint.

-- +goose Up
CREATE TABLE webhooks.recoveries (
  recovery_id uuid        NOT NULL DEFAULT webhooks.uuid_v7(),
  company_id  uuid        NOT NULL,
  endpoint_id uuid        NOT NULL CONSTRAINT recovery_is_of_an_endpoint REFERENCES webhooks.endpoints,
  request_key text        NOT NULL,
  since       timestamptz NOT NULL,
  until       timestamptz NOT NULL,
  actor       text        NOT NULL,
  reason      text        NOT NULL DEFAULT '',
  state       text        NOT NULL DEFAULT 'running',
  total       integer     NOT NULL,
  replayed    integer     NOT NULL DEFAULT 0,
  skipped     integer     NOT NULL DEFAULT 0,
  waits_for   text        NOT NULL DEFAULT '',
  after_time  timestamptz NOT NULL,
  after_id    bigint      NOT NULL DEFAULT 0,
  next_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  ended_at    timestamptz,
  ended_by    text        NOT NULL DEFAULT '',
  CONSTRAINT recovery_has_one_id PRIMARY KEY (recovery_id),
  CONSTRAINT recovery_is_asked_for_once UNIQUE (company_id, request_key),
  CONSTRAINT recovery_state_is_known CHECK (state IN ('running', 'done', 'cancelled', 'failed')),
  CONSTRAINT recovery_has_a_span CHECK (since < until)
);
CREATE UNIQUE INDEX recovery_is_one_at_a_time ON webhooks.recoveries (endpoint_id) WHERE state = 'running';
CREATE INDEX recovery_by_company ON webhooks.recoveries (company_id, endpoint_id, recovery_id);
COMMENT ON TABLE  webhooks.recoveries IS 'Jobs that send again what failed for good at an endpoint. Whoever works on one holds its row lock, so a crash frees it.';
COMMENT ON COLUMN webhooks.recoveries.since IS 'Deliveries that were exhausted from then on, until the time in until.';
COMMENT ON COLUMN webhooks.recoveries.skipped IS 'Deliveries that could not be sent again: the event is no longer kept, or somebody retried it already.';
COMMENT ON COLUMN webhooks.recoveries.waits_for IS 'enabled, breaker or backlog: what has to come first; empty while it goes on.';
COMMENT ON COLUMN webhooks.recoveries.after_id IS 'With after_time, the last delivery that was handled.';

-- +goose Down
DROP TABLE webhooks.recoveries;
