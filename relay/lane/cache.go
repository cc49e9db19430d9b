package lane

import (
	"sync"

	"github.com/google/uuid"
)

// cache keeps the events read last. An event goes to many lanes, which read it at different times; the oldest go first,
// since lanes read in the same order.
type cache struct {
	mu     sync.Mutex
	events map[uuid.UUID]*Event
	order  []*Event
	bytes  int
	limit  int
}

func newCache(limit int) *cache {
	return &cache{events: make(map[uuid.UUID]*Event), limit: limit}
}

func (c *cache) get(id uuid.UUID) *Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.events[id]
}

func (c *cache) put(e *Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.events[e.ID] != nil {
		return
	}
	c.events[e.ID] = e
	c.order = append(c.order, e)
	c.bytes += len(e.Data)
	for c.bytes > c.limit && len(c.order) > 0 {
		oldest := c.order[0]
		c.order[0] = nil
		c.order = c.order[1:]
		c.bytes -= len(oldest.Data)
		delete(c.events, oldest.ID)
	}
}
