package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/chattosurvey/surveyhooks/projections"
)

// tailPoll is the time between two looks: the history is about as far behind.
const tailPoll = time.Second

func deliveriesTail(a *app) *cobra.Command {
	var filter projections.Filter
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Follow deliveries live: one line whenever one changes, until Ctrl-C",
		Long: `Prints a line for each delivery that changes from now on, as it stands then: born, tried, tried again, over. A delivery
that changes twice within a second may be told once, as it is after both. Ctrl-C ends it, with exit code 0.`,
		Example: `  surveyhooks deliveries tail --endpoint 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20
  surveyhooks deliveries tail --state exhausted -o jsonl`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkState(filter.State); err != nil {
				return err
			}
			return a.reading(cmd, func(ctx context.Context, reader *projections.Reader) error {
				return orStopped(ctx, a.tail(ctx, reader, filter))
			})
		},
	}
	flags := cmd.Flags()
	flags.Var(uuidFlag{&filter.CompanyID}, "company", "only this company's")
	flags.Var(uuidFlag{&filter.EndpointID}, "endpoint", "only of this endpoint")
	flags.StringVar(&filter.State, "state", "", "only those that become `pending|retrying|held|delivered|exhausted|cancelled`")
	return cmd
}

// tail prints changes until ctx ends.
func (a *app) tail(ctx context.Context, reader *projections.Reader, filter projections.Filter) error {
	filter.Limit = 500
	changes, err := reader.DeliveriesSince(ctx, filter, projections.Now)
	if err != nil {
		return err
	}
	a.say("following from now on; Ctrl-C ends it")
	tick := time.NewTicker(tailPoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if changes, err = reader.DeliveriesSince(ctx, filter, changes.Next); err != nil {
			return err
		}
		if changes.Reset {
			a.say("too much changed at once to show all of it: see surveyhooks deliveries list")
		}
		for _, d := range slices.Backward(changes.Deliveries) {
			if filter.State != "" && d.State != filter.State {
				continue
			}
			if err := a.tellDelivery(d); err != nil {
				return err
			}
		}
	}
}

// tellDelivery prints one line, of JSON for both of its formats: a list without an end has no closing bracket.
func (a *app) tellDelivery(d projections.Delivery) error {
	if a.output != "table" {
		if err := json.NewEncoder(a.stdout).Encode(d); err != nil {
			return fmt.Errorf("write JSON: %w", err)
		}
		return nil
	}
	changed := d.CreatedAt
	for _, at := range []*time.Time{d.LastAttemptAt, d.FinishedAt} {
		if at != nil && at.After(changed) {
			changed = *at
		}
	}
	return a.printLine([]int{0, 8, 10, 26}, at(changed), number(d.DeliveryID), d.State, d.EventType, d.EndpointID.String(),
		number(d.Attempts), outcome(d.LastStatus, d.LastReason), orDash(took(d.LastTotalUs)))
}
