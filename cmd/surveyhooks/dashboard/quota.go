package dashboard

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Live lists ask the database once a second each: so many may be open at once, of a company and of all.
const (
	tailsPerCompany = 8
	tailsOfAll      = 100
)

// An export asks for page after page as fast as it can: all of them share the server's few connections to the database.
const (
	exportsPerCompany = 2
	exportsOfAll      = 8
)

// Quota counts the test events that a company asks for: ten in any minute, wherever it asks.
type Quota interface {
	// Take takes one, or returns how long to wait for the next one.
	Take(ctx context.Context, company uuid.UUID) (wait time.Duration, err error)
}

// gate lets so many of a company through at once, and so many of all.
type gate struct {
	limit, whole int

	mu     sync.Mutex
	inside map[uuid.UUID]int
	all    int
}

func newGate(limit, whole int) *gate {
	return &gate{limit: limit, whole: whole, inside: map[uuid.UUID]int{}}
}

func (g *gate) enter(company uuid.UUID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all >= g.whole || g.inside[company] >= g.limit {
		return false
	}
	g.all++
	g.inside[company]++
	return true
}

func (g *gate) leave(company uuid.UUID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all--
	if g.inside[company]--; g.inside[company] == 0 {
		delete(g.inside, company)
	}
}
