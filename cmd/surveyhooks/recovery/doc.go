// Package recovery sends an endpoint, at a pace, what failed for good there ("recover failed since"), or what it selects and
// was never sent ("send missed events": it was made, enabled, or selected the type afterwards).
//
// It owns the table webhooks.recoveries. It promises that a recovery is counted before it starts, that asking for it
// again with the same key starts nothing, that each delivery is taken once and gets a new generation and a
// delivery.replayed fact with the actor, each missing event one delivery and a delivery.requested fact, that live traffic
// goes first, and that a crash loses no place. It never sends anything itself, and reaches only what the company of its
// request owns.
//
// # State
//
//	        Start
//	          │
//	          ▼          nothing is left
//	 ┌──▶ running ─────────────────────▶ done
//	 │        │
//	 └────────┤ Cancel ────────────────▶ cancelled
//	a page,   │ the endpoint is deleted
//	or a wait └────────────────────────▶ failed
//
// # Failure handling
//
// A page is one transaction: it locks the row of the recovery, appends generations and facts, and moves the place. A
// process that dies leaves the row as it was, unlocked, and any other one goes on. A fault of the database is logged and
// tried again. A recovery waits, and says for what, while its endpoint is disabled, while the breaker is not closed, and
// while more than a few live deliveries are due there.
//
// The history that a page is read from may lag behind a retry by hand, or another recovery, of the same moment. Generations
// are counted live, and requests kept live (package delivery), so that what was sent already is skipped. An event whose
// decision the history has not heard of when a recovery comes to its end is not missing yet.
package recovery
