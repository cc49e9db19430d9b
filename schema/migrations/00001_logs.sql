-- The two logs, outbox and journal, and how they are read in commit order.

-- +goose Up
CREATE SCHEMA IF NOT EXISTS webhooks;

-- +goose StatementBegin
CREATE FUNCTION webhooks.uuid_v7() RETURNS uuid
LANGUAGE sql VOLATILE PARALLEL SAFE
AS $$
  -- RFC 9562 section 5.7: 48 bits of Unix milliseconds, then random bits of a version 4 UUID with the version changed.
  SELECT encode(
    set_bit(set_bit(
      overlay(uuid_send(gen_random_uuid())
        PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
        FROM 1 FOR 6),
      52, 1), 53, 1), 'hex')::uuid
$$;
-- +goose StatementEnd

CREATE SEQUENCE webhooks.outbox_position;
CREATE TABLE webhooks.outbox (
  position       bigint      NOT NULL DEFAULT nextval('webhooks.outbox_position'),
  transaction_id xid8        NOT NULL DEFAULT pg_current_xact_id(),
  recorded_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  event_id       uuid        NOT NULL DEFAULT webhooks.uuid_v7(),
  event_type     text        NOT NULL,
  company_id     uuid        NOT NULL,
  data           json        NOT NULL,
  created_at     timestamptz NOT NULL DEFAULT now(),
  endpoint_id    uuid,
  CONSTRAINT outbox_is_read_in_commit_order PRIMARY KEY (transaction_id, position, recorded_at)
) PARTITION BY RANGE (recorded_at);
CREATE TABLE webhooks.outbox_default PARTITION OF webhooks.outbox DEFAULT;
ALTER SEQUENCE webhooks.outbox_position OWNED BY webhooks.outbox.position;

COMMENT ON TABLE  webhooks.outbox IS 'What happened. Insert a row in the transaction that makes it true; once that commits, every endpoint that subscribes is told.';
COMMENT ON COLUMN webhooks.outbox.position IS 'Order of insertion; assigned, never given.';
COMMENT ON COLUMN webhooks.outbox.transaction_id IS 'The inserting transaction; assigned, never given. The log is read by it.';
COMMENT ON COLUMN webhooks.outbox.recorded_at IS 'When the row was inserted; assigned, never given. The table is partitioned by it.';
COMMENT ON COLUMN webhooks.outbox.event_id IS 'The event''s identity, sent as X-Webhook-ID. The same id again within the retention of the outbox is sent once.';
COMMENT ON COLUMN webhooks.outbox.event_type IS 'conversation.started, conversation.completed, question_response.upserted or test.webhook; any other type is stored and matches no endpoint.';
COMMENT ON COLUMN webhooks.outbox.company_id IS 'The tenant: survey.company_id.';
COMMENT ON COLUMN webhooks.outbox.data IS 'A JSON object, sent byte for byte as inserted, at most 256 KiB.';
COMMENT ON COLUMN webhooks.outbox.created_at IS 'When the event occurred; sent as created_at. Scheduling never uses it.';
COMMENT ON COLUMN webhooks.outbox.endpoint_id IS 'When given, the event is for this endpoint alone (test events).';

CREATE SEQUENCE webhooks.journal_position;
CREATE TABLE webhooks.journal (
  position       bigint      NOT NULL DEFAULT nextval('webhooks.journal_position'),
  transaction_id xid8        NOT NULL DEFAULT pg_current_xact_id(),
  recorded_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  fact           text        NOT NULL,
  version        smallint    NOT NULL DEFAULT 1,
  company_id     uuid,
  data           json        NOT NULL,
  CONSTRAINT journal_is_read_in_commit_order PRIMARY KEY (transaction_id, position, recorded_at)
) PARTITION BY RANGE (recorded_at);
CREATE TABLE webhooks.journal_default PARTITION OF webhooks.journal DEFAULT;
ALTER SEQUENCE webhooks.journal_position OWNED BY webhooks.journal.position;
COMMENT ON TABLE webhooks.journal IS 'Facts about events, endpoints, deliveries and attempts; append-only. Everything in the history is made from it.';

CREATE TABLE webhooks.cursors (
  topic             text        NOT NULL,
  consumer_group    text        NOT NULL,
  from_snapshot     pg_snapshot NOT NULL,
  to_snapshot       pg_snapshot,
  after_xid         xid8        NOT NULL DEFAULT '0',
  after_position    bigint      NOT NULL DEFAULT 0,
  system_identifier bigint      NOT NULL,
  CONSTRAINT cursor_is_one_per_topic_and_group PRIMARY KEY (topic, consumer_group)
);
COMMENT ON TABLE webhooks.cursors IS 'How far a consumer group has read a log: the window of commits (from_snapshot, to_snapshot] and the last row handled inside it.';

CREATE TABLE webhooks.quarantine (
  topic          text        NOT NULL,
  consumer_group text        NOT NULL,
  transaction_id xid8        NOT NULL,
  position       bigint      NOT NULL,
  reason         text        NOT NULL,
  content        json        NOT NULL,
  quarantined_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  CONSTRAINT quarantine_holds_a_row_once PRIMARY KEY (topic, consumer_group, position)
);
COMMENT ON TABLE webhooks.quarantine IS 'Log rows that could not be handled, each with its reason; the rows around them flow on.';

-- The same two functions for either log, with plans of their own so that PostgreSQL keeps them prepared.
-- +goose StatementBegin
DO $do$
DECLARE log text;
BEGIN
  FOREACH log IN ARRAY ARRAY['outbox', 'journal'] LOOP
    EXECUTE format($sql$
CREATE FUNCTION webhooks.%1$s_rows(
  from_snapshot pg_snapshot, to_snapshot pg_snapshot,
  after_xid xid8, after_position bigint, until_xid xid8, until_position bigint
) RETURNS SETOF webhooks.%1$s
LANGUAGE sql STABLE
AS $body$
  -- Visible in to_snapshot and not in from_snapshot: written by a transaction that from_snapshot saw running, or by a
  -- later one. Two index ranges; an OR would read every row between them.
  SELECT * FROM webhooks.%1$s
   WHERE transaction_id = ANY (ARRAY(SELECT pg_snapshot_xip(from_snapshot)))
     AND (transaction_id, position) > (after_xid, after_position)
     AND (transaction_id, position) <= (until_xid, until_position)
     AND pg_visible_in_snapshot(transaction_id, to_snapshot)
  UNION ALL
  SELECT * FROM webhooks.%1$s
   WHERE transaction_id >= pg_snapshot_xmax(from_snapshot)
     AND (transaction_id, position) > (after_xid, after_position)
     AND (transaction_id, position) <= (until_xid, until_position)
     AND pg_visible_in_snapshot(transaction_id, to_snapshot)
$body$;

CREATE FUNCTION webhooks.%1$s_page(reader text, max_rows integer)
RETURNS TABLE (
  from_snapshot pg_snapshot, to_snapshot pg_snapshot,
  after_xid xid8, after_position bigint, until_xid xid8, until_position bigint, row_count integer
)
LANGUAGE plpgsql VOLATILE
AS $body$
DECLARE
  cursor_row webhooks.cursors;
  opened     pg_snapshot;
BEGIN
  -- No row at all means that another reader holds the log; a row with row_count 0, that it is drained. An advisory
  -- lock and not a row lock, so that an idle poll burns no transaction id.
  IF NOT pg_try_advisory_xact_lock(hashtextextended('webhooks.%1$s/' || reader, 0)) THEN
    RETURN;
  END IF;
  -- Taken before closing a window gives this transaction an id: a snapshot taken after it can call our own id ended, and
  -- rows that we insert into this log would fall behind the cursor.
  opened := pg_current_snapshot();
  LOOP
    SELECT c.* INTO cursor_row FROM webhooks.cursors c WHERE c.topic = '%1$s' AND c.consumer_group = reader;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'consumer group %% has no cursor on webhooks.%1$s: subscribe first', reader;
    END IF;
    from_snapshot := cursor_row.from_snapshot;
    to_snapshot := coalesce(cursor_row.to_snapshot, opened);
    after_xid := cursor_row.after_xid;
    after_position := cursor_row.after_position;
    SELECT p.n, p.transaction_id, p.position INTO row_count, until_xid, until_position
      FROM (
        SELECT u.transaction_id, u.position, row_number() OVER (ORDER BY u.transaction_id, u.position) AS n
          FROM (
            (SELECT l.transaction_id, l.position FROM webhooks.%1$s l
              WHERE l.transaction_id = ANY (ARRAY(SELECT pg_snapshot_xip(cursor_row.from_snapshot)))
                AND (l.transaction_id, l.position) > (cursor_row.after_xid, cursor_row.after_position)
                AND pg_visible_in_snapshot(l.transaction_id, to_snapshot)
              ORDER BY 1, 2 LIMIT max_rows)
            UNION ALL
            (SELECT l.transaction_id, l.position FROM webhooks.%1$s l
              WHERE l.transaction_id >= pg_snapshot_xmax(cursor_row.from_snapshot)
                AND (l.transaction_id, l.position) > (cursor_row.after_xid, cursor_row.after_position)
                AND pg_visible_in_snapshot(l.transaction_id, to_snapshot)
              ORDER BY 1, 2 LIMIT max_rows)
          ) u
         ORDER BY u.transaction_id, u.position LIMIT max_rows
      ) p
     ORDER BY p.n DESC LIMIT 1;
    row_count := coalesce(row_count, 0);
    IF row_count > 0 OR cursor_row.to_snapshot IS NULL THEN
      RETURN NEXT;
      RETURN;
    END IF;
    -- A drained window is closed, or its to_snapshot would hide what came after it.
    UPDATE webhooks.cursors c
       SET from_snapshot = c.to_snapshot, to_snapshot = NULL, after_xid = '0', after_position = 0
     WHERE c.topic = '%1$s' AND c.consumer_group = reader;
  END LOOP;
END
$body$;
$sql$, log);
  END LOOP;
END
$do$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION webhooks.ring_doorbell() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
  -- A sleeping reader holds this lock exclusively. Taken shared, it also tells a reader that wants to sleep that a
  -- transaction which saw it awake has not ended yet, so no ring is ever missed. NOTIFY itself takes a lock shared by
  -- all committing transactions, hence only when somebody sleeps.
  IF NOT pg_try_advisory_xact_lock_shared(hashtextextended('webhooks.doorbell/' || TG_ARGV[0], 0)) THEN
    PERFORM pg_notify('webhooks_' || TG_ARGV[0], '');
  END IF;
  RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER ring_doorbell AFTER INSERT ON webhooks.outbox
  FOR EACH STATEMENT EXECUTE FUNCTION webhooks.ring_doorbell('outbox');
CREATE TRIGGER ring_doorbell AFTER INSERT ON webhooks.journal
  FOR EACH STATEMENT EXECUTE FUNCTION webhooks.ring_doorbell('journal');

-- +goose Down
DROP SCHEMA webhooks CASCADE;
