-- A delivery knows the configuration that it was decided by. And a delivery's row of the history has room for its second
-- version on the page of the first, so that no index needs an entry for it.

-- +goose Up
ALTER TABLE webhooks.pending ADD COLUMN config_version integer;
COMMENT ON COLUMN webhooks.pending.config_version IS 'The version of the endpoint''s configuration that the fan-out decided by: it is not sent by an older one. NULL: any will do.';
ALTER TABLE webhooks.deliveries SET (fillfactor = 50);

-- +goose Down
ALTER TABLE webhooks.deliveries SET (fillfactor = 80);
ALTER TABLE webhooks.pending DROP COLUMN config_version;
