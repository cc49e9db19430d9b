package projections

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/lib/pq"
)

// maxDetails bounds the details of each finding; the count is whole.
const maxDetails = 20

// Ledger is the account of everything that was committed. Each event has one decision per endpoint, each chosen one a
// delivery, each that was not chosen one at most, if it was requested, and each delivery ended or is still to be sent;
// what breaks that is Unaccounted.
type Ledger struct {
	Events             int64    `json:"events"`    // fanned out
	Decisions          int64    `json:"decisions"` // one per event and endpoint
	Deliveries         int64    `json:"deliveries"`
	Delivered          int64    `json:"delivered"`
	Exhausted          int64    `json:"exhausted"`
	Cancelled          int64    `json:"cancelled"`
	Pending            int64    `json:"pending"` // retrying ones included
	Held               int64    `json:"held"`    // their endpoint is disabled
	Waiting            int64    `json:"waiting"` // events that are committed and not in the history yet
	Quarantined        int64    `json:"quarantined"`
	Unaccounted        int64    `json:"unaccounted"`
	ProjectionLagFacts int64    `json:"projection_lag_facts"` // facts that the history has not read
	Details            []string `json:"details"`              // what is unaccounted: at most 20 of a kind
}

// Audit proves the ledger from one snapshot of the database, without writing. Facts that the history has not read yet
// are counted, and what they speak of is taken as waiting; for a full proof call Projector.RunToEnd first.
func Audit(ctx context.Context, db *sql.DB) (Ledger, error) {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return Ledger{}, fmt.Errorf("begin audit: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // it only read
	ledger := Ledger{Details: []string{}}
	var events, deliveries pq.StringArray
	err = tx.QueryRowContext(ctx, readLag, Group).Scan(&ledger.ProjectionLagFacts, &events, &deliveries)
	if err != nil {
		return Ledger{}, fmt.Errorf("read unread facts: %w", err)
	}
	if err := ledger.count(ctx, tx); err != nil {
		return Ledger{}, err
	}
	ledger.Waiting += int64(len(events))
	for _, finding := range []string{lostEvents, untoldEvents, undecided, undelivered, misrequested, stranded, unrecorded, orphaned} {
		if err := ledger.find(ctx, tx, finding, events, deliveries); err != nil {
			return Ledger{}, err
		}
	}
	return ledger, nil
}

func (l *Ledger) count(ctx context.Context, tx *sql.Tx) error {
	if err := tx.QueryRowContext(ctx, countAll).Scan(&l.Events, &l.Decisions, &l.Quarantined); err != nil {
		return fmt.Errorf("count events: %w", err)
	}
	if err := tx.QueryRowContext(ctx, countWaiting).Scan(&l.Waiting); err != nil {
		return fmt.Errorf("count waiting events: %w", err)
	}
	rows, err := tx.QueryContext(ctx, countStates)
	if err != nil {
		return fmt.Errorf("count deliveries: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var state string
		var n int64
		if err := rows.Scan(&state, &n); err != nil {
			return fmt.Errorf("count deliveries: %w", err)
		}
		l.Deliveries += n
		switch state {
		case "delivered":
			l.Delivered += n
		case "exhausted":
			l.Exhausted += n
		case "cancelled":
			l.Cancelled += n
		case "held":
			l.Held += n
		default:
			l.Pending += n
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("count deliveries: %w", err)
	}
	return nil
}

func (l *Ledger) find(ctx context.Context, tx *sql.Tx, finding string, events, deliveries pq.StringArray) error {
	rows, err := tx.QueryContext(ctx, finding, events, deliveries)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	defer rows.Close()
	for n := 0; rows.Next(); n++ {
		l.Unaccounted++
		if n >= maxDetails {
			continue
		}
		var detail string
		if err := rows.Scan(&detail); err != nil {
			return fmt.Errorf("audit: %w", err)
		}
		l.Details = append(l.Details, detail)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	return nil
}
