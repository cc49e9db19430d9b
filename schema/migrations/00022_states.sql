-- What holds of a delivery at this moment, which the history learns of later: that a request is under way, what it waits
-- for, who asked for it again. And what customers do to their deliveries goes into their trail.

-- +goose Up
-- Relays run meanwhile, and wait behind whoever waits for a table: rather than behind a long transaction's, it fails.
SET LOCAL lock_timeout = '3s';

-- The one rule of when a delivery's next attempt is made; NULL: at once, or not before its endpoint is enabled. Tests pass
-- the breaker and reach disabled endpoints.
CREATE FUNCTION webhooks.next_attempt_at(endpoint_state text, breaker text, not_before timestamptz, trigger text, due_at timestamptz) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
  SELECT CASE WHEN trigger = 'test' THEN due_at
              WHEN endpoint_state = 'disabled' THEN NULL
              WHEN breaker <> 'closed' THEN greatest(due_at, not_before)
              ELSE due_at END
$$;
REVOKE ALL ON FUNCTION webhooks.next_attempt_at FROM PUBLIC;
GRANT EXECUTE ON FUNCTION webhooks.next_attempt_at TO webhooks_app, webhooks_relay, webhooks_tenant;
COMMENT ON FUNCTION webhooks.next_attempt_at IS 'When an open delivery is tried next, by its endpoint''s state and lane; NULL: at once, or not before the endpoint is enabled.';

-- As attempt_is_under_way, for the deliveries of a page: intents hold the attempts of many companies.
CREATE FUNCTION webhooks.attempts_under_way(endpoints uuid[], deliveries bigint[]) RETURNS TABLE (delivery_id bigint, started_at timestamptz)
LANGUAGE sql STABLE STRICT SECURITY DEFINER SET search_path = ''
AS $$
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
$$;
REVOKE ALL ON FUNCTION webhooks.attempts_under_way FROM PUBLIC;
GRANT EXECUTE ON FUNCTION webhooks.attempts_under_way TO webhooks_relay, webhooks_tenant;
COMMENT ON FUNCTION webhooks.attempts_under_way IS 'Which of these deliveries have a request under way, and since when.';

ALTER TABLE webhooks.replays ADD COLUMN actor text NOT NULL DEFAULT '', ADD COLUMN asked_at timestamptz;
COMMENT ON TABLE webhooks.replays IS 'The latest generation of each delivery that somebody asked for again, who that was, and when. The pending row that bears it goes when it is over, maybe before the history has heard of it.';
COMMENT ON COLUMN webhooks.replays.actor IS 'Who asked last; empty: before this was kept.';

-- Subqueries, so that whoever does not select the last columns does not pay for them.
CREATE OR REPLACE VIEW webhooks.delivery_history AS
SELECT d.delivery_id, d.event_id, d.endpoint_id, d.company_id, d.event_type,
       CASE WHEN d.state IN ('pending', 'retrying') AND e.state = 'disabled' AND d.trigger <> 'test' THEN 'held' ELSE d.state END AS state,
       d.trigger, d.generation, d.attempts, d.created_at, d.first_attempt_at, d.last_attempt_at,
       CASE WHEN d.state IN ('pending', 'retrying') THEN (
         SELECT webhooks.next_attempt_at(e.state, l.breaker, l.not_before, d.trigger, CASE WHEN p.delivery_id IS NULL THEN d.next_attempt_at ELSE p.due_at END)
           FROM (VALUES (d.delivery_id)) v(delivery_id)
           LEFT JOIN webhooks.lanes l ON l.endpoint_id = d.endpoint_id
           LEFT JOIN webhooks.pending p ON p.endpoint_id = d.endpoint_id AND p.delivery_id = v.delivery_id)
       END AS next_attempt_at,
       d.finished_at, d.last_status, d.last_reason, d.last_total_us,
       CASE WHEN d.state IN ('pending', 'retrying') THEN (
         SELECT max(i.started_at)
           FROM webhooks.pending p, webhooks.intents i, unnest(i.endpoint_ids, i.delivery_ids, i.attempts) u(endpoint_id, delivery_id, attempt)
          WHERE p.endpoint_id = d.endpoint_id AND p.delivery_id = d.delivery_id AND d.delivery_id = ANY (i.delivery_ids)
            AND u.endpoint_id = p.endpoint_id AND u.delivery_id = p.delivery_id AND u.attempt = p.started + 1)
       END AS delivering_since
  FROM webhooks.deliveries d LEFT JOIN webhooks.endpoints e USING (endpoint_id);
COMMENT ON COLUMN webhooks.delivery_history.next_attempt_at IS 'NULL: it is over, or goes at once, or not before its endpoint is enabled. A time that has passed is due now.';
COMMENT ON COLUMN webhooks.delivery_history.delivering_since IS 'A request is under way since then; NULL: none is.';

ALTER TABLE webhooks.access_trail DROP CONSTRAINT access_trail_action_is_known, ADD CONSTRAINT access_trail_action_is_known CHECK (
  action IN ('key.created', 'key.revoked', 'link.minted', 'link.revoked', 'session.started', 'session.replaced', 'session.ended',
    'session.revoked', 'sending.paused', 'sending.resumed', 'relay.drained', 'relay.undrained', 'rebuild.started',
    'delivery.retried', 'delivery.requested', 'test.sent', 'recovery.started', 'recovery.cancelled'));
COMMENT ON TABLE webhooks.access_trail IS 'Append-only, for 400 days: who made, used and ended which key, link or session, what customers had sent again, and what operators ordered. Written by the transaction that does it.';
COMMENT ON COLUMN webhooks.access_trail.subject_id IS 'The key, link, session, pause, relay or rebuild; the endpoint of what was sent.';

-- Who acts for a company writes its lines, and reads none: the pages and the API ask package access.
SELECT webhooks.isolate('webhooks.access_trail');
GRANT INSERT ON webhooks.access_trail TO webhooks_tenant;

CREATE FUNCTION webhooks.tell_trail(action text, endpoint uuid, actor text, detail jsonb) RETURNS void
LANGUAGE sql
AS $$
  INSERT INTO webhooks.access_trail (company_id, action, subject_id, actor, detail)
  SELECT e.company_id, tell_trail.action, e.endpoint_id, tell_trail.actor, tell_trail.detail
    FROM webhooks.endpoints e WHERE e.endpoint_id = endpoint
$$;
REVOKE ALL ON FUNCTION webhooks.tell_trail FROM PUBLIC;
GRANT EXECUTE ON FUNCTION webhooks.tell_trail TO webhooks_relay, webhooks_tenant;
COMMENT ON FUNCTION webhooks.tell_trail IS 'A line of the trail of the endpoint''s company, with the caller''s rights.';

-- +goose Down
DROP FUNCTION webhooks.tell_trail;
REVOKE INSERT ON webhooks.access_trail FROM webhooks_tenant;
DROP POLICY tenant_sees_its_own ON webhooks.access_trail;
DROP POLICY relay_sees_all ON webhooks.access_trail;
ALTER TABLE webhooks.access_trail DISABLE ROW LEVEL SECURITY;
ALTER TABLE webhooks.access_trail DROP CONSTRAINT access_trail_action_is_known, ADD CONSTRAINT access_trail_action_is_known CHECK (
  action IN ('key.created', 'key.revoked', 'link.minted', 'link.revoked', 'session.started', 'session.replaced', 'session.ended',
    'session.revoked', 'sending.paused', 'sending.resumed', 'relay.drained', 'relay.undrained', 'rebuild.started')) NOT VALID;
COMMENT ON TABLE webhooks.access_trail IS 'Append-only, for 400 days: who made, used and ended which key, link or session, and what operators ordered. Written by the transaction that does it.';
COMMENT ON COLUMN webhooks.access_trail.subject_id IS 'The key, link, session, pause, relay or rebuild.';
DROP VIEW webhooks.delivery_history;
CREATE VIEW webhooks.delivery_history AS
SELECT d.delivery_id, d.event_id, d.endpoint_id, d.company_id, d.event_type,
       CASE WHEN d.state IN ('pending', 'retrying') AND e.state = 'disabled' AND d.trigger <> 'test' THEN 'held' ELSE d.state END AS state,
       d.trigger, d.generation, d.attempts, d.created_at, d.first_attempt_at, d.last_attempt_at, d.next_attempt_at,
       d.finished_at, d.last_status, d.last_reason, d.last_total_us
  FROM webhooks.deliveries d LEFT JOIN webhooks.endpoints e USING (endpoint_id);
COMMENT ON VIEW webhooks.delivery_history IS 'One event for one endpoint, and where it stands.';
COMMENT ON COLUMN webhooks.delivery_history.state IS 'pending, retrying, held (the endpoint is disabled), delivered, exhausted or cancelled.';
COMMENT ON COLUMN webhooks.delivery_history.attempts IS 'Completed attempts of this generation, of at most six.';
COMMENT ON COLUMN webhooks.delivery_history.generation IS 'Counts manual replays; 1 is the first.';
COMMENT ON COLUMN webhooks.delivery_history.last_total_us IS 'How long the last attempt took, in microseconds; NULL when nobody knows.';
REVOKE ALL ON webhooks.delivery_history FROM webhooks_relay;
GRANT SELECT ON webhooks.delivery_history TO webhooks_app, webhooks_relay;
ALTER TABLE webhooks.replays DROP COLUMN asked_at, DROP COLUMN actor;
COMMENT ON TABLE webhooks.replays IS 'The latest generation of each delivery that was ever replayed by hand. The pending row that bears it goes when it is over, maybe before the history has heard of it.';
DROP FUNCTION webhooks.attempts_under_way, webhooks.next_attempt_at;
