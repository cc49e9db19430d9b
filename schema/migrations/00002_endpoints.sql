-- Endpoints, their secrets, and the lanes that carry their deliveries.

-- +goose Up
CREATE TABLE webhooks.endpoints (
  endpoint_id  uuid        NOT NULL DEFAULT webhooks.uuid_v7(),
  company_id   uuid        NOT NULL,
  url          text        NOT NULL,
  description  text        NOT NULL DEFAULT '',
  event_types  text[],
  state        text        NOT NULL DEFAULT 'enabled',
  state_reason text        NOT NULL DEFAULT '',
  state_actor  text        NOT NULL,
  state_since  timestamptz NOT NULL DEFAULT clock_timestamp(),
  version      integer     NOT NULL DEFAULT 1,
  created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  deleted_at   timestamptz,
  CONSTRAINT endpoint_has_one_id PRIMARY KEY (endpoint_id),
  CONSTRAINT endpoint_state_is_known CHECK (state IN ('enabled', 'disabled'))
);
CREATE INDEX endpoint_by_company ON webhooks.endpoints (company_id, endpoint_id) WHERE deleted_at IS NULL;
COMMENT ON COLUMN webhooks.endpoints.event_types IS 'The types it is told of; NULL means all.';
COMMENT ON COLUMN webhooks.endpoints.version IS 'Counts the changes of its configuration.';

CREATE TABLE webhooks.endpoint_secrets (
  endpoint_id uuid        NOT NULL CONSTRAINT secret_belongs_to_an_endpoint REFERENCES webhooks.endpoints,
  version     integer     NOT NULL,
  secret      text        NOT NULL,
  created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  expires_at  timestamptz,
  CONSTRAINT secret_has_one_version PRIMARY KEY (endpoint_id, version)
);
COMMENT ON COLUMN webhooks.endpoint_secrets.expires_at IS 'A rotated secret signs beside the new one until then; NULL for the current one.';

CREATE TABLE webhooks.relays (
  relay_id    uuid        NOT NULL,
  host        text        NOT NULL,
  started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  lease_until timestamptz NOT NULL,
  CONSTRAINT relay_has_one_lease PRIMARY KEY (relay_id)
);
COMMENT ON TABLE webhooks.relays IS 'Running relay processes. Whoever deletes an expired row has fenced that process out: a relay records nothing without its row.';

CREATE TABLE webhooks.lanes (
  endpoint_id   uuid NOT NULL CONSTRAINT lane_belongs_to_an_endpoint REFERENCES webhooks.endpoints,
  holder        uuid CONSTRAINT lane_holder_is_a_relay REFERENCES webhooks.relays ON DELETE SET NULL,
  breaker       text NOT NULL DEFAULT 'closed',
  not_before    timestamptz,
  failing_since timestamptz,
  CONSTRAINT lane_is_one_per_endpoint PRIMARY KEY (endpoint_id),
  CONSTRAINT lane_breaker_is_known CHECK (breaker IN ('closed', 'open', 'half_open'))
);
CREATE INDEX lane_by_holder ON webhooks.lanes (holder);
COMMENT ON TABLE webhooks.lanes IS 'One endpoint''s queue: the relay that runs it, and its breaker.';

-- +goose Down
DROP TABLE webhooks.lanes, webhooks.relays, webhooks.endpoint_secrets, webhooks.endpoints;
