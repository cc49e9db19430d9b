package delivery

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// RetryPage asks for many deliveries of one endpoint to be sent again, all of which are over.
type RetryPage struct {
	Scope      endpoint.Scope // whose deliveries may be reached
	Actor      string         // who asks, for the audit trail; required
	EndpointID uuid.UUID
	Deliveries []Known // of this endpoint, each once
}

// Apply starts a new generation of each delivery, as Retry does, in one transaction that the caller ends: what it
// keeps beside it (how far it has come, say) is committed together with it. It returns how many there were. One that is
// not over, is due already, was replayed since the history was read, or whose event is no longer kept, is left out. The commit
// wakes the relays.
//
// Errors: *endpoint.NotFoundError, *EndpointDeletedError. A deadlock with the recorder is possible, as in Retry; try the
// transaction again.
func (p RetryPage) Apply(ctx context.Context, tx *sql.Tx) (int, error) {
	owner, err := hold(ctx, tx, p.Scope, p.EndpointID, p.Actor)
	if err != nil {
		return 0, fmt.Errorf("retry deliveries: %w", err)
	}
	ids, events, generations, attempts, firsts := p.columns(owner)
	if len(ids) == 0 {
		return 0, nil
	}
	var n int
	err = tx.QueryRowContext(ctx, insertGenerations, p.EndpointID, pq.Array(ids), pq.Array(events), pq.Array(generations),
		pq.Array(attempts), pq.Array(firsts), owner, fact.Manual, fact.DeliveryReplayed,
		fact.DeliveryReplayed.Version(), fact.Pending, p.Actor, fact.ByRequest).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("retry %d deliveries: %w", len(ids), err)
	}
	if _, err := tx.ExecContext(ctx, notify, p.EndpointID.String()); err != nil {
		return 0, fmt.Errorf("notify relays: %w", err)
	}
	return n, nil
}

// columns are what a statement takes of those that can be replayed.
func (p RetryPage) columns(owner uuid.UUID) (ids []int64, events []string, generations, attempts []int64, firsts []sql.NullString) {
	for _, d := range p.Deliveries {
		if d.EndpointID != p.EndpointID || d.CompanyID != owner || d.State != fact.Delivered && d.State != fact.Exhausted {
			continue
		}
		ids, events = append(ids, d.DeliveryID), append(events, d.EventID.String())
		generations, attempts = append(generations, int64(d.Generation)+1), append(attempts, int64(d.Attempts))
		firsts = append(firsts, sql.NullString{String: d.FirstAttemptAt.UTC().Format(time.RFC3339Nano), Valid: !d.FirstAttemptAt.IsZero()})
	}
	return ids, events, generations, attempts, firsts
}
