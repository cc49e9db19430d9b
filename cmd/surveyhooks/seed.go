package main

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/simulator"
	"github.com/chattosurvey/surveyhooks/outbox"
)

// maxSeed bounds what one run invents: a day of a busy company.
const maxSeed = 10_000

// seedOptions are the flags of seed.
type seedOptions struct {
	company uuid.UUID
	count   int
	since   string
	dryRun  bool
	yes     bool
}

func newSeedCommand(a *app) *cobra.Command {
	var o seedOptions
	cmd := &cobra.Command{
		Use:   "seed --company UUID",
		Short: "Publish invented conversations of a company, so that there is something to look at",
		Long: `Publishes invented events of all four types: a test, and then conversations from the first message to the last, of which
the last one may be unfinished. They are published in one transaction, all or none, and sent like any other event to
every endpoint of the company that subscribes. --since says when they begin to have happened; it is created_at alone:
they are published, and sent, now, and so the charts, which count attempts, show them now.

On any other database than that of surveyhooks dev it wants --yes: receivers cannot tell what was invented.`,
		Example: `  surveyhooks seed --company 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20
  surveyhooks seed --company 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20 --count 1000 --since 168h --yes -o jsonl`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			events, err := o.invent(time.Now())
			if err != nil {
				return err
			}
			switch {
			case o.dryRun:
				return a.printSeedCounts(events)
			case a.databaseURL != "" && !o.yes:
				return usage("this would send %d invented events to the endpoints of company %s: give --yes, or --dry-run to count alone", o.count, o.company)
			}
			return a.withDB(cmd.Context(), func(ctx context.Context, db *sql.DB) error { return a.seed(ctx, db, events) })
		},
	}
	flags := cmd.Flags()
	flags.Var(uuidFlag{&o.company}, "company", "the company whose surveys they belong to")
	flags.IntVar(&o.count, "count", 100, "so many events, up to 10000")
	flags.StringVar(&o.since, "since", "24h", "they happened from then until now, evenly: a `time` such as 2024-03-06T12:00:00Z, or how long ago, such as 2h")
	flags.BoolVar(&o.dryRun, "dry-run", false, "only count them by type")
	flags.BoolVar(&o.yes, "yes", false, "do it on any database")
	required(cmd, "company")
	return cmd
}

// invent makes the events in the order in which they happened.
func (o seedOptions) invent(now time.Time) ([]outbox.Event, error) {
	if o.count < 1 || o.count > maxSeed {
		return nil, usage("--count is %d: want 1 to %d", o.count, maxSeed)
	}
	since, err := moment("since", o.since)
	if err != nil {
		return nil, err
	}
	span := now.Sub(since)
	if span <= 0 {
		return nil, usage("--since is %q: want a time in the past", o.since)
	}
	each := span / time.Duration(o.count)
	events := []outbox.Event{{
		ID: uuid.Must(uuid.NewV7()), Type: outbox.TestWebhookType, CompanyID: o.company, CreatedAt: since, Data: outbox.NewTestWebhook(o.company),
	}}
	for questions := 1; len(events) < o.count; questions = questions%5 + 1 {
		events = append(events, simulator.Conversation(simulator.Talk{
			Company: o.company, Questions: questions, Began: since.Add(time.Duration(len(events)) * each), Pause: min(each, 30*time.Second),
		})...)
	}
	return events[:o.count], nil
}

// seeded is one event as seed tells it.
type seeded struct {
	EventID   uuid.UUID   `json:"event_id"`
	EventType outbox.Type `json:"event_type"`
	CompanyID uuid.UUID   `json:"company_id"`
	CreatedAt time.Time   `json:"created_at"`
}

func (a *app) seed(ctx context.Context, db *sql.DB, events []outbox.Event) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	if _, err := outbox.Publish(ctx, tx, events...); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	list := make([]seeded, 0, len(events))
	t := &table{head: []string{"EVENT", "TYPE", "CREATED"}}
	for _, e := range events {
		list = append(list, seeded{e.ID, e.Type, e.CompanyID, e.CreatedAt.UTC()})
		t.add(e.ID.String(), string(e.Type), at(e.CreatedAt))
	}
	a.say("%d events are published; a running relay sends them: surveyhooks deliveries list --company %s", len(events), events[0].CompanyID)
	return a.print(list, t)
}

func (a *app) printSeedCounts(events []outbox.Event) error {
	type count struct {
		EventType outbox.Type `json:"event_type"`
		Events    int         `json:"events"`
	}
	list := []count{}
	t := &table{head: []string{"TYPE", "EVENTS"}}
	for _, kind := range outbox.Types() {
		c := count{EventType: kind}
		for _, e := range events {
			if e.Type == kind {
				c.Events++
			}
		}
		list = append(list, c)
		t.add(string(kind), number(c.Events))
	}
	a.say("nothing is published: this was a dry run")
	return a.print(list, t)
}
