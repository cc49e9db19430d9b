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
	types string // a PostgreSQL array
	query *sql.Stmt
	wake  func(...uuid.UUID)

	mu      sync.Mutex
	touched map[uuid.UUID]struct{} // endpoints of pages that are applied and not yet committed
}

func newFanner(ctx context.Context, db *sql.DB, wake func(...uuid.UUID)) (*fanner, error) {
	query, err := db.PrepareContext(ctx, fanOut)
	if err != nil {
		return nil, fmt.Errorf("prepare fan-out: %w", err)
	}
	names := make([]string, 0, len(outbox.Types()))
	for _, t := range outbox.Types() {
		names = append(names, string(t))
	}
	types := "{" + strings.Join(names, ",") + "}"
	return &fanner{types: types, query: query, wake: wake, touched: make(map[uuid.UUID]struct{})}, nil
}

// apply is one statement in the reader's transaction: exactly once, milliseconds, no network.
func (f *fanner) apply(ctx context.Context, tx *sql.Tx, page commitlog.Page) error {
	var ids []string
	var relays int
	//nolint:sqlclosecheck // closed with tx
	err := tx.StmtContext(ctx, f.query).QueryRowContext(ctx, append(page.Args(), f.types)...).Scan(pq.Array(&ids), &relays)
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
