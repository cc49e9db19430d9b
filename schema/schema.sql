-- What the migrations make, less the partitions of days. Written by "make schema", never by hand; read by people, who
-- see here what a migration changed, and by TestGoldenSchema.

-- Sequences

CREATE SEQUENCE webhooks.access_trail_position_seq AS bigint START 1 INCREMENT 1;
CREATE SEQUENCE webhooks.delivery_feed_page AS bigint START 1 INCREMENT 1;
ALTER SEQUENCE webhooks.delivery_feed_page OWNED BY webhooks.delivery_feed.page;

CREATE SEQUENCE webhooks.delivery_id AS bigint START 1 INCREMENT 1;

CREATE SEQUENCE webhooks.journal_position AS bigint START 1 INCREMENT 1;
ALTER SEQUENCE webhooks.journal_position OWNED BY webhooks.journal."position";

CREATE SEQUENCE webhooks.outbox_position AS bigint START 1 INCREMENT 1;
ALTER SEQUENCE webhooks.outbox_position OWNED BY webhooks.outbox."position";

-- Tables

CREATE TABLE webhooks.access_trail (
  "position" bigint NOT NULL,
  company_id uuid,
  happened_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  action text NOT NULL,
  subject_id uuid NOT NULL,
  actor text NOT NULL,
  detail jsonb NOT NULL,
  ip inet,
  user_agent text DEFAULT ''::text NOT NULL,
  CONSTRAINT access_trail_action_is_known CHECK ((action = ANY (ARRAY['key.created'::text, 'key.revoked'::text, 'link.minted'::text, 'link.revoked'::text, 'session.started'::text, 'session.replaced'::text, 'session.ended'::text, 'session.revoked'::text, 'sending.paused'::text, 'sending.resumed'::text, 'relay.drained'::text, 'relay.undrained'::text, 'rebuild.started'::text, 'delivery.retried'::text, 'delivery.requested'::text, 'test.sent'::text, 'recovery.started'::text, 'recovery.cancelled'::text]))),
  CONSTRAINT access_trail_has_one_order PRIMARY KEY ("position")
);

CREATE TABLE webhooks.api_keys (
  key_id uuid DEFAULT webhooks.uuid_v7() NOT NULL,
  company_id uuid,
  role text NOT NULL,
  name text NOT NULL,
  token_hash bytea NOT NULL,
  created_by text NOT NULL,
  created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  expires_at timestamp with time zone,
  last_used_at timestamp with time zone,
  revoked_at timestamp with time zone,
  CONSTRAINT api_key_has_one_id PRIMARY KEY (key_id),
  CONSTRAINT api_key_role_is_known CHECK ((role = ANY (ARRAY['viewer'::text, 'owner'::text, 'operator'::text]))),
  CONSTRAINT api_key_token_is_hashed CHECK ((octet_length(token_hash) = 32)),
  CONSTRAINT api_key_token_is_unique UNIQUE (token_hash),
  CONSTRAINT api_key_without_company_is_an_operators CHECK (((company_id IS NOT NULL) OR (role = 'operator'::text)))
);

CREATE TABLE webhooks.attempts (
  delivery_id bigint NOT NULL,
  attempt smallint NOT NULL,
  started_at timestamp with time zone NOT NULL,
  endpoint_id uuid NOT NULL,
  company_id uuid NOT NULL,
  event_id uuid NOT NULL,
  event_type text NOT NULL,
  generation smallint NOT NULL,
  trigger text NOT NULL,
  outcome text NOT NULL,
  reason text NOT NULL,
  detail text NOT NULL,
  status smallint,
  config_version integer NOT NULL,
  url text NOT NULL,
  request_timestamp bigint,
  request_signature text NOT NULL,
  request_bytes integer NOT NULL,
  response_headers json,
  response_body bytea NOT NULL,
  response_truncated boolean NOT NULL,
  remote_addr text NOT NULL,
  dns_us integer NOT NULL,
  connect_us integer NOT NULL,
  tls_us integer NOT NULL,
  first_byte_us integer NOT NULL,
  total_us integer NOT NULL,
  next_attempt_at timestamp with time zone,
  request_headers json,
  CONSTRAINT attempt_is_recorded_once PRIMARY KEY (delivery_id, attempt, started_at),
  CONSTRAINT attempt_outcome_is_known CHECK ((outcome = ANY (ARRAY['succeeded'::text, 'failed'::text, 'interrupted'::text, 'stale'::text])))
) PARTITION BY RANGE (started_at);

CREATE TABLE webhooks.attempts_default PARTITION OF webhooks.attempts DEFAULT;

CREATE TABLE webhooks.cursors (
  topic text NOT NULL,
  consumer_group text NOT NULL,
  from_snapshot pg_snapshot NOT NULL,
  to_snapshot pg_snapshot,
  after_xid xid8 DEFAULT '0'::xid8 NOT NULL,
  after_position bigint DEFAULT 0 NOT NULL,
  system_identifier bigint NOT NULL,
  CONSTRAINT cursor_is_one_per_topic_and_group PRIMARY KEY (topic, consumer_group)
);

CREATE TABLE webhooks.deliveries (
  delivery_id bigint NOT NULL,
  endpoint_id uuid NOT NULL,
  event_id uuid NOT NULL,
  company_id uuid NOT NULL,
  event_type text NOT NULL,
  state text NOT NULL,
  trigger text NOT NULL,
  generation smallint DEFAULT 1 NOT NULL,
  attempts smallint DEFAULT 0 NOT NULL,
  created_at timestamp with time zone NOT NULL,
  first_attempt_at timestamp with time zone,
  last_attempt_at timestamp with time zone,
  next_attempt_at timestamp with time zone,
  finished_at timestamp with time zone,
  last_status smallint,
  last_reason text,
  failing boolean DEFAULT 
CASE
    WHEN ((state = ANY (ARRAY['retrying'::text, 'exhausted'::text, 'cancelled'::text])) OR (last_reason <> 'ok'::text)) THEN true
    ELSE NULL::boolean
END,
  exhausted_at timestamp with time zone DEFAULT 
CASE
    WHEN (state = 'exhausted'::text) THEN finished_at
    ELSE NULL::timestamp with time zone
END,
  requested_by text,
  last_total_us integer,
  CONSTRAINT delivery_is_recorded_once PRIMARY KEY (delivery_id),
  CONSTRAINT delivery_state_is_known CHECK ((state = ANY (ARRAY['pending'::text, 'retrying'::text, 'delivered'::text, 'exhausted'::text, 'held'::text, 'cancelled'::text])))
) WITH (fillfactor=50);

CREATE TABLE webhooks.delivery_feed (
  page bigint DEFAULT nextval('webhooks.delivery_feed_page'::regclass) NOT NULL,
  endpoint_ids uuid[] NOT NULL,
  delivery_ids bigint[] NOT NULL,
  CONSTRAINT delivery_feed_is_read_by_page PRIMARY KEY (page)
);

CREATE TABLE webhooks.endpoint_changes (
  "position" bigint NOT NULL,
  recorded_at timestamp with time zone NOT NULL,
  endpoint_id uuid NOT NULL,
  company_id uuid NOT NULL,
  fact text NOT NULL,
  version integer NOT NULL,
  actor text NOT NULL,
  reason text NOT NULL,
  old json,
  new json,
  note text DEFAULT ''::text NOT NULL,
  CONSTRAINT endpoint_change_is_recorded_once PRIMARY KEY (endpoint_id, "position")
);

CREATE TABLE webhooks.endpoint_headers (
  endpoint_id uuid NOT NULL,
  name text NOT NULL,
  version integer NOT NULL,
  sealed bytea NOT NULL,
  key_id text NOT NULL,
  CONSTRAINT header_belongs_to_an_endpoint FOREIGN KEY (endpoint_id) REFERENCES webhooks.endpoints(endpoint_id),
  CONSTRAINT header_has_one_spelling PRIMARY KEY (endpoint_id, name)
);

CREATE TABLE webhooks.endpoint_secrets (
  endpoint_id uuid NOT NULL,
  version integer NOT NULL,
  sealed bytea NOT NULL,
  created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  expires_at timestamp with time zone,
  key_id text,
  CONSTRAINT secret_belongs_to_an_endpoint FOREIGN KEY (endpoint_id) REFERENCES webhooks.endpoints(endpoint_id),
  CONSTRAINT secret_has_one_version PRIMARY KEY (endpoint_id, version)
);

CREATE TABLE webhooks.endpoint_slots (
  endpoint_id uuid NOT NULL,
  slot timestamp with time zone NOT NULL,
  event_type text NOT NULL,
  reason text NOT NULL,
  status smallint NOT NULL,
  company_id uuid NOT NULL,
  attempts integer NOT NULL,
  total_us bigint NOT NULL,
  max_us bigint NOT NULL,
  under_1 integer NOT NULL,
  under_2 integer NOT NULL,
  under_4 integer NOT NULL,
  under_8 integer NOT NULL,
  under_16 integer NOT NULL,
  under_32 integer NOT NULL,
  under_64 integer NOT NULL,
  under_128 integer NOT NULL,
  under_256 integer NOT NULL,
  under_512 integer NOT NULL,
  under_1024 integer NOT NULL,
  under_2048 integer NOT NULL,
  under_4096 integer NOT NULL,
  under_8192 integer NOT NULL,
  under_16384 integer NOT NULL,
  over_16384 integer NOT NULL,
  minutes smallint NOT NULL,
  CONSTRAINT endpoint_slot_has_a_known_width CHECK ((minutes = ANY (ARRAY[5, 60]))),
  CONSTRAINT endpoint_slot_is_counted_once PRIMARY KEY (endpoint_id, minutes, slot, event_type, reason, status)
) WITH (fillfactor=50);

CREATE TABLE webhooks.endpoints (
  endpoint_id uuid DEFAULT webhooks.uuid_v7() NOT NULL,
  company_id uuid NOT NULL,
  url text NOT NULL,
  description text DEFAULT ''::text NOT NULL,
  event_types text[],
  state text DEFAULT 'enabled'::text NOT NULL,
  state_reason text DEFAULT ''::text NOT NULL,
  state_actor text NOT NULL,
  state_since timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  version integer DEFAULT 1 NOT NULL,
  created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  updated_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  deleted_at timestamp with time zone,
  rate_limit integer,
  state_note text DEFAULT ''::text NOT NULL,
  CONSTRAINT endpoint_has_one_id PRIMARY KEY (endpoint_id),
  CONSTRAINT endpoint_state_is_known CHECK ((state = ANY (ARRAY['enabled'::text, 'disabled'::text]))),
  CONSTRAINT endpoint_state_note_is_short CHECK ((char_length(state_note) <= 200)),
  CONSTRAINT rate_limit_is_1_to_1000 CHECK (((rate_limit >= 1) AND (rate_limit <= 1000)))
);

CREATE TABLE webhooks.event_ids (
  event_id uuid NOT NULL,
  recorded_at timestamp with time zone NOT NULL,
  transaction_id xid8 NOT NULL,
  "position" bigint NOT NULL,
  CONSTRAINT event_is_sent_once PRIMARY KEY (event_id)
);

CREATE TABLE webhooks.events (
  event_id uuid NOT NULL,
  company_id uuid NOT NULL,
  event_type text NOT NULL,
  created_at timestamp with time zone NOT NULL,
  "position" bigint NOT NULL,
  fanned_out_at timestamp with time zone NOT NULL,
  decisions json NOT NULL,
  CONSTRAINT event_is_recorded_once PRIMARY KEY (event_id)
);

CREATE TABLE webhooks.idempotency_keys (
  company_id uuid NOT NULL,
  actor text NOT NULL,
  key text NOT NULL,
  request_hash bytea NOT NULL,
  claim_id uuid NOT NULL,
  claimed_until timestamp with time zone NOT NULL,
  status smallint,
  location text DEFAULT ''::text NOT NULL,
  body json,
  created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT idempotency_key_is_its_owners PRIMARY KEY (company_id, actor, key)
);

CREATE TABLE webhooks.intents (
  relay_id uuid NOT NULL,
  batch bigint NOT NULL,
  started_at timestamp with time zone NOT NULL,
  endpoint_ids uuid[] NOT NULL,
  delivery_ids bigint[] NOT NULL,
  attempts smallint[] NOT NULL,
  CONSTRAINT intent_batch_is_one_relays PRIMARY KEY (relay_id, batch)
) WITH (autovacuum_vacuum_scale_factor=0.01, autovacuum_vacuum_cost_delay=0);

CREATE TABLE webhooks.journal (
  "position" bigint DEFAULT nextval('webhooks.journal_position'::regclass) NOT NULL,
  transaction_id xid8 DEFAULT pg_current_xact_id() NOT NULL,
  recorded_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  fact text NOT NULL,
  version smallint DEFAULT 1 NOT NULL,
  company_id uuid,
  data json NOT NULL,
  CONSTRAINT journal_is_read_in_commit_order PRIMARY KEY (transaction_id, "position", recorded_at)
) PARTITION BY RANGE (recorded_at);

CREATE TABLE webhooks.journal_default PARTITION OF webhooks.journal DEFAULT;

CREATE TABLE webhooks.lanes (
  endpoint_id uuid NOT NULL,
  holder uuid,
  breaker text DEFAULT 'closed'::text NOT NULL,
  not_before timestamp with time zone,
  failing_since timestamp with time zone,
  CONSTRAINT lane_belongs_to_an_endpoint FOREIGN KEY (endpoint_id) REFERENCES webhooks.endpoints(endpoint_id),
  CONSTRAINT lane_breaker_is_known CHECK ((breaker = ANY (ARRAY['closed'::text, 'open'::text, 'half_open'::text]))),
  CONSTRAINT lane_holder_is_a_relay FOREIGN KEY (holder) REFERENCES webhooks.relays(relay_id) ON DELETE SET NULL,
  CONSTRAINT lane_is_one_per_endpoint PRIMARY KEY (endpoint_id)
);

CREATE TABLE webhooks.outbox (
  "position" bigint DEFAULT nextval('webhooks.outbox_position'::regclass) NOT NULL,
  transaction_id xid8 DEFAULT pg_current_xact_id() NOT NULL,
  recorded_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  event_id uuid DEFAULT webhooks.uuid_v7() NOT NULL,
  event_type text NOT NULL,
  company_id uuid NOT NULL,
  data json NOT NULL,
  created_at timestamp with time zone DEFAULT now() NOT NULL,
  endpoint_id uuid,
  CONSTRAINT data_has_at_most_256_kib CHECK ((octet_length((data)::text) <= 262144)) NOT VALID,
  CONSTRAINT data_is_an_object CHECK ((json_typeof(data) = 'object'::text)) NOT VALID,
  CONSTRAINT data_leaves_event_type_and_metadata_to_the_relay CHECK ((webhooks.reserved_key(data) IS NULL)) NOT VALID,
  CONSTRAINT event_type_is_a_name CHECK ((event_type ~ '^[a-z0-9_.]{1,64}$'::text)) NOT VALID,
  CONSTRAINT outbox_is_read_in_commit_order PRIMARY KEY (transaction_id, "position", recorded_at)
) PARTITION BY RANGE (recorded_at);

CREATE TABLE webhooks.outbox_default PARTITION OF webhooks.outbox DEFAULT;

CREATE TABLE webhooks.pause (
  one boolean DEFAULT true NOT NULL,
  pause_id uuid DEFAULT webhooks.uuid_v7() NOT NULL,
  paused_by text NOT NULL,
  paused_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  reason text NOT NULL,
  CONSTRAINT pause_is_of_everything CHECK (one),
  CONSTRAINT pause_is_one PRIMARY KEY (one)
);

CREATE TABLE webhooks.pending (
  endpoint_id uuid NOT NULL,
  delivery_id bigint NOT NULL,
  event_id uuid NOT NULL,
  due_at timestamp with time zone,
  first_attempt_at timestamp with time zone,
  generation smallint DEFAULT 1 NOT NULL,
  completed smallint DEFAULT 0 NOT NULL,
  started smallint DEFAULT 0 NOT NULL,
  trigger text DEFAULT 'automatic'::text NOT NULL,
  config_version integer,
  CONSTRAINT pending_is_read_by_lane PRIMARY KEY (endpoint_id, delivery_id),
  CONSTRAINT pending_trigger_is_known CHECK ((trigger = ANY (ARRAY['automatic'::text, 'manual'::text, 'test'::text])))
) WITH (fillfactor=90, autovacuum_vacuum_scale_factor=0.01, autovacuum_vacuum_cost_delay=0);

CREATE TABLE webhooks.portal_links (
  link_id uuid DEFAULT webhooks.uuid_v7() NOT NULL,
  company_id uuid,
  role text NOT NULL,
  person text NOT NULL,
  landing text NOT NULL,
  token_hash bytea NOT NULL,
  created_by text NOT NULL,
  created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  expires_at timestamp with time zone NOT NULL,
  used_at timestamp with time zone,
  revoked_at timestamp with time zone,
  CONSTRAINT portal_link_has_one_id PRIMARY KEY (link_id),
  CONSTRAINT portal_link_lands_here CHECK ((landing ~ '^/([^/\\]|$)'::text)),
  CONSTRAINT portal_link_role_is_known CHECK ((role = ANY (ARRAY['viewer'::text, 'owner'::text, 'operator'::text]))),
  CONSTRAINT portal_link_token_is_hashed CHECK ((octet_length(token_hash) = 32)),
  CONSTRAINT portal_link_token_is_unique UNIQUE (token_hash),
  CONSTRAINT portal_link_without_company_is_an_operators CHECK (((company_id IS NULL) = (role = 'operator'::text)))
);

CREATE TABLE webhooks.quarantine (
  topic text NOT NULL,
  consumer_group text NOT NULL,
  transaction_id xid8 NOT NULL,
  "position" bigint NOT NULL,
  reason text NOT NULL,
  content json NOT NULL,
  quarantined_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  CONSTRAINT quarantine_holds_a_row_once PRIMARY KEY (topic, consumer_group, "position")
);

CREATE TABLE webhooks.rebuilds (
  rebuild_id uuid DEFAULT webhooks.uuid_v7() NOT NULL,
  verify_only boolean NOT NULL,
  actor text NOT NULL,
  state text DEFAULT 'running'::text NOT NULL,
  facts bigint DEFAULT 0 NOT NULL,
  report jsonb,
  fault text DEFAULT ''::text NOT NULL,
  started_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  alive_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  ended_at timestamp with time zone,
  CONSTRAINT rebuild_ends_when_it_does_not_run CHECK (((state = 'running'::text) = (ended_at IS NULL))),
  CONSTRAINT rebuild_has_one_id PRIMARY KEY (rebuild_id),
  CONSTRAINT rebuild_state_is_known CHECK ((state = ANY (ARRAY['running'::text, 'done'::text, 'failed'::text, 'interrupted'::text]))),
  CONSTRAINT rebuild_that_is_done_reports CHECK (((state <> 'done'::text) OR (report IS NOT NULL)))
);

CREATE TABLE webhooks.recoveries (
  recovery_id uuid DEFAULT webhooks.uuid_v7() NOT NULL,
  company_id uuid NOT NULL,
  endpoint_id uuid NOT NULL,
  request_key text NOT NULL,
  since timestamp with time zone NOT NULL,
  until timestamp with time zone NOT NULL,
  actor text NOT NULL,
  reason text DEFAULT ''::text NOT NULL,
  state text DEFAULT 'running'::text NOT NULL,
  total integer NOT NULL,
  replayed integer DEFAULT 0 NOT NULL,
  skipped integer DEFAULT 0 NOT NULL,
  waits_for text DEFAULT ''::text NOT NULL,
  after_time timestamp with time zone NOT NULL,
  after_id bigint DEFAULT 0 NOT NULL,
  next_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  ended_at timestamp with time zone,
  ended_by text DEFAULT ''::text NOT NULL,
  kind text DEFAULT 'failed'::text NOT NULL,
  event_types text[],
  CONSTRAINT recovery_has_a_span CHECK ((since < until)),
  CONSTRAINT recovery_has_one_id PRIMARY KEY (recovery_id),
  CONSTRAINT recovery_is_asked_for_once UNIQUE (company_id, request_key),
  CONSTRAINT recovery_is_of_an_endpoint FOREIGN KEY (endpoint_id) REFERENCES webhooks.endpoints(endpoint_id),
  CONSTRAINT recovery_kind_is_known CHECK ((kind = ANY (ARRAY['failed'::text, 'missing'::text]))),
  CONSTRAINT recovery_of_types_is_of_the_missing CHECK (((event_types IS NULL) OR (kind = 'missing'::text))),
  CONSTRAINT recovery_state_is_known CHECK ((state = ANY (ARRAY['running'::text, 'done'::text, 'cancelled'::text, 'failed'::text])))
);

CREATE TABLE webhooks.relays (
  relay_id uuid NOT NULL,
  host text NOT NULL,
  started_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  lease_until timestamp with time zone NOT NULL,
  drained_by text,
  drained_at timestamp with time zone,
  CONSTRAINT relay_has_one_lease PRIMARY KEY (relay_id),
  CONSTRAINT relay_is_drained_by_somebody CHECK (((drained_by IS NULL) = (drained_at IS NULL)))
);

CREATE TABLE webhooks.replays (
  endpoint_id uuid NOT NULL,
  delivery_id bigint NOT NULL,
  generation smallint NOT NULL,
  actor text DEFAULT ''::text NOT NULL,
  asked_at timestamp with time zone,
  CONSTRAINT replay_is_counted_once PRIMARY KEY (endpoint_id, delivery_id)
);

CREATE TABLE webhooks.requested_deliveries (
  event_id uuid NOT NULL,
  endpoint_id uuid NOT NULL,
  delivery_id bigint NOT NULL,
  CONSTRAINT event_is_requested_once PRIMARY KEY (event_id, endpoint_id)
);

CREATE TABLE webhooks.retention (
  log text NOT NULL,
  pruned_until timestamp with time zone NOT NULL,
  swept boolean NOT NULL,
  CONSTRAINT retention_is_one_per_log PRIMARY KEY (log),
  CONSTRAINT retention_log_is_known CHECK ((log = ANY (ARRAY['outbox'::text, 'journal'::text, 'attempts'::text])))
);

CREATE TABLE webhooks.sessions (
  session_id uuid DEFAULT webhooks.uuid_v7() NOT NULL,
  company_id uuid,
  role text NOT NULL,
  person text NOT NULL,
  token_hash bytea NOT NULL,
  link_id uuid NOT NULL,
  created_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  seen_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
  idle_limit interval NOT NULL,
  expires_at timestamp with time zone NOT NULL,
  revoked_at timestamp with time zone,
  CONSTRAINT session_begins_with_one_link UNIQUE (link_id),
  CONSTRAINT session_has_one_id PRIMARY KEY (session_id),
  CONSTRAINT session_role_is_known CHECK ((role = ANY (ARRAY['viewer'::text, 'owner'::text, 'operator'::text]))),
  CONSTRAINT session_token_is_hashed CHECK ((octet_length(token_hash) = 32)),
  CONSTRAINT session_token_is_unique UNIQUE (token_hash),
  CONSTRAINT session_without_company_is_an_operators CHECK (((company_id IS NULL) = (role = 'operator'::text)))
);

CREATE TABLE webhooks.test_quota (
  company_id uuid NOT NULL,
  asked_at timestamp with time zone[] NOT NULL,
  CONSTRAINT test_quota_is_one_per_company PRIMARY KEY (company_id)
);

-- Indexes

CREATE INDEX access_trail_by_company ON webhooks.access_trail USING btree (company_id, "position");
CREATE INDEX api_key_by_company ON webhooks.api_keys USING btree (company_id, key_id);
CREATE INDEX attempt_by_endpoint ON ONLY webhooks.attempts USING btree (endpoint_id, started_at);
CREATE INDEX delivery_by_endpoint ON webhooks.deliveries USING btree (endpoint_id, created_at, delivery_id);
CREATE INDEX delivery_exhausted ON webhooks.deliveries USING btree (endpoint_id, exhausted_at, delivery_id) WHERE (exhausted_at IS NOT NULL);
CREATE INDEX delivery_failing ON webhooks.deliveries USING btree (endpoint_id, created_at, delivery_id) WHERE failing;
CREATE INDEX endpoint_by_company ON webhooks.endpoints USING btree (company_id, endpoint_id) WHERE (deleted_at IS NULL);
CREATE INDEX endpoint_change_by_company ON webhooks.endpoint_changes USING btree (company_id, "position");
CREATE INDEX endpoint_ever_of_company ON webhooks.endpoints USING btree (company_id);
CREATE INDEX event_by_company ON webhooks.events USING btree (company_id, "position");
CREATE INDEX event_by_fan_out ON webhooks.events USING btree (company_id, fanned_out_at, "position");
CREATE UNIQUE INDEX header_is_set_once ON webhooks.endpoint_headers USING btree (endpoint_id, lower(name));
CREATE INDEX idempotency_key_by_age ON webhooks.idempotency_keys USING btree (created_at);
CREATE INDEX lane_by_holder ON webhooks.lanes USING btree (holder);
CREATE INDEX pending_due ON webhooks.pending USING btree (endpoint_id, due_at) WHERE (due_at IS NOT NULL);
CREATE INDEX pending_test ON webhooks.pending USING btree (endpoint_id) WHERE (trigger = 'test'::text);
CREATE INDEX portal_link_by_end ON webhooks.portal_links USING btree (expires_at);
CREATE UNIQUE INDEX rebuild_is_one_at_a_time ON webhooks.rebuilds USING btree ((true)) WHERE (state = 'running'::text);
CREATE INDEX recovery_by_company ON webhooks.recoveries USING btree (company_id, endpoint_id, recovery_id);
CREATE UNIQUE INDEX recovery_is_one_at_a_time ON webhooks.recoveries USING btree (endpoint_id) WHERE (state = 'running'::text);
CREATE INDEX session_by_company ON webhooks.sessions USING btree (company_id, session_id);
CREATE INDEX session_by_end ON webhooks.sessions USING btree (expires_at);

-- Functions

CREATE OR REPLACE FUNCTION webhooks.attempt_is_under_way(endpoint uuid, delivery bigint, number integer)
 RETURNS boolean
 LANGUAGE sql
 STABLE SECURITY DEFINER
 SET search_path TO ''
AS $function$
  -- An intent stays open as long as any attempt of its batch, and holds the attempts of many companies: hence a function
  -- that answers for one, and no policy.
  SELECT EXISTS (
    SELECT FROM webhooks.intents i, unnest(i.endpoint_ids, i.delivery_ids, i.attempts) u(endpoint_id, delivery_id, attempt)
     WHERE u.endpoint_id = endpoint AND u.delivery_id = delivery AND u.attempt = number)
$function$
;

CREATE OR REPLACE FUNCTION webhooks.attempts_under_way(endpoints uuid[], deliveries bigint[])
 RETURNS TABLE(delivery_id bigint, started_at timestamp with time zone)
 LANGUAGE sql
 STABLE STRICT SECURITY DEFINER
 SET search_path TO ''
AS $function$
  -- The limit keeps the planner from reading a whole backlog.
  SELECT w.delivery_id, max(i.started_at)
    FROM unnest(endpoints, deliveries) w(endpoint_id, delivery_id)
    JOIN (SELECT i.started_at, u.endpoint_id, u.delivery_id, u.attempt
            FROM webhooks.intents i, unnest(i.endpoint_ids, i.delivery_ids, i.attempts) u(endpoint_id, delivery_id, attempt)
           WHERE i.delivery_ids && deliveries) i
      ON i.endpoint_id = w.endpoint_id AND i.delivery_id = w.delivery_id
   CROSS JOIN LATERAL (
     SELECT p.started FROM webhooks.pending p WHERE p.endpoint_id = w.endpoint_id AND p.delivery_id = w.delivery_id LIMIT 1) p
   WHERE i.attempt = p.started + 1
   GROUP BY w.delivery_id
$function$
;

CREATE OR REPLACE FUNCTION webhooks.decodable(data json)
 RETURNS json
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
  -- To look for a key PostgreSQL decodes every string, and cannot decode all that JSON may escape: NUL, half a surrogate
  -- pair. Those are taken out, once no escaped backslash can be mistaken for the start of one.
  SELECT regexp_replace(replace(data::text, '\\', '__'), '\\u(0000|[dD][89a-fA-F][0-9a-fA-F]{2})', '', 'g')::json
$function$
;

CREATE OR REPLACE FUNCTION webhooks.ensure_partitions(days_ahead integer DEFAULT 3)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET lock_timeout TO '0'
AS $function$
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
$function$
;

CREATE OR REPLACE FUNCTION webhooks.isolate(tenant_table regclass)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
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
$function$
;

CREATE OR REPLACE FUNCTION webhooks.journal_page(reader text, max_rows integer)
 RETURNS TABLE(from_snapshot pg_snapshot, to_snapshot pg_snapshot, after_xid xid8, after_position bigint, until_xid xid8, until_position bigint, row_count integer, since timestamp with time zone, until timestamp with time zone)
 LANGUAGE plpgsql
AS $function$
DECLARE
  cursor_row webhooks.cursors;
  opened     pg_snapshot;
BEGIN
  -- No row at all means that another reader holds the log; a row with row_count 0, that it is drained. An advisory
  -- lock and not a row lock, so that an idle poll burns no transaction id.
  IF NOT pg_try_advisory_xact_lock(hashtextextended('webhooks.journal/' || reader, 0)) THEN
    RETURN;
  END IF;
  -- Taken before closing a window gives this transaction an id: a snapshot taken after it can call our own id ended, and
  -- rows that we insert into this log would fall behind the cursor.
  opened := pg_current_snapshot();
  LOOP
    SELECT c.* INTO cursor_row FROM webhooks.cursors c WHERE c.topic = 'journal' AND c.consumer_group = reader;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'consumer group % has no cursor on webhooks.journal: subscribe first', reader;
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
                SELECT r.transaction_id, r.position, r.recorded_at FROM webhooks.journal r
                 WHERE r.transaction_id = x
                   AND r.position > CASE x WHEN cursor_row.after_xid THEN cursor_row.after_position ELSE 0 END
                   AND pg_visible_in_snapshot(r.transaction_id, to_snapshot)
                 ORDER BY 1, 2 LIMIT max_rows) l
              WHERE x >= cursor_row.after_xid
              ORDER BY 1, 2 LIMIT max_rows)
            UNION ALL
            (SELECT l.transaction_id, l.position, l.recorded_at FROM webhooks.journal l
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
     WHERE c.topic = 'journal' AND c.consumer_group = reader;
  END LOOP;
END
$function$
;

CREATE OR REPLACE FUNCTION webhooks.journal_rows(from_snapshot pg_snapshot, to_snapshot pg_snapshot, after_xid xid8, after_position bigint, until_xid xid8, until_position bigint, since timestamp with time zone DEFAULT '-infinity'::timestamp with time zone, until timestamp with time zone DEFAULT 'infinity'::timestamp with time zone)
 RETURNS SETOF webhooks.journal
 LANGUAGE sql
 STABLE
AS $function$
  -- Visible in to_snapshot and not in from_snapshot: written by a transaction that from_snapshot saw running, or by a
  -- later one. An index range for each of those and one for these; an OR would read every row between them, and OFFSET 0
  -- keeps the ranges from becoming a join of all there is.
  SELECT l.* FROM pg_snapshot_xip(from_snapshot) x CROSS JOIN LATERAL (
      SELECT * FROM webhooks.journal
       WHERE transaction_id = x
         AND position > CASE x WHEN after_xid THEN after_position ELSE 0 END
         AND position <= CASE x WHEN until_xid THEN until_position ELSE 9223372036854775807 END
         AND recorded_at BETWEEN since AND until
         AND pg_visible_in_snapshot(transaction_id, to_snapshot)
      OFFSET 0) l
   WHERE x BETWEEN after_xid AND until_xid
  UNION ALL
  SELECT * FROM webhooks.journal
   WHERE transaction_id >= pg_snapshot_xmax(from_snapshot)
     AND (transaction_id, position) > (after_xid, after_position)
     AND (transaction_id, position) <= (until_xid, until_position)
     AND recorded_at BETWEEN since AND until
     AND pg_visible_in_snapshot(transaction_id, to_snapshot)
$function$
;

CREATE OR REPLACE FUNCTION webhooks.make_partition(log text, day date)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO ''
AS $function$
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
$function$
;

CREATE OR REPLACE FUNCTION webhooks.member_fault(path text, object json, members text[], kinds text[])
 RETURNS text
 LANGUAGE plpgsql
 STABLE
AS $function$
DECLARE
  given json; is_text boolean; value text;
BEGIN
  IF json_typeof(object) IS DISTINCT FROM 'object' THEN
    RETURN path || ': want an object';
  END IF;
  FOR i IN 1 .. cardinality(members) LOOP
    given := object -> members[i];
    is_text := coalesce(json_typeof(given), '') = 'string';
    value := given #>> '{}';
    CONTINUE WHEN CASE kinds[i]
      WHEN 'uuid' THEN is_text AND value ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$'
      WHEN 'text' THEN is_text
      WHEN 'boolean' THEN json_typeof(given) = 'boolean'
      WHEN 'any' THEN given IS NOT NULL
      ELSE (given IS NULL AND kinds[i] = 'time or absent') OR is_text AND value ~
        '^\d{4}-((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)|02-(0[1-9]|[12]\d))T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$'
    END;
    RETURN format('%s.%s: want %s', path, members[i], CASE kinds[i]
      WHEN 'uuid' THEN 'a UUID'
      WHEN 'text' THEN 'a text, "" when it is not known'
      WHEN 'boolean' THEN 'true or false'
      WHEN 'any' THEN 'any JSON value'
      WHEN 'time' THEN 'a time such as 2024-03-06T12:00:00Z'
      ELSE 'a time such as 2024-03-06T12:00:00Z, or leave it out' END);
  END LOOP;
  RETURN NULL;
END
$function$
;

CREATE OR REPLACE FUNCTION webhooks.next_attempt_at(endpoint_state text, breaker text, not_before timestamp with time zone, trigger text, due_at timestamp with time zone)
 RETURNS timestamp with time zone
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
  SELECT CASE WHEN trigger = 'test' THEN due_at
              WHEN endpoint_state = 'disabled' THEN NULL
              WHEN breaker <> 'closed' THEN greatest(due_at, not_before)
              ELSE due_at END
$function$
;

CREATE OR REPLACE FUNCTION webhooks.outbox_page(reader text, max_rows integer)
 RETURNS TABLE(from_snapshot pg_snapshot, to_snapshot pg_snapshot, after_xid xid8, after_position bigint, until_xid xid8, until_position bigint, row_count integer, since timestamp with time zone, until timestamp with time zone)
 LANGUAGE plpgsql
AS $function$
DECLARE
  cursor_row webhooks.cursors;
  opened     pg_snapshot;
BEGIN
  -- No row at all means that another reader holds the log; a row with row_count 0, that it is drained. An advisory
  -- lock and not a row lock, so that an idle poll burns no transaction id.
  IF NOT pg_try_advisory_xact_lock(hashtextextended('webhooks.outbox/' || reader, 0)) THEN
    RETURN;
  END IF;
  -- Taken before closing a window gives this transaction an id: a snapshot taken after it can call our own id ended, and
  -- rows that we insert into this log would fall behind the cursor.
  opened := pg_current_snapshot();
  LOOP
    SELECT c.* INTO cursor_row FROM webhooks.cursors c WHERE c.topic = 'outbox' AND c.consumer_group = reader;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'consumer group % has no cursor on webhooks.outbox: subscribe first', reader;
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
                SELECT r.transaction_id, r.position, r.recorded_at FROM webhooks.outbox r
                 WHERE r.transaction_id = x
                   AND r.position > CASE x WHEN cursor_row.after_xid THEN cursor_row.after_position ELSE 0 END
                   AND pg_visible_in_snapshot(r.transaction_id, to_snapshot)
                 ORDER BY 1, 2 LIMIT max_rows) l
              WHERE x >= cursor_row.after_xid
              ORDER BY 1, 2 LIMIT max_rows)
            UNION ALL
            (SELECT l.transaction_id, l.position, l.recorded_at FROM webhooks.outbox l
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
     WHERE c.topic = 'outbox' AND c.consumer_group = reader;
  END LOOP;
END
$function$
;

CREATE OR REPLACE FUNCTION webhooks.outbox_rows(from_snapshot pg_snapshot, to_snapshot pg_snapshot, after_xid xid8, after_position bigint, until_xid xid8, until_position bigint, since timestamp with time zone DEFAULT '-infinity'::timestamp with time zone, until timestamp with time zone DEFAULT 'infinity'::timestamp with time zone)
 RETURNS SETOF webhooks.outbox
 LANGUAGE sql
 STABLE
AS $function$
  -- Visible in to_snapshot and not in from_snapshot: written by a transaction that from_snapshot saw running, or by a
  -- later one. An index range for each of those and one for these; an OR would read every row between them, and OFFSET 0
  -- keeps the ranges from becoming a join of all there is.
  SELECT l.* FROM pg_snapshot_xip(from_snapshot) x CROSS JOIN LATERAL (
      SELECT * FROM webhooks.outbox
       WHERE transaction_id = x
         AND position > CASE x WHEN after_xid THEN after_position ELSE 0 END
         AND position <= CASE x WHEN until_xid THEN until_position ELSE 9223372036854775807 END
         AND recorded_at BETWEEN since AND until
         AND pg_visible_in_snapshot(transaction_id, to_snapshot)
      OFFSET 0) l
   WHERE x BETWEEN after_xid AND until_xid
  UNION ALL
  SELECT * FROM webhooks.outbox
   WHERE transaction_id >= pg_snapshot_xmax(from_snapshot)
     AND (transaction_id, position) > (after_xid, after_position)
     AND (transaction_id, position) <= (until_xid, until_position)
     AND recorded_at BETWEEN since AND until
     AND pg_visible_in_snapshot(transaction_id, to_snapshot)
$function$
;

CREATE OR REPLACE FUNCTION webhooks.partition_kept_for(log text, day date)
 RETURNS text
 LANGUAGE plpgsql
 STABLE
 SET search_path TO ''
AS $function$
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
$function$
;

CREATE OR REPLACE FUNCTION webhooks.payload_fault(event_type text, company_id uuid, data json)
 RETURNS text
 LANGUAGE plpgsql
 STABLE
AS $function$
DECLARE
  survey json; respondent json; conversation json; response json; responses json; owner text; fault text; n int := 0;
  of_response CONSTANT text[] := '{id,question_id,question_text,answer,answered_at,updated_at}';
  kinds CONSTANT text[] := '{uuid,uuid,text,any,time,time or absent}';
BEGIN
  BEGIN
    SELECT d.survey, d.respondent, d.conversation, d.response, d.responses INTO survey, respondent, conversation, response, responses
      FROM json_to_record(data) AS d (survey json, respondent json, conversation json, response json, responses json);
  EXCEPTION WHEN untranslatable_character OR invalid_text_representation THEN
    RETURN webhooks.payload_fault(event_type, company_id, webhooks.decodable(data));
  END;
  owner := CASE WHEN json_typeof(survey) = 'object' THEN survey ->> 'company_id' END;
  IF owner ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' AND lower(owner) <> company_id::text THEN
    RETURN format('data.survey.company_id is another company''s: want the event''s company_id, %s', company_id);
  ELSIF event_type NOT IN ('conversation.started', 'conversation.completed', 'question_response.upserted', 'test.webhook') THEN
    RETURN NULL;
  END IF;
  fault := coalesce(
    webhooks.member_fault('survey', survey, '{id,name,company_id}', '{uuid,text,uuid}'),
    webhooks.member_fault('respondent', respondent, '{id,first_name,last_name,phone,verified}', '{uuid,text,text,text,boolean}'),
    webhooks.member_fault('conversation', conversation, '{id,channel_type,state,started_at,ended_at}', '{uuid,text,text,time,time or absent}'));
  IF fault IS NULL AND event_type = 'question_response.upserted' THEN
    fault := webhooks.member_fault('response', response, of_response, kinds);
  ELSIF fault IS NULL AND event_type = 'conversation.completed' THEN
    IF json_typeof(responses) IS DISTINCT FROM 'array' THEN
      fault := 'responses: want an array';
    ELSE
      FOR response IN SELECT json_array_elements(responses) LOOP
        fault := webhooks.member_fault('responses.' || n, response, of_response, kinds);
        EXIT WHEN fault IS NOT NULL;
        n := n + 1;
      END LOOP;
    END IF;
  END IF;
  RETURN CASE WHEN fault IS NOT NULL THEN format('data of %s has no good %s', event_type, fault) END;
END
$function$
;

CREATE OR REPLACE FUNCTION webhooks.prune_access_trail()
 RETURNS bigint
 LANGUAGE sql
 SECURITY DEFINER
 SET search_path TO ''
AS $function$
  WITH gone AS (
    DELETE FROM webhooks.access_trail t
     USING (SELECT position FROM webhooks.access_trail ORDER BY position LIMIT 10000) oldest
     WHERE t.position = oldest.position AND t.happened_at < now() - interval '400 days'
    RETURNING t.position
  )
  SELECT count(*) FROM gone
$function$
;

CREATE OR REPLACE FUNCTION webhooks.prune_partition(log text, day date, keep interval)
 RETURNS text
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
 SET lock_timeout TO '200ms'
AS $function$
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
$function$
;

CREATE OR REPLACE FUNCTION webhooks.publish(event_type text, company_id uuid, data json, id uuid DEFAULT NULL::uuid)
 RETURNS uuid
 LANGUAGE plpgsql
AS $function$
DECLARE
  fault text;
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
  fault := webhooks.payload_fault(event_type, company_id, data);
  IF fault IS NOT NULL THEN
    RAISE EXCEPTION '%', fault USING ERRCODE = 'invalid_parameter_value',
      HINT = 'Receivers are promised every member of the type''s JSON Schema; this is the first that is not as it says.';
  ELSIF event_type NOT IN ('conversation.started', 'conversation.completed', 'question_response.upserted', 'test.webhook') THEN
    RAISE NOTICE 'event_type % is not in the catalogue: it is stored, and no endpoint is told of it', quote_literal(event_type)
      USING HINT = 'The catalogue: conversation.started, conversation.completed, question_response.upserted, test.webhook.';
  END IF;
  id := coalesce(id, webhooks.uuid_v7());
  INSERT INTO webhooks.outbox (event_id, event_type, company_id, data) VALUES (id, event_type, company_id, data);
  RETURN id;
END
$function$
;

CREATE OR REPLACE FUNCTION webhooks.refuse_change()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
  RAISE EXCEPTION 'webhooks.% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END
$function$
;

CREATE OR REPLACE FUNCTION webhooks.reserved_key(data json)
 RETURNS text
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
AS $function$
DECLARE
  text CONSTANT text := data;
BEGIN
  -- Most events have neither word in them, and are not parsed for it. A letter can be written as \u and its number.
  IF strpos(text, '\u') > 0 THEN
    data := webhooks.decodable(data);
  ELSIF strpos(text, '"event_type"') = 0 AND strpos(text, '"metadata"') = 0 THEN
    RETURN NULL;
  END IF;
  RETURN CASE WHEN data -> 'event_type' IS NOT NULL THEN 'event_type' WHEN data -> 'metadata' IS NOT NULL THEN 'metadata' END;
END
$function$
;

CREATE OR REPLACE FUNCTION webhooks.ring_doorbell()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
  -- A sleeping reader holds this lock exclusively. Taken shared, it also tells a reader that wants to sleep that a
  -- transaction which saw it awake has not ended yet, so no ring is ever missed. NOTIFY itself takes a lock shared by
  -- all committing transactions, hence only when somebody sleeps.
  IF NOT pg_try_advisory_xact_lock_shared(hashtextextended('webhooks.doorbell/' || TG_ARGV[0], 0)) THEN
    PERFORM pg_notify('webhooks_' || TG_ARGV[0], '');
  END IF;
  RETURN NULL;
END
$function$
;

CREATE OR REPLACE FUNCTION webhooks.tell_trail(action text, endpoint uuid, actor text, detail jsonb)
 RETURNS void
 LANGUAGE sql
AS $function$
  INSERT INTO webhooks.access_trail (company_id, action, subject_id, actor, detail)
  SELECT e.company_id, tell_trail.action, e.endpoint_id, tell_trail.actor, tell_trail.detail
    FROM webhooks.endpoints e WHERE e.endpoint_id = endpoint
$function$
;

CREATE OR REPLACE FUNCTION webhooks.uuid_v7()
 RETURNS uuid
 LANGUAGE sql
 PARALLEL SAFE
AS $function$
  -- RFC 9562 section 5.7: 48 bits of Unix milliseconds, then random bits of a version 4 UUID with the version changed.
  SELECT encode(
    set_bit(set_bit(
      overlay(uuid_send(gen_random_uuid())
        PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
        FROM 1 FOR 6),
      52, 1), 53, 1), 'hex')::uuid
$function$
;

-- Triggers

CREATE TRIGGER access_trail_is_append_only BEFORE UPDATE OR TRUNCATE ON webhooks.access_trail FOR EACH STATEMENT EXECUTE FUNCTION webhooks.refuse_change();
CREATE TRIGGER access_trail_is_kept_400_days BEFORE DELETE ON webhooks.access_trail FOR EACH ROW WHEN ((old.happened_at >= (now() - '400 days'::interval))) EXECUTE FUNCTION webhooks.refuse_change();
CREATE TRIGGER ring_doorbell AFTER INSERT ON webhooks.journal FOR EACH STATEMENT EXECUTE FUNCTION webhooks.ring_doorbell('journal');
CREATE TRIGGER ring_doorbell AFTER INSERT ON webhooks.outbox FOR EACH STATEMENT EXECUTE FUNCTION webhooks.ring_doorbell('outbox');

-- Views

CREATE VIEW webhooks.attempt_history (
  delivery_id bigint,
  attempt smallint,
  event_id uuid,
  endpoint_id uuid,
  company_id uuid,
  event_type text,
  generation smallint,
  trigger text,
  started_at timestamp with time zone,
  outcome text,
  reason text,
  detail text,
  status smallint,
  url text,
  request_timestamp bigint,
  request_signature text,
  request_bytes integer,
  response_headers json,
  response_body bytea,
  response_truncated boolean,
  remote_addr text,
  dns_us integer,
  connect_us integer,
  tls_us integer,
  first_byte_us integer,
  total_us integer,
  next_attempt_at timestamp with time zone,
  config_version integer,
  request_headers json
) AS
 SELECT delivery_id,
    attempt,
    event_id,
    endpoint_id,
    company_id,
    event_type,
    generation,
    trigger,
    started_at,
    outcome,
    reason,
    detail,
    status,
    url,
    request_timestamp,
    request_signature,
    request_bytes,
    response_headers,
    response_body,
    response_truncated,
    remote_addr,
    dns_us,
    connect_us,
    tls_us,
    first_byte_us,
    total_us,
    next_attempt_at,
    config_version,
    request_headers
   FROM webhooks.attempts;

CREATE VIEW webhooks.delivery_history (
  delivery_id bigint,
  event_id uuid,
  endpoint_id uuid,
  company_id uuid,
  event_type text,
  state text,
  trigger text,
  generation smallint,
  attempts smallint,
  created_at timestamp with time zone,
  first_attempt_at timestamp with time zone,
  last_attempt_at timestamp with time zone,
  next_attempt_at timestamp with time zone,
  finished_at timestamp with time zone,
  last_status smallint,
  last_reason text,
  last_total_us integer,
  delivering_since timestamp with time zone
) AS
 SELECT d.delivery_id,
    d.event_id,
    d.endpoint_id,
    d.company_id,
    d.event_type,
        CASE
            WHEN ((d.state = ANY (ARRAY['pending'::text, 'retrying'::text])) AND (e.state = 'disabled'::text) AND (d.trigger <> 'test'::text)) THEN 'held'::text
            ELSE d.state
        END AS state,
    d.trigger,
    d.generation,
    d.attempts,
    d.created_at,
    d.first_attempt_at,
    d.last_attempt_at,
        CASE
            WHEN (d.state = ANY (ARRAY['pending'::text, 'retrying'::text])) THEN ( SELECT webhooks.next_attempt_at(e.state, l.breaker, l.not_before, d.trigger,
                    CASE
                        WHEN (p.delivery_id IS NULL) THEN d.next_attempt_at
                        ELSE p.due_at
                    END) AS next_attempt_at
               FROM ((( VALUES (d.delivery_id)) v(delivery_id)
                 LEFT JOIN webhooks.lanes l ON ((l.endpoint_id = d.endpoint_id)))
                 LEFT JOIN webhooks.pending p ON (((p.endpoint_id = d.endpoint_id) AND (p.delivery_id = v.delivery_id)))))
            ELSE NULL::timestamp with time zone
        END AS next_attempt_at,
    d.finished_at,
    d.last_status,
    d.last_reason,
    d.last_total_us,
        CASE
            WHEN (d.state = ANY (ARRAY['pending'::text, 'retrying'::text])) THEN ( SELECT max(i.started_at) AS max
               FROM webhooks.pending p,
                webhooks.intents i,
                LATERAL UNNEST(i.endpoint_ids, i.delivery_ids, i.attempts) u(endpoint_id, delivery_id, attempt)
              WHERE ((p.endpoint_id = d.endpoint_id) AND (p.delivery_id = d.delivery_id) AND (d.delivery_id = ANY (i.delivery_ids)) AND (u.endpoint_id = p.endpoint_id) AND (u.delivery_id = p.delivery_id) AND (u.attempt = (p.started + 1))))
            ELSE NULL::timestamp with time zone
        END AS delivering_since
   FROM (webhooks.deliveries d
     LEFT JOIN webhooks.endpoints e USING (endpoint_id));

CREATE VIEW webhooks.endpoint_health (
  endpoint_id uuid,
  company_id uuid,
  url text,
  state text,
  state_reason text,
  state_since timestamp with time zone,
  breaker text,
  not_before timestamp with time zone,
  failing_since timestamp with time zone,
  succeeded_24h bigint,
  failed_24h bigint,
  mean_ms_24h numeric,
  max_ms_24h numeric,
  state_note text
) AS
 SELECT e.endpoint_id,
    e.company_id,
        CASE
            WHEN (e.url ~ '[?].'::text) THEN ((split_part(e.url, '?'::text, 1) || '?'::text) || regexp_replace(substr(e.url, (strpos(e.url, '?'::text) + 1)), '(^|&)([^=&]*=)?[^&]*'::text, '\1\2***'::text, 'g'::text))
            ELSE e.url
        END AS url,
    e.state,
    e.state_reason,
    e.state_since,
    l.breaker,
    l.not_before,
    l.failing_since,
    COALESCE(h.succeeded, (0)::bigint) AS succeeded_24h,
    COALESCE(h.failed, (0)::bigint) AS failed_24h,
    h.mean_ms_24h,
    h.max_ms_24h,
    e.state_note
   FROM ((webhooks.endpoints e
     LEFT JOIN webhooks.lanes l USING (endpoint_id))
     LEFT JOIN LATERAL ( SELECT sum(b.attempts) FILTER (WHERE (b.reason = 'ok'::text)) AS succeeded,
            sum(b.attempts) FILTER (WHERE (b.reason <> ALL (ARRAY['ok'::text, 'interrupted'::text]))) AS failed,
            round(((sum(b.total_us) / (NULLIF(sum(b.attempts) FILTER (WHERE (b.reason <> 'interrupted'::text)), 0))::numeric) / 1000.0), 1) AS mean_ms_24h,
            round(((max(b.max_us))::numeric / 1000.0), 1) AS max_ms_24h
           FROM webhooks.endpoint_slots b
          WHERE ((b.endpoint_id = e.endpoint_id) AND (b.minutes = 5) AND (b.slot > (now() - '24:00:00'::interval)))) h ON (true))
  WHERE (e.deleted_at IS NULL);

CREATE VIEW webhooks.event_history (
  event_id uuid,
  company_id uuid,
  event_type text,
  created_at timestamp with time zone,
  fanned_out_at timestamp with time zone,
  decisions json
) AS
 SELECT event_id,
    company_id,
    event_type,
    created_at,
    fanned_out_at,
    decisions
   FROM webhooks.events;

-- Row-level security

ALTER TABLE webhooks.access_trail ENABLE ROW LEVEL SECURITY;
CREATE POLICY relay_sees_all ON webhooks.access_trail FOR ALL TO webhooks_relay
  USING (true);
CREATE POLICY tenant_sees_its_own ON webhooks.access_trail FOR ALL TO webhooks_tenant
  USING ((company_id = ( SELECT (NULLIF(current_setting('webhooks.company_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE webhooks.attempts ENABLE ROW LEVEL SECURITY;
CREATE POLICY relay_sees_all ON webhooks.attempts FOR ALL TO webhooks_relay
  USING (true);
CREATE POLICY tenant_sees_its_own ON webhooks.attempts FOR ALL TO webhooks_tenant
  USING ((company_id = ( SELECT (NULLIF(current_setting('webhooks.company_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE webhooks.deliveries ENABLE ROW LEVEL SECURITY;
CREATE POLICY relay_sees_all ON webhooks.deliveries FOR ALL TO webhooks_relay
  USING (true);
CREATE POLICY tenant_sees_its_own ON webhooks.deliveries FOR ALL TO webhooks_tenant
  USING ((company_id = ( SELECT (NULLIF(current_setting('webhooks.company_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE webhooks.endpoint_changes ENABLE ROW LEVEL SECURITY;
CREATE POLICY relay_sees_all ON webhooks.endpoint_changes FOR ALL TO webhooks_relay
  USING (true);
CREATE POLICY tenant_sees_its_own ON webhooks.endpoint_changes FOR ALL TO webhooks_tenant
  USING ((company_id = ( SELECT (NULLIF(current_setting('webhooks.company_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE webhooks.endpoint_headers ENABLE ROW LEVEL SECURITY;
CREATE POLICY relay_sees_all ON webhooks.endpoint_headers FOR ALL TO webhooks_relay
  USING (true);
CREATE POLICY tenant_sees_its_own ON webhooks.endpoint_headers FOR ALL TO webhooks_tenant
  USING ((EXISTS ( SELECT FROM webhooks.endpoints e WHERE (e.endpoint_id = endpoint_headers.endpoint_id))));

ALTER TABLE webhooks.endpoint_secrets ENABLE ROW LEVEL SECURITY;
CREATE POLICY relay_sees_all ON webhooks.endpoint_secrets FOR ALL TO webhooks_relay
  USING (true);
CREATE POLICY tenant_sees_its_own ON webhooks.endpoint_secrets FOR ALL TO webhooks_tenant
  USING ((EXISTS ( SELECT FROM webhooks.endpoints e WHERE (e.endpoint_id = endpoint_secrets.endpoint_id))));

ALTER TABLE webhooks.endpoint_slots ENABLE ROW LEVEL SECURITY;
CREATE POLICY relay_sees_all ON webhooks.endpoint_slots FOR ALL TO webhooks_relay
  USING (true);
CREATE POLICY tenant_sees_its_own ON webhooks.endpoint_slots FOR ALL TO webhooks_tenant
  USING ((company_id = ( SELECT (NULLIF(current_setting('webhooks.company_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE webhooks.endpoints ENABLE ROW LEVEL SECURITY;
CREATE POLICY relay_sees_all ON webhooks.endpoints FOR ALL TO webhooks_relay
  USING (true);
CREATE POLICY tenant_sees_its_own ON webhooks.endpoints FOR ALL TO webhooks_tenant
  USING ((company_id = ( SELECT (NULLIF(current_setting('webhooks.company_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE webhooks.event_ids ENABLE ROW LEVEL SECURITY;
CREATE POLICY relay_sees_all ON webhooks.event_ids FOR ALL TO webhooks_relay
  USING (true);
CREATE POLICY tenant_sees_its_own ON webhooks.event_ids FOR ALL TO webhooks_tenant
  USING ((EXISTS ( SELECT FROM webhooks.outbox o WHERE ((o.recorded_at = event_ids.recorded_at) AND (o.transaction_id = event_ids.transaction_id) AND (o."position" = event_ids."position")))));

ALTER TABLE webhooks.events ENABLE ROW LEVEL SECURITY;
CREATE POLICY relay_sees_all ON webhooks.events FOR ALL TO webhooks_relay
  USING (true);
CREATE POLICY tenant_sees_its_own ON webhooks.events FOR ALL TO webhooks_tenant
  USING ((company_id = ( SELECT (NULLIF(current_setting('webhooks.company_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE webhooks.journal ENABLE ROW LEVEL SECURITY;
CREATE POLICY relay_sees_all ON webhooks.journal FOR ALL TO webhooks_relay
  USING (true);
CREATE POLICY tenant_sees_its_own ON webhooks.journal FOR ALL TO webhooks_tenant
  USING ((company_id = ( SELECT (NULLIF(current_setting('webhooks.company_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE webhooks.lanes ENABLE ROW LEVEL SECURITY;
CREATE POLICY relay_sees_all ON webhooks.lanes FOR ALL TO webhooks_relay
  USING (true);
CREATE POLICY tenant_sees_its_own ON webhooks.lanes FOR ALL TO webhooks_tenant
  USING ((EXISTS ( SELECT FROM webhooks.endpoints e WHERE (e.endpoint_id = lanes.endpoint_id))));

ALTER TABLE webhooks.outbox ENABLE ROW LEVEL SECURITY;
CREATE POLICY app_publishes ON webhooks.outbox FOR INSERT TO webhooks_app
  WITH CHECK (true);
CREATE POLICY relay_sees_all ON webhooks.outbox FOR ALL TO webhooks_relay
  USING (true);
CREATE POLICY tenant_sees_its_own ON webhooks.outbox FOR ALL TO webhooks_tenant
  USING ((company_id = ( SELECT (NULLIF(current_setting('webhooks.company_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE webhooks.pending ENABLE ROW LEVEL SECURITY;
CREATE POLICY relay_sees_all ON webhooks.pending FOR ALL TO webhooks_relay
  USING (true);
CREATE POLICY tenant_sees_its_own ON webhooks.pending FOR ALL TO webhooks_tenant
  USING ((EXISTS ( SELECT FROM webhooks.endpoints e WHERE (e.endpoint_id = pending.endpoint_id))));

ALTER TABLE webhooks.replays ENABLE ROW LEVEL SECURITY;
CREATE POLICY relay_sees_all ON webhooks.replays FOR ALL TO webhooks_relay
  USING (true);
CREATE POLICY tenant_sees_its_own ON webhooks.replays FOR ALL TO webhooks_tenant
  USING ((EXISTS ( SELECT FROM webhooks.endpoints e WHERE (e.endpoint_id = replays.endpoint_id))));

ALTER TABLE webhooks.requested_deliveries ENABLE ROW LEVEL SECURITY;
CREATE POLICY relay_sees_all ON webhooks.requested_deliveries FOR ALL TO webhooks_relay
  USING (true);
CREATE POLICY tenant_sees_its_own ON webhooks.requested_deliveries FOR ALL TO webhooks_tenant
  USING ((EXISTS ( SELECT FROM webhooks.endpoints e WHERE (e.endpoint_id = requested_deliveries.endpoint_id))));

-- Privileges

GRANT USAGE ON SCHEMA webhooks TO webhooks_app;
GRANT USAGE ON SCHEMA webhooks TO webhooks_relay;
GRANT USAGE ON SCHEMA webhooks TO webhooks_tenant;
GRANT USAGE ON SEQUENCE webhooks.access_trail_position_seq TO webhooks_relay;
GRANT USAGE ON SEQUENCE webhooks.delivery_feed_page TO webhooks_relay;
GRANT USAGE ON SEQUENCE webhooks.delivery_id TO webhooks_relay;
GRANT USAGE ON SEQUENCE webhooks.delivery_id TO webhooks_tenant;
GRANT USAGE ON SEQUENCE webhooks.journal_position TO webhooks_relay;
GRANT USAGE ON SEQUENCE webhooks.journal_position TO webhooks_tenant;
GRANT USAGE ON SEQUENCE webhooks.outbox_position TO webhooks_app;
GRANT USAGE ON SEQUENCE webhooks.outbox_position TO webhooks_relay;
GRANT USAGE ON SEQUENCE webhooks.outbox_position TO webhooks_tenant;
GRANT INSERT, SELECT ON TABLE webhooks.access_trail TO webhooks_relay;
GRANT INSERT ON TABLE webhooks.access_trail TO webhooks_tenant;
GRANT INSERT, SELECT, UPDATE ON TABLE webhooks.api_keys TO webhooks_relay;
GRANT SELECT ON TABLE webhooks.attempt_history TO webhooks_app;
GRANT SELECT ON TABLE webhooks.attempt_history TO webhooks_relay;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE webhooks.attempts TO webhooks_relay;
GRANT SELECT ON TABLE webhooks.attempts TO webhooks_tenant;
GRANT SELECT ON TABLE webhooks.attempts_default TO webhooks_relay;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE webhooks.cursors TO webhooks_relay;
GRANT SELECT (topic, consumer_group, from_snapshot) ON TABLE webhooks.cursors TO webhooks_tenant;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE webhooks.deliveries TO webhooks_relay;
GRANT SELECT ON TABLE webhooks.deliveries TO webhooks_tenant;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE webhooks.delivery_feed TO webhooks_relay;
GRANT SELECT ON TABLE webhooks.delivery_history TO webhooks_app;
GRANT SELECT ON TABLE webhooks.delivery_history TO webhooks_relay;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE webhooks.endpoint_changes TO webhooks_relay;
GRANT SELECT ON TABLE webhooks.endpoint_changes TO webhooks_tenant;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE webhooks.endpoint_headers TO webhooks_relay;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE webhooks.endpoint_headers TO webhooks_tenant;
GRANT SELECT ON TABLE webhooks.endpoint_health TO webhooks_app;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE webhooks.endpoint_health TO webhooks_relay;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE webhooks.endpoint_secrets TO webhooks_relay;
GRANT DELETE, INSERT, SELECT (endpoint_id, version, expires_at), UPDATE (expires_at) ON TABLE webhooks.endpoint_secrets TO webhooks_tenant;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE webhooks.endpoint_slots TO webhooks_relay;
GRANT SELECT ON TABLE webhooks.endpoint_slots TO webhooks_tenant;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE webhooks.endpoints TO webhooks_relay;
GRANT INSERT, SELECT, UPDATE ON TABLE webhooks.endpoints TO webhooks_tenant;
GRANT SELECT ON TABLE webhooks.event_history TO webhooks_app;
GRANT SELECT ON TABLE webhooks.event_history TO webhooks_relay;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE webhooks.event_ids TO webhooks_relay;
GRANT SELECT ON TABLE webhooks.event_ids TO webhooks_tenant;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE webhooks.events TO webhooks_relay;
GRANT SELECT ON TABLE webhooks.events TO webhooks_tenant;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE webhooks.idempotency_keys TO webhooks_relay;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE webhooks.intents TO webhooks_relay;
GRANT INSERT, SELECT, UPDATE (transaction_id) ON TABLE webhooks.journal TO webhooks_relay;
GRANT INSERT (fact, version, company_id, data) ON TABLE webhooks.journal TO webhooks_tenant;
GRANT SELECT ON TABLE webhooks.journal_default TO webhooks_relay;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE webhooks.lanes TO webhooks_relay;
GRANT INSERT (endpoint_id), SELECT, UPDATE (breaker, not_before, failing_since) ON TABLE webhooks.lanes TO webhooks_tenant;
GRANT INSERT (event_id, event_type, company_id, data, created_at, endpoint_id) ON TABLE webhooks.outbox TO webhooks_app;
GRANT INSERT, SELECT, UPDATE (transaction_id) ON TABLE webhooks.outbox TO webhooks_relay;
GRANT INSERT (event_id, event_type, company_id, data, created_at, endpoint_id), SELECT ON TABLE webhooks.outbox TO webhooks_tenant;
GRANT SELECT ON TABLE webhooks.outbox_default TO webhooks_relay;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE webhooks.pause TO webhooks_relay;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE webhooks.pending TO webhooks_relay;
GRANT DELETE, INSERT, SELECT, UPDATE (due_at) ON TABLE webhooks.pending TO webhooks_tenant;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE webhooks.portal_links TO webhooks_relay;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE webhooks.quarantine TO webhooks_relay;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE webhooks.rebuilds TO webhooks_relay;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE webhooks.recoveries TO webhooks_relay;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE webhooks.relays TO webhooks_relay;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE webhooks.replays TO webhooks_relay;
GRANT INSERT, SELECT, UPDATE ON TABLE webhooks.replays TO webhooks_tenant;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE webhooks.requested_deliveries TO webhooks_relay;
GRANT INSERT, SELECT ON TABLE webhooks.requested_deliveries TO webhooks_tenant;
GRANT SELECT, UPDATE (swept) ON TABLE webhooks.retention TO webhooks_relay;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE webhooks.sessions TO webhooks_relay;
GRANT DELETE, INSERT, SELECT, UPDATE ON TABLE webhooks.test_quota TO webhooks_relay;
GRANT EXECUTE ON FUNCTION webhooks.attempt_is_under_way(uuid,bigint,integer) TO webhooks_relay;
GRANT EXECUTE ON FUNCTION webhooks.attempt_is_under_way(uuid,bigint,integer) TO webhooks_tenant;
GRANT EXECUTE ON FUNCTION webhooks.attempts_under_way(uuid[],bigint[]) TO webhooks_relay;
GRANT EXECUTE ON FUNCTION webhooks.attempts_under_way(uuid[],bigint[]) TO webhooks_tenant;
GRANT EXECUTE ON FUNCTION webhooks.decodable(json) TO webhooks_app;
GRANT EXECUTE ON FUNCTION webhooks.decodable(json) TO webhooks_relay;
GRANT EXECUTE ON FUNCTION webhooks.decodable(json) TO webhooks_tenant;
GRANT EXECUTE ON FUNCTION webhooks.ensure_partitions(integer) TO webhooks_relay;
GRANT EXECUTE ON FUNCTION webhooks.journal_page(text,integer) TO webhooks_relay;
GRANT EXECUTE ON FUNCTION webhooks.journal_rows(pg_snapshot,pg_snapshot,xid8,bigint,xid8,bigint,timestamp with time zone,timestamp with time zone) TO webhooks_relay;
GRANT EXECUTE ON FUNCTION webhooks.member_fault(text,json,text[],text[]) TO webhooks_app;
GRANT EXECUTE ON FUNCTION webhooks.member_fault(text,json,text[],text[]) TO webhooks_relay;
GRANT EXECUTE ON FUNCTION webhooks.next_attempt_at(text,text,timestamp with time zone,text,timestamp with time zone) TO webhooks_app;
GRANT EXECUTE ON FUNCTION webhooks.next_attempt_at(text,text,timestamp with time zone,text,timestamp with time zone) TO webhooks_relay;
GRANT EXECUTE ON FUNCTION webhooks.next_attempt_at(text,text,timestamp with time zone,text,timestamp with time zone) TO webhooks_tenant;
GRANT EXECUTE ON FUNCTION webhooks.outbox_page(text,integer) TO webhooks_relay;
GRANT EXECUTE ON FUNCTION webhooks.outbox_rows(pg_snapshot,pg_snapshot,xid8,bigint,xid8,bigint,timestamp with time zone,timestamp with time zone) TO webhooks_relay;
GRANT EXECUTE ON FUNCTION webhooks.partition_kept_for(text,date) TO webhooks_relay;
GRANT EXECUTE ON FUNCTION webhooks.payload_fault(text,uuid,json) TO webhooks_app;
GRANT EXECUTE ON FUNCTION webhooks.payload_fault(text,uuid,json) TO webhooks_relay;
GRANT EXECUTE ON FUNCTION webhooks.prune_access_trail() TO webhooks_relay;
GRANT EXECUTE ON FUNCTION webhooks.prune_partition(text,date,interval) TO webhooks_relay;
GRANT EXECUTE ON FUNCTION webhooks.publish(text,uuid,json,uuid) TO webhooks_app;
GRANT EXECUTE ON FUNCTION webhooks.publish(text,uuid,json,uuid) TO webhooks_relay;
GRANT EXECUTE ON FUNCTION webhooks.refuse_change() TO webhooks_relay;
GRANT EXECUTE ON FUNCTION webhooks.reserved_key(json) TO webhooks_app;
GRANT EXECUTE ON FUNCTION webhooks.reserved_key(json) TO webhooks_relay;
GRANT EXECUTE ON FUNCTION webhooks.reserved_key(json) TO webhooks_tenant;
GRANT EXECUTE ON FUNCTION webhooks.ring_doorbell() TO webhooks_relay;
GRANT EXECUTE ON FUNCTION webhooks.tell_trail(text,uuid,text,jsonb) TO webhooks_relay;
GRANT EXECUTE ON FUNCTION webhooks.tell_trail(text,uuid,text,jsonb) TO webhooks_tenant;
GRANT EXECUTE ON FUNCTION webhooks.uuid_v7() TO webhooks_app;
GRANT EXECUTE ON FUNCTION webhooks.uuid_v7() TO webhooks_relay;
GRANT EXECUTE ON FUNCTION webhooks.uuid_v7() TO webhooks_tenant;

-- Comments

COMMENT ON COLUMN webhooks.access_trail.company_id IS 'NULL: it concerns every company, and operators alone see it.';
COMMENT ON COLUMN webhooks.access_trail.subject_id IS 'The key, link, session, pause, relay or rebuild; the endpoint of what was sent.';
COMMENT ON COLUMN webhooks.api_keys.company_id IS 'The one company that it reaches; NULL reaches every company.';
COMMENT ON COLUMN webhooks.api_keys.expires_at IS 'NULL: only when it is revoked.';
COMMENT ON COLUMN webhooks.api_keys.last_used_at IS 'To the minute, so that a busy key does not write with every request.';
COMMENT ON COLUMN webhooks.attempt_history.attempt IS 'Counts the delivery''s attempts, from 1, over all generations, interrupted ones included.';
COMMENT ON COLUMN webhooks.attempt_history.company_id IS 'The tenant.';
COMMENT ON COLUMN webhooks.attempt_history.config_version IS 'The version of the endpoint''s configuration that it was made with.';
COMMENT ON COLUMN webhooks.attempt_history.connect_us IS 'Microseconds of connecting; 0 when it was not done.';
COMMENT ON COLUMN webhooks.attempt_history.delivery_id IS 'The delivery; joins delivery_history.delivery_id.';
COMMENT ON COLUMN webhooks.attempt_history.detail IS 'The same in more words, such as the error of the connection; empty when there is no more to say.';
COMMENT ON COLUMN webhooks.attempt_history.dns_us IS 'Microseconds of looking the name up; 0 when it was not done, as on a connection that was open already.';
COMMENT ON COLUMN webhooks.attempt_history.endpoint_id IS 'The endpoint that was asked.';
COMMENT ON COLUMN webhooks.attempt_history.event_id IS 'The event; joins event_history.event_id and X-Webhook-ID.';
COMMENT ON COLUMN webhooks.attempt_history.event_type IS 'Such as conversation.started.';
COMMENT ON COLUMN webhooks.attempt_history.first_byte_us IS 'Microseconds from the start to the whole head of the answer; 0 when none came.';
COMMENT ON COLUMN webhooks.attempt_history.generation IS 'The delivery''s generation that it belongs to: 1, and one more for each manual replay.';
COMMENT ON COLUMN webhooks.attempt_history.next_attempt_at IS 'When the next attempt was due after this one; NULL: there was to be none.';
COMMENT ON COLUMN webhooks.attempt_history.outcome IS 'succeeded, failed, interrupted (the relay died: outcome unknown) or stale (a relay that had lost its lease).';
COMMENT ON COLUMN webhooks.attempt_history.reason IS 'Why it ended so, such as ok, status_5xx, timeout, dns, tls or blocked_destination.';
COMMENT ON COLUMN webhooks.attempt_history.remote_addr IS 'The address and port that was connected to; empty when no connection was made.';
COMMENT ON COLUMN webhooks.attempt_history.request_bytes IS 'The size of the request''s body.';
COMMENT ON COLUMN webhooks.attempt_history.request_headers IS 'The endpoint''s custom headers that were sent, their values masked; NULL: it had none.';
COMMENT ON COLUMN webhooks.attempt_history.request_signature IS 'webhook-signature, as it was sent; empty when nothing was.';
COMMENT ON COLUMN webhooks.attempt_history.request_timestamp IS 'webhook-timestamp and X-Webhook-Timestamp, in Unix seconds; NULL when nothing was sent.';
COMMENT ON COLUMN webhooks.attempt_history.response_body IS 'The first 16 KiB of the answer''s body, as they came: not to be trusted.';
COMMENT ON COLUMN webhooks.attempt_history.response_headers IS 'The answer''s headers; NULL when there was no answer.';
COMMENT ON COLUMN webhooks.attempt_history.response_truncated IS 'Whether the body was longer than what is kept.';
COMMENT ON COLUMN webhooks.attempt_history.started_at IS 'When it started.';
COMMENT ON COLUMN webhooks.attempt_history.status IS 'The HTTP status of the answer; NULL when there was none.';
COMMENT ON COLUMN webhooks.attempt_history.tls_us IS 'Microseconds of the TLS handshake; 0 when it was not done.';
COMMENT ON COLUMN webhooks.attempt_history.total_us IS 'Microseconds from the first step to the verdict.';
COMMENT ON COLUMN webhooks.attempt_history.trigger IS 'Who wanted it: automatic, manual or test.';
COMMENT ON COLUMN webhooks.attempt_history.url IS 'The URL that was asked, the values of its query masked.';
COMMENT ON COLUMN webhooks.deliveries.exhausted_at IS 'When it failed for good; else NULL.';
COMMENT ON COLUMN webhooks.deliveries.failing IS 'true when its last attempt failed, or it will not be delivered; else NULL.';
COMMENT ON COLUMN webhooks.deliveries.last_total_us IS 'How long the last attempt took, in microseconds; NULL when nobody knows.';
COMMENT ON COLUMN webhooks.deliveries.requested_by IS 'Who asked for it when the fan-out had made none; NULL: the fan-out made it.';
COMMENT ON COLUMN webhooks.delivery_history.attempts IS 'Completed attempts of this generation, of at most six.';
COMMENT ON COLUMN webhooks.delivery_history.company_id IS 'The tenant.';
COMMENT ON COLUMN webhooks.delivery_history.created_at IS 'When the event was fanned out to this endpoint, or the delivery was asked for.';
COMMENT ON COLUMN webhooks.delivery_history.delivering_since IS 'A request is under way since then; NULL: none is.';
COMMENT ON COLUMN webhooks.delivery_history.delivery_id IS 'One event for one endpoint; joins attempt_history.delivery_id.';
COMMENT ON COLUMN webhooks.delivery_history.endpoint_id IS 'The endpoint; joins endpoint_health.endpoint_id as long as that one is not deleted.';
COMMENT ON COLUMN webhooks.delivery_history.event_id IS 'The event; joins event_history.event_id and X-Webhook-ID.';
COMMENT ON COLUMN webhooks.delivery_history.event_type IS 'Such as conversation.started.';
COMMENT ON COLUMN webhooks.delivery_history.finished_at IS 'When it was delivered, exhausted or cancelled; NULL while it is not over.';
COMMENT ON COLUMN webhooks.delivery_history.first_attempt_at IS 'When its first attempt started; sent as metadata.delivered_at. NULL before.';
COMMENT ON COLUMN webhooks.delivery_history.generation IS 'Counts manual replays; 1 is the first.';
COMMENT ON COLUMN webhooks.delivery_history.last_attempt_at IS 'When its latest attempt started; NULL before the first.';
COMMENT ON COLUMN webhooks.delivery_history.last_reason IS 'Why the latest attempt ended as it did, such as ok, status_5xx, timeout or dns.';
COMMENT ON COLUMN webhooks.delivery_history.last_status IS 'The HTTP status of the latest answer; NULL when there was none.';
COMMENT ON COLUMN webhooks.delivery_history.last_total_us IS 'How long the latest attempt took, in microseconds; NULL when nobody knows.';
COMMENT ON COLUMN webhooks.delivery_history.next_attempt_at IS 'NULL: it is over, or goes at once, or not before its endpoint is enabled. A time that has passed is due now.';
COMMENT ON COLUMN webhooks.delivery_history.state IS 'pending, retrying, held (the endpoint is disabled), delivered, exhausted or cancelled.';
COMMENT ON COLUMN webhooks.delivery_history.trigger IS 'Who wanted the latest generation: automatic (the event itself), manual (somebody had it sent again) or test.';
COMMENT ON COLUMN webhooks.endpoint_changes.note IS 'Why, in the words of who did it; empty: nothing was said.';
COMMENT ON COLUMN webhooks.endpoint_headers.key_id IS 'The key that opens it.';
COMMENT ON COLUMN webhooks.endpoint_headers.name IS 'As it is sent; names that differ by case alone are one name.';
COMMENT ON COLUMN webhooks.endpoint_headers.sealed IS 'The value: AES-256-GCM, bound to company, endpoint, name and version: package relay/seal.';
COMMENT ON COLUMN webhooks.endpoint_headers.version IS 'The endpoint''s version that set it.';
COMMENT ON COLUMN webhooks.endpoint_health.breaker IS 'closed (attempts are made), open (they wait until not_before) or half_open (one is tried).';
COMMENT ON COLUMN webhooks.endpoint_health.company_id IS 'The tenant that it belongs to.';
COMMENT ON COLUMN webhooks.endpoint_health.endpoint_id IS 'The endpoint. Deleted ones have no row.';
COMMENT ON COLUMN webhooks.endpoint_health.failed_24h IS 'Attempts that started in the last 24 hours and failed; interrupted ones count as neither.';
COMMENT ON COLUMN webhooks.endpoint_health.failing_since IS 'Since when every attempt has failed; NULL: the latest one succeeded, or there was none.';
COMMENT ON COLUMN webhooks.endpoint_health.max_ms_24h IS 'The longest of these attempts in milliseconds; NULL when there was none.';
COMMENT ON COLUMN webhooks.endpoint_health.mean_ms_24h IS 'The mean time of these attempts in milliseconds; NULL when there was none.';
COMMENT ON COLUMN webhooks.endpoint_health.not_before IS 'No attempt starts before then; NULL: at once.';
COMMENT ON COLUMN webhooks.endpoint_health.state IS 'enabled or disabled.';
COMMENT ON COLUMN webhooks.endpoint_health.state_note IS 'Why it was disabled, in the words of who did it; empty: nothing was said, or it is enabled.';
COMMENT ON COLUMN webhooks.endpoint_health.state_reason IS 'Why it is in this state, such as by_request, gone (it answered 410) or failing_persistently.';
COMMENT ON COLUMN webhooks.endpoint_health.state_since IS 'Since when it is in this state.';
COMMENT ON COLUMN webhooks.endpoint_health.succeeded_24h IS 'Attempts that started in the last 24 hours and were answered with success.';
COMMENT ON COLUMN webhooks.endpoint_health.url IS 'Where it is told, the values of its query masked.';
COMMENT ON COLUMN webhooks.endpoint_secrets.expires_at IS 'A rotated secret signs beside the new one until then; NULL for the current one.';
COMMENT ON COLUMN webhooks.endpoint_secrets.key_id IS 'The key that opens it. NULL: written before there were keys, as it is; the next serve, or surveyhooks keys rotate, seals it.';
COMMENT ON COLUMN webhooks.endpoint_secrets.sealed IS 'AES-256-GCM, bound to company, endpoint and version: package relay/seal.';
COMMENT ON COLUMN webhooks.endpoint_slots.minutes IS 'The width of the slot: 5 or 60. Each attempt is counted once in either.';
COMMENT ON COLUMN webhooks.endpoint_slots.reason IS 'ok: they succeeded; interrupted: their outcome is unknown; any other: they failed.';
COMMENT ON COLUMN webhooks.endpoint_slots.slot IS 'The start of the minutes in which the attempts started.';
COMMENT ON COLUMN webhooks.endpoint_slots.status IS 'The HTTP status; 0 when there was no answer.';
COMMENT ON COLUMN webhooks.endpoint_slots.under_1 IS 'Attempts that took less than 1 ms. The columns after it double: under_2 took 1 to 2 ms, and so on; over_16384 took longer than all of them. Interrupted ones have no time.';
COMMENT ON COLUMN webhooks.endpoints.event_types IS 'The types it is told of; NULL means all.';
COMMENT ON COLUMN webhooks.endpoints.rate_limit IS 'At most so many attempts a second; NULL means no limit.';
COMMENT ON COLUMN webhooks.endpoints.state_note IS 'Why it was disabled, in the words of who did it; empty: nothing was said, or it is enabled.';
COMMENT ON COLUMN webhooks.endpoints.version IS 'Counts the changes of its configuration.';
COMMENT ON COLUMN webhooks.event_history.company_id IS 'The tenant; only its endpoints were asked.';
COMMENT ON COLUMN webhooks.event_history.created_at IS 'When it happened, as the survey app said; sent as created_at, in whole seconds.';
COMMENT ON COLUMN webhooks.event_history.decisions IS 'An array of {endpoint_id, version, decision, delivery_id}.';
COMMENT ON COLUMN webhooks.event_history.event_id IS 'The event; joins outbox.event_id and X-Webhook-ID.';
COMMENT ON COLUMN webhooks.event_history.event_type IS 'Such as conversation.started; sent as X-Webhook-Event.';
COMMENT ON COLUMN webhooks.event_history.fanned_out_at IS 'When the relay decided about each endpoint.';
COMMENT ON COLUMN webhooks.idempotency_keys.claim_id IS 'Stays when a request that died is made again, so that an event published by it keeps its id.';
COMMENT ON COLUMN webhooks.idempotency_keys.company_id IS 'The company of the caller; the nil UUID for an operator.';
COMMENT ON COLUMN webhooks.idempotency_keys.status IS 'NULL: the request is under way, until claimed_until at the latest.';
COMMENT ON COLUMN webhooks.outbox."position" IS 'Order of insertion; assigned, never given.';
COMMENT ON COLUMN webhooks.outbox.company_id IS 'The tenant: survey.company_id.';
COMMENT ON COLUMN webhooks.outbox.created_at IS 'When the event occurred; sent as created_at. Scheduling never uses it.';
COMMENT ON COLUMN webhooks.outbox.data IS 'A JSON object, sent byte for byte as inserted, at most 256 KiB.';
COMMENT ON COLUMN webhooks.outbox.endpoint_id IS 'When given, the event is for this endpoint alone (test events).';
COMMENT ON COLUMN webhooks.outbox.event_id IS 'The event''s identity, sent as X-Webhook-ID. The same id again within the retention of the outbox is sent once.';
COMMENT ON COLUMN webhooks.outbox.event_type IS 'conversation.started, conversation.completed, question_response.upserted or test.webhook; any other type is stored and matches no endpoint.';
COMMENT ON COLUMN webhooks.outbox.recorded_at IS 'When the row was inserted; assigned, never given. The table is partitioned by it.';
COMMENT ON COLUMN webhooks.outbox.transaction_id IS 'The inserting transaction; assigned, never given. The log is read by it.';
COMMENT ON COLUMN webhooks.pending.completed IS 'Attempts of this generation that used up a retry.';
COMMENT ON COLUMN webhooks.pending.config_version IS 'The version of the endpoint''s configuration that the fan-out decided by: it is not sent by an older one. NULL: any will do.';
COMMENT ON COLUMN webhooks.pending.due_at IS 'NULL: at once, in order of delivery_id. Otherwise when the next attempt is due.';
COMMENT ON COLUMN webhooks.pending.started IS 'Attempts that were ever started and are over, interrupted ones included.';
COMMENT ON COLUMN webhooks.portal_links.landing IS 'The page that it leads to: a path here.';
COMMENT ON COLUMN webhooks.portal_links.person IS 'Who it was made for, as the survey app names them.';
COMMENT ON COLUMN webhooks.rebuilds.alive_at IS 'Renewed by the process that works on it; long ago: that one died.';
COMMENT ON COLUMN webhooks.rebuilds.facts IS 'Read so far.';
COMMENT ON COLUMN webhooks.recoveries.after_id IS 'With after_time, the last delivery (when it was exhausted) or event (its position, and when it was fanned out) that was handled.';
COMMENT ON COLUMN webhooks.recoveries.event_types IS 'Only missing events of these types; NULL: of all that the endpoint selects.';
COMMENT ON COLUMN webhooks.recoveries.kind IS 'failed: deliveries that are exhausted are sent again. missing: events without a delivery for the endpoint get one.';
COMMENT ON COLUMN webhooks.recoveries.since IS 'Deliveries that were exhausted, or events that happened, from then on, until the time in until.';
COMMENT ON COLUMN webhooks.recoveries.skipped IS 'What could not be sent: the event is no longer kept, or somebody retried or requested it already.';
COMMENT ON COLUMN webhooks.recoveries.waits_for IS 'enabled, breaker or backlog: what has to come first; empty while it goes on.';
COMMENT ON COLUMN webhooks.relays.drained_at IS 'Since then it hands its lanes over and takes none; NULL: it has its share. The order ends with the row.';
COMMENT ON COLUMN webhooks.replays.actor IS 'Who asked last; empty: before this was kept.';
COMMENT ON COLUMN webhooks.retention.swept IS 'Whether the rows that went with the dropped days (event_ids, events, deliveries, …) are gone as well.';
COMMENT ON COLUMN webhooks.sessions.expires_at IS 'The end, however busy it is.';
COMMENT ON COLUMN webhooks.sessions.link_id IS 'The link that started it; that row may be gone.';
COMMENT ON COLUMN webhooks.sessions.seen_at IS 'To the minute. The session ends idle_limit after it.';
COMMENT ON FUNCTION webhooks.attempt_is_under_way(uuid,bigint,integer) IS 'Whether that attempt of a delivery was started and is not over.';
COMMENT ON FUNCTION webhooks.attempts_under_way(uuid[],bigint[]) IS 'Which of these deliveries have a request under way, and since when.';
COMMENT ON FUNCTION webhooks.decodable(json) IS 'The same JSON for looking for keys: without what it may escape and PostgreSQL cannot decode.';
COMMENT ON FUNCTION webhooks.ensure_partitions(integer) IS 'Makes the partitions of today and the coming days, and of past days that the default partitions hold rows of; returns how many.';
COMMENT ON FUNCTION webhooks.isolate(regclass) IS 'Shows webhooks_tenant only the rows of the company that the setting webhooks.company_id names: by the column company_id, or else through the row''s endpoint. Grants nothing.';
COMMENT ON FUNCTION webhooks.make_partition(text,date) IS 'Makes the partition of a UTC day, unless it is there, and moves in what the default partition holds of a day that is over.';
COMMENT ON FUNCTION webhooks.member_fault(text,json,text[],text[]) IS 'The first member of an object that is missing or not of its kind: uuid, text, boolean, time, time or absent, any.';
COMMENT ON FUNCTION webhooks.next_attempt_at(text,text,timestamp with time zone,text,timestamp with time zone) IS 'When an open delivery is tried next, by its endpoint''s state and lane; NULL: at once, or not before the endpoint is enabled.';
COMMENT ON FUNCTION webhooks.partition_kept_for(text,date) IS 'What still needs the partition of a UTC day; NULL when nothing does.';
COMMENT ON FUNCTION webhooks.payload_fault(text,uuid,json) IS 'The first member of data that is not what receivers are promised of its type; NULL when all are, and its survey is no other company''s.';
COMMENT ON FUNCTION webhooks.prune_access_trail() IS 'Deletes what is older than 400 days from the 10 000 oldest entries of the trail; returns how many. Call it until it returns 0.';
COMMENT ON FUNCTION webhooks.prune_partition(text,date,interval) IS 'Drops the partition of a UTC day that is older than keep and that nothing needs, and returns NULL; or returns why it stays.';
COMMENT ON FUNCTION webhooks.publish(text,uuid,json,uuid) IS 'Publishes an event in the caller''s transaction and returns its id, minted (UUID version 7) when none is given. The same id again is sent once. Data of a type of the catalogue has to have the members of its JSON Schema, and may have more; one that may be absent is left out and not null.';
COMMENT ON FUNCTION webhooks.refuse_change() IS 'Holds for the owner too, whom no grant binds.';
COMMENT ON FUNCTION webhooks.reserved_key(json) IS 'The key of data that is the relay''s to add; NULL when there is none.';
COMMENT ON FUNCTION webhooks.tell_trail(text,uuid,text,jsonb) IS 'A line of the trail of the endpoint''s company, with the caller''s rights.';
COMMENT ON TABLE webhooks.access_trail IS 'Append-only, for 400 days: who made, used and ended which key, link or session, what customers had sent again, and what operators ordered. Written by the transaction that does it.';
COMMENT ON TABLE webhooks.api_keys IS 'Who may call the API. A revoked or expired key stays, so that the trail can be read.';
COMMENT ON TABLE webhooks.cursors IS 'How far a consumer group has read a log: the window of commits (from_snapshot, to_snapshot] and the last row handled inside it.';
COMMENT ON TABLE webhooks.delivery_feed IS 'The deliveries that each page of the journal has changed. One projector works at a time, so pages commit in their order.';
COMMENT ON TABLE webhooks.endpoint_slots IS 'Attempts of five minutes, and again of an hour, by endpoint, event type, reason and status; stale ones are left out.';
COMMENT ON TABLE webhooks.event_ids IS 'Events that were fanned out, and where the outbox holds them. Kept as long as the outbox, which is the deduplication window.';
COMMENT ON TABLE webhooks.idempotency_keys IS 'Requests that were made with an Idempotency-Key in the last 24 hours, and what was answered. Secrets are not kept.';
COMMENT ON TABLE webhooks.intents IS 'Attempts under way. Committed before the first byte leaves; what a dead relay leaves here was interrupted.';
COMMENT ON TABLE webhooks.journal IS 'Facts about events, endpoints, deliveries and attempts; append-only. Everything in the history is made from it.';
COMMENT ON TABLE webhooks.lanes IS 'One endpoint''s queue: the relay that runs it, and its breaker.';
COMMENT ON TABLE webhooks.outbox IS 'What happened. Insert a row in the transaction that makes it true; once that commits, every endpoint that subscribes is told. An INSERT is not held to what receivers are promised of data: webhooks.publish and outbox.Publish are.';
COMMENT ON TABLE webhooks.pause IS 'A row: no relay starts an attempt. None: sending goes on.';
COMMENT ON TABLE webhooks.pending IS 'Deliveries that are not over. One narrow row each; the event''s bytes stay in the outbox.';
COMMENT ON TABLE webhooks.portal_links IS 'Single-use links that start a session. Rows go a day after their end; the trail keeps what came of them.';
COMMENT ON TABLE webhooks.quarantine IS 'Log rows that could not be handled, each with its reason; the rows around them flow on.';
COMMENT ON TABLE webhooks.rebuilds IS 'Comparisons of the history with the journal, the latest of which the operator''s page shows.';
COMMENT ON TABLE webhooks.recoveries IS 'Jobs that send an endpoint what failed for good there, or what it was never sent. Whoever works on one holds its row lock, so a crash frees it.';
COMMENT ON TABLE webhooks.relays IS 'Running relay processes. Whoever deletes an expired row has fenced that process out: a relay records nothing without its row.';
COMMENT ON TABLE webhooks.replays IS 'The latest generation of each delivery that somebody asked for again, who that was, and when. The pending row that bears it goes when it is over, maybe before the history has heard of it.';
COMMENT ON TABLE webhooks.requested_deliveries IS 'The delivery of each event that an endpoint was sent on request, since the fan-out had made none. Kept as long as the event is remembered, so that no request makes a second one.';
COMMENT ON TABLE webhooks.retention IS 'How far each log was pruned. A day before that may still be there, when something needs it.';
COMMENT ON TABLE webhooks.sessions IS 'Browsers that are signed in. Rows go a day after their end; the trail keeps what came of them.';
COMMENT ON TABLE webhooks.test_quota IS 'When each company asked for its latest test events, so that every process counts the same.';
COMMENT ON VIEW webhooks.attempt_history IS 'One HTTP request each: what was sent, what came back, how long it took, what comes next.';
COMMENT ON VIEW webhooks.delivery_history IS 'One event for one endpoint, and where it stands.';
COMMENT ON VIEW webhooks.endpoint_health IS 'How each endpoint does: its state, its breaker, and its last 24 hours.';
COMMENT ON VIEW webhooks.event_history IS 'What happened, and for each endpoint of the company whether it was told, and why not.';
