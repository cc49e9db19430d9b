-- What the pages ask of the history: a rollup in slots of five minutes, ways to failing deliveries, and what has just changed.

-- +goose Up
DROP VIEW webhooks.endpoint_health;
DROP TABLE webhooks.endpoint_hours;

-- One row serves every chart. The times are columns and not a part of the key: a slot then has a row for each type and
-- status alone, and a chart of 30 days reads 8640 slots of an endpoint, not a hundred thousand rows. No index holds what
-- a page adds to, so an update is HOT.
CREATE TABLE webhooks.endpoint_slots (
  endpoint_id uuid        NOT NULL,
  slot        timestamptz NOT NULL,
  event_type  text        NOT NULL,
  reason      text        NOT NULL,
  status      smallint    NOT NULL,
  company_id  uuid        NOT NULL,
  attempts    integer     NOT NULL,
  total_us    bigint      NOT NULL,
  max_us      bigint      NOT NULL,
  under_1 integer NOT NULL, under_2 integer NOT NULL, under_4 integer NOT NULL, under_8 integer NOT NULL,
  under_16 integer NOT NULL, under_32 integer NOT NULL, under_64 integer NOT NULL, under_128 integer NOT NULL,
  under_256 integer NOT NULL, under_512 integer NOT NULL, under_1024 integer NOT NULL, under_2048 integer NOT NULL,
  under_4096 integer NOT NULL, under_8192 integer NOT NULL, under_16384 integer NOT NULL, over_16384 integer NOT NULL,
  CONSTRAINT endpoint_slot_is_counted_once PRIMARY KEY (endpoint_id, slot, event_type, reason, status)
) WITH (fillfactor = 50);
COMMENT ON TABLE webhooks.endpoint_slots IS 'Attempts of five minutes, by endpoint, event type, reason and status; stale ones are left out.';
COMMENT ON COLUMN webhooks.endpoint_slots.slot IS 'The start of the five minutes in which the attempts started.';
COMMENT ON COLUMN webhooks.endpoint_slots.reason IS 'ok: they succeeded; interrupted: their outcome is unknown; any other: they failed.';
COMMENT ON COLUMN webhooks.endpoint_slots.status IS 'The HTTP status; 0 when there was no answer.';
COMMENT ON COLUMN webhooks.endpoint_slots.under_1 IS 'Attempts that took less than 1 ms. The columns after it double: under_2 took 1 to 2 ms, and so on; over_16384 took longer than all of them. Interrupted ones have no time.';

INSERT INTO webhooks.endpoint_slots
SELECT endpoint_id, date_bin('5 minutes', started_at, '2000-01-01 00:00:00+00'), event_type, reason, coalesce(status, 0), company_id,
       count(*), coalesce(sum(total_us) FILTER (WHERE timed), 0), coalesce(max(total_us) FILTER (WHERE timed), 0),
       count(*) FILTER (WHERE timed AND bucket = 0), count(*) FILTER (WHERE timed AND bucket = 1),
       count(*) FILTER (WHERE timed AND bucket = 2), count(*) FILTER (WHERE timed AND bucket = 3),
       count(*) FILTER (WHERE timed AND bucket = 4), count(*) FILTER (WHERE timed AND bucket = 5),
       count(*) FILTER (WHERE timed AND bucket = 6), count(*) FILTER (WHERE timed AND bucket = 7),
       count(*) FILTER (WHERE timed AND bucket = 8), count(*) FILTER (WHERE timed AND bucket = 9),
       count(*) FILTER (WHERE timed AND bucket = 10), count(*) FILTER (WHERE timed AND bucket = 11),
       count(*) FILTER (WHERE timed AND bucket = 12), count(*) FILTER (WHERE timed AND bucket = 13),
       count(*) FILTER (WHERE timed AND bucket = 14), count(*) FILTER (WHERE timed AND bucket = 15)
  FROM (SELECT a.*, outcome <> 'interrupted' AS timed,
               width_bucket(total_us, ARRAY[1000,2000,4000,8000,16000,32000,64000,128000,256000,512000,1024000,2048000,4096000,8192000,16384000]) AS bucket
          FROM webhooks.attempts a WHERE outcome <> 'stale') a
 GROUP BY 1, 2, 3, 4, 5, 6;

CREATE VIEW webhooks.endpoint_health AS
SELECT e.endpoint_id, e.company_id, e.url, e.state, e.state_reason, e.state_since, l.breaker, l.not_before, l.failing_since,
       coalesce(h.succeeded, 0) AS succeeded_24h, coalesce(h.failed, 0) AS failed_24h, h.mean_ms_24h, h.max_ms_24h
  FROM webhooks.endpoints e
  LEFT JOIN webhooks.lanes l USING (endpoint_id)
  LEFT JOIN LATERAL (
    SELECT sum(b.attempts) FILTER (WHERE b.reason = 'ok')::bigint AS succeeded,
           sum(b.attempts) FILTER (WHERE b.reason NOT IN ('ok', 'interrupted'))::bigint AS failed,
           round(sum(b.total_us) / nullif(sum(b.attempts) FILTER (WHERE b.reason <> 'interrupted'), 0) / 1000.0, 1) AS mean_ms_24h,
           round(max(b.max_us) / 1000.0, 1) AS max_ms_24h
      FROM webhooks.endpoint_slots b
     WHERE b.endpoint_id = e.endpoint_id AND b.slot > now() - interval '24 hours'
  ) h ON true
 WHERE e.deleted_at IS NULL;
COMMENT ON VIEW webhooks.endpoint_health IS 'How each endpoint does: its state, its breaker, and its last 24 hours.';

-- A list of one endpoint is in order of time, so that a stretch of time is a stretch of the index; ids follow that order.
DROP INDEX webhooks.delivery_by_endpoint;
CREATE INDEX delivery_by_endpoint ON webhooks.deliveries (endpoint_id, created_at, delivery_id);

-- Failing deliveries are found among a million good ones. Columns of their own, since an index on state would make every
-- update of every delivery write all indexes: these stay NULL, and the update HOT, as long as all goes well.
ALTER TABLE webhooks.deliveries
  ADD COLUMN failing boolean GENERATED ALWAYS AS (
    CASE WHEN state IN ('retrying', 'exhausted', 'cancelled') OR last_reason <> 'ok' THEN true END) STORED,
  ADD COLUMN exhausted_at timestamptz GENERATED ALWAYS AS (CASE WHEN state = 'exhausted' THEN finished_at END) STORED;
CREATE INDEX delivery_failing ON webhooks.deliveries (endpoint_id, created_at, delivery_id) WHERE failing;
CREATE INDEX delivery_exhausted ON webhooks.deliveries (endpoint_id, exhausted_at, delivery_id) WHERE exhausted_at IS NOT NULL;
COMMENT ON COLUMN webhooks.deliveries.failing IS 'true when its last attempt failed, or it will not be delivered; else NULL.';
COMMENT ON COLUMN webhooks.deliveries.exhausted_at IS 'When it failed for good; else NULL.';

CREATE INDEX endpoint_change_by_company ON webhooks.endpoint_changes (company_id, position);
CREATE INDEX endpoint_ever_of_company ON webhooks.endpoints (company_id);

-- What live views follow. It is no part of the history: unlogged, its last 256 pages alone, empty after a crash.
CREATE SEQUENCE webhooks.delivery_feed_page;
CREATE UNLOGGED TABLE webhooks.delivery_feed (
  page         bigint   NOT NULL DEFAULT nextval('webhooks.delivery_feed_page'),
  endpoint_ids uuid[]   NOT NULL,
  delivery_ids bigint[] NOT NULL,
  CONSTRAINT delivery_feed_is_read_by_page PRIMARY KEY (page)
);
ALTER TABLE webhooks.delivery_feed ALTER endpoint_ids SET STORAGE EXTERNAL, ALTER delivery_ids SET STORAGE EXTERNAL;
ALTER SEQUENCE webhooks.delivery_feed_page OWNED BY webhooks.delivery_feed.page;
COMMENT ON TABLE webhooks.delivery_feed IS 'The deliveries that each page of the journal has changed. One projector works at a time, so pages commit in their order.';

SELECT webhooks.isolate('webhooks.endpoint_slots');
GRANT SELECT ON webhooks.endpoint_slots TO webhooks_tenant;
GRANT SELECT ON webhooks.endpoint_health TO webhooks_app;

-- +goose Down
DROP TABLE webhooks.delivery_feed;
DROP INDEX webhooks.endpoint_ever_of_company, webhooks.endpoint_change_by_company, webhooks.delivery_exhausted, webhooks.delivery_failing;
ALTER TABLE webhooks.deliveries DROP COLUMN exhausted_at, DROP COLUMN failing;
DROP INDEX webhooks.delivery_by_endpoint;
CREATE INDEX delivery_by_endpoint ON webhooks.deliveries (endpoint_id, delivery_id);
DROP VIEW webhooks.endpoint_health;
DROP TABLE webhooks.endpoint_slots;
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
INSERT INTO webhooks.endpoint_hours
SELECT endpoint_id, date_trunc('hour', started_at, 'UTC'),
       count(*) FILTER (WHERE outcome = 'succeeded'), count(*) FILTER (WHERE outcome = 'failed'),
       count(*) FILTER (WHERE outcome = 'interrupted'),
       coalesce(sum(total_us) FILTER (WHERE outcome <> 'interrupted'), 0),
       coalesce(max(total_us) FILTER (WHERE outcome <> 'interrupted'), 0)
  FROM webhooks.attempts WHERE outcome <> 'stale' GROUP BY 1, 2;
CREATE VIEW webhooks.endpoint_health AS
SELECT e.endpoint_id, e.company_id, e.url, e.state, e.state_reason, e.state_since, l.breaker, l.not_before, l.failing_since,
       coalesce(h.succeeded, 0) AS succeeded_24h, coalesce(h.failed, 0) AS failed_24h, h.mean_ms_24h, h.max_ms_24h
  FROM webhooks.endpoints e
  LEFT JOIN webhooks.lanes l USING (endpoint_id)
  LEFT JOIN LATERAL (
    SELECT sum(b.succeeded)::bigint AS succeeded, sum(b.failed)::bigint AS failed,
           round(sum(b.total_us) / nullif(sum(b.succeeded + b.failed), 0) / 1000.0, 1) AS mean_ms_24h,
           round(max(b.max_us) / 1000.0, 1) AS max_ms_24h
      FROM webhooks.endpoint_hours b
     WHERE b.endpoint_id = e.endpoint_id AND b.hour > now() - interval '24 hours'
  ) h ON true
 WHERE e.deleted_at IS NULL;
SELECT webhooks.isolate('webhooks.endpoint_hours');
GRANT SELECT ON webhooks.endpoint_hours TO webhooks_tenant;
GRANT SELECT ON webhooks.endpoint_health TO webhooks_app;
