-- How many attempts a second a customer's endpoint takes.

-- +goose Up
ALTER TABLE webhooks.endpoints
  ADD COLUMN rate_limit integer,
  ADD CONSTRAINT rate_limit_is_1_to_1000 CHECK (rate_limit BETWEEN 1 AND 1000);
COMMENT ON COLUMN webhooks.endpoints.rate_limit IS 'At most so many attempts a second; NULL means no limit.';

-- +goose Down
ALTER TABLE webhooks.endpoints DROP COLUMN rate_limit;
