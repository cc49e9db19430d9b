// Package retry is the schedule of retries: how long after a failed attempt the
// next one is due, and when there is none.
//
// It owns the arithmetic of the seed's "up to 5 times with exponential backoff"
// (6 attempts; 10 s, 1 min, 6 min, 36 min, 3 h 36 min), of its jitter and of
// the Retry-After header.
//
// It promises that a delay is never shorter than the schedule says and never
// longer than 30 days, whatever a receiver answers or a configuration holds.
//
// It never reads a clock, draws a random number or judges a response: callers
// hand these in, so every result can be computed again from its inputs.
package retry
