package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/operator"
)

func newProjectionsCommand(a *app) *cobra.Command {
	return group("projections", "See how far the history is, and make it again from the journal",
		`  surveyhooks projections status
  surveyhooks projections rebuild --verify`,
		projectionsStatus(a), projectionsRebuild(a))
}

func projectionsStatus(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Say what each reader of a log has not read yet",
		Example: `  surveyhooks projections status
  surveyhooks projections status -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withDB(cmd.Context(), func(ctx context.Context, db *sql.DB) error {
				lags, err := operator.ReadLags(ctx, db)
				if err != nil {
					return err
				}
				t := &table{head: []string{"LOG", "READER", "BEHIND", "OLDEST"}}
				for _, l := range lags {
					t.add(l.Topic, l.Group, number(l.Rows)+" rows", l.Age())
				}
				return a.print(lags, t)
			})
		},
	}
}

func projectionsRebuild(a *app) *cobra.Command {
	var verify bool
	cmd := &cobra.Command{
		Use:   "rebuild",
		Short: "Make the history again from the first fact, and take it over if it differs; with --verify only compare",
		Long: `Makes the history again beside the live one, which goes on, and compares. Where they differ the rows are replaced,
while the projector stands by. One rebuild runs at a time; the operator's page shows the latest.`,
		Example: `  surveyhooks projections rebuild --verify
  surveyhooks projections rebuild`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.operating(cmd, func(ctx context.Context, s *operator.Service, by access.Caller) error {
				job, err := s.Rebuild(ctx, by, verify)
				switch {
				case err != nil:
					return err
				case job.Report == nil:
					return &exitError{code: exitFailure, err: fmt.Errorf("the rebuild %s: %s", job.State, job.Fault)}
				}
				report := job.Report
				t := &table{head: []string{"TABLE", "LIVE", "REBUILT", "ONLY LIVE", "ONLY REBUILT", "BEYOND"}}
				for _, d := range report.Tables {
					t.add(d.Table, number(d.Live), number(d.Rebuilt), number(d.OnlyLive), number(d.OnlyRebuilt), number(d.Beyond))
				}
				if err := a.print(report, t); err != nil {
					return err
				}
				if report.Truncated {
					a.say("facts before %s are no longer kept: older rows were left alone", at(report.RetainedFrom))
				}
				switch {
				case report.Equal:
					a.say("read %d facts: the live history equals the rebuilt one", report.Facts)
				case !report.Replaced:
					return &exitError{code: exitFailure, err: errors.New("the live history differs from the rebuilt one: run surveyhooks projections rebuild")}
				default:
					a.say("read %d facts: the live history differed and was replaced", report.Facts)
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&verify, "verify", false, "compare, and change nothing; exit 1 when there is a difference")
	return cmd
}
