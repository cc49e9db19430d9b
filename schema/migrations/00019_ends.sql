-- What had no end gets one: the trail of access. And the tokens that customers put into URLs leave the last view.

-- +goose Up

-- Names and addresses of persons are kept as long as questions about them come, and no longer. The trigger holds for the
-- owner too: what is younger stays, whoever asks.
DROP TRIGGER access_trail_is_append_only ON webhooks.access_trail;
CREATE TRIGGER access_trail_is_append_only BEFORE UPDATE OR TRUNCATE ON webhooks.access_trail
  FOR EACH STATEMENT EXECUTE FUNCTION webhooks.refuse_change();
CREATE TRIGGER access_trail_is_kept_400_days BEFORE DELETE ON webhooks.access_trail
  FOR EACH ROW WHEN (old.happened_at >= now() - interval '400 days') EXECUTE FUNCTION webhooks.refuse_change();

-- The oldest entries alone are looked at, so that a call is short, however long the trail is. Nobody is granted a DELETE.
CREATE FUNCTION webhooks.prune_access_trail() RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = ''
AS $$
  WITH gone AS (
    DELETE FROM webhooks.access_trail t
     USING (SELECT position FROM webhooks.access_trail ORDER BY position LIMIT 10000) oldest
     WHERE t.position = oldest.position AND t.happened_at < now() - interval '400 days'
    RETURNING t.position
  )
  SELECT count(*) FROM gone
$$;
REVOKE ALL ON FUNCTION webhooks.prune_access_trail FROM PUBLIC;
COMMENT ON FUNCTION webhooks.prune_access_trail IS 'Deletes what is older than 400 days from the 10 000 oldest entries of the trail; returns how many. Call it until it returns 0.';
COMMENT ON TABLE webhooks.access_trail IS 'Append-only, for 400 days: who made, used and ended which key, link or session, and what operators ordered. Written by the transaction that does it.';

-- As package wire masks a query: the survey app, which reads this view, may not change an endpoint.
CREATE OR REPLACE VIEW webhooks.endpoint_health AS
SELECT e.endpoint_id, e.company_id,
       CASE WHEN e.url ~ '[?].' THEN
         split_part(e.url, '?', 1) || '?' || regexp_replace(substr(e.url, strpos(e.url, '?') + 1), '(^|&)([^=&]*=)?[^&]*', '\1\2***', 'g')
       ELSE e.url END AS url, e.state, e.state_reason, e.state_since, l.breaker, l.not_before, l.failing_since,
       coalesce(h.succeeded, 0) AS succeeded_24h, coalesce(h.failed, 0) AS failed_24h, h.mean_ms_24h, h.max_ms_24h
  FROM webhooks.endpoints e
  LEFT JOIN webhooks.lanes l USING (endpoint_id)
  LEFT JOIN LATERAL (
    SELECT sum(b.attempts) FILTER (WHERE b.reason = 'ok')::bigint AS succeeded,
           sum(b.attempts) FILTER (WHERE b.reason NOT IN ('ok', 'interrupted'))::bigint AS failed,
           round(sum(b.total_us) / nullif(sum(b.attempts) FILTER (WHERE b.reason <> 'interrupted'), 0) / 1000.0, 1) AS mean_ms_24h,
           round(max(b.max_us) / 1000.0, 1) AS max_ms_24h
      FROM webhooks.endpoint_slots b
     WHERE b.endpoint_id = e.endpoint_id AND b.minutes = 5 AND b.slot > now() - interval '24 hours'
  ) h ON true
 WHERE e.deleted_at IS NULL;

-- +goose Down
CREATE OR REPLACE VIEW webhooks.endpoint_health AS
SELECT e.endpoint_id, e.company_id, e.url, e.state, e.state_reason, e.state_since, l.breaker, l.not_before, l.failing_since,
       coalesce(h.succeeded, 0) AS succeeded_24h, coalesce(h.failed, 0) AS failed_24h, h.mean_ms_24h, h.max_ms_24h
  FROM webhooks.endpoints e
  LEFT JOIN webhooks.lanes l USING (endpoint_id)
  LEFT JOIN LATERAL (
    SELECT sum(b.attempts) FILTER (WHERE b.reason = 'ok')::bigint AS succeeded,
           sum(b.attempts) FILTER (WHERE b.reason NOT IN ('ok', 'interrupted'))::bigint AS failed,
           round(sum(b.total_us) / nullif(sum(b.attempts) FILTER (WHERE b.reason <> 'interrupted'), 0) / 1000.0, 1) AS mean_ms_24h,
           round(max(b.max_us) / 1000.0, 1) AS max_ms_24h
      FROM webhooks.endpoint_slots b
     WHERE b.endpoint_id = e.endpoint_id AND b.minutes = 5 AND b.slot > now() - interval '24 hours'
  ) h ON true
 WHERE e.deleted_at IS NULL;
COMMENT ON TABLE webhooks.access_trail IS 'Append-only: who made, used and ended which key, link or session. Written by the statement that does it.';
DROP FUNCTION webhooks.prune_access_trail;
DROP TRIGGER access_trail_is_kept_400_days ON webhooks.access_trail;
DROP TRIGGER access_trail_is_append_only ON webhooks.access_trail;
CREATE TRIGGER access_trail_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON webhooks.access_trail
  FOR EACH STATEMENT EXECUTE FUNCTION webhooks.refuse_change();
