package dashboard

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"
)

const (
	testsPerMinute  = 10 // of one company
	tailsPerCompany = 8  // live tails open at once
)

// Quota counts the test events that a company asks for.
type Quota interface {
	// Take takes one, or returns how long to wait for the next one.
	Take(ctx context.Context, company uuid.UUID) (wait time.Duration, err error)
}

// quota allows each company so many in any minute, of those that are asked for in this process.
type quota struct {
	now   func() time.Time
	limit int

	mu   sync.Mutex
	acts map[uuid.UUID][]time.Time
}

func newQuota(now func() time.Time, limit int) *quota {
	return &quota{now: now, limit: limit, acts: map[uuid.UUID][]time.Time{}}
}

var _ Quota = (*quota)(nil)

// Take forgets what is older than a minute, and counts.
func (q *quota) Take(_ context.Context, company uuid.UUID) (time.Duration, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.now()
	for id, acts := range q.acts {
		for len(acts) > 0 && now.Sub(acts[0]) >= time.Minute {
			acts = acts[1:]
		}
		if q.acts[id] = acts; len(acts) == 0 {
			delete(q.acts, id)
		}
	}
	acts := q.acts[company]
	if len(acts) >= q.limit {
		return time.Minute - now.Sub(acts[0]), nil
	}
	q.acts[company] = append(acts, now)
	return 0, nil
}

// gate lets so many of a company through at once.
type gate struct {
	limit int

	mu     sync.Mutex
	inside map[uuid.UUID]int
}

func newGate(limit int) *gate { return &gate{limit: limit, inside: map[uuid.UUID]int{}} }

func (g *gate) enter(company uuid.UUID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside[company] >= g.limit {
		return false
	}
	g.inside[company]++
	return true
}

func (g *gate) leave(company uuid.UUID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside[company]--; g.inside[company] == 0 {
		delete(g.inside, company)
	}
}
