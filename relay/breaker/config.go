package breaker

import (
	"errors"
	"fmt"
	"time"
)

const (
	defaultFailures = 5
	defaultOpen     = 30 * time.Second
)

// Config shapes a Breaker; the zero value means the defaults.
type Config struct {
	// Failures is how many consecutive endpoint faults open the breaker;
	// default 5.
	Failures uint32
	// Open is how long it then stays open; default 30 s. Not negative.
	Open time.Duration
	// Now is the clock that OpenUntil is kept by; default time.Now. It is
	// called under the breaker's lock and must not call the breaker.
	Now func() time.Time
	// OnChange, if set, hears of every change of state with the Snapshot that
	// held right after it. It is called without any lock, one call at a time
	// and in order, on a goroutine that is in Allow or Done; while one call
	// runs, other goroutines leave theirs to it and do not wait. It may call
	// the breaker. Restoring is no change.
	OnChange func(from, to State, snap Snapshot)
}

// Validate joins all faults of the configuration.
func (c Config) Validate() error {
	var faults []error
	if c.Open < 0 {
		faults = append(faults, fmt.Errorf("breaker open time is %v: it must be above 0, or 0 for %v", c.Open, defaultOpen))
	}
	return errors.Join(faults...)
}

func (c Config) withDefaults() Config {
	if c.Failures == 0 {
		c.Failures = defaultFailures
	}
	if c.Open <= 0 { // New has no error to give: callers Validate.
		c.Open = defaultOpen
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}
