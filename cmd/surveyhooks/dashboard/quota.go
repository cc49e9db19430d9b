package dashboard

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"
)

// tailsPerCompany is how many live lists a company may have open at once.
const tailsPerCompany = 8

// Quota counts the test events that a company asks for: ten in any minute, wherever it asks.
type Quota interface {
	// Take takes one, or returns how long to wait for the next one.
	Take(ctx context.Context, company uuid.UUID) (wait time.Duration, err error)
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
