package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/chattosurvey/surveyhooks/schema/retention"
)

func retentionFlag(flags *pflag.FlagSet, keep *time.Duration) {
	flags.DurationVar(keep, "retention", retention.Default, "`time` for which days of outbox, journal and attempts are kept; longer where something needs them")
}

func retentionFault(keep time.Duration) string {
	if keep < 24*time.Hour {
		return fmt.Sprintf("--retention is %s: want at least 24h, such as 720h for 30 days", keep)
	}
	return ""
}

func newPartitionsCommand(a *app) *cobra.Command {
	return group("partitions", "See the days of the logs, and drop old ones that nothing needs",
		`  surveyhooks partitions list
  surveyhooks partitions prune --dry-run`,
		partitionsList(a), partitionsPrune(a))
}

func partitionsList(a *app) *cobra.Command {
	var keep time.Duration
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the days of outbox, journal and attempts, and what needs the old ones",
		Example: `  surveyhooks partitions list
  surveyhooks partitions list --retention 168h -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withRetention(cmd, keep, func(ctx context.Context, db *sql.DB) error {
				days, err := retention.List(ctx, db, keep)
				if err != nil {
					return err
				}
				t := &table{head: []string{"LOG", "DAY", "ROWS", "BYTES", "STATE"}}
				for _, d := range days {
					state := "kept"
					switch {
					case d.KeptFor != "":
						state = "old, kept: " + d.KeptFor
					case d.Old:
						state = "old, goes with the next prune"
					}
					t.add(d.Log, d.Day, about(d.Rows), number(d.Bytes), state)
				}
				return a.print(days, t)
			})
		},
	}
	retentionFlag(cmd.Flags(), &keep)
	return cmd
}

func partitionsPrune(a *app) *cobra.Command {
	var keep time.Duration
	var dryRun, yes bool
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Drop old days that nothing needs, as every running relay does by itself",
		Long: `Drops the days of outbox, journal and attempts that are older than --retention and that nothing needs, and deletes the
rows of the history that went with them. A day stays while a reader of the log has not read it or a delivery of its
events is pending or held. Producers wait for a drop at most 200 ms at a time. Exits with 1 when a day that could go is
in use by open transactions, or when another process prunes. What is dropped is gone: it wants --yes, or --dry-run.`,
		Example: `  surveyhooks partitions prune --dry-run
  surveyhooks partitions prune --retention 336h --yes`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withRetention(cmd, keep, func(ctx context.Context, db *sql.DB) error {
				do := retention.Plan
				switch {
				case dryRun:
				case yes:
					do = retention.Prune
				default:
					return a.refusePrune(ctx, db, keep)
				}
				report, err := do(ctx, db, keep)
				if err != nil {
					return err
				}
				return a.printPruned(report, dryRun)
			})
		},
	}
	retentionFlag(cmd.Flags(), &keep)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be dropped, and drop nothing")
	cmd.Flags().BoolVar(&yes, "yes", false, "do it; without it nothing is dropped")
	cmd.MarkFlagsMutuallyExclusive("dry-run", "yes")
	return cmd
}

// refusePrune says what a --yes would do.
func (a *app) refusePrune(ctx context.Context, db *sql.DB, keep time.Duration) error {
	report, err := retention.Plan(ctx, db, keep)
	if err != nil {
		return err
	}
	return usage("this would drop %d days: give --yes, or --dry-run to see which", len(report.Dropped))
}

func (a *app) withRetention(cmd *cobra.Command, keep time.Duration, do func(context.Context, *sql.DB) error) error {
	if fault := retentionFault(keep); fault != "" {
		return usage("%s", fault)
	}
	return a.withDB(cmd.Context(), do)
}

// about is an estimate, which a person must not take for a count.
func about(rows *int64) string {
	switch {
	case rows == nil:
		return "-"
	case *rows == 0:
		return "0"
	default:
		return "≈" + number(*rows)
	}
}

func (a *app) printPruned(report retention.Report, dryRun bool) error {
	dropped := "dropped"
	if dryRun {
		dropped = "would be dropped"
	}
	t := &table{head: []string{"LOG", "DAY", "ROWS", "OUTCOME"}}
	for _, d := range report.Dropped {
		t.add(d.Log, d.Day, about(d.Rows), dropped)
	}
	for _, d := range report.Kept {
		t.add(d.Log, d.Day, about(d.Rows), "kept: "+d.KeptFor)
	}
	if err := a.print(report, t); err != nil {
		return err
	}
	a.say("%d days %s, %d rows of the history deleted", len(report.Dropped), dropped, report.Rows)
	if report.InUse() {
		return &exitError{code: exitFailure, err: errors.New("some days are in use: try again when those transactions have ended")}
	}
	return nil
}
