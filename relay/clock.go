package relay

import (
	"sync/atomic"
	"time"
)

// clock tells the database's time: due times, leases and breakers are its, whatever the clock of this machine says. It is
// set at every heartbeat; between two of them it runs by this machine's monotonic clock, which does not jump.
type clock struct{ last atomic.Pointer[reading] }

// reading is one moment by both clocks.
type reading struct{ database, here time.Time }

func (c *clock) now() time.Time {
	r := c.last.Load()
	if r == nil {
		return time.Now().UTC()
	}
	return r.database.Add(time.Since(r.here))
}

func (c *clock) set(database time.Time) {
	c.last.Store(&reading{database: database.UTC(), here: time.Now()})
}

// here is when it will be t by this machine's clock, for its timers.
func (c *clock) here(t time.Time) time.Time { return time.Now().Add(t.Sub(c.now())) }
