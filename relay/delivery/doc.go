// Package delivery lets a person send a delivery again, or an event that an endpoint was never sent.
//
// It owns the manual retry: pulling the next attempt of a live delivery forward, and starting a new generation of one
// that is over; and the request, which makes the delivery that the fan-out has not made. It promises that a second click
// does nothing more, that the event keeps its id and its bytes (first_attempt_at is kept, and with it
// metadata.delivered_at), that attempts are numbered on over all generations, that an event never gets two deliveries for
// an endpoint, and that nobody reaches another company's. It owns webhooks.replays and webhooks.requested_deliveries, and
// is the only writer of webhooks.pending besides fan-out, the recorder, and the deletion of an endpoint.
//
// It never sends anything itself, and never reads the history: the caller says what the history knows of the delivery.
//
// # State
//
//	pending, retrying ──Retry──▶ due now (same generation), or when the breaker lets it pass
//	any, of a disabled endpoint ──Retry──▶ *HeldError
//	delivered, exhausted ──Retry──▶ pending (generation + 1), with the fact delivery.replayed
//	cancelled ──Retry──▶ *CancelledError
//	(none) ──Request──▶ pending (generation 1), with the fact delivery.requested
//
// # Failure handling
//
// Every typed error changed nothing. The caller's history may lag behind the journal: a delivery that has a row in
// webhooks.pending is treated as live, whatever the history says, and one without a row that the history calls live
// has just ended and is refused with *BehindError, to be asked for again a moment later. An event is only requested once
// the history has its fan-out; a request that the history has not heard of is known by webhooks.requested_deliveries.
package delivery
