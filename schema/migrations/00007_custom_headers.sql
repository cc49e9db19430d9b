-- Headers of the customers' own that are sent with every request. Their values are taken for credentials: sealed, and
-- shown to nobody.

-- +goose Up
CREATE TABLE webhooks.endpoint_headers (
  endpoint_id uuid    NOT NULL CONSTRAINT header_belongs_to_an_endpoint REFERENCES webhooks.endpoints,
  name        text    NOT NULL,
  version     integer NOT NULL,
  sealed      bytea   NOT NULL,
  key_id      text    NOT NULL,
  CONSTRAINT header_has_one_spelling PRIMARY KEY (endpoint_id, name)
);
CREATE UNIQUE INDEX header_is_set_once ON webhooks.endpoint_headers (endpoint_id, lower(name));
COMMENT ON COLUMN webhooks.endpoint_headers.name IS 'As it is sent; names that differ by case alone are one name.';
COMMENT ON COLUMN webhooks.endpoint_headers.version IS 'The endpoint''s version that set it.';
COMMENT ON COLUMN webhooks.endpoint_headers.sealed IS 'The value: AES-256-GCM, bound to company, endpoint, name and version: package relay/seal.';
COMMENT ON COLUMN webhooks.endpoint_headers.key_id IS 'The key that opens it.';

ALTER TABLE webhooks.attempts ADD COLUMN request_headers json;

CREATE OR REPLACE VIEW webhooks.attempt_history AS
SELECT delivery_id, attempt, event_id, endpoint_id, company_id, event_type, generation, trigger, started_at, outcome, reason, detail,
       status, url, request_timestamp, request_signature, request_bytes, response_headers, response_body, response_truncated,
       remote_addr, dns_us, connect_us, tls_us, first_byte_us, total_us, next_attempt_at, config_version, request_headers
  FROM webhooks.attempts;
COMMENT ON COLUMN webhooks.attempt_history.request_headers IS 'The custom headers that were sent: their names, and *** for each value. NULL when there were none.';

-- +goose Down
DROP VIEW webhooks.attempt_history;
CREATE VIEW webhooks.attempt_history AS
SELECT delivery_id, attempt, event_id, endpoint_id, company_id, event_type, generation, trigger, started_at, outcome, reason, detail,
       status, url, request_timestamp, request_signature, request_bytes, response_headers, response_body, response_truncated,
       remote_addr, dns_us, connect_us, tls_us, first_byte_us, total_us, next_attempt_at, config_version
  FROM webhooks.attempts;
COMMENT ON VIEW webhooks.attempt_history IS 'One HTTP request each: what was sent, what came back, how long it took, what comes next.';
COMMENT ON COLUMN webhooks.attempt_history.outcome IS 'succeeded, failed, interrupted (the relay died: outcome unknown) or stale (a relay that had lost its lease).';
COMMENT ON COLUMN webhooks.attempt_history.total_us IS 'Microseconds from the first step to the verdict.';
ALTER TABLE webhooks.attempts DROP COLUMN request_headers;
DROP TABLE webhooks.endpoint_headers;
