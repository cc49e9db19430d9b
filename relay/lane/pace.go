package lane

import (
	"math"
	"time"

	"golang.org/x/time/rate"
)

// pace bounds how many messages of a lane are emitted per second, and when. The zero pace bounds nothing. The lane's lock
// guards it.
//
// A token is asked for when a delivery is claimed, and taken when its message is emitted: between the two lies a commit,
// and however long that takes, what was claimed meanwhile cannot leave in one burst. Claims are therefore counted
// against the tokens that are there, and never wait with a slot in their hands.
type pace struct {
	perSecond int
	limiter   *rate.Limiter
	rest      time.Time // nothing is claimed before
}

// set changes the pace; 0 is no limit. The same bucket goes on with another rate, and a new one begins empty: neither a
// change nor a lane that comes from another relay lets a second burst through.
func (p *pace) set(perSecond int, now time.Time) {
	burst, limit := bucket(perSecond)
	switch {
	case perSecond == 0:
		p.limiter = nil
	case p.limiter == nil:
		p.limiter = rate.NewLimiter(limit, burst)
		p.limiter.ReserveN(now, burst)
	default:
		p.limiter.SetLimitAt(now, limit)
		p.limiter.SetBurstAt(now, burst)
	}
	p.perSecond = perSecond
}

// bucket is chosen for a smooth flow that is never above its limit: no second, wherever it begins, has more than
// perSecond, since a full bucket and a second's tokens come to one more than that, and the last of them to the next
// second. The burst is what 40 ms bring, so that a commit before each message does not slow down a high limit. Below 25
// it is one.
func bucket(perSecond int) (burst int, limit rate.Limit) {
	burst = 1 + perSecond/25
	return burst, rate.Limit(perSecond + 1 - burst)
}

// ready reports whether one more can be claimed beside those that are claimed and not emitted, or else when to ask again.
func (p *pace) ready(claimed int) (at time.Time, ok bool) {
	now := time.Now()
	if now.Before(p.rest) {
		return p.rest, false
	}
	if p.limiter == nil {
		return time.Time{}, true
	}
	missing := float64(claimed+1) - p.limiter.TokensAt(now)
	if missing <= 0 {
		return time.Time{}, true
	}
	return now.Add(time.Duration(math.Ceil(missing / float64(p.limiter.Limit()) * float64(time.Second)))), false
}

// emitted takes a token. It was there when the delivery was claimed; where the limit was lowered since, or a nacked message
// is emitted again, later ones wait for it.
func (p *pace) emitted() {
	if p.limiter != nil {
		p.limiter.ReserveN(time.Now(), 1)
	}
}
