// Package lane owns the way from the table of pending deliveries to an endpoint's own Watermill handler: it is a
// message.Subscriber whose topics are endpoint ids.
//
// It promises that a lane emits at most its concurrency of unacked messages; that it reads ahead by index and never
// scans another lane's backlog; that a delivery is in memory at most once; that every attempt's intent is committed
// before its message is emitted; that a lane with a rate limit emits no more than that in any second, whatever triggered
// the attempts; and that a lane whose rate is used up, whose breaker is open, whose endpoint is disabled, or that is
// paused with all others, waits without charging anybody and without a slot. It never writes the table: the Starter commits
// intents and outcomes, or whoever makes the deliveries their first intents (Source.Claim).
//
// Nothing outside this package knows where lanes live.
//
// # State of a lane
//
//	     read or offered        pace, gate, free slot         intent committed            ack
//	pending ───────▶ buffered ───────────────────▶ starting ───────────────────▶ in flight ───▶ over
//	   ▲                │ reset (disabled, enabled, shut)                            │ nack
//	   └────────────────┘                                                           └──▶ emitted again
//
// A Claim goes from offered to starting at once. A claim that failed, and what starts when its lane is closed, is given up:
// pending again once its end is committed.
//
// # Failure handling
//
// A failed read is logged and tried again; nothing is lost, since memory only mirrors the table. A lost wake-up costs
// at most the poll interval. When the process dies, the table and the intents tell the next holder everything.
package lane
