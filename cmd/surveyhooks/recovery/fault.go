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

// NothingError says that nothing failed in the span.
type NothingError struct{ Since, Until time.Time }

// Error names the span.
func (e *NothingError) Error() string {
	return fmt.Sprintf("no delivery failed for good between %s and %s: there is nothing to recover", stamp(e.Since), stamp(e.Until))
}

// TooManyError says that more failed than one recovery may send.
type TooManyError struct{ Cap int }

// Error says what to do.
func (e *TooManyError) Error() string {
	return fmt.Sprintf("more than %d deliveries failed in that time: recover it in parts, with an end as well as a begin", e.Cap)
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
