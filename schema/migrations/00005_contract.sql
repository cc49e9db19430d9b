-- The SQL contract: what the survey app may call and what people may query, in any language.

-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION webhooks.publish(event_type text, company_id uuid, data json, id uuid DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql
AS $$
BEGIN
  IF event_type IS NULL OR event_type !~ '^[a-z0-9_.]{1,64}$' THEN
    RAISE EXCEPTION 'event_type is %: want 1 to 64 of a-z 0-9 _ .', coalesce(quote_literal(left(event_type, 80)), 'NULL')
      USING ERRCODE = 'invalid_parameter_value', HINT = 'For example conversation.started.';
  ELSIF company_id IS NULL THEN
    RAISE EXCEPTION 'company_id is NULL: want the company that the survey belongs to' USING ERRCODE = 'invalid_parameter_value';
  ELSIF data IS NULL OR json_typeof(data) <> 'object' THEN
    RAISE EXCEPTION 'data is %: want a JSON object', coalesce('a JSON ' || json_typeof(data), 'NULL') USING ERRCODE = 'invalid_parameter_value';
  ELSIF data -> 'event_type' IS NOT NULL OR data -> 'metadata' IS NOT NULL THEN
    RAISE EXCEPTION 'data has the key %: want it left out, since the relay adds it',
      CASE WHEN data -> 'event_type' IS NOT NULL THEN 'event_type' ELSE 'metadata' END USING ERRCODE = 'invalid_parameter_value';
  ELSIF octet_length(data::text) > 262144 THEN
    RAISE EXCEPTION 'data has % bytes: want at most 262144', octet_length(data::text) USING ERRCODE = 'invalid_parameter_value';
  END IF;
  id := coalesce(id, webhooks.uuid_v7());
  INSERT INTO webhooks.outbox (event_id, event_type, company_id, data) VALUES (id, event_type, company_id, data);
  RETURN id;
END
$$;
-- +goose StatementEnd
COMMENT ON FUNCTION webhooks.publish IS 'Publishes an event in the caller''s transaction and returns its id, minted (UUID version 7) when none is given. The same id again is sent once.';

-- +goose StatementBegin
CREATE FUNCTION webhooks.ensure_partitions(days_ahead integer DEFAULT 3) RETURNS integer
LANGUAGE plpgsql
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

CREATE VIEW webhooks.event_history AS
SELECT event_id, company_id, event_type, created_at, fanned_out_at, decisions FROM webhooks.events;
COMMENT ON VIEW webhooks.event_history IS 'What happened, and for each endpoint of the company whether it was told, and why not.';
COMMENT ON COLUMN webhooks.event_history.event_id IS 'The event; joins outbox.event_id and X-Webhook-ID.';
COMMENT ON COLUMN webhooks.event_history.decisions IS 'An array of {endpoint_id, version, decision, delivery_id}.';

CREATE VIEW webhooks.delivery_history AS
SELECT d.delivery_id, d.event_id, d.endpoint_id, d.company_id, d.event_type,
       CASE WHEN d.state IN ('pending', 'retrying') AND e.state = 'disabled' AND d.trigger <> 'test' THEN 'held' ELSE d.state END AS state,
       d.trigger, d.generation, d.attempts, d.created_at, d.first_attempt_at, d.last_attempt_at, d.next_attempt_at,
       d.finished_at, d.last_status, d.last_reason
  FROM webhooks.deliveries d LEFT JOIN webhooks.endpoints e USING (endpoint_id);
COMMENT ON VIEW webhooks.delivery_history IS 'One event for one endpoint, and where it stands.';
COMMENT ON COLUMN webhooks.delivery_history.state IS 'pending, retrying, held (the endpoint is disabled), delivered, exhausted or cancelled.';
COMMENT ON COLUMN webhooks.delivery_history.attempts IS 'Completed attempts of this generation, of at most six.';
COMMENT ON COLUMN webhooks.delivery_history.generation IS 'Counts manual replays; 1 is the first.';

CREATE VIEW webhooks.attempt_history AS
SELECT delivery_id, attempt, event_id, endpoint_id, company_id, event_type, generation, trigger, started_at, outcome, reason, detail,
       status, url, request_timestamp, request_signature, request_bytes, response_headers, response_body, response_truncated,
       remote_addr, dns_us, connect_us, tls_us, first_byte_us, total_us, next_attempt_at, config_version
  FROM webhooks.attempts;
COMMENT ON VIEW webhooks.attempt_history IS 'One HTTP request each: what was sent, what came back, how long it took, what comes next.';
COMMENT ON COLUMN webhooks.attempt_history.outcome IS 'succeeded, failed, interrupted (the relay died: outcome unknown) or stale (a relay that had lost its lease).';
COMMENT ON COLUMN webhooks.attempt_history.total_us IS 'Microseconds from the first step to the verdict.';

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
COMMENT ON VIEW webhooks.endpoint_health IS 'How each endpoint does: its state, its breaker, and its last 24 hours.';

-- +goose Down
DROP VIEW webhooks.endpoint_health, webhooks.attempt_history, webhooks.delivery_history, webhooks.event_history;
DROP FUNCTION webhooks.ensure_partitions, webhooks.publish;
