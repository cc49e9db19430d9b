package endpoint

// In every statement a scope is two parameters: ($n OR company_id = $m).
const (
	columns = `endpoint_id, company_id, url, description, event_types, state, state_reason, state_note, state_since, state_actor,
       rate_limit, version, created_at, updated_at,
       ARRAY(SELECT h.name FROM webhooks.endpoint_headers h WHERE h.endpoint_id = endpoints.endpoint_id ORDER BY lower(h.name))`

	insertEndpoint = `INSERT INTO webhooks.endpoints (company_id, url, description, event_types, rate_limit, state_actor, endpoint_id)
VALUES ($1, $2, $3, $4, $5, $6, coalesce($7, webhooks.uuid_v7()))
RETURNING ` + columns

	insertLane = `INSERT INTO webhooks.lanes (endpoint_id) VALUES ($1)`

	selectEndpoint = `SELECT ` + columns + `
  FROM webhooks.endpoints
 WHERE endpoint_id = $1 AND ($2 OR company_id = $3) AND deleted_at IS NULL`

	// No stronger lock: inserts that refer to the endpoint need not wait.
	lockEndpoint = selectEndpoint + `
   FOR NO KEY UPDATE`

	// A page of the index endpoint_by_company, or of the primary key for the operator; ids are in order of creation.
	listEndpoints = `SELECT ` + columns + `
  FROM webhooks.endpoints
 WHERE ($1 OR company_id = $2) AND deleted_at IS NULL AND endpoint_id > $3
   AND ($4 = '' OR state = $4)
   AND ($5 = '' OR strpos(lower(url || ' ' || description || ' ' || endpoint_id), lower($5)) > 0)
 ORDER BY endpoint_id
 LIMIT $6`

	// Two requests of one company that name the same URL must see each other.
	lockURLs = `SELECT pg_advisory_xact_lock(hashtextextended('webhooks.endpoint_urls/' || $1::uuid::text, 0))`

	urlTaken = `SELECT EXISTS (
  SELECT FROM webhooks.endpoints WHERE company_id = $1 AND url = $2 AND endpoint_id <> $3 AND deleted_at IS NULL)`

	countEndpoints = `SELECT count(*) FROM webhooks.endpoints WHERE company_id = $1 AND deleted_at IS NULL`

	updateEndpoint = `UPDATE webhooks.endpoints
   SET url = $3, description = $4, event_types = $5, rate_limit = $6, version = version + 1, updated_at = clock_timestamp()
 WHERE endpoint_id = $1 AND company_id = $2
RETURNING ` + columns

	setState = `UPDATE webhooks.endpoints
   SET state = $3, state_reason = $4, state_note = $5, state_actor = $6, state_since = clock_timestamp(),
       version = version + 1, updated_at = clock_timestamp()
 WHERE endpoint_id = $1 AND company_id = $2
RETURNING ` + columns

	// Whoever enables an endpoint wants it tried now, and judged by what it does from now on.
	resetLane = `UPDATE webhooks.lanes SET breaker = 'closed', not_before = NULL, failing_since = NULL WHERE endpoint_id = $1`

	disableByRelay = `UPDATE webhooks.endpoints
   SET state = 'disabled', state_reason = $2, state_note = '', state_actor = 'relay', state_since = clock_timestamp(),
       version = version + 1, updated_at = clock_timestamp()
 WHERE endpoint_id = $1 AND version = $3 AND state = 'enabled' AND deleted_at IS NULL
RETURNING ` + columns

	deleteEndpoint = `UPDATE webhooks.endpoints
   SET deleted_at = clock_timestamp(), version = version + 1, updated_at = clock_timestamp()
 WHERE endpoint_id = $1 AND company_id = $2
RETURNING ` + columns

	deleteSecrets = `DELETE FROM webhooks.endpoint_secrets WHERE endpoint_id = $1` //nolint:gosec // the name of a table is no secret

	// One statement, so that a backlog of any size never passes through this process. The body is fact.Delivery.
	insertCancelled = `INSERT INTO webhooks.journal (fact, version, company_id, data)
SELECT $1, $2, e.company_id, json_build_object('delivery_id', g.delivery_id, 'endpoint_id', g.endpoint_id,
         'event_id', g.event_id, 'generation', g.generation, 'state', $3::text, 'actor', $4::text, 'reason', $5::text)
  FROM gone g JOIN webhooks.endpoints e USING (endpoint_id)
 ORDER BY g.delivery_id`

	cancelPending = `WITH gone AS (
  DELETE FROM webhooks.pending WHERE endpoint_id = $6 RETURNING delivery_id, endpoint_id, event_id, generation
)
` + insertCancelled

	cancelStranded = `WITH gone AS (
  DELETE FROM webhooks.pending p USING webhooks.endpoints d
   WHERE d.endpoint_id = p.endpoint_id AND d.deleted_at IS NOT NULL
  RETURNING p.delivery_id, p.endpoint_id, p.event_id, p.generation
)
` + insertCancelled

	tellTrail = `SELECT webhooks.tell_trail($1, $2, $3, $4)`

	bumpVersion = `UPDATE webhooks.endpoints SET version = version + 1, updated_at = clock_timestamp()
 WHERE endpoint_id = $1 AND company_id = $2
RETURNING ` + columns

	// The current secret signs on for the overlap; one that was already on its way out ends now: two at most.
	expireSecrets = `UPDATE webhooks.endpoint_secrets
   SET expires_at = CASE WHEN expires_at IS NULL THEN clock_timestamp() + $2 * interval '1 microsecond' ELSE clock_timestamp() END
 WHERE endpoint_id = $1 AND (expires_at IS NULL OR expires_at > clock_timestamp())`

	// What has expired signs nothing any more, and is not kept.
	eraseExpired = `DELETE FROM webhooks.endpoint_secrets WHERE endpoint_id = $1 AND expires_at <= clock_timestamp()`

	//nolint:gosec // as above
	lastSecret = `SELECT coalesce(max(version), 0) FROM webhooks.endpoint_secrets WHERE endpoint_id = $1`

	//nolint:gosec // as above
	insertSecret = `INSERT INTO webhooks.endpoint_secrets (endpoint_id, version, sealed, key_id) VALUES ($1, $2, $3, $4)`

	headerSizes = `SELECT name, octet_length(sealed) FROM webhooks.endpoint_headers WHERE endpoint_id = $1`

	setHeader = `INSERT INTO webhooks.endpoint_headers (endpoint_id, name, version, sealed, key_id) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (endpoint_id, lower(name)) DO UPDATE
   SET name = excluded.name, version = excluded.version, sealed = excluded.sealed, key_id = excluded.key_id`

	removeHeader = `DELETE FROM webhooks.endpoint_headers WHERE endpoint_id = $1 AND lower(name) = lower($2)`

	deleteHeaders = `DELETE FROM webhooks.endpoint_headers WHERE endpoint_id = $1`

	// One statement, so that an endpoint's secrets and headers are of one moment. A key_id of '' is a secret from before
	// there were keys.
	loadConfigs = `SELECT e.endpoint_id, e.company_id, e.url, e.state, e.version, coalesce(e.rate_limit, 0), s.versions, s.key_ids, s.sealed, s.until,
       h.names, h.versions, h.key_ids, h.sealed
  FROM webhooks.endpoints e
 CROSS JOIN LATERAL (
   SELECT coalesce(array_agg(version ORDER BY version DESC), '{}') AS versions,
          coalesce(array_agg(coalesce(key_id, '') ORDER BY version DESC), '{}') AS key_ids,
          coalesce(array_agg(sealed ORDER BY version DESC), '{}') AS sealed, min(expires_at) AS until
     FROM webhooks.endpoint_secrets
    WHERE endpoint_id = e.endpoint_id AND (expires_at IS NULL OR expires_at > clock_timestamp())
 ) s
 CROSS JOIN LATERAL (
   SELECT coalesce(array_agg(name ORDER BY name), '{}') AS names,
          coalesce(array_agg(version ORDER BY name), '{}') AS versions,
          coalesce(array_agg(key_id ORDER BY name), '{}') AS key_ids, coalesce(array_agg(sealed ORDER BY name), '{}') AS sealed
     FROM webhooks.endpoint_headers
    WHERE endpoint_id = e.endpoint_id
 ) h
 WHERE e.endpoint_id = ANY ($1::uuid[]) AND e.deleted_at IS NULL`

	// A page of sealed values in the order of the table's key, from where the last one ended ($1, $2), less those that the
	// key $3 seals. $4: only what was never sealed.
	selectSecrets = `SELECT e.company_id, s.endpoint_id, s.version, s.version::text, '', coalesce(s.key_id, ''), s.sealed
  FROM webhooks.endpoint_secrets s JOIN webhooks.endpoints e USING (endpoint_id)
 WHERE (s.endpoint_id, s.version) > ($1, $2::text::integer) AND s.key_id IS DISTINCT FROM $3 AND (s.key_id IS NULL OR NOT $4)
   AND (s.expires_at IS NULL OR s.expires_at > clock_timestamp())
 ORDER BY s.endpoint_id, s.version LIMIT $5`

	selectHeaders = `SELECT e.company_id, h.endpoint_id, h.version, h.name AS part, h.name, h.key_id, h.sealed
  FROM webhooks.endpoint_headers h JOIN webhooks.endpoints e USING (endpoint_id)
 WHERE (h.endpoint_id, h.name) > ($1, $2::text) AND h.key_id <> $3 AND NOT $4
 ORDER BY h.endpoint_id, h.name LIMIT $5`

	// The row locks make a page wait for whoever changes one of its rows. A row that another rotation has sealed
	// meanwhile no longer fits, and is left out.
	lockSecrets = selectSecrets + `
   FOR UPDATE OF s`
	lockHeaders = selectHeaders + `
   FOR UPDATE OF h`

	resealSecrets = `UPDATE webhooks.endpoint_secrets s SET sealed = u.sealed, key_id = $4
  FROM unnest($1::uuid[], $2::text[], $3::bytea[]) u(endpoint_id, part, sealed)
 WHERE s.endpoint_id = u.endpoint_id AND s.version = u.part::integer`

	resealHeaders = `UPDATE webhooks.endpoint_headers h SET sealed = u.sealed, key_id = $4
  FROM unnest($1::uuid[], $2::text[], $3::bytea[]) u(endpoint_id, part, sealed)
 WHERE h.endpoint_id = u.endpoint_id AND h.name = u.part`

	eraseAllExpired = `DELETE FROM webhooks.endpoint_secrets WHERE expires_at <= clock_timestamp()`

	// The first bytes of a value tell which key sealed it.
	usedKeys = `SELECT DISTINCT key_id, substring(sealed FOR 9) FROM webhooks.endpoint_secrets
 WHERE key_id IS NOT NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())
UNION
SELECT DISTINCT key_id, substring(sealed FOR 9) FROM webhooks.endpoint_headers
 ORDER BY 1, 2`

	notify = `SELECT pg_notify('webhooks_lanes', $1)`
)
