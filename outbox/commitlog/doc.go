// Package commitlog reads the two logs of the schema, outbox and journal, in commit order and a page at a time, through
// Watermill's SQL subscriber and its own extension points.
//
// It owns the tables cursors and quarantine. It promises that every row of a committed transaction is handled exactly
// once per consumer group by an Apply that writes to PostgreSQL, whatever crashes; that no reader waits for somebody
// else's open transaction; that an idle reader burns no transaction id; and that a row which cannot be handled is set
// aside with its reason while the rows around it flow on. It never runs anything slow inside a reader's transaction:
// Apply is SQL, and milliseconds.
//
// # State
//
// A cursor is a window between two snapshots and a place inside it:
//
//	drained ──new commits──▶ window open ──page applied──▶ further inside ──last page──▶ drained
//	   ▲                                                                                   │
//	   └──────────────────────── from_snapshot := to_snapshot ─────────────────────────────┘
//
// A page is the rows visible in to_snapshot and not in from_snapshot, after the place, by (transaction_id, position). A
// transaction that was still running when the window was opened is picked up by the first window after its end.
//
// # Failure handling
//
// Apply and the cursor's move share one transaction, so both are committed or neither. An error that lies in the data
// (SQLSTATE classes 22, 23 and P0001) brings the page back row by row, and quarantines the rows that fail. Any other
// error (a lost connection, a deadlock, a shutdown, a fault of our own) rolls back and reads the page again, later and
// later, up to 5 s. A process that dies frees its advisory lock, and another reader goes on from the committed cursor.
//
// After a restore into another cluster transaction ids mean nothing any more: the reader notices the cluster's new
// identifier, when it starts and under way, gives the restored rows ids that this cluster can order, and reads the log
// again from its first row. Consumers must therefore apply a row they have seen before without effect; fan-out and
// projections do.
package commitlog
