package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/chattosurvey/surveyhooks/projections"
)

func newAttemptsCommand(a *app) *cobra.Command {
	return group("attempts", "Look at single HTTP requests",
		`  surveyhooks attempts list --state failed
  surveyhooks attempts get 42 1`,
		attemptsList(a), attemptsGet(a))
}

func attemptsList(a *app) *cobra.Command {
	var h historyFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List attempts, the latest first",
		Example: `  surveyhooks attempts list --delivery 42
  surveyhooks attempts list --state failed --since 1h -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := h.read(a)
			if err != nil {
				return err
			}
			switch filter.State {
			case "", "succeeded", "failed", "interrupted", "stale":
			default:
				return usage("--state is %q: want succeeded, failed, interrupted or stale", filter.State)
			}
			return a.reading(cmd, func(ctx context.Context, reader *projections.Reader) error {
				page, err := reader.Attempts(ctx, filter)
				if err != nil {
					return err
				}
				return printPage(a, page, attemptTable(page.Items))
			})
		},
	}
	h.deliveryFlags(cmd.Flags(), "succeeded|failed|interrupted|stale")
	cmd.Flags().Int64Var(&h.filter.DeliveryID, "delivery", 0, "only of this `delivery`")
	return cmd
}

func attemptTable(list []projections.Attempt) *table {
	t := &table{head: []string{"DELIVERY", "ATTEMPT", "STARTED", "OUTCOME", "STATUS", "REASON", "TOOK", "TRIGGER", "URL"}}
	for _, at := range list {
		t.add(number(at.DeliveryID), number(at.Attempt), at.StartedAt.UTC().Format("2006-01-02T15:04:05.000Z"), at.Outcome,
			outcome(at.Status, nil), at.Reason, took(&at.TotalUs), at.Trigger, at.URL)
	}
	return t
}
