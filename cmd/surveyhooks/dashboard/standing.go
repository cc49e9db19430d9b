package dashboard

import (
	"time"

	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// standing says where a delivery stands now: a request under way is what a person wants to know first.
func standing(d projections.Delivery) mark {
	if d.DeliveringSince != nil {
		return mark{"retry", "Delivering"}
	}
	return deliveryMark(d.State)
}

// coming is what comes next of an open delivery, in words and the time that belongs to them; neither of one that is over.
type coming struct {
	Words string
	At    *time.Time
}

// next is the one place where that is said: a time that has passed is not shown as one to come.
func next(d projections.Delivery, now time.Time) coming {
	switch {
	case d.FinishedAt != nil || !isOpen(d):
		return coming{}
	case d.DeliveringSince != nil:
		return coming{"delivering since", d.DeliveringSince}
	case d.WaitsFor == projections.WaitsForEnabled:
		return coming{Words: "once the endpoint is enabled"}
	case d.WaitsFor == projections.WaitsForBreaker && d.NextAttemptAt.After(now):
		return coming{"breaker open, again", d.NextAttemptAt}
	case d.WaitsFor != "":
		return coming{Words: "breaker half-open: the next attempt is its probe"}
	case d.NextAttemptAt == nil || !d.NextAttemptAt.After(now):
		return coming{Words: "due now"}
	default:
		return coming{At: d.NextAttemptAt}
	}
}

func isOpen(d projections.Delivery) bool {
	switch fact.State(d.State) {
	case fact.Pending, fact.Retrying, fact.Held:
		return true
	default:
		return false
	}
}

// mayRetry reports whether a person's retry would change anything: what is being sent, or due, is on its way.
func mayRetry(d projections.Delivery, e *Endpoint, now time.Time) bool {
	switch {
	case e == nil || !e.Enabled || d.State == string(fact.Cancelled) || d.DeliveringSince != nil:
		return false
	default:
		return !isOpen(d) || d.NextAttemptAt != nil && d.NextAttemptAt.After(now)
	}
}
