package endpoint

// In every statement a scope is two parameters: ($n OR company_id = $m).
const (
	columns = `endpoint_id, company_id, url, description, event_types, state, state_reason, state_since, state_actor,
       version, created_at, updated_at`

	insertEndpoint = `INSERT INTO webhooks.endpoints (company_id, url, description, event_types, state_actor)
VALUES ($1, $2, $3, $4, $5)
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

	updateEndpoint = `UPDATE webhooks.endpoints
   SET url = $3, description = $4, event_types = $5, version = version + 1, updated_at = clock_timestamp()
 WHERE endpoint_id = $1 AND company_id = $2
RETURNING ` + columns

	setState = `UPDATE webhooks.endpoints
   SET state = $3, state_reason = $4, state_actor = $5, state_since = clock_timestamp(),
       version = version + 1, updated_at = clock_timestamp()
 WHERE endpoint_id = $1 AND company_id = $2
RETURNING ` + columns

	// Whoever enables an endpoint wants it tried now, and judged by what it does from now on.
	resetLane = `UPDATE webhooks.lanes SET breaker = 'closed', not_before = NULL, failing_since = NULL WHERE endpoint_id = $1`

	disableByRelay = `UPDATE webhooks.endpoints
   SET state = 'disabled', state_reason = $2, state_actor = 'relay', state_since = clock_timestamp(),
       version = version + 1, updated_at = clock_timestamp()
 WHERE endpoint_id = $1 AND state = 'enabled' AND deleted_at IS NULL
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

	bumpVersion = `UPDATE webhooks.endpoints SET version = version + 1, updated_at = clock_timestamp()
 WHERE endpoint_id = $1 AND company_id = $2
RETURNING ` + columns

	// The current secret signs on for the overlap; one that was already on its way out ends now: two at most.
	expireSecrets = `UPDATE webhooks.endpoint_secrets
   SET expires_at = CASE WHEN expires_at IS NULL THEN clock_timestamp() + $2 * interval '1 microsecond' ELSE clock_timestamp() END
 WHERE endpoint_id = $1 AND (expires_at IS NULL OR expires_at > clock_timestamp())`

	//nolint:gosec // as above
	insertSecret = `INSERT INTO webhooks.endpoint_secrets (endpoint_id, version, secret)
SELECT $1, coalesce(max(version), 0) + 1, $2 FROM webhooks.endpoint_secrets WHERE endpoint_id = $1`

	loadConfigs = `SELECT e.endpoint_id, e.company_id, e.url, e.state, e.version,
       ARRAY(SELECT s.secret FROM webhooks.endpoint_secrets s
              WHERE s.endpoint_id = e.endpoint_id AND (s.expires_at IS NULL OR s.expires_at > clock_timestamp())
              ORDER BY s.version DESC),
       (SELECT min(s.expires_at) FROM webhooks.endpoint_secrets s
         WHERE s.endpoint_id = e.endpoint_id AND s.expires_at > clock_timestamp())
  FROM webhooks.endpoints e
 WHERE e.endpoint_id = ANY ($1::uuid[]) AND e.deleted_at IS NULL`

	notify = `SELECT pg_notify('webhooks_lanes', $1)`
)
