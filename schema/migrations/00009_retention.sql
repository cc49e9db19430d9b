-- Days are dropped when they are old and nothing needs them any more; package schema/retention decides when to ask.

-- +goose Up
CREATE TABLE webhooks.retention (
  log          text        NOT NULL,
  pruned_until timestamptz NOT NULL,
  swept        boolean     NOT NULL,
  CONSTRAINT retention_is_one_per_log PRIMARY KEY (log),
  CONSTRAINT retention_log_is_known CHECK (log IN ('outbox', 'journal', 'attempts'))
);
COMMENT ON TABLE webhooks.retention IS 'How far each log was pruned. A day before that may still be there, when something needs it.';
COMMENT ON COLUMN webhooks.retention.swept IS 'Whether the rows that went with the dropped days (event_ids, events, deliveries, …) are gone as well.';
REVOKE ALL ON webhooks.retention FROM webhooks_relay;
GRANT SELECT, UPDATE (swept) ON webhooks.retention TO webhooks_relay;
GRANT SELECT ON webhooks.outbox_default, webhooks.journal_default, webhooks.attempts_default TO webhooks_relay;

-- +goose StatementBegin
CREATE FUNCTION webhooks.make_partition(log text, day date) RETURNS boolean
LANGUAGE plpgsql SET search_path = ''
AS $$
DECLARE
  name  CONSTANT text := log || '_' || to_char(day, 'YYYYMMDD');
  key   CONSTANT text := CASE log WHEN 'attempts' THEN 'started_at' ELSE 'recorded_at' END;
  lower CONSTANT text := to_char(day, 'YYYY-MM-DD') || ' 00:00:00+00'; -- days are UTC, whatever the session's time zone
  upper CONSTANT text := to_char(day + 1, 'YYYY-MM-DD') || ' 00:00:00+00';
BEGIN
  IF to_regclass('webhooks.' || name) IS NOT NULL THEN
    RETURN false;
  END IF;
  -- Made apart and then attached: that locks out nobody who inserts into another day, where CREATE … PARTITION OF would
  -- lock out everybody.
  EXECUTE format('CREATE TABLE webhooks.%I (LIKE webhooks.%I INCLUDING ALL)', name, log);
  EXECUTE format('REVOKE ALL ON webhooks.%I FROM webhooks_relay', name);
  IF upper::timestamptz <= now() THEN
    -- A day that is over: its rows, which had no partition when they came, move in. What is committed meanwhile fails
    -- ATTACH, and is moved the next time.
    EXECUTE format('WITH moved AS (DELETE FROM webhooks.%I WHERE %I >= %L AND %I < %L RETURNING *)
      INSERT INTO webhooks.%I SELECT * FROM moved', log || '_default', key, lower, key, upper, name);
  END IF;
  EXECUTE format('ALTER TABLE webhooks.%I ATTACH PARTITION webhooks.%I FOR VALUES FROM (%L) TO (%L)', log, name, lower, upper);
  RETURN true;
END
$$;

CREATE OR REPLACE FUNCTION webhooks.ensure_partitions(days_ahead integer DEFAULT 3) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET lock_timeout = 0
AS $$
DECLARE
  today CONSTANT date := (now() AT TIME ZONE 'UTC')::date;
  log text; key text; day date; made integer := 0;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('webhooks.partitions', 0)); -- one maker at a time
  PERFORM set_config('lock_timeout', '1s', true); -- of this function alone, as it has a SET clause of its own
  FOREACH log IN ARRAY ARRAY['outbox', 'journal', 'attempts'] LOOP
    key := CASE log WHEN 'attempts' THEN 'started_at' ELSE 'recorded_at' END;
    FOR day IN EXECUTE format('SELECT $1 + i FROM generate_series(0, $2) i
      UNION SELECT (%1$I AT TIME ZONE ''UTC'')::date FROM webhooks.%2$I WHERE (%1$I AT TIME ZONE ''UTC'')::date < $1
      ORDER BY 1', key, log || '_default') USING today, days_ahead
    LOOP
      BEGIN
        IF webhooks.make_partition(log, day) THEN
          made := made + 1;
        END IF;
      EXCEPTION
        WHEN check_violation THEN
          RAISE NOTICE 'webhooks.%_default holds rows of %: they move when that day is over', log, day;
        WHEN lock_not_available THEN
          RAISE NOTICE 'webhooks.%_default is in use: the partition of % is made the next time', log, day;
      END;
    END LOOP;
  END LOOP;
  RETURN made;
END
$$;

CREATE FUNCTION webhooks.partition_kept_for(log text, day date) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = ''
AS $$
DECLARE
  lower CONSTANT timestamptz := day::timestamp AT TIME ZONE 'UTC';
  upper CONSTANT timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
  reader text;
BEGIN
  IF log = 'attempts' THEN
    -- As long as its facts are there, the history can be made again and compared.
    IF EXISTS (SELECT FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
                WHERE i.inhparent = 'webhooks.journal'::regclass AND c.relname ~ '_\d{8}$'
                  AND to_date(right(c.relname, 8), 'YYYYMMDD') <= day)
       OR EXISTS (SELECT FROM webhooks.journal_default WHERE recorded_at < upper) THEN
      RETURN 'the journal of that day is kept';
    END IF;
    RETURN NULL;
  END IF;
  IF NOT EXISTS (SELECT FROM webhooks.cursors c WHERE c.topic = log) THEN
    RETURN 'nobody has read it';
  END IF;
  FOR reader IN EXECUTE format($q$
    SELECT c.consumer_group FROM webhooks.cursors c
     WHERE c.topic = %1$L
       AND (c.system_identifier <> (SELECT s.system_identifier FROM pg_control_system() s)
         OR EXISTS (SELECT FROM webhooks.%1$I r
              WHERE r.recorded_at >= $1 AND r.recorded_at < $2 AND r.transaction_id >= pg_snapshot_xmin(c.from_snapshot)
                AND NOT pg_visible_in_snapshot(r.transaction_id, c.from_snapshot)
                AND NOT (c.to_snapshot IS NOT NULL AND pg_visible_in_snapshot(r.transaction_id, c.to_snapshot)
                         AND (r.transaction_id, r.position) <= (c.after_xid, c.after_position))))
     ORDER BY 1 LIMIT 1$q$, log) USING lower, upper
  LOOP
    RETURN 'consumer group ' || reader || ' has not read it';
  END LOOP;
  IF log = 'outbox' AND EXISTS (SELECT FROM webhooks.pending p JOIN webhooks.event_ids i USING (event_id)
                                 WHERE i.recorded_at >= lower AND i.recorded_at < upper) THEN
    RETURN 'deliveries of its events are still to be sent';
  END IF;
  RETURN NULL;
END
$$;

CREATE FUNCTION webhooks.prune_partition(log text, day date, keep interval) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' SET lock_timeout = '200ms'
AS $$
DECLARE
  upper  CONSTANT timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
  reason text;
BEGIN
  IF log NOT IN ('outbox', 'journal', 'attempts') OR keep < interval '1 day' THEN
    RAISE EXCEPTION 'prune % with a retention of %: want outbox, journal or attempts, and at least a day', log, keep
      USING ERRCODE = 'invalid_parameter_value';
  ELSIF upper > now() - keep THEN
    RETURN 'it is younger than the retention';
  ELSIF NOT pg_try_advisory_xact_lock(hashtextextended('webhooks.retention', 0)) THEN
    RETURN 'a delivery is being retried at this moment'; -- package delivery holds the lock shared, from its look at the event on
  END IF;
  reason := webhooks.partition_kept_for(log, day);
  IF reason IS NOT NULL THEN
    RETURN reason;
  END IF;
  -- This waits for every transaction that has touched the log, and everybody who wants to insert waits behind it: for as
  -- long as lock_timeout and no longer. The caller tries again.
  EXECUTE format('DROP TABLE IF EXISTS webhooks.%I', log || '_' || to_char(day, 'YYYYMMDD'));
  INSERT INTO webhooks.retention AS r (log, pruned_until, swept) VALUES (prune_partition.log, upper, false)
  ON CONFLICT ON CONSTRAINT retention_is_one_per_log
    DO UPDATE SET pruned_until = greatest(r.pruned_until, excluded.pruned_until), swept = false;
  RETURN NULL;
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION webhooks.make_partition, webhooks.partition_kept_for, webhooks.prune_partition FROM PUBLIC;
REVOKE ALL ON FUNCTION webhooks.make_partition FROM webhooks_relay;
COMMENT ON FUNCTION webhooks.make_partition IS 'Makes the partition of a UTC day, unless it is there, and moves in what the default partition holds of a day that is over.';
COMMENT ON FUNCTION webhooks.ensure_partitions IS 'Makes the partitions of today and the coming days, and of past days that the default partitions hold rows of; returns how many.';
COMMENT ON FUNCTION webhooks.partition_kept_for IS 'What still needs the partition of a UTC day; NULL when nothing does.';
COMMENT ON FUNCTION webhooks.prune_partition IS 'Drops the partition of a UTC day that is older than keep and that nothing needs, and returns NULL; or returns why it stays.';

-- +goose Down
DROP FUNCTION webhooks.prune_partition, webhooks.partition_kept_for, webhooks.make_partition;
DROP TABLE webhooks.retention;
REVOKE ALL ON webhooks.outbox_default, webhooks.journal_default, webhooks.attempts_default FROM webhooks_relay;
COMMENT ON FUNCTION webhooks.ensure_partitions IS NULL;
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION webhooks.ensure_partitions(days_ahead integer DEFAULT 3) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = ''
AS $$
DECLARE
  log text; day date; partition text; made integer := 0;
BEGIN
  -- Days are UTC, whatever the session's time zone. One maker at a time; a day that already has rows in the default
  -- partition keeps them there.
  PERFORM pg_advisory_xact_lock(hashtextextended('webhooks.partitions', 0));
  FOREACH log IN ARRAY ARRAY['outbox', 'journal', 'attempts'] LOOP
    FOR i IN 0..days_ahead LOOP
      day := (now() AT TIME ZONE 'UTC')::date + i;
      partition := log || '_' || to_char(day, 'YYYYMMDD');
      IF to_regclass('webhooks.' || partition) IS NULL THEN
        BEGIN
          EXECUTE format('CREATE TABLE webhooks.%I PARTITION OF webhooks.%I FOR VALUES FROM (%L) TO (%L)',
            partition, log, day::text || ' 00:00:00+00', (day + 1)::text || ' 00:00:00+00');
          made := made + 1;
        EXCEPTION WHEN check_violation THEN
          RAISE NOTICE 'webhooks.%_default holds rows of %: they stay there', log, day;
        END;
      END IF;
    END LOOP;
  END LOOP;
  RETURN made;
END
$$;
-- +goose StatementEnd
