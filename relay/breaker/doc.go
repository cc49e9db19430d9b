// Package breaker is one endpoint's circuit breaker: after five consecutive
// faults of the endpoint it stops the attempts, waits, and lets one probe tell
// whether they may go on.
//
// It owns the three states, the time until which an open breaker stays open,
// and the single probe. Counting and the probe's slot are gobreaker's; the
// clock and what survives a restart are this package's.
//
//	          5 EndpointFaults in a row
//	closed ────────────────────────────▶ open ◀─────────────┐
//	  ▲                                   │                 │
//	  │ probe: Success     OpenUntil passed, and Allow      │
//	  │                                   ▼                 │
//	  └────────────────────────────── half_open ────────────┘
//	                                      probe: EndpointFault
//
// It promises that a [Snapshot] restored elsewhere keeps to the same deadline,
// that an Excluded verdict moves no state and no count, and that the change
// hook runs in order and under no lock.
//
// It never sends, stores, sleeps for the open period or judges a response.
//
// # Failure handling
//
// A permit that is never returned holds the probe's slot for ever, so callers
// write
//
//	permit, err := b.Allow()
//	if err != nil { … }
//	defer permit.Done(breaker.Excluded)
//
// first: a panic and runtime.Goexit then free the slot, and an earlier Done
// with the real verdict wins. A probe that hangs blocks the lane as long as it
// hangs; the 30 s limit of an attempt is what bounds it.
package breaker
