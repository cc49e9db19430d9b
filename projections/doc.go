// Package projections makes the history of events, deliveries, attempts and endpoints from the journal alone, and
// answers what people ask of it.
//
// It owns the tables events, deliveries, attempts, endpoint_slots and endpoint_changes, and delivery_feed beside them,
// which only says what has just changed. It promises that the history is a function of the journal: a page is applied in
// the transaction that moves the cursor, applying any page again changes nothing, and how the journal is cut into pages
// never shows (Rebuild proves it). It promises that every question of a company is a stretch of an index, whatever it
// asks (a test looks at the plans). It reads only what relay and outbox left in the database and never imports the
// relay; it never sends anything and never moves a live delivery.
//
// A delivery's row follows its facts:
//
//	event.fanned_out ──▶ pending ──attempt.*──▶ retrying ──attempt.*──▶ delivered │ exhausted │ cancelled
//	                        ▲                                              │
//	                        └──────── delivery.replayed: generation + 1 ───┘
//
// # Failure handling
//
// A fact that cannot be applied is quarantined by commitlog, row by row, and counted by Audit. Facts with an unknown
// name or version are passed over: a newer build rebuilds them. Facts that retention has dropped cannot be rebuilt, and
// Rebuild then leaves the rows of that time as they are.
package projections
