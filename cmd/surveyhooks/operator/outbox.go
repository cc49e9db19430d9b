package operator

import (
	"context"
	"database/sql"
	"fmt"
)

// Outbox is how far the outbox is read, and what became of it. Each count stops somewhere, so that asking stays cheap
// when things are bad.
type Outbox struct {
	Readers []OutboxReader `json:"readers"`
	Asleep  bool           `json:"asleep"` // a reader has read everything, and a commit rings for it
	Work
}

// OutboxReader is one consumer group of the outbox: what it has not read, and where it is.
type OutboxReader struct {
	Lag

	FromSnapshot  string  `json:"from_snapshot"` // read: what was committed in it,
	ToSnapshot    *string `json:"to_snapshot"`   // and of what was committed between it and this one (nil: nothing yet)
	AfterXID      string  `json:"after_xid"`     // what comes up to this transaction,
	AfterPosition int64   `json:"after_position"`
}

// ReadOutbox reads each part by a statement of its own, as ReadOverview does. Of the quarantined rows it counts the
// outbox's alone.
func ReadOutbox(ctx context.Context, db *sql.DB) (Outbox, error) {
	lags, err := ReadLags(ctx, db)
	if err != nil {
		return Outbox{}, err
	}
	o := Outbox{}
	o.Readers, err = readAll(ctx, db, outboxCursors, func(r *OutboxReader) []any {
		r.Topic = "outbox"
		return []any{&r.Group, &r.FromSnapshot, &r.ToSnapshot, &r.AfterXID, &r.AfterPosition}
	})
	if err != nil {
		return Outbox{}, err
	}
	for i := range o.Readers {
		for _, l := range lags {
			if r := &o.Readers[i]; l.Topic == r.Topic && l.Group == r.Group {
				r.Lag = l
			}
		}
	}
	if o.Work, err = ReadWork(ctx, db); err != nil {
		return Outbox{}, err
	}
	if err := db.QueryRowContext(ctx, outboxFacts).Scan(&o.Asleep, &o.Quarantined); err != nil {
		return Outbox{}, fmt.Errorf("read outbox: %w", err)
	}
	return o, nil
}
