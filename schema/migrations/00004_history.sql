-- The projections: history made from the journal alone, written by the projections package alone.

-- +goose Up
CREATE TABLE webhooks.events (
  event_id     uuid        NOT NULL,
  company_id   uuid        NOT NULL,
  event_type   text        NOT NULL,
  created_at   timestamptz NOT NULL,
  position     bigint      NOT NULL,
  fanned_out_at timestamptz NOT NULL,
  decisions    json        NOT NULL,
  CONSTRAINT event_is_recorded_once PRIMARY KEY (event_id)
);
CREATE INDEX event_by_company ON webhooks.events (company_id, position);

CREATE TABLE webhooks.deliveries (
  delivery_id      bigint      NOT NULL,
  endpoint_id      uuid        NOT NULL,
  event_id         uuid        NOT NULL,
  company_id       uuid        NOT NULL,
  event_type       text        NOT NULL,
  state            text        NOT NULL,
  trigger          text        NOT NULL,
  generation       smallint    NOT NULL DEFAULT 1,
  attempts         smallint    NOT NULL DEFAULT 0,
  created_at       timestamptz NOT NULL,
  first_attempt_at timestamptz,
  last_attempt_at  timestamptz,
  next_attempt_at  timestamptz,
  finished_at      timestamptz,
  last_status      smallint,
  last_reason      text,
  CONSTRAINT delivery_is_recorded_once PRIMARY KEY (delivery_id),
  CONSTRAINT delivery_state_is_known CHECK (state IN ('pending', 'retrying', 'delivered', 'exhausted', 'held', 'cancelled'))
) WITH (fillfactor = 80);
CREATE INDEX delivery_by_endpoint ON webhooks.deliveries (endpoint_id, delivery_id);

CREATE TABLE webhooks.attempts (
  delivery_id        bigint      NOT NULL,
  attempt            smallint    NOT NULL,
  started_at         timestamptz NOT NULL,
  endpoint_id        uuid        NOT NULL,
  company_id         uuid        NOT NULL,
  event_id           uuid        NOT NULL,
  event_type         text        NOT NULL,
  generation         smallint    NOT NULL,
  trigger            text        NOT NULL,
  outcome            text        NOT NULL,
  reason             text        NOT NULL,
  detail             text        NOT NULL,
  status             smallint,
  config_version     integer     NOT NULL,
  url                text        NOT NULL,
  request_timestamp  bigint,
  request_signature  text        NOT NULL,
  request_bytes      integer     NOT NULL,
  response_headers   json,
  response_body      bytea       NOT NULL,
  response_truncated boolean     NOT NULL,
  remote_addr        text        NOT NULL,
  dns_us             integer     NOT NULL,
  connect_us         integer     NOT NULL,
  tls_us             integer     NOT NULL,
  first_byte_us      integer     NOT NULL,
  total_us           integer     NOT NULL,
  next_attempt_at    timestamptz,
  CONSTRAINT attempt_is_recorded_once PRIMARY KEY (delivery_id, attempt, started_at),
  CONSTRAINT attempt_outcome_is_known CHECK (outcome IN ('succeeded', 'failed', 'interrupted', 'stale'))
) PARTITION BY RANGE (started_at);
CREATE TABLE webhooks.attempts_default PARTITION OF webhooks.attempts DEFAULT;
CREATE INDEX attempt_by_endpoint ON webhooks.attempts (endpoint_id, started_at);

CREATE TABLE webhooks.endpoint_hours (
  endpoint_id uuid        NOT NULL,
  hour        timestamptz NOT NULL,
  succeeded   bigint      NOT NULL,
  failed      bigint      NOT NULL,
  interrupted bigint      NOT NULL,
  total_us    bigint      NOT NULL,
  max_us      bigint      NOT NULL,
  CONSTRAINT endpoint_hour_is_counted_once PRIMARY KEY (endpoint_id, hour)
) WITH (fillfactor = 50);

CREATE TABLE webhooks.endpoint_changes (
  position    bigint      NOT NULL,
  recorded_at timestamptz NOT NULL,
  endpoint_id uuid        NOT NULL,
  company_id  uuid        NOT NULL,
  fact        text        NOT NULL,
  version     integer     NOT NULL,
  actor       text        NOT NULL,
  reason      text        NOT NULL,
  old         json,
  new         json,
  CONSTRAINT endpoint_change_is_recorded_once PRIMARY KEY (endpoint_id, position)
);

-- +goose Down
DROP TABLE webhooks.endpoint_changes, webhooks.endpoint_hours, webhooks.attempts, webhooks.deliveries, webhooks.events;
