-- What is published through SQL is held to every member that customers are promised, as what is published through Go is.

-- +goose Up
-- +goose StatementBegin
-- Neither IMMUTABLE nor one -> for each member: the planner would work such a call out anew each time, and every -> reads
-- all of its object. Once the outermost record could be read, all of data can be decoded.
CREATE OR REPLACE FUNCTION webhooks.payload_fault(event_type text, company_id uuid, data json) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
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
$$;

-- The last of two members of one name counts, as it does for those who read the body.
CREATE FUNCTION webhooks.member_fault(path text, object json, members text[], kinds text[]) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
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
      HINT = 'Receivers are promised every member of the type''s JSON Schema; this is the first that is not as it says.';
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
REVOKE ALL ON FUNCTION webhooks.member_fault FROM PUBLIC;
GRANT EXECUTE ON FUNCTION webhooks.member_fault TO webhooks_app;
COMMENT ON FUNCTION webhooks.payload_fault IS 'The first member of data that is not what receivers are promised of its type; NULL when all are, and its survey is no other company''s.';
COMMENT ON FUNCTION webhooks.member_fault IS 'The first member of an object that is missing or not of its kind: uuid, text, boolean, time, time or absent, any.';
COMMENT ON FUNCTION webhooks.publish IS 'Publishes an event in the caller''s transaction and returns its id, minted (UUID version 7) when none is given. The same id again is sent once. Data of a type of the catalogue has to have the members of its JSON Schema, and may have more; one that may be absent is left out and not null.';

-- +goose Down
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION webhooks.payload_fault(event_type text, company_id uuid, data json) RETURNS text
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
DROP FUNCTION webhooks.member_fault;
COMMENT ON FUNCTION webhooks.payload_fault IS 'The first member that data lacks of what receivers are promised of its type; NULL when it has the outermost ones, their ids, and no other company''s survey.';
COMMENT ON FUNCTION webhooks.publish IS 'Publishes an event in the caller''s transaction and returns its id, minted (UUID version 7) when none is given. The same id again is sent once. Data of a type of the catalogue has to have the outermost members of its JSON Schema, and their ids.';
