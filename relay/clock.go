package relay

import (
	"sync/atomic"
	"time"
)

// clock tells the database's time: due times and leases are its, whatever the clock of this machine says. It is set at
// every heartbeat; between two of them it runs by this machine's monotonic clock.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.offset.Load())).UTC() }

func (c *clock) set(database time.Time) { c.offset.Store(int64(time.Until(database))) }
