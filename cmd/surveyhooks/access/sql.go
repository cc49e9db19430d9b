package access

// A caller's reach is two parameters, as in package endpoint: ($n OR company_id = $m). Statements that find a row by its
// token have none: the token's row is what says which company it is. Each statement that changes something writes the
// trail itself, so that neither can happen without the other.
const (
	// The last parameters of every change: $1 actor, $2 ip, $3 user agent.
	tell = `INSERT INTO webhooks.access_trail (actor, ip, user_agent, company_id, action, subject_id, detail)
SELECT $1, $2::text::inet, $3, `

	keyColumns = `key_id, company_id, role, name, created_by, created_at, expires_at, last_used_at, revoked_at`

	insertKey = `WITH made AS (
  INSERT INTO webhooks.api_keys (company_id, role, name, token_hash, created_by, expires_at)
  VALUES ($4, $5, $6, $7, $1, clock_timestamp() + $8 * interval '1 microsecond')
  RETURNING ` + keyColumns + `
), told AS (
  ` + tell + `company_id, 'key.created', key_id, jsonb_build_object('name', name, 'role', role, 'expires_at', expires_at) FROM made
)
SELECT ` + keyColumns + ` FROM made`

	listKeys = `SELECT ` + keyColumns + `
  FROM webhooks.api_keys
 WHERE ($1 OR company_id = $2) AND key_id > $3
 ORDER BY key_id
 LIMIT $4`

	revokeKey = `WITH gone AS (
  UPDATE webhooks.api_keys SET revoked_at = clock_timestamp()
   WHERE ($4 OR company_id = $5) AND key_id = $6 AND revoked_at IS NULL
  RETURNING ` + keyColumns + `
)
` + tell + `company_id, 'key.revoked', key_id, jsonb_build_object('name', name, 'role', role) FROM gone`

	liveKey = `token_hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())`

	// The row is written at most once a minute: the second of two requests at once sees the first one's time.
	useKey = `WITH live AS (
  SELECT key_id, company_id, role, name FROM webhooks.api_keys WHERE ` + liveKey + `
), used AS (
  UPDATE webhooks.api_keys k SET last_used_at = clock_timestamp()
    FROM live
   WHERE k.key_id = live.key_id AND (k.last_used_at IS NULL OR k.last_used_at < clock_timestamp() - interval '1 minute')
)
SELECT company_id, role, name FROM live`

	keyLives = `SELECT EXISTS (SELECT FROM webhooks.api_keys WHERE ` + liveKey + `)`

	linkColumns = `link_id, company_id, role, person, landing, created_at, expires_at`

	insertLink = `WITH swept AS (
  DELETE FROM webhooks.portal_links WHERE expires_at < clock_timestamp() - interval '1 day'
), made AS (
  INSERT INTO webhooks.portal_links (company_id, role, person, landing, token_hash, created_by, expires_at)
  VALUES ($4, $5, $6, $7, $8, $1, clock_timestamp() + $9 * interval '1 microsecond')
  RETURNING ` + linkColumns + `
), told AS (
  ` + tell + `company_id, 'link.minted', link_id,
         jsonb_build_object('person', person, 'role', role, 'landing', landing, 'expires_at', expires_at) FROM made
)
SELECT ` + linkColumns + ` FROM made`

	// Of two uses at once the second waits for the first one's row, and then finds it used. The trail names the person as
	// the actor: whoever holds the link is taken to be them. The session that it replaces may be another company's, whose
	// trail must not name this person: its own person is the actor there.
	useLink = `WITH swept AS (
  DELETE FROM webhooks.sessions WHERE expires_at < clock_timestamp() - interval '1 day'
), used AS (
  UPDATE webhooks.portal_links SET used_at = clock_timestamp()
   WHERE token_hash = $3 AND used_at IS NULL AND revoked_at IS NULL AND expires_at > clock_timestamp()
  RETURNING ` + linkColumns + `
), replaced AS (
  UPDATE webhooks.sessions s SET revoked_at = clock_timestamp()
    FROM used
   WHERE s.token_hash = $4 AND s.revoked_at IS NULL
  RETURNING s.session_id, s.company_id, s.role, s.person
), started AS (
  INSERT INTO webhooks.sessions (company_id, role, person, token_hash, link_id, idle_limit, expires_at)
  SELECT company_id, role, person, $5, link_id, $6 * interval '1 microsecond', clock_timestamp() + $7 * interval '1 microsecond'
    FROM used
  RETURNING ` + sessionColumns + `
), told AS (
  INSERT INTO webhooks.access_trail (actor, ip, user_agent, company_id, action, subject_id, detail)
  SELECT ` + actorOf + `, $1::text::inet, $2, company_id, action, session_id, jsonb_build_object('person', person, 'role', role) || more
    FROM (SELECT company_id, 'session.started' AS action, session_id, person, role, jsonb_build_object('link_id', link_id) AS more FROM started
          UNION ALL
          SELECT company_id, 'session.replaced', session_id, person, role, '{}' FROM replaced) t
)
SELECT ` + sessionColumns + `, (SELECT landing FROM used) FROM started`

	actorOf = `CASE role WHEN 'operator' THEN 'operator:' ELSE 'portal:' END || person`

	sessionColumns = `session_id, company_id, role, person, link_id, created_at, seen_at, expires_at`

	// One definition of a session that still opens something.
	live = `revoked_at IS NULL AND expires_at > clock_timestamp() AND seen_at + idle_limit > clock_timestamp()`

	useSession = `WITH live AS (
  SELECT session_id, company_id, role, person FROM webhooks.sessions WHERE token_hash = $1 AND ` + live + `
), seen AS (
  UPDATE webhooks.sessions s SET seen_at = clock_timestamp()
    FROM live
   WHERE s.session_id = live.session_id AND s.seen_at < clock_timestamp() - interval '1 minute'
)
SELECT company_id, role, person FROM live`

	sessionLives = `SELECT EXISTS (SELECT FROM webhooks.sessions WHERE token_hash = $1 AND ` + live + `)`

	endSession = `WITH gone AS (
  UPDATE webhooks.sessions SET revoked_at = clock_timestamp() WHERE token_hash = $3 AND revoked_at IS NULL
  RETURNING ` + sessionColumns + `
)
INSERT INTO webhooks.access_trail (actor, ip, user_agent, company_id, action, subject_id, detail)
SELECT ` + actorOf + `, $1::text::inet, $2, company_id, 'session.ended', session_id, jsonb_build_object('person', person, 'role', role) FROM gone`

	listSessions = `SELECT ` + sessionColumns + `
  FROM webhooks.sessions
 WHERE ($1 OR company_id = $2) AND session_id > $3 AND ` + live + `
 ORDER BY session_id
 LIMIT $4`

	revokeSession = `WITH gone AS (
  UPDATE webhooks.sessions SET revoked_at = clock_timestamp()
   WHERE ($4 OR company_id = $5) AND session_id = $6 AND ` + live + `
  RETURNING ` + sessionColumns + `
)
` + tell + `company_id, 'session.revoked', session_id, jsonb_build_object('person', person, 'role', role) FROM gone`

	// A link that is still unused would start the next session.
	revokeSessions = `WITH gone AS (
  UPDATE webhooks.sessions SET revoked_at = clock_timestamp()
   WHERE ($4 OR company_id = $5) AND ` + live + `
  RETURNING ` + sessionColumns + `
), links AS (
  UPDATE webhooks.portal_links SET revoked_at = clock_timestamp()
   WHERE ($4 OR company_id = $5) AND used_at IS NULL AND revoked_at IS NULL AND expires_at > clock_timestamp()
  RETURNING ` + linkColumns + `
), told AS (
  ` + tell + `company_id, action, id, jsonb_build_object('person', person, 'role', role)
    FROM (SELECT company_id, 'session.revoked' AS action, session_id AS id, person, role FROM gone
          UNION ALL
          SELECT company_id, 'link.revoked', link_id, person, role FROM links) t
)
SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM links)`

	tellDeed = tell + `NULL, $4::text, $5::uuid, $6::jsonb`

	// A page of access_trail_by_company, or of the primary key for an operator, newest first.
	listTrail = `SELECT position, company_id, happened_at, action, subject_id, actor, detail, coalesce(host(ip), ''), user_agent
  FROM webhooks.access_trail
 WHERE ($1 OR company_id = $2) AND ($3 = 0 OR position < $3)
 ORDER BY position DESC
 LIMIT $4`
)
