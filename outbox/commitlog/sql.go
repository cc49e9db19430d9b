package commitlog

import "strings"

// For each topic the same statement with its own name in it: the names of functions and tables are no parameters.
func (t Topic) sql(text string) string { return strings.ReplaceAll(text, "{topic}", string(t)) }

const (
	// Asked with every page, not once for a connection: one that was lost is replaced without a word, wherever its successor
	// leads.
	selectPage = `SELECT from_snapshot::text, to_snapshot::text, after_xid::text, after_position,
       until_xid::text, until_position, row_count, since::text, until::text,
       EXISTS (SELECT FROM webhooks.cursors c, pg_control_system() s
                WHERE c.topic = '{topic}' AND c.consumer_group = $1 AND c.system_identifier <> s.system_identifier)
  FROM webhooks.{topic}_page($1, $2)`

	// A short page ends its window: what was committed since is the next one. The guard makes a second move of the same
	// page a no-op.
	moveCursor = WithCommit + `UPDATE webhooks.cursors
   SET from_snapshot  = CASE WHEN $5 THEN $2::pg_snapshot ELSE from_snapshot END,
       to_snapshot    = CASE WHEN $5 THEN NULL ELSE $2::pg_snapshot END,
       after_xid      = CASE WHEN $5 THEN '0'::xid8 ELSE $3::xid8 END,
       after_position = CASE WHEN $5 THEN 0 ELSE $4::bigint END
 WHERE topic = '{topic}' AND consumer_group = $1
   AND from_snapshot::text = $6 AND (after_xid, after_position) = ($7::xid8, $8::bigint)`

	addCursor = `INSERT INTO webhooks.cursors (topic, consumer_group, from_snapshot, system_identifier)
SELECT '{topic}', $1, '1:1:', system_identifier FROM pg_control_system()
ON CONFLICT DO NOTHING`

	pageKeys = `SELECT transaction_id::text, position FROM webhooks.{topic}_rows($1, $2, $3, $4, $5, $6, $7, $8)
 ORDER BY transaction_id, position`

	quarantineRow = `INSERT INTO webhooks.quarantine (topic, consumer_group, transaction_id, position, reason, content)
SELECT '{topic}', $9, r.transaction_id, r.position, $10, row_to_json(r)
  FROM webhooks.{topic}_rows($1, $2, $3, $4, $5, $6, $7, $8) r
ON CONFLICT DO NOTHING`

	// One line for each fact: encoded JSON has no line feed of its own, and lines need no escaping, which array elements do.
	appendFacts = `INSERT INTO webhooks.journal (fact, version, company_id, data)
SELECT f.fact, f.version::smallint, nullif(f.company_id, '')::uuid, f.data::json
  FROM unnest(string_to_array($1, E'\n'), string_to_array($2, E'\n'), string_to_array($3, E'\n'), string_to_array($4, E'\n'))
         WITH ORDINALITY f(fact, version, company_id, data, n)
 ORDER BY f.n`

	touchLog = `SELECT FROM webhooks.{topic} LIMIT 0`

	savepoint         = `SAVEPOINT page`
	rollbackSavepoint = `ROLLBACK TO SAVEPOINT page`
	releaseSavepoint  = `RELEASE SAVEPOINT page`

	// Asleep, or beside another sleeper: a shared lock is refused only while somebody holds it exclusively; producers,
	// who hold it shared, leave both false.
	tryDoorbell = `SELECT l.asleep,
       CASE WHEN l.asleep THEN false
            WHEN pg_try_advisory_lock_shared(l.key) THEN NOT pg_advisory_unlock_shared(l.key)
            ELSE true END AS beside
  FROM (SELECT k.key, pg_try_advisory_lock(k.key) AS asleep
          FROM (SELECT hashtextextended('webhooks.doorbell/{topic}', 0) AS key OFFSET 0) k OFFSET 0) l`
	unlockDoorbell = `SELECT pg_advisory_unlock(hashtextextended('webhooks.doorbell/{topic}', 0))`

	// A log may have more rows than can be given new ids within the pool's own limit, and half of them would be none.
	unbounded = `SET LOCAL statement_timeout = 0`

	lockForeignCursor = `SELECT 1 FROM webhooks.cursors, pg_control_system() s
 WHERE topic = '{topic}' AND consumer_group = $1 AND cursors.system_identifier <> s.system_identifier
   FOR UPDATE OF cursors`

	// A visible row with an id that this cluster has not reached can only have been restored.
	restampRows = `UPDATE webhooks.{topic} SET transaction_id = pg_current_xact_id()
 WHERE transaction_id >= pg_snapshot_xmax(pg_current_snapshot())`

	restampEventIDs = `UPDATE webhooks.event_ids i SET transaction_id = o.transaction_id
  FROM webhooks.outbox o
 WHERE o.recorded_at = i.recorded_at AND o.position = i.position AND o.transaction_id <> i.transaction_id`

	rebaseCursor = `UPDATE webhooks.cursors
   SET from_snapshot = '1:1:', to_snapshot = NULL, after_xid = '0', after_position = 0,
       system_identifier = (SELECT system_identifier FROM pg_control_system())
 WHERE topic = '{topic}' AND consumer_group = $1`
)
