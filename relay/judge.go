package relay

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/lane"
	"github.com/chattosurvey/surveyhooks/relay/retry"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

const (
	// localDelay is the first wait after a fault of our own, which uses up no retry; each further one is twice as long, up to
	// longestLocalDelay, so that a delivery heals soon after the fault's end.
	localDelay        = time.Second
	longestLocalDelay = 30 * time.Second

	// mostAttempts bounds what a delivery costs when the fault of ours has no end: some days at the longest wait. The
	// table counts in a smallint, and a number that does not fit would fail every commit of this relay for ever.
	mostAttempts = 32000
)

// judge turns the response into the outcome: the delivery's next state, when it is due again, what it says about the
// endpoint.
func (r *session) judge(_ context.Context, a *attempt) {
	d, now := a.delivery, r.clock.now()
	o := &outcome{delivery: d, name: fact.AttemptFailed, attempt: a.fact()}
	o.attempt.Completed = d.Completed
	if o.attempt.Reason.Charged() {
		o.attempt.Completed++
	}
	switch reason := o.attempt.Reason; {
	case reason == fact.OK:
		o.name, o.attempt.State, o.over = fact.AttemptSucceeded, fact.Delivered, true
	case !reason.Charged() && d.Attempt() < mostAttempts:
		o.again(now.Add(min(localDelay<<min(d.Started-d.Completed, 10), longestLocalDelay)))
	case !reason.Charged():
		o.attempt.State, o.over = fact.Exhausted, true
	case reason == fact.BlockedDestination:
		o.attempt.State, o.over = fact.Exhausted, true // a resolver that changes its mind must not turn it into a success
	case d.Trigger == fact.Test:
		o.attempt.State, o.over = fact.Exhausted, true // somebody watches: its answer is what was asked for
	default:
		wait, _ := retry.ParseRetryAfter(a.response.RetryAfter, now)
		if reason != fact.StatusThrottled && a.response.Status != 503 {
			wait = 0
		}
		delay, ok := r.cfg.Retry.Next(o.attempt.Completed, wait, rand.Float64())
		if ok {
			o.again(now.Add(delay))
		} else {
			o.attempt.State, o.over = fact.Exhausted, true
		}
	}
	if o.attempt.Reason == fact.StatusGone && d.Trigger != fact.Test {
		o.disable = fact.Gone
	}
	o.body = o.attempt.AppendJSON(make([]byte, 0, 1024+2*len(o.attempt.Body)))
	a.outcome = o
}

func (o *outcome) again(at time.Time) {
	at = at.Truncate(time.Microsecond)
	o.attempt.State, o.attempt.NextAttemptAt = fact.Retrying, &at
	if o.attempt.Completed == 0 {
		o.attempt.State = fact.Pending
	}
}

// fact is the attempt as the journal keeps it, but for what judge adds.
func (a *attempt) fact() fact.Attempt {
	d, res := a.delivery, &a.response
	f := fact.Attempt{
		AttemptID:  fact.AttemptID{DeliveryID: d.ID, Attempt: d.Attempt()},
		EndpointID: d.EndpointID, EventID: d.Event.ID, EventType: d.Event.Type,
		Generation: d.Generation, Trigger: d.Trigger, StartedAt: d.StartedAt, FirstAttemptAt: firstOf(d),
		Reason: reasonOf(res), Detail: res.Detail, Status: res.Status, RemoteAddr: res.RemoteAddr,
		Request: fact.Request{
			ConfigVersion: a.target.version, URL: a.target.shownURL, Timestamp: a.timestamp,
			Signature: a.signature, Bytes: len(a.body), CustomHeaders: a.target.masked,
		},
		Response: fact.Response{Headers: res.Header, Body: res.Body, Truncated: res.Truncated},
		Timing: fact.Timing{
			DNS: res.Timing.DNS.Microseconds(), Connect: res.Timing.Connect.Microseconds(),
			TLS: res.Timing.TLS.Microseconds(), FirstByte: res.Timing.FirstByte.Microseconds(),
			Total: res.Timing.Total.Microseconds(),
		},
	}
	return f
}

// firstOf is when the first attempt began, for the fact of a later one.
func firstOf(d *lane.Delivery) time.Time {
	if d.FirstAttemptAt.Equal(d.StartedAt) {
		return time.Time{}
	}
	return d.FirstAttemptAt
}

func faultReason(f egress.Fault) fact.Reason {
	switch f {
	case egress.FaultBlocked:
		return fact.BlockedDestination
	case egress.FaultDNS:
		return fact.DNS
	case egress.FaultConnect:
		return fact.Connect
	case egress.FaultConnectTimeout:
		return fact.ConnectTimeout
	case egress.FaultTLS:
		return fact.TLS
	case egress.FaultTimeout:
		return fact.Timeout
	case egress.FaultReset:
		return fact.Reset
	case egress.FaultProtocol:
		return fact.Protocol
	case egress.FaultHeaderTooLarge:
		return fact.HeaderTooLarge
	case egress.FaultCanceled:
		return fact.Interrupted
	default:
		return fact.Local
	}
}

// verdict is what an attempt says about its endpoint's health.
func verdict(r fact.Reason) lane.Verdict {
	switch {
	case r == fact.OK:
		return lane.Success
	case !r.Charged() || r == fact.BlockedDestination:
		return lane.Excluded
	default:
		return lane.EndpointFault
	}
}
