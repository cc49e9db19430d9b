package main

import (
	"context"
	"database/sql"

	"github.com/spf13/cobra"

	"github.com/chattosurvey/surveyhooks/schema"
)

func newMigrateCommand(a *app) *cobra.Command {
	cmd := group("migrate", "Make and inspect the schema webhooks",
		`  surveyhooks migrate up --database-url postgres://owner@db/survey
  surveyhooks migrate status -o json`,
		&cobra.Command{
			Use:   "up",
			Short: "Apply every migration that the database lacks; safe from many processes at once",
			Example: `  surveyhooks migrate up
  surveyhooks migrate up --database-url postgres://owner@db/survey`,
			Args: exactly(),
			RunE: func(cmd *cobra.Command, _ []string) error {
				if err := a.migrate(cmd.Context()); err != nil {
					return err
				}
				a.say("the schema webhooks is up to date")
				return a.withDB(cmd.Context(), a.printMigrations)
			},
		},
		&cobra.Command{
			Use:   "status",
			Short: "Say of each migration whether the database has it; exit 1 when one is missing",
			Example: `  surveyhooks migrate status
  surveyhooks migrate status -o json`,
			Args: exactly(),
			RunE: func(cmd *cobra.Command, _ []string) error {
				return a.withDB(cmd.Context(), func(ctx context.Context, db *sql.DB) error {
					if err := a.printMigrations(ctx, db); err != nil {
						return err
					}
					return requireMigrated(ctx, db)
				})
			},
		},
		migrateDown(),
	)
	cmd.Long = cmd.Short + ".\n\n" + forwardOnly
	return cmd
}

// forwardOnly is why there is no way back.
const forwardOnly = `Migrations go forward only: one that is taken back takes along what was written since, and the survey app writes all the
time. To go back, start the version before on the newer schema, which it runs on.`

// migrateDown is asked for by who knows other programs, and is answered; it is in no list.
func migrateDown() *cobra.Command {
	return &cobra.Command{
		Use:    "down",
		Short:  "There is no way back, and this says why",
		Hidden: true,
		Args:   cobra.ArbitraryArgs,
		RunE: func(*cobra.Command, []string) error {
			return usage("there is no migrate down.\n%s", forwardOnly)
		},
	}
}

func (a *app) printMigrations(ctx context.Context, db *sql.DB) error {
	list, err := schema.List(ctx, db)
	if err != nil {
		return err
	}
	t := &table{head: []string{"VERSION", "NAME", "APPLIED"}}
	for _, m := range list {
		t.add(number(m.Version), m.Name, at(m.AppliedAt))
	}
	return a.print(list, t)
}

// missingMigrations counts what db lacks.
func missingMigrations(ctx context.Context, db *sql.DB) (int, error) {
	list, err := schema.List(ctx, db)
	if err != nil {
		return 0, err
	}
	missing := 0
	for _, m := range list {
		if !m.Applied {
			missing++
		}
	}
	return missing, nil
}

func requireMigrated(ctx context.Context, db *sql.DB) error {
	missing, err := missingMigrations(ctx, db)
	if err != nil {
		return err
	}
	if missing > 0 {
		return &exitError{code: exitFailure, err: missingError(missing)}
	}
	return nil
}
