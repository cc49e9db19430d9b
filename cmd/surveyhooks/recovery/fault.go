package recovery

import (
	"fmt"
	"time"

	"github.com/google/uuid"
)

// NotFoundError says that the company has no such endpoint or recovery.
type NotFoundError struct {
	What string // endpoint or recovery
	ID   uuid.UUID
}

// Error names the id.
func (e *NotFoundError) Error() string { return fmt.Sprintf("%s %s is not known", e.What, e.ID) }

// InvalidError says what is wrong with one field of a request.
type InvalidError struct{ Field, Message string }

// Error is the field and what would be right.
func (e *InvalidError) Error() string { return e.Field + ": " + e.Message }

// NothingError says that nothing failed, or nothing is missing, in the span.
type NothingError struct {
	Kind         Kind
	Since, Until time.Time
	Expired      int // Missing: events that are no longer kept
}

// Error names the span.
func (e *NothingError) Error() string {
	span := "between " + stamp(e.Since) + " and " + stamp(e.Until)
	switch {
	case e.Kind != Missing:
		return "no delivery failed for good " + span + ": there is nothing to recover"
	case e.Expired > 0:
		return fmt.Sprintf("the %d events that the endpoint was not sent %s are no longer kept: there is nothing to recover", e.Expired, span)
	default:
		return "the endpoint was sent every event that it selects " + span + ": there is nothing to recover"
	}
}

// TooManyError says that there is more than one recovery may send.
type TooManyError struct {
	Kind Kind
	Cap  int
}

// Error says what to do.
func (e *TooManyError) Error() string {
	what := "deliveries failed"
	if e.Kind == Missing {
		what = "events are missing"
	}
	return fmt.Sprintf("more than %d %s in that time: recover it in parts, with an end as well as a begin", e.Cap, what)
}

// RunningError says that another recovery of the endpoint has not ended.
type RunningError struct{ ID uuid.UUID }

// Error names it.
func (e *RunningError) Error() string {
	return fmt.Sprintf("recovery %s of the endpoint is running: wait for its end, or cancel it", e.ID)
}

// KeyError says that a key was used for a different request before.
type KeyError struct{ Key string }

// Error says what a key is for.
func (e *KeyError) Error() string {
	return fmt.Sprintf("key %.80q was used for another recovery: want a new one for each", e.Key)
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }
