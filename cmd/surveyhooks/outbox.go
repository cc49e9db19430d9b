package main

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/spf13/cobra"
)

func newOutboxCommand(a *app) *cobra.Command {
	emit := newPublishCommand(a)
	emit.Use = "emit --company UUID --type TYPE (--data FILE|- | --sample)"
	emit.Short = "The same as surveyhooks publish: put an event into the outbox"
	emit.Example = `  surveyhooks outbox emit --company 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 --type conversation.started --sample
  surveyhooks outbox emit --company 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 --type conversation.completed --data - < data.json`
	return group("outbox", "See how far the outbox is read, or put an event into it",
		`  surveyhooks outbox status
  surveyhooks outbox emit --company 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 --type conversation.started --sample`,
		outboxStatus(a), emit)
}

// outboxState is the JSON of outbox status. Each count stops somewhere, so that asking stays cheap when things are bad.
type outboxState struct {
	Readers     []outboxReader `json:"readers"`
	Asleep      bool           `json:"asleep"`             // a reader has read everything, and a commit rings for it
	Quarantined int64          `json:"quarantined"`        // rows that could not be handled and were set aside
	Pending     int64          `json:"deliveries_pending"` // that are not over, up to 1 000 000
	Due         int64          `json:"deliveries_due"`     // of them: now
	InFlight    int64          `json:"deliveries_in_flight"`
}

// outboxReader is one consumer group of the outbox: what it has not read, and where it is.
type outboxReader struct {
	Group         string  `json:"group"`
	Rows          int64   `json:"rows"`
	OldestAge     float64 `json:"oldest_age_seconds"`
	FromSnapshot  string  `json:"from_snapshot"` // read: what was committed in it,
	ToSnapshot    *string `json:"to_snapshot"`   // and of what was committed between it and this one (null: nothing yet)
	AfterXID      string  `json:"after_xid"`     // what comes up to this transaction,
	AfterPosition int64   `json:"after_position"`
}

func outboxStatus(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Say what is committed and not yet fanned out, how old it is, and where the reader stands",
		Long: `Says what the readers of the outbox have not read yet, how old the oldest of it is, and where their cursors stand: a
snapshot, everything committed in which is read, and a place in what was committed after it. Whether a reader sleeps until
a commit rings, what was set aside into the table webhooks.quarantine, and what waits to be sent, stand below.
surveyhooks projections status tells how far behind the readers of both logs are, and surveyhooks doctor what to do.`,
		Example: `  surveyhooks outbox status
  surveyhooks outbox status -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withDB(cmd.Context(), func(ctx context.Context, db *sql.DB) error {
				state, err := readOutbox(ctx, db)
				if err != nil {
					return err
				}
				if len(state.Readers) == 0 {
					a.say("no relay has ever read the outbox: run surveyhooks serve")
				}
				return a.print(state, outboxTable(state))
			})
		},
	}
}

func readOutbox(ctx context.Context, db *sql.DB) (outboxState, error) {
	state := outboxState{}
	lags, err := readLags(ctx, db)
	if err != nil {
		return state, err
	}
	state.Readers, err = readAll(ctx, db, outboxCursors, func(r *outboxReader) []any {
		return []any{&r.Group, &r.FromSnapshot, &r.ToSnapshot, &r.AfterXID, &r.AfterPosition}
	})
	if err != nil {
		return state, err
	}
	state.Readers = orEmpty(state.Readers)
	for i := range state.Readers {
		for _, l := range lags {
			if r := &state.Readers[i]; l.Topic == "outbox" && l.Group == r.Group {
				r.Rows, r.OldestAge = l.Rows, l.OldestAge
			}
		}
	}
	var quarantined int64 // of both logs
	err = db.QueryRowContext(ctx, operationCounts).Scan(&state.Pending, &state.Due, &state.InFlight, &quarantined)
	if err == nil {
		err = db.QueryRowContext(ctx, outboxFacts).Scan(&state.Asleep, &state.Quarantined)
	}
	if err != nil {
		return state, fmt.Errorf("read outbox: %w", err)
	}
	return state, nil
}

func outboxTable(state outboxState) *table {
	t := &table{head: []string{"READER", "PENDING", "OLDEST", "READ TO", "AND UP TO"}}
	for _, r := range state.Readers {
		after := "-"
		if r.ToSnapshot != nil {
			after = fmt.Sprintf("%s/%d of %s", r.AfterXID, r.AfterPosition, *r.ToSnapshot)
		}
		t.add(r.Group, number(r.Rows), lag{Rows: r.Rows, OldestAge: r.OldestAge}.age(), r.FromSnapshot, after)
	}
	doorbell := "nobody sleeps: a reader is at work, or none runs"
	if state.Asleep {
		doorbell = "a reader has read everything and sleeps: a commit rings"
	}
	t.next = &table{rows: [][]string{
		{"doorbell", doorbell},
		{"quarantined", number(state.Quarantined)},
		{"deliveries pending", number(state.Pending)},
		{"deliveries due", number(state.Due)},
		{"deliveries in flight", number(state.InFlight)},
	}}
	return t
}
