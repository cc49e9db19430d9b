-- What is published is held to what customers are promised, and every column that people query says what it is.

-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION webhooks.decodable(data json) RETURNS json
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
  -- To look for a key PostgreSQL decodes every string, and cannot decode all that JSON may escape: NUL, half a surrogate
  -- pair. Those are taken out, once no escaped backslash can be mistaken for the start of one.
  SELECT regexp_replace(replace(data::text, '\\', '__'), '\\u(0000|[dD][89a-fA-F][0-9a-fA-F]{2})', '', 'g')::json
$$;

-- Neither IMMUTABLE nor one -> for each member: the planner would work such a call out anew each time, and every -> reads
-- all of data.
CREATE FUNCTION webhooks.payload_fault(event_type text, company_id uuid, data json) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
DECLARE
  survey json; respondent json; conversation json; response json; responses json; owner text; fault text;
  uuid CONSTANT text := '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$';
BEGIN
  BEGIN
    SELECT d.survey, d.respondent, d.conversation, d.response, d.responses INTO survey, respondent, conversation, response, responses
      FROM json_to_record(data) AS d (survey json, respondent json, conversation json, response json, responses json);
  EXCEPTION WHEN untranslatable_character OR invalid_text_representation THEN
    RETURN webhooks.payload_fault(event_type, company_id, webhooks.decodable(data));
  END;
  owner := CASE WHEN json_typeof(survey) = 'object' THEN survey ->> 'company_id' END;
  IF owner ~ uuid AND lower(owner) <> company_id::text THEN
    RETURN format('data.survey.company_id is another company''s: want the event''s company_id, %s', company_id);
  ELSIF event_type NOT IN ('conversation.started', 'conversation.completed', 'question_response.upserted', 'test.webhook') THEN
    RETURN NULL;
  END IF;
  fault := CASE
    WHEN json_typeof(survey) IS DISTINCT FROM 'object' THEN 'survey: want an object'
    WHEN (survey ->> 'id' ~ uuid) IS NOT TRUE THEN 'survey.id: want a UUID'
    WHEN (owner ~ uuid) IS NOT TRUE THEN 'survey.company_id: want a UUID'
    WHEN json_typeof(respondent) IS DISTINCT FROM 'object' THEN 'respondent: want an object'
    WHEN (respondent ->> 'id' ~ uuid) IS NOT TRUE THEN 'respondent.id: want a UUID'
    WHEN json_typeof(conversation) IS DISTINCT FROM 'object' THEN 'conversation: want an object'
    WHEN (conversation ->> 'id' ~ uuid) IS NOT TRUE THEN 'conversation.id: want a UUID'
    WHEN event_type = 'conversation.completed' AND json_typeof(responses) IS DISTINCT FROM 'array' THEN 'responses: want an array'
    WHEN event_type <> 'question_response.upserted' THEN NULL
    WHEN json_typeof(response) IS DISTINCT FROM 'object' THEN 'response: want an object'
    WHEN (response ->> 'id' ~ uuid) IS NOT TRUE THEN 'response.id: want a UUID'
    WHEN (response ->> 'question_id' ~ uuid) IS NOT TRUE THEN 'response.question_id: want a UUID'
  END;
  RETURN CASE WHEN fault IS NOT NULL THEN format('data of %s has no good %s', event_type, fault) END;
END
$$;

CREATE OR REPLACE FUNCTION webhooks.reserved_key(data json) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
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
$$;

CREATE OR REPLACE FUNCTION webhooks.publish(event_type text, company_id uuid, data json, id uuid DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql
AS $$
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
      HINT = 'Receivers are promised every member of the type''s JSON Schema; this function looks for the first of them.';
  ELSIF event_type NOT IN ('conversation.started', 'conversation.completed', 'question_response.upserted', 'test.webhook') THEN
    RAISE NOTICE 'event_type % is not in the catalogue: it is stored, and no endpoint is told of it', quote_literal(event_type)
      USING HINT = 'The catalogue: conversation.started, conversation.completed, question_response.upserted, test.webhook.';
  END IF;
  id := coalesce(id, webhooks.uuid_v7());
  INSERT INTO webhooks.outbox (event_id, event_type, company_id, data) VALUES (id, event_type, company_id, data);
  RETURN id;
END
$$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION webhooks.decodable, webhooks.payload_fault FROM PUBLIC;
GRANT EXECUTE ON FUNCTION webhooks.decodable TO webhooks_app, webhooks_tenant;
GRANT EXECUTE ON FUNCTION webhooks.payload_fault TO webhooks_app;
COMMENT ON FUNCTION webhooks.decodable IS 'The same JSON for looking for keys: without what it may escape and PostgreSQL cannot decode.';
COMMENT ON FUNCTION webhooks.payload_fault IS 'The first member that data lacks of what receivers are promised of its type; NULL when it has the outermost ones, their ids, and no other company''s survey.';
COMMENT ON FUNCTION webhooks.publish IS 'Publishes an event in the caller''s transaction and returns its id, minted (UUID version 7) when none is given. The same id again is sent once. Data of a type of the catalogue has to have the outermost members of its JSON Schema, and their ids.';
COMMENT ON TABLE webhooks.outbox IS 'What happened. Insert a row in the transaction that makes it true; once that commits, every endpoint that subscribes is told. An INSERT is not held to what receivers are promised of data: webhooks.publish and outbox.Publish are.';

COMMENT ON COLUMN webhooks.event_history.company_id IS 'The tenant; only its endpoints were asked.';
COMMENT ON COLUMN webhooks.event_history.event_type IS 'Such as conversation.started; sent as X-Webhook-Event.';
COMMENT ON COLUMN webhooks.event_history.created_at IS 'When it happened, as the survey app said; sent as created_at, in whole seconds.';
COMMENT ON COLUMN webhooks.event_history.fanned_out_at IS 'When the relay decided about each endpoint.';

COMMENT ON COLUMN webhooks.delivery_history.delivery_id IS 'One event for one endpoint; joins attempt_history.delivery_id.';
COMMENT ON COLUMN webhooks.delivery_history.event_id IS 'The event; joins event_history.event_id and X-Webhook-ID.';
COMMENT ON COLUMN webhooks.delivery_history.endpoint_id IS 'The endpoint; joins endpoint_health.endpoint_id as long as that one is not deleted.';
COMMENT ON COLUMN webhooks.delivery_history.company_id IS 'The tenant.';
COMMENT ON COLUMN webhooks.delivery_history.event_type IS 'Such as conversation.started.';
COMMENT ON COLUMN webhooks.delivery_history.trigger IS 'Who wanted the latest generation: automatic (the event itself), manual (somebody had it sent again) or test.';
COMMENT ON COLUMN webhooks.delivery_history.created_at IS 'When the event was fanned out to this endpoint, or the delivery was asked for.';
COMMENT ON COLUMN webhooks.delivery_history.first_attempt_at IS 'When its first attempt started; sent as metadata.delivered_at. NULL before.';
COMMENT ON COLUMN webhooks.delivery_history.last_attempt_at IS 'When its latest attempt started; NULL before the first.';
COMMENT ON COLUMN webhooks.delivery_history.finished_at IS 'When it was delivered, exhausted or cancelled; NULL while it is not over.';
COMMENT ON COLUMN webhooks.delivery_history.last_status IS 'The HTTP status of the latest answer; NULL when there was none.';
COMMENT ON COLUMN webhooks.delivery_history.last_reason IS 'Why the latest attempt ended as it did, such as ok, status_5xx, timeout or dns.';
COMMENT ON COLUMN webhooks.delivery_history.last_total_us IS 'How long the latest attempt took, in microseconds; NULL when nobody knows.';

COMMENT ON COLUMN webhooks.attempt_history.delivery_id IS 'The delivery; joins delivery_history.delivery_id.';
COMMENT ON COLUMN webhooks.attempt_history.attempt IS 'Counts the delivery''s attempts, from 1, over all generations, interrupted ones included.';
COMMENT ON COLUMN webhooks.attempt_history.event_id IS 'The event; joins event_history.event_id and X-Webhook-ID.';
COMMENT ON COLUMN webhooks.attempt_history.endpoint_id IS 'The endpoint that was asked.';
COMMENT ON COLUMN webhooks.attempt_history.company_id IS 'The tenant.';
COMMENT ON COLUMN webhooks.attempt_history.event_type IS 'Such as conversation.started.';
COMMENT ON COLUMN webhooks.attempt_history.generation IS 'The delivery''s generation that it belongs to: 1, and one more for each manual replay.';
COMMENT ON COLUMN webhooks.attempt_history.trigger IS 'Who wanted it: automatic, manual or test.';
COMMENT ON COLUMN webhooks.attempt_history.started_at IS 'When it started.';
COMMENT ON COLUMN webhooks.attempt_history.reason IS 'Why it ended so, such as ok, status_5xx, timeout, dns, tls or blocked_destination.';
COMMENT ON COLUMN webhooks.attempt_history.detail IS 'The same in more words, such as the error of the connection; empty when there is no more to say.';
COMMENT ON COLUMN webhooks.attempt_history.status IS 'The HTTP status of the answer; NULL when there was none.';
COMMENT ON COLUMN webhooks.attempt_history.url IS 'The URL that was asked, the values of its query masked.';
COMMENT ON COLUMN webhooks.attempt_history.request_timestamp IS 'webhook-timestamp and X-Webhook-Timestamp, in Unix seconds; NULL when nothing was sent.';
COMMENT ON COLUMN webhooks.attempt_history.request_signature IS 'webhook-signature, as it was sent; empty when nothing was.';
COMMENT ON COLUMN webhooks.attempt_history.request_bytes IS 'The size of the request''s body.';
COMMENT ON COLUMN webhooks.attempt_history.response_headers IS 'The answer''s headers; NULL when there was no answer.';
COMMENT ON COLUMN webhooks.attempt_history.response_body IS 'The first 16 KiB of the answer''s body, as they came: not to be trusted.';
COMMENT ON COLUMN webhooks.attempt_history.response_truncated IS 'Whether the body was longer than what is kept.';
COMMENT ON COLUMN webhooks.attempt_history.remote_addr IS 'The address and port that was connected to; empty when no connection was made.';
COMMENT ON COLUMN webhooks.attempt_history.dns_us IS 'Microseconds of looking the name up; 0 when it was not done, as on a connection that was open already.';
COMMENT ON COLUMN webhooks.attempt_history.connect_us IS 'Microseconds of connecting; 0 when it was not done.';
COMMENT ON COLUMN webhooks.attempt_history.tls_us IS 'Microseconds of the TLS handshake; 0 when it was not done.';
COMMENT ON COLUMN webhooks.attempt_history.first_byte_us IS 'Microseconds from the start to the whole head of the answer; 0 when none came.';
COMMENT ON COLUMN webhooks.attempt_history.next_attempt_at IS 'When the next attempt was due after this one; NULL: there was to be none.';
COMMENT ON COLUMN webhooks.attempt_history.config_version IS 'The version of the endpoint''s configuration that it was made with.';
COMMENT ON COLUMN webhooks.attempt_history.request_headers IS 'The endpoint''s custom headers that were sent, their values masked; NULL: it had none.';

COMMENT ON COLUMN webhooks.endpoint_health.endpoint_id IS 'The endpoint. Deleted ones have no row.';
COMMENT ON COLUMN webhooks.endpoint_health.company_id IS 'The tenant that it belongs to.';
COMMENT ON COLUMN webhooks.endpoint_health.url IS 'Where it is told, the values of its query masked.';
COMMENT ON COLUMN webhooks.endpoint_health.state IS 'enabled or disabled.';
COMMENT ON COLUMN webhooks.endpoint_health.state_reason IS 'Why it is in this state, such as by_request, gone (it answered 410) or failing_persistently.';
COMMENT ON COLUMN webhooks.endpoint_health.state_note IS 'Why it was disabled, in the words of who did it; empty: nothing was said, or it is enabled.';
COMMENT ON COLUMN webhooks.endpoint_health.state_since IS 'Since when it is in this state.';
COMMENT ON COLUMN webhooks.endpoint_health.breaker IS 'closed (attempts are made), open (they wait until not_before) or half_open (one is tried).';
COMMENT ON COLUMN webhooks.endpoint_health.not_before IS 'No attempt starts before then; NULL: at once.';
COMMENT ON COLUMN webhooks.endpoint_health.failing_since IS 'Since when every attempt has failed; NULL: the latest one succeeded, or there was none.';
COMMENT ON COLUMN webhooks.endpoint_health.succeeded_24h IS 'Attempts that started in the last 24 hours and were answered with success.';
COMMENT ON COLUMN webhooks.endpoint_health.failed_24h IS 'Attempts that started in the last 24 hours and failed; interrupted ones count as neither.';
COMMENT ON COLUMN webhooks.endpoint_health.mean_ms_24h IS 'The mean time of these attempts in milliseconds; NULL when there was none.';
COMMENT ON COLUMN webhooks.endpoint_health.max_ms_24h IS 'The longest of these attempts in milliseconds; NULL when there was none.';

-- +goose Down
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

CREATE OR REPLACE FUNCTION webhooks.reserved_key(data json) RETURNS text
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
-- +goose StatementEnd
DROP FUNCTION webhooks.payload_fault, webhooks.decodable;
COMMENT ON FUNCTION webhooks.publish IS 'Publishes an event in the caller''s transaction and returns its id, minted (UUID version 7) when none is given. The same id again is sent once.';
COMMENT ON TABLE  webhooks.outbox IS 'What happened. Insert a row in the transaction that makes it true; once that commits, every endpoint that subscribes is told.';
COMMENT ON COLUMN webhooks.event_history.company_id IS NULL;
COMMENT ON COLUMN webhooks.event_history.event_type IS NULL;
COMMENT ON COLUMN webhooks.event_history.created_at IS NULL;
COMMENT ON COLUMN webhooks.event_history.fanned_out_at IS NULL;
COMMENT ON COLUMN webhooks.delivery_history.delivery_id IS NULL;
COMMENT ON COLUMN webhooks.delivery_history.event_id IS NULL;
COMMENT ON COLUMN webhooks.delivery_history.endpoint_id IS NULL;
COMMENT ON COLUMN webhooks.delivery_history.company_id IS NULL;
COMMENT ON COLUMN webhooks.delivery_history.event_type IS NULL;
COMMENT ON COLUMN webhooks.delivery_history.trigger IS NULL;
COMMENT ON COLUMN webhooks.delivery_history.created_at IS NULL;
COMMENT ON COLUMN webhooks.delivery_history.first_attempt_at IS NULL;
COMMENT ON COLUMN webhooks.delivery_history.last_attempt_at IS NULL;
COMMENT ON COLUMN webhooks.delivery_history.finished_at IS NULL;
COMMENT ON COLUMN webhooks.delivery_history.last_status IS NULL;
COMMENT ON COLUMN webhooks.delivery_history.last_reason IS NULL;
COMMENT ON COLUMN webhooks.delivery_history.last_total_us IS NULL;
COMMENT ON COLUMN webhooks.attempt_history.delivery_id IS NULL;
COMMENT ON COLUMN webhooks.attempt_history.attempt IS NULL;
COMMENT ON COLUMN webhooks.attempt_history.event_id IS NULL;
COMMENT ON COLUMN webhooks.attempt_history.endpoint_id IS NULL;
COMMENT ON COLUMN webhooks.attempt_history.company_id IS NULL;
COMMENT ON COLUMN webhooks.attempt_history.event_type IS NULL;
COMMENT ON COLUMN webhooks.attempt_history.generation IS NULL;
COMMENT ON COLUMN webhooks.attempt_history.trigger IS NULL;
COMMENT ON COLUMN webhooks.attempt_history.started_at IS NULL;
COMMENT ON COLUMN webhooks.attempt_history.reason IS NULL;
COMMENT ON COLUMN webhooks.attempt_history.detail IS NULL;
COMMENT ON COLUMN webhooks.attempt_history.status IS NULL;
COMMENT ON COLUMN webhooks.attempt_history.url IS NULL;
COMMENT ON COLUMN webhooks.attempt_history.request_timestamp IS NULL;
COMMENT ON COLUMN webhooks.attempt_history.request_signature IS NULL;
COMMENT ON COLUMN webhooks.attempt_history.request_bytes IS NULL;
COMMENT ON COLUMN webhooks.attempt_history.response_headers IS NULL;
COMMENT ON COLUMN webhooks.attempt_history.response_body IS NULL;
COMMENT ON COLUMN webhooks.attempt_history.response_truncated IS NULL;
COMMENT ON COLUMN webhooks.attempt_history.remote_addr IS NULL;
COMMENT ON COLUMN webhooks.attempt_history.dns_us IS NULL;
COMMENT ON COLUMN webhooks.attempt_history.connect_us IS NULL;
COMMENT ON COLUMN webhooks.attempt_history.tls_us IS NULL;
COMMENT ON COLUMN webhooks.attempt_history.first_byte_us IS NULL;
COMMENT ON COLUMN webhooks.attempt_history.next_attempt_at IS NULL;
COMMENT ON COLUMN webhooks.attempt_history.config_version IS NULL;
COMMENT ON COLUMN webhooks.attempt_history.request_headers IS NULL;
COMMENT ON COLUMN webhooks.endpoint_health.endpoint_id IS NULL;
COMMENT ON COLUMN webhooks.endpoint_health.company_id IS NULL;
COMMENT ON COLUMN webhooks.endpoint_health.url IS NULL;
COMMENT ON COLUMN webhooks.endpoint_health.state IS NULL;
COMMENT ON COLUMN webhooks.endpoint_health.state_reason IS NULL;
COMMENT ON COLUMN webhooks.endpoint_health.state_since IS NULL;
COMMENT ON COLUMN webhooks.endpoint_health.state_note IS NULL;
COMMENT ON COLUMN webhooks.endpoint_health.breaker IS NULL;
COMMENT ON COLUMN webhooks.endpoint_health.not_before IS NULL;
COMMENT ON COLUMN webhooks.endpoint_health.failing_since IS NULL;
COMMENT ON COLUMN webhooks.endpoint_health.succeeded_24h IS NULL;
COMMENT ON COLUMN webhooks.endpoint_health.failed_24h IS NULL;
COMMENT ON COLUMN webhooks.endpoint_health.mean_ms_24h IS NULL;
COMMENT ON COLUMN webhooks.endpoint_health.max_ms_24h IS NULL;
