-- Manual replays: the live memory of generations, which the history learns of later.

-- +goose Up
CREATE TABLE webhooks.replays (
  endpoint_id uuid     NOT NULL,
  delivery_id bigint   NOT NULL,
  generation  smallint NOT NULL,
  CONSTRAINT replay_is_counted_once PRIMARY KEY (endpoint_id, delivery_id)
);
COMMENT ON TABLE webhooks.replays IS 'The latest generation of each delivery that was ever replayed by hand. The pending row that bears it goes when it is over, maybe before the history has heard of it.';

SELECT webhooks.isolate('webhooks.replays');
GRANT SELECT, INSERT, UPDATE ON webhooks.replays TO webhooks_tenant;

-- +goose Down
DROP TABLE webhooks.replays;
