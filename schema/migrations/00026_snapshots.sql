-- A page is the same on every version of PostgreSQL. 17 has an index scan with an array of ids and a comparison of rows
-- return rows whose id is not in the array (seen with 17.10, where the comparison begins at the end of a page of the index):
-- a page of the log then held what its other half held, too, or what had been read. Now each transaction of a snapshot is a
-- range of its own, of which no more is read than there is to have: before, each page of a large one began at its first row.
--
-- A page says between which times its rows were written, so that whoever reads them opens the days that hold them alone: with
-- 34 days of partitions most of what a small page costs is to open each of them twice.

-- +goose Up
-- +goose StatementBegin
DO $do$
DECLARE log text;
BEGIN
  FOREACH log IN ARRAY ARRAY['outbox', 'journal'] LOOP
    EXECUTE format($sql$
DROP FUNCTION webhooks.%1$s_page(text, integer);
DROP FUNCTION webhooks.%1$s_rows(pg_snapshot, pg_snapshot, xid8, bigint, xid8, bigint);

CREATE FUNCTION webhooks.%1$s_rows(
  from_snapshot pg_snapshot, to_snapshot pg_snapshot,
  after_xid xid8, after_position bigint, until_xid xid8, until_position bigint,
  since timestamptz DEFAULT '-infinity', until timestamptz DEFAULT 'infinity'
) RETURNS SETOF webhooks.%1$s
LANGUAGE sql STABLE
AS $body$
  -- Visible in to_snapshot and not in from_snapshot: written by a transaction that from_snapshot saw running, or by a
  -- later one. An index range for each of those and one for these; an OR would read every row between them, and OFFSET 0
  -- keeps the ranges from becoming a join of all there is.
  SELECT l.* FROM pg_snapshot_xip(from_snapshot) x CROSS JOIN LATERAL (
      SELECT * FROM webhooks.%1$s
       WHERE transaction_id = x
         AND position > CASE x WHEN after_xid THEN after_position ELSE 0 END
         AND position <= CASE x WHEN until_xid THEN until_position ELSE 9223372036854775807 END
         AND recorded_at BETWEEN since AND until
         AND pg_visible_in_snapshot(transaction_id, to_snapshot)
      OFFSET 0) l
   WHERE x BETWEEN after_xid AND until_xid
  UNION ALL
  SELECT * FROM webhooks.%1$s
   WHERE transaction_id >= pg_snapshot_xmax(from_snapshot)
     AND (transaction_id, position) > (after_xid, after_position)
     AND (transaction_id, position) <= (until_xid, until_position)
     AND recorded_at BETWEEN since AND until
     AND pg_visible_in_snapshot(transaction_id, to_snapshot)
$body$;

CREATE FUNCTION webhooks.%1$s_page(reader text, max_rows integer)
RETURNS TABLE (
  from_snapshot pg_snapshot, to_snapshot pg_snapshot,
  after_xid xid8, after_position bigint, until_xid xid8, until_position bigint, row_count integer,
  since timestamptz, until timestamptz
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
    SELECT p.n, p.transaction_id, p.position, p.since, p.until INTO row_count, until_xid, until_position, since, until
      FROM (
        SELECT u.transaction_id, u.position, row_number() OVER page AS n, min(u.recorded_at) OVER page AS since,
               max(u.recorded_at) OVER page AS until
          FROM (
            (SELECT l.transaction_id, l.position, l.recorded_at FROM pg_snapshot_xip(cursor_row.from_snapshot) x CROSS JOIN LATERAL (
                SELECT r.transaction_id, r.position, r.recorded_at FROM webhooks.%1$s r
                 WHERE r.transaction_id = x
                   AND r.position > CASE x WHEN cursor_row.after_xid THEN cursor_row.after_position ELSE 0 END
                   AND pg_visible_in_snapshot(r.transaction_id, to_snapshot)
                 ORDER BY 1, 2 LIMIT max_rows) l
              WHERE x >= cursor_row.after_xid
              ORDER BY 1, 2 LIMIT max_rows)
            UNION ALL
            (SELECT l.transaction_id, l.position, l.recorded_at FROM webhooks.%1$s l
              WHERE l.transaction_id >= pg_snapshot_xmax(cursor_row.from_snapshot)
                AND (l.transaction_id, l.position) > (cursor_row.after_xid, cursor_row.after_position)
                AND pg_visible_in_snapshot(l.transaction_id, to_snapshot)
              ORDER BY 1, 2 LIMIT max_rows)
          ) u
        WINDOW page AS (ORDER BY u.transaction_id, u.position)
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

REVOKE ALL ON FUNCTION webhooks.%1$s_rows, webhooks.%1$s_page FROM PUBLIC;
GRANT EXECUTE ON FUNCTION webhooks.%1$s_rows, webhooks.%1$s_page TO webhooks_relay;
$sql$, log);
  END LOOP;
END
$do$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
DO $do$
DECLARE log text;
BEGIN
  FOREACH log IN ARRAY ARRAY['outbox', 'journal'] LOOP
    EXECUTE format($sql$
DROP FUNCTION webhooks.%1$s_page(text, integer);
DROP FUNCTION webhooks.%1$s_rows(pg_snapshot, pg_snapshot, xid8, bigint, xid8, bigint, timestamptz, timestamptz);

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

REVOKE ALL ON FUNCTION webhooks.%1$s_rows, webhooks.%1$s_page FROM PUBLIC;
GRANT EXECUTE ON FUNCTION webhooks.%1$s_rows, webhooks.%1$s_page TO webhooks_relay;
$sql$, log);
  END LOOP;
END
$do$;
-- +goose StatementEnd
