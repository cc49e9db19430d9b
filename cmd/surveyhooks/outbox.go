package main

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/operator"
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
				state, err := operator.ReadOutbox(ctx, db)
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

func outboxTable(state operator.Outbox) *table {
	t := &table{head: []string{"READER", "PENDING", "OLDEST", "READ TO", "AND UP TO"}}
	for _, r := range state.Readers {
		after := "-"
		if r.ToSnapshot != nil {
			after = fmt.Sprintf("%s/%d of %s", r.AfterXID, r.AfterPosition, *r.ToSnapshot)
		}
		t.add(r.Group, number(r.Rows), r.Age(), r.FromSnapshot, after)
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
		{"deliveries held back", number(state.HeldBack)},
		{"deliveries in flight", number(state.InFlight)},
	}}
	return t
}
