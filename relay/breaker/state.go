package breaker

import (
	"errors"
	"fmt"
	"time"

	"github.com/sony/gobreaker/v2"
)

// State is where a breaker stands.
type State uint8

// The states; their String forms are stored and must not change.
const (
	Closed   State = iota // Attempts pass.
	Open                  // None passes until OpenUntil.
	HalfOpen              // One probe passes at a time.
)

// String gives "closed", "open" or "half_open".
func (s State) String() string {
	switch s {
	case Closed:
		return "closed"
	case Open:
		return "open"
	case HalfOpen:
		return "half_open"
	default:
		return fmt.Sprintf("state(%d)", uint8(s))
	}
}

// ParseState reads what [State.String] wrote.
func ParseState(s string) (State, error) {
	for _, state := range []State{Closed, Open, HalfOpen} {
		if s == state.String() {
			return state, nil
		}
	}
	return Closed, fmt.Errorf("parse breaker state %q: it must be closed, open or half_open", s)
}

func fromGobreaker(s gobreaker.State) State {
	switch s {
	case gobreaker.StateOpen:
		return Open
	case gobreaker.StateHalfOpen:
		return HalfOpen
	case gobreaker.StateClosed:
	}
	return Closed
}

// Verdict is what an attempt says about the endpoint.
type Verdict uint8

// The verdicts. Excluded is the zero value, so that a verdict nobody set
// blames nobody.
const (
	Excluded      Verdict = iota // Says nothing: our own fault, cancelled, destination blocked.
	Success                      // The endpoint took the delivery.
	EndpointFault                // The endpoint failed.
)

// String gives "excluded", "success" or "endpoint_fault".
func (v Verdict) String() string {
	switch v {
	case Excluded:
		return "excluded"
	case Success:
		return "success"
	case EndpointFault:
		return "endpoint_fault"
	default:
		return fmt.Sprintf("verdict(%d)", uint8(v))
	}
}

// gobreaker takes verdicts as errors; these two stand for ours, nil for Success.
var (
	errFault    = errors.New("endpoint fault")
	errExcluded = errors.New("excluded")
)

func (v Verdict) err() error {
	switch v {
	case Success:
		return nil
	case EndpointFault:
		return errFault
	case Excluded:
	}
	return errExcluded
}

// Snapshot is what is persisted of a breaker. OpenUntil is zero when closed,
// and already past when half-open.
type Snapshot struct {
	State     State
	OpenUntil time.Time
}

// OpenError says that the breaker is open and until when.
type OpenError struct{ Until time.Time }

// Error names the time in UTC.
func (e *OpenError) Error() string {
	return "circuit breaker is open until " + e.Until.UTC().Format(time.RFC3339Nano)
}

// ErrProbing says that the one probe of a half-open breaker is under way. Its
// end is not a matter of time: try again when the permit that is out is done.
var ErrProbing = errors.New("circuit breaker is half-open and its probe is under way")
