package relay

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
)

// fanOutGroup is the consumer group of the outbox.
const fanOutGroup = "fan-out"

// fanner turns pages of the outbox into deliveries. One relay does it at a time; the others stand by.
type fanner struct {
	types []string
	wake  func(...uuid.UUID)

	mu      sync.Mutex
	touched map[uuid.UUID]struct{} // endpoints of pages that are applied and not yet committed
}

func newFanner(wake func(...uuid.UUID)) *fanner {
	f := &fanner{wake: wake, touched: make(map[uuid.UUID]struct{})}
	for _, t := range outbox.Types() {
		f.types = append(f.types, string(t))
	}
	return f
}

// apply is one statement in the reader's transaction: exactly once, milliseconds, no network.
func (f *fanner) apply(ctx context.Context, tx *sql.Tx, page commitlog.Page) error {
	var ids []string
	var relays int
	err := tx.QueryRowContext(ctx, fanOut, append(page.Args(), pq.Array(f.types))...).Scan(pq.Array(&ids), &relays)
	if err != nil {
		return fmt.Errorf("fan out page: %w", err)
	}
	f.mu.Lock()
	for _, id := range ids {
		f.touched[uuid.MustParse(id)] = struct{}{} // from a uuid column
	}
	f.mu.Unlock()
	if relays > 1 && len(ids) > 0 {
		// NOTIFY carries at most 8000 bytes; an empty list means all lanes.
		payload := workPrefix
		if len(ids) <= 200 {
			payload += strings.Join(ids, " ")
		}
		if _, err := tx.ExecContext(ctx, notifyLanes, payload); err != nil {
			return fmt.Errorf("notify other relays: %w", err)
		}
	}
	return nil
}

// committed wakes this relay's own lanes.
func (f *fanner) committed() {
	f.mu.Lock()
	ids := make([]uuid.UUID, 0, len(f.touched))
	for id := range f.touched {
		ids = append(ids, id)
	}
	clear(f.touched)
	f.mu.Unlock()
	if len(ids) > 0 {
		f.wake(ids...)
	}
}
