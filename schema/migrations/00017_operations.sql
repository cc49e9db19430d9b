-- What operators order: a pause of all sending, the draining of one relay, the history verified or made again.

-- +goose Up
CREATE TABLE webhooks.pause (
  one       boolean     NOT NULL DEFAULT true,
  pause_id  uuid        NOT NULL DEFAULT webhooks.uuid_v7(),
  paused_by text        NOT NULL,
  paused_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  reason    text        NOT NULL,
  CONSTRAINT pause_is_one PRIMARY KEY (one),
  CONSTRAINT pause_is_of_everything CHECK (one)
);
COMMENT ON TABLE webhooks.pause IS 'A row: no relay starts an attempt. None: sending goes on.';

ALTER TABLE webhooks.relays ADD COLUMN drained_by text, ADD COLUMN drained_at timestamptz,
  ADD CONSTRAINT relay_is_drained_by_somebody CHECK ((drained_by IS NULL) = (drained_at IS NULL));
COMMENT ON COLUMN webhooks.relays.drained_at IS 'Since then it hands its lanes over and takes none; NULL: it has its share. The order ends with the row.';

CREATE TABLE webhooks.rebuilds (
  rebuild_id  uuid        NOT NULL DEFAULT webhooks.uuid_v7(),
  verify_only boolean     NOT NULL,
  actor       text        NOT NULL,
  state       text        NOT NULL DEFAULT 'running',
  facts       bigint      NOT NULL DEFAULT 0,
  report      jsonb,
  fault       text        NOT NULL DEFAULT '',
  started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  alive_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  ended_at    timestamptz,
  CONSTRAINT rebuild_has_one_id PRIMARY KEY (rebuild_id),
  CONSTRAINT rebuild_state_is_known CHECK (state IN ('running', 'done', 'failed', 'interrupted')),
  CONSTRAINT rebuild_ends_when_it_does_not_run CHECK ((state = 'running') = (ended_at IS NULL)),
  CONSTRAINT rebuild_that_is_done_reports CHECK (state <> 'done' OR report IS NOT NULL)
);
CREATE UNIQUE INDEX rebuild_is_one_at_a_time ON webhooks.rebuilds ((true)) WHERE state = 'running';
COMMENT ON TABLE  webhooks.rebuilds IS 'Comparisons of the history with the journal, the latest of which the operator''s page shows.';
COMMENT ON COLUMN webhooks.rebuilds.alive_at IS 'Renewed by the process that works on it; long ago: that one died.';
COMMENT ON COLUMN webhooks.rebuilds.facts IS 'Read so far.';

ALTER TABLE webhooks.access_trail DROP CONSTRAINT access_trail_action_is_known, ADD CONSTRAINT access_trail_action_is_known CHECK (
  action IN ('key.created', 'key.revoked', 'link.minted', 'link.revoked', 'session.started', 'session.replaced', 'session.ended',
    'session.revoked', 'sending.paused', 'sending.resumed', 'relay.drained', 'relay.undrained', 'rebuild.started'));
COMMENT ON COLUMN webhooks.access_trail.subject_id IS 'The key, link, session, pause, relay or rebuild.';

-- +goose Down
ALTER TABLE webhooks.access_trail DROP CONSTRAINT access_trail_action_is_known, ADD CONSTRAINT access_trail_action_is_known CHECK (
  action IN ('key.created', 'key.revoked', 'link.minted', 'link.revoked', 'session.started', 'session.replaced', 'session.ended',
    'session.revoked')) NOT VALID; -- what was ordered meanwhile stays in the trail
DROP TABLE webhooks.rebuilds, webhooks.pause;
ALTER TABLE webhooks.relays DROP CONSTRAINT relay_is_drained_by_somebody, DROP COLUMN drained_by, DROP COLUMN drained_at;
