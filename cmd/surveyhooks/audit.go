package main

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/chattosurvey/surveyhooks/projections"
)

func newAuditCommand(a *app) *cobra.Command {
	var noCatchUp bool
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Prove from the log that every committed event is accounted for; exit 1 when one is not",
		Example: `  surveyhooks audit
  surveyhooks audit --no-catch-up -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withDB(cmd.Context(), func(ctx context.Context, db *sql.DB) error {
				if !noCatchUp {
					if err := projections.New(projections.Config{DB: db}).RunToEnd(ctx); err != nil {
						return fmt.Errorf("catch up: %w", err)
					}
				}
				ledger, err := projections.Audit(ctx, db)
				if err != nil {
					return err
				}
				return a.printLedger(ledger)
			})
		},
	}
	cmd.Flags().BoolVar(&noCatchUp, "no-catch-up", false, "do not bring the history up to date first")
	return cmd
}

func (a *app) printLedger(l projections.Ledger) error {
	l.Details = orEmpty(l.Details)
	t := &table{}
	for _, line := range []struct {
		name string
		n    int64
	}{
		{"events", l.Events},
		{"decisions", l.Decisions},
		{"deliveries", l.Deliveries},
		{"  delivered", l.Delivered},
		{"  exhausted", l.Exhausted},
		{"  cancelled", l.Cancelled},
		{"  pending", l.Pending},
		{"  held", l.Held},
		{"waiting", l.Waiting},
		{"quarantined", l.Quarantined},
		{"projection lag", l.ProjectionLagFacts},
	} {
		t.add(line.name+":", number(line.n))
	}
	t.add(fmt.Sprintf("unaccounted: %d", l.Unaccounted)) // one cell: scripts look for these very words
	for _, detail := range l.Details {
		t.add("  " + detail)
	}
	if err := a.print(l, t); err != nil {
		return err
	}
	if l.Unaccounted > 0 {
		return &exitError{code: exitFailure, err: fmt.Errorf("%d are unaccounted for", l.Unaccounted)}
	}
	return nil
}
