package retention

import (
	"strconv"
	"strings"
)

const (
	// One pruner at a time, in whatever process.
	tryLock = `SELECT pg_try_advisory_lock(hashtextextended('webhooks.prune', 0))`
	unlock  = `SELECT pg_advisory_unlock(hashtextextended('webhooks.prune', 0))`

	// The journal first, since attempts go with it. What the planner believes of the rows of a day is good enough. Nobody
	// asks what needs a day that is young.
	listPartitions = `SELECT d.log, d.name, d.day, d.bytes, d.rows, d.old,
       CASE WHEN d.old THEN coalesce(webhooks.partition_kept_for(d.log, d.day), '') ELSE '' END
  FROM (SELECT p.relname::text AS log, c.relname::text AS name, u.day, pg_total_relation_size(c.oid) AS bytes,
               CASE WHEN c.reltuples > 0 OR pg_relation_size(c.oid) = 0 THEN greatest(c.reltuples, 0)::bigint END AS rows,
               (u.day + 1)::timestamp AT TIME ZONE 'UTC' <= now() - $1 * interval '1 microsecond' AS old
          FROM pg_class p
          JOIN pg_inherits i ON i.inhparent = p.oid
          JOIN pg_class c ON c.oid = i.inhrelid
         CROSS JOIN LATERAL (SELECT to_date(right(c.relname, 8), 'YYYYMMDD') AS day) u
         WHERE p.relnamespace = 'webhooks'::regnamespace AND p.relname IN ('outbox', 'journal', 'attempts')
           AND c.relname ~ '_\d{8}$') d
 ORDER BY CASE d.log WHEN 'journal' THEN 1 WHEN 'outbox' THEN 2 ELSE 3 END, d.day`

	// Counted to 100 000: whoever has more need not know how many.
	countDefaults = `SELECT (SELECT count(*) FROM (SELECT FROM webhooks.outbox_default LIMIT 100000) o),
       (SELECT count(*) FROM (SELECT FROM webhooks.journal_default LIMIT 100000) j),
       (SELECT count(*) FROM (SELECT FROM webhooks.attempts_default LIMIT 100000) a)`

	prunePartition = `SELECT webhooks.prune_partition($1, $2, $3 * interval '1 microsecond')`

	anythingToSweep = `SELECT EXISTS (SELECT FROM webhooks.retention WHERE NOT swept)`
	markSwept       = `UPDATE webhooks.retention SET swept = true WHERE NOT swept`

	countPages = `SELECT pg_relation_size('webhooks.{table}') / current_setting('block_size')::bigint`

	// A stretch of the table in the order of its pages, so that a pass reads every page once and needs no index that each
	// insert would pay for. The bounds are literals: the planner then knows how few rows there are in between.
	sweepPages = `DELETE FROM webhooks.{table} x WHERE x.ctid >= '({from},0)'::tid AND x.ctid < '({until},0)'::tid
   AND {gone}`

	pruneAccessTrail = `SELECT webhooks.prune_access_trail()`

	// A change of an endpoint is asked for by the decisions that were made under it, and its last one by everybody. So it
	// goes after 400 days, as the trail of access does, when another change had taken its place before the first decision
	// that is kept of its company. A day lies between, since a change that was recorded may have been committed later. That
	// an endpoint was disabled is no longer asked for when it was enabled or disabled again.
	replaced = `x.recorded_at < ` + journalPruned + ` AND EXISTS (SELECT FROM webhooks.endpoint_changes y
     WHERE y.endpoint_id = x.endpoint_id AND y.position > x.position AND y.fact <> 'endpoint.deleted'
       AND (x.fact <> 'endpoint.disabled' OR y.fact IN ('endpoint.disabled', 'endpoint.enabled'))
       AND y.recorded_at < least(now() - interval '400 days',
         (SELECT min(v.fanned_out_at) FROM webhooks.events v WHERE v.company_id = x.company_id) - interval '1 day'))`

	outboxPruned  = `(SELECT r.pruned_until FROM webhooks.retention r WHERE r.log = 'outbox')`
	journalPruned = `(SELECT r.pruned_until FROM webhooks.retention r WHERE r.log = 'journal')`
)

// sweep is a table whose rows go with the days of the logs; gone is true of a row that nothing needs.
type sweep struct{ table, gone string }

// sweeps are in the order in which the rows let go of each other. An event is remembered, and so deduplicated, as long
// as its day of the outbox is there; its decisions, and the requests for it, as long as it is remembered; its deliveries
// as long as its decisions. All that the journal still tells of stays, so that the history can be made again and compared.
func sweeps() []sweep {
	return []sweep{
		{"event_ids", `x.recorded_at < ` + outboxPruned + ` AND NOT EXISTS (SELECT FROM webhooks.outbox o
     WHERE o.recorded_at = x.recorded_at AND o.transaction_id = x.transaction_id AND o.position = x.position)`},
		{"events", `x.fanned_out_at < ` + journalPruned + `
   AND NOT EXISTS (SELECT FROM webhooks.event_ids i WHERE i.event_id = x.event_id)`},
		{"requested_deliveries", `NOT EXISTS (SELECT FROM webhooks.events e WHERE e.event_id = x.event_id)
   AND NOT EXISTS (SELECT FROM webhooks.event_ids i WHERE i.event_id = x.event_id)`},
		{"deliveries", `x.created_at < ` + journalPruned + `
   AND NOT EXISTS (SELECT FROM webhooks.events e WHERE e.event_id = x.event_id)
   AND NOT EXISTS (SELECT FROM webhooks.pending p WHERE p.endpoint_id = x.endpoint_id AND p.delivery_id = x.delivery_id)`},
		{"replays", `NOT EXISTS (SELECT FROM webhooks.deliveries d WHERE d.delivery_id = x.delivery_id)
   AND NOT EXISTS (SELECT FROM webhooks.pending p WHERE p.endpoint_id = x.endpoint_id AND p.delivery_id = x.delivery_id)`},
		{"recoveries", `x.ended_at < ` + journalPruned},
		{"rebuilds", `x.ended_at < ` + journalPruned},
		{"endpoint_changes", replaced},
		{"endpoint_slots", `x.slot < ` + journalPruned},
		{"quarantine", `x.quarantined_at < CASE x.topic WHEN 'outbox' THEN ` + outboxPruned + ` ELSE ` + journalPruned + ` END
   AND NOT EXISTS (SELECT FROM webhooks.outbox o
     WHERE x.topic = 'outbox' AND o.transaction_id = x.transaction_id AND o.position = x.position)
   AND NOT EXISTS (SELECT FROM webhooks.journal j
     WHERE x.topic = 'journal' AND j.transaction_id = x.transaction_id AND j.position = x.position)`},
	}
}

func (s sweep) count() string { return strings.ReplaceAll(countPages, "{table}", s.table) }

func (s sweep) delete(from, until int64) string {
	return strings.NewReplacer("{table}", s.table, "{gone}", s.gone,
		"{from}", strconv.FormatInt(from, 10), "{until}", strconv.FormatInt(until, 10)).Replace(sweepPages)
}
