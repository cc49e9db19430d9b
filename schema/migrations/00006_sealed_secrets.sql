-- Signing secrets are sealed with keys that are never in the database.

-- +goose Up
ALTER TABLE webhooks.endpoint_secrets ALTER COLUMN secret TYPE bytea USING convert_to(secret, 'UTF8');
ALTER TABLE webhooks.endpoint_secrets RENAME COLUMN secret TO sealed;
ALTER TABLE webhooks.endpoint_secrets ADD COLUMN key_id text;
COMMENT ON COLUMN webhooks.endpoint_secrets.sealed IS 'AES-256-GCM, bound to company, endpoint and version: package relay/seal.';
COMMENT ON COLUMN webhooks.endpoint_secrets.key_id IS 'The key that opens it. NULL: written before there were keys, as it is; the next serve, or surveyhooks keys rotate, seals it.';

-- +goose Down
-- +goose StatementBegin
DO $$
BEGIN
  IF EXISTS (SELECT FROM webhooks.endpoint_secrets WHERE key_id IS NOT NULL) THEN
    RAISE EXCEPTION 'endpoint_secrets holds sealed secrets, which older versions cannot read'
      USING HINT = 'Delete the endpoints that have them, or stay at this version.';
  END IF;
END
$$;
-- +goose StatementEnd
ALTER TABLE webhooks.endpoint_secrets DROP COLUMN key_id;
ALTER TABLE webhooks.endpoint_secrets RENAME COLUMN sealed TO secret;
ALTER TABLE webhooks.endpoint_secrets ALTER COLUMN secret TYPE text USING convert_from(secret, 'UTF8');
