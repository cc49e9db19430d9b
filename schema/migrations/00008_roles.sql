-- Who may do what. Three roles without a login, which the logins of a deployment are members of:
--
--   webhooks_app     the survey app: publishes, and reads the four views of the history
--   webhooks_relay   serve and the operator's verbs: all rows, no table and no partition of its own to drop
--   webhooks_tenant  nobody's login: what a transaction on behalf of one company becomes (package schema/tenant)
--
-- A later migration that makes a table need not think of webhooks_relay: the default privileges below do. A table that
-- tenants may see needs `SELECT webhooks.isolate('webhooks.name')` and a GRANT to webhooks_tenant beside it; a function
-- needs `REVOKE ALL ON FUNCTION … FROM PUBLIC`. TestNobodyMayMore fails otherwise, and schema.sql shows the outcome.

-- +goose Up
-- +goose StatementBegin
DO $do$
DECLARE name text;
BEGIN
  -- Roles belong to the cluster, and another database of it may migrate at this moment, or have done so before.
  FOREACH name IN ARRAY ARRAY['webhooks_app', 'webhooks_relay', 'webhooks_tenant'] LOOP
    CONTINUE WHEN to_regrole(name) IS NOT NULL;
    BEGIN
      EXECUTE format('CREATE ROLE %I NOLOGIN', name);
    EXCEPTION
      WHEN duplicate_object OR unique_violation THEN NULL;
      WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'role % is missing and % may not create roles: let an administrator run CREATE ROLE webhooks_app NOLOGIN; CREATE ROLE webhooks_relay NOLOGIN; CREATE ROLE webhooks_tenant NOLOGIN; GRANT webhooks_tenant TO webhooks_relay; and migrate again', name, current_user
          USING ERRCODE = 'insufficient_privilege';
    END;
  END LOOP;
  IF NOT pg_has_role('webhooks_relay', 'webhooks_tenant', 'MEMBER') THEN
    BEGIN
      GRANT webhooks_tenant TO webhooks_relay;
    EXCEPTION
      WHEN unique_violation THEN NULL;
      WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'webhooks_relay is no member of webhooks_tenant and % may not make it one: let an administrator run GRANT webhooks_tenant TO webhooks_relay; and migrate again', current_user
          USING ERRCODE = 'insufficient_privilege';
    END;
  END IF;
END
$do$;
-- +goose StatementEnd

REVOKE ALL ON SCHEMA webhooks FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA webhooks FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA webhooks FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA webhooks FROM PUBLIC;
GRANT USAGE ON SCHEMA webhooks TO webhooks_app, webhooks_relay, webhooks_tenant;

-- +goose StatementBegin
CREATE FUNCTION webhooks.reserved_key(data json) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
DECLARE
  text CONSTANT text := data;
BEGIN
  -- Most events have neither word in them, and are not parsed for it. A letter can be written as \u and its number.
  IF strpos(text, '\u') > 0 THEN
    -- To look for a key PostgreSQL decodes every string, and cannot decode all that JSON may escape: NUL, half a surrogate
    -- pair. Those are taken out first, once no escaped backslash can be mistaken for the start of one.
    data := regexp_replace(replace(text, '\\', '__'), '\\u(0000|[dD][89a-fA-F][0-9a-fA-F]{2})', '', 'g')::json;
  ELSIF strpos(text, '"event_type"') = 0 AND strpos(text, '"metadata"') = 0 THEN
    RETURN NULL;
  END IF;
  RETURN CASE WHEN data -> 'event_type' IS NOT NULL THEN 'event_type' WHEN data -> 'metadata' IS NOT NULL THEN 'metadata' END;
END
$$;

CREATE OR REPLACE FUNCTION webhooks.publish(event_type text, company_id uuid, data json, id uuid DEFAULT NULL) RETURNS uuid
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
  ELSIF webhooks.reserved_key(data) IS NOT NULL THEN
    RAISE EXCEPTION 'data has the key %: want it left out, since the relay adds it', webhooks.reserved_key(data) USING ERRCODE = 'invalid_parameter_value';
  ELSIF octet_length(data::text) > 262144 THEN
    RAISE EXCEPTION 'data has % bytes: want at most 262144', octet_length(data::text) USING ERRCODE = 'invalid_parameter_value';
  END IF;
  id := coalesce(id, webhooks.uuid_v7());
  INSERT INTO webhooks.outbox (event_id, event_type, company_id, data) VALUES (id, event_type, company_id, data);
  RETURN id;
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION webhooks.reserved_key FROM PUBLIC;
COMMENT ON FUNCTION webhooks.reserved_key IS 'The key of data that is the relay''s to add; NULL when there is none.';

-- What a raw INSERT may not say, webhooks.publish refuses in words of its own. NOT VALID: rows from before are in
-- quarantine, and must not be in the way.
ALTER TABLE webhooks.outbox
  ADD CONSTRAINT event_type_is_a_name CHECK (event_type ~ '^[a-z0-9_.]{1,64}$') NOT VALID,
  ADD CONSTRAINT data_is_an_object CHECK (json_typeof(data) = 'object') NOT VALID,
  ADD CONSTRAINT data_has_at_most_256_kib CHECK (octet_length(data::text) <= 262144) NOT VALID,
  ADD CONSTRAINT data_leaves_event_type_and_metadata_to_the_relay CHECK (webhooks.reserved_key(data) IS NULL) NOT VALID;

-- The logs are append-only for everybody; a relay that finds them restored into another cluster stamps their rows anew.
-- +goose StatementBegin
DO $do$
DECLARE name text;
BEGIN
  FOR name IN SELECT c.relname FROM pg_class c
     WHERE c.relnamespace = 'webhooks'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  LOOP
    IF name IN ('outbox', 'journal') THEN
      EXECUTE format('GRANT SELECT, INSERT, UPDATE (transaction_id) ON webhooks.%I TO webhooks_relay', name);
    ELSE
      EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON webhooks.%I TO webhooks_relay', name);
    END IF;
  END LOOP;
END
$do$;
-- +goose StatementEnd
GRANT SELECT ON webhooks.event_history, webhooks.delivery_history, webhooks.attempt_history, webhooks.endpoint_health
  TO webhooks_relay, webhooks_app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA webhooks TO webhooks_relay;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA webhooks TO webhooks_relay;
GRANT SELECT ON public.webhooks_migrations TO webhooks_relay;
ALTER DEFAULT PRIVILEGES IN SCHEMA webhooks GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO webhooks_relay;
ALTER DEFAULT PRIVILEGES IN SCHEMA webhooks GRANT USAGE ON SEQUENCES TO webhooks_relay;
ALTER DEFAULT PRIVILEGES IN SCHEMA webhooks GRANT EXECUTE ON FUNCTIONS TO webhooks_relay;

GRANT INSERT (event_id, event_type, company_id, data, created_at, endpoint_id) ON webhooks.outbox TO webhooks_app, webhooks_tenant;
GRANT USAGE ON SEQUENCE webhooks.outbox_position TO webhooks_app, webhooks_tenant;
GRANT EXECUTE ON FUNCTION webhooks.uuid_v7, webhooks.reserved_key TO webhooks_app, webhooks_tenant;
GRANT EXECUTE ON FUNCTION webhooks.publish TO webhooks_app;

-- +goose StatementBegin
CREATE FUNCTION webhooks.isolate(tenant_table regclass) RETURNS void
LANGUAGE plpgsql
AS $$
DECLARE
  -- Asked once per statement and not once per row. Without the setting it is NULL, which no row equals.
  company CONSTANT text := $q$(SELECT nullif(current_setting('webhooks.company_id', true), '')::uuid)$q$;
  own text;
BEGIN
  IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = tenant_table AND attname = 'company_id' AND NOT attisdropped) THEN
    own := 'company_id = ' || company;
  ELSE
    -- webhooks.endpoints is isolated itself: only the company's endpoints are there to be found.
    own := format('EXISTS (SELECT FROM webhooks.endpoints e WHERE e.endpoint_id = %I.endpoint_id)',
      (SELECT relname FROM pg_class WHERE oid = tenant_table));
  END IF;
  EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', tenant_table);
  EXECUTE format('CREATE POLICY relay_sees_all ON %s TO webhooks_relay USING (true)', tenant_table);
  EXECUTE format('CREATE POLICY tenant_sees_its_own ON %s TO webhooks_tenant USING (%s)', tenant_table, own);
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION webhooks.isolate FROM PUBLIC, webhooks_relay;
COMMENT ON FUNCTION webhooks.isolate IS 'Shows webhooks_tenant only the rows of the company that the setting webhooks.company_id names: by the column company_id, or else through the row''s endpoint. Grants nothing.';

-- +goose StatementBegin
DO $do$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['endpoints', 'endpoint_secrets', 'endpoint_headers', 'lanes', 'pending', 'outbox', 'journal',
                              'events', 'deliveries', 'attempts', 'endpoint_hours', 'endpoint_changes'] LOOP
    IF to_regclass('webhooks.' || name) IS NOT NULL THEN
      PERFORM webhooks.isolate(('webhooks.' || name)::regclass);
    END IF;
  END LOOP;
END
$do$;
-- +goose StatementEnd
CREATE POLICY app_publishes ON webhooks.outbox FOR INSERT TO webhooks_app WITH CHECK (true);
ALTER TABLE webhooks.event_ids ENABLE ROW LEVEL SECURITY;
CREATE POLICY relay_sees_all ON webhooks.event_ids TO webhooks_relay USING (true);
CREATE POLICY tenant_sees_its_own ON webhooks.event_ids TO webhooks_tenant USING (EXISTS (
  SELECT FROM webhooks.outbox o
   WHERE o.recorded_at = event_ids.recorded_at AND o.transaction_id = event_ids.transaction_id AND o.position = event_ids.position));

-- Tenants have no view: a view reads as its owner, who sees all. What they read are tables.
GRANT SELECT ON webhooks.endpoints, webhooks.lanes, webhooks.pending, webhooks.outbox, webhooks.event_ids, webhooks.events,
  webhooks.deliveries, webhooks.attempts, webhooks.endpoint_hours, webhooks.endpoint_changes TO webhooks_tenant;
GRANT SELECT (endpoint_id, version, expires_at), INSERT, UPDATE (expires_at), DELETE ON webhooks.endpoint_secrets TO webhooks_tenant;
GRANT SELECT, INSERT, UPDATE, DELETE ON webhooks.endpoint_headers TO webhooks_tenant; -- the values are sealed
GRANT INSERT, UPDATE ON webhooks.endpoints TO webhooks_tenant;
GRANT INSERT (endpoint_id), UPDATE (breaker, not_before, failing_since) ON webhooks.lanes TO webhooks_tenant;
GRANT INSERT, UPDATE (due_at), DELETE ON webhooks.pending TO webhooks_tenant;
GRANT INSERT (fact, version, company_id, data) ON webhooks.journal TO webhooks_tenant;
GRANT USAGE ON SEQUENCE webhooks.journal_position TO webhooks_tenant;
GRANT SELECT (topic, consumer_group, from_snapshot) ON webhooks.cursors TO webhooks_tenant; -- what is not fanned out yet

-- +goose StatementBegin
CREATE FUNCTION webhooks.attempt_is_under_way(endpoint uuid, delivery bigint, number integer) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ''
AS $$
  -- An intent stays open as long as any attempt of its batch, and holds the attempts of many companies: hence a function
  -- that answers for one, and no policy.
  SELECT EXISTS (
    SELECT FROM webhooks.intents i, unnest(i.endpoint_ids, i.delivery_ids, i.attempts) u(endpoint_id, delivery_id, attempt)
     WHERE u.endpoint_id = endpoint AND u.delivery_id = delivery AND u.attempt = number)
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION webhooks.attempt_is_under_way FROM PUBLIC;
GRANT EXECUTE ON FUNCTION webhooks.attempt_is_under_way TO webhooks_tenant;
COMMENT ON FUNCTION webhooks.attempt_is_under_way IS 'Whether that attempt of a delivery was started and is not over.';

ALTER FUNCTION webhooks.ensure_partitions(integer) SECURITY DEFINER SET search_path = '';

-- +goose Down
-- The roles stay: another database of the cluster may need them.
ALTER FUNCTION webhooks.ensure_partitions(integer) SECURITY INVOKER RESET search_path;
DROP FUNCTION webhooks.attempt_is_under_way, webhooks.isolate;
-- +goose StatementBegin
DO $do$
DECLARE p record;
BEGIN
  FOR p IN SELECT polname, polrelid::regclass AS relation FROM pg_policy JOIN pg_class c ON c.oid = polrelid
            WHERE c.relnamespace = 'webhooks'::regnamespace
  LOOP
    EXECUTE format('DROP POLICY %I ON %s', p.polname, p.relation);
    EXECUTE format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', p.relation);
  END LOOP;
END
$do$;
-- +goose StatementEnd
ALTER TABLE webhooks.outbox
  DROP CONSTRAINT event_type_is_a_name, DROP CONSTRAINT data_is_an_object, DROP CONSTRAINT data_has_at_most_256_kib,
  DROP CONSTRAINT data_leaves_event_type_and_metadata_to_the_relay;
ALTER DEFAULT PRIVILEGES IN SCHEMA webhooks REVOKE ALL ON TABLES FROM webhooks_relay;
ALTER DEFAULT PRIVILEGES IN SCHEMA webhooks REVOKE ALL ON SEQUENCES FROM webhooks_relay;
ALTER DEFAULT PRIVILEGES IN SCHEMA webhooks REVOKE ALL ON FUNCTIONS FROM webhooks_relay;
REVOKE ALL ON public.webhooks_migrations FROM webhooks_relay;
REVOKE ALL ON ALL TABLES IN SCHEMA webhooks FROM webhooks_app, webhooks_relay, webhooks_tenant;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA webhooks FROM webhooks_app, webhooks_relay, webhooks_tenant;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA webhooks FROM webhooks_app, webhooks_relay, webhooks_tenant;
REVOKE ALL ON SCHEMA webhooks FROM webhooks_app, webhooks_relay, webhooks_tenant;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA webhooks TO PUBLIC;
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION webhooks.publish(event_type text, company_id uuid, data json, id uuid DEFAULT NULL) RETURNS uuid
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
DROP FUNCTION webhooks.reserved_key;
