package retry

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"time"
)

// The defaults of DESIGN section 2.
const (
	defaultRetries       = 5
	defaultFirst         = 10 * time.Second
	defaultFactor        = 6
	defaultJitter        = 0.20
	defaultMaxRetryAfter = 24 * time.Hour
)

const (
	// longest keeps every delay far from overflow and from "never": what is
	// due in more than a month is a mistake and not a plan.
	longest = 30 * 24 * time.Hour
	// mostRetries bounds what a page must list and a delivery may cost.
	mostRetries = 50
)

// Policy is the retry schedule. The zero value of each field means its
// default, so Policy{} is the documented schedule. It is a plain value, safe
// for concurrent use.
type Policy struct {
	// Retries is how many attempts may follow the first; default 5, at most 50.
	Retries int
	// First is the delay before the first retry; default 10 s, at most 30 days.
	First time.Duration
	// Factor multiplies the delay from one retry to the next; default 6, at least 1.
	Factor float64
	// Jitter is the largest share added to a delay, never taken from it;
	// default 0.20, at most 1.
	Jitter float64
	// MaxRetryAfter is the longest wait a receiver may ask for; default 24 h,
	// at most 30 days.
	MaxRetryAfter time.Duration
}

// WithDefaults is the schedule with every value that it is computed from.
func (p Policy) WithDefaults() Policy {
	p.Retries = cmp.Or(p.Retries, defaultRetries)
	p.First = cmp.Or(p.First, defaultFirst)
	p.Factor = cmp.Or(p.Factor, defaultFactor)
	p.Jitter = cmp.Or(p.Jitter, defaultJitter)
	p.MaxRetryAfter = cmp.Or(p.MaxRetryAfter, defaultMaxRetryAfter)
	return p
}

// Validate joins all faults of the policy, each with the range that is right.
func (p Policy) Validate() error {
	p = p.WithDefaults()
	var faults []error
	refuse := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf(format, args...))
	}
	if p.Retries < 1 || p.Retries > mostRetries {
		refuse("retries is %d: it must be 1 to %d", p.Retries, mostRetries)
	}
	if p.First <= 0 || p.First > longest {
		refuse("first delay is %v: it must be above 0 and at most %v", p.First, longest)
	}
	// Written so that NaN, which is neither above nor below, is refused too.
	if !(p.Factor >= 1) || math.IsInf(p.Factor, 1) {
		refuse("factor is %v: it must be a number of at least 1", p.Factor)
	}
	if !(p.Jitter >= 0 && p.Jitter <= 1) {
		refuse("jitter is %v: it must be 0 to 1", p.Jitter)
	}
	if p.MaxRetryAfter <= 0 || p.MaxRetryAfter > longest {
		refuse("max retry-after is %v: it must be above 0 and at most %v", p.MaxRetryAfter, longest)
	}
	if len(faults) == 0 && p.step(p.Retries)*(1+p.Jitter) > float64(longest) {
		refuse("the last delay is above %v: lower retries, first delay or factor", longest)
	}
	return errors.Join(faults...)
}

// Attempts is how many completed attempts a delivery may have: the first and
// all retries. The default is 6.
func (p Policy) Attempts() int {
	return 1 + max(p.WithDefaults().Retries, 0)
}

// Schedule lists the delays before each retry, without jitter, for people to
// read. Delays of an invalid policy are clamped to 30 days.
func (p Policy) Schedule() []time.Duration {
	p = p.WithDefaults()
	delays := make([]time.Duration, min(max(p.Retries, 0), mostRetries))
	for i := range delays {
		delays[i] = clamp(p.step(i + 1))
	}
	return delays
}

// Next tells how long after the end of the completed-th attempt of this
// generation (1 is the first; less counts as 1) the next one is due. ok is
// false when the retries are used up.
//
// retryAfter is what the receiver asked for, 0 or less for nothing: it moves
// the attempt later than the schedule, by at most MaxRetryAfter from now, and
// never earlier. rnd in [0,1) is the caller's random number: 0 gives the bare
// schedule, and jitter only ever adds to it.
func (p Policy) Next(completed int, retryAfter time.Duration, rnd float64) (delay time.Duration, ok bool) {
	p = p.WithDefaults()
	completed = max(completed, 1)
	if completed > p.Retries {
		return 0, false
	}
	if !(rnd >= 0) { // NaN too.
		rnd = 0
	}
	jitter := p.Jitter
	if !(jitter >= 0) {
		jitter = 0
	}
	step := p.step(completed)
	scheduled := max(clamp(step), clamp(step*(1+min(jitter, 1)*min(rnd, 1))))
	asked := min(retryAfter, p.MaxRetryAfter, longest)
	return max(scheduled, asked), true
}

// step is the bare delay before the n-th retry, in nanoseconds; a float,
// because powers leave the range of a Duration long before a float's.
func (p Policy) step(n int) float64 {
	return float64(p.First) * math.Pow(p.Factor, float64(n-1))
}

// clamp brings any number, NaN and infinities included, into 0..longest.
func clamp(ns float64) time.Duration {
	switch {
	case ns < float64(longest): // False for NaN: what cannot be computed waits longest.
		return time.Duration(max(ns, 0))
	default:
		return longest
	}
}
