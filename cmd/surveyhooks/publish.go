package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/spelling"
	"github.com/chattosurvey/surveyhooks/outbox"
)

func newPublishCommand(a *app) *cobra.Command {
	var company, id uuid.UUID
	var kind, file string
	var sample bool
	cmd := &cobra.Command{
		Use:   "publish --company UUID --type TYPE (--data FILE|- | --sample)",
		Short: "Put an event into the outbox",
		Long: `Puts an event into the outbox. Data of a type of the catalogue has to have the members that receivers are promised of it:
surveyhooks trigger TYPE --print shows an event of each. A type outside of the catalogue
is stored, with a warning.`,
		Example: `  surveyhooks publish --company 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 --type conversation.started --sample
  surveyhooks publish --company 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 --type conversation.completed --data - < data.json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			event := outbox.NewSample(outbox.Type(kind), company)
			if !sample {
				data, err := a.readData(file)
				if err != nil {
					return err
				}
				event = outbox.Event{Type: outbox.Type(kind), CompanyID: company, Data: outbox.Raw(data)}
			}
			event.ID = id
			return a.withDB(cmd.Context(), func(ctx context.Context, db *sql.DB) error { return a.publish(ctx, db, event) })
		},
	}
	flags := cmd.Flags()
	flags.Var(uuidFlag{&company}, "company", "the company that the survey belongs to")
	flags.StringVar(&kind, "type", "", "the event's `type`, such as conversation.started")
	flags.StringVar(&file, "data", "", "the `file` with its data, a JSON object; - is standard input")
	flags.BoolVar(&sample, "sample", false, "publish an invented event of the type instead")
	flags.Var(uuidFlag{&id}, "id", "the event's id; the same one again is sent once (default: a new one)")
	required(cmd, "company", "type")
	cmd.MarkFlagsOneRequired("data", "sample")
	cmd.MarkFlagsMutuallyExclusive("data", "sample")
	return cmd
}

// readData reads one byte more than is allowed: publishing refuses it then, and says how much is.
func (a *app) readData(file string) ([]byte, error) {
	data, err := a.readUpTo(file, outbox.MaxDataBytes+1)
	if err != nil {
		return nil, usage("read --data: %w", err)
	}
	return data, nil
}

// readInput reads the file that a flag names, or standard input for "-", and refuses more than limit bytes.
func (a *app) readInput(flag, file string, limit int64) ([]byte, error) {
	data, err := a.readUpTo(file, limit+1)
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("more than %d bytes", limit)
	}
	if err != nil {
		return nil, usage("read %s: %w", flag, err)
	}
	return data, nil
}

// readUpTo reads at most limit bytes, so that too much is noticed without reading all of it.
func (a *app) readUpTo(file string, limit int64) ([]byte, error) {
	from := a.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		from = f
	}
	return io.ReadAll(io.LimitReader(from, limit))
}

func (a *app) publish(ctx context.Context, db *sql.DB, event outbox.Event) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	ids, err := outbox.Publish(ctx, tx, event)
	if err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if unknown := spelling.UnknownType(event.Type); unknown != "" {
		a.say("warning: type %s: it is stored, and no endpoint is told of it", unknown)
	}
	t := &table{}
	t.add(ids[0].String())
	return a.print(map[string]any{"event_id": ids[0], "event_type": event.Type, "company_id": event.CompanyID}, t)
}
