package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/chattosurvey/surveyhooks/schema/cluster"
)

func newPGCommand(a *app) *cobra.Command {
	return group("pg", "The private PostgreSQL of surveyhooks dev: start it alone, connect to it, stop it",
		`  surveyhooks pg ensure
  surveyhooks pg psql`,
		pgEnsure(a), pgDSN(a), pgPsql(a), pgStop(a))
}

// pgLogin is the flag that says as whom to connect.
type pgLogin string

var _ pflag.Value = (*pgLogin)(nil)

// String returns the login's short name.
func (l *pgLogin) String() string { return string(*l) }

// Set takes one of the three.
func (l *pgLogin) Set(text string) error {
	switch text {
	case "owner", "relay", "app":
		*l = pgLogin(text)
		return nil
	default:
		return errors.New("want owner, relay or app")
	}
}

// Type is shown in --help.
func (*pgLogin) Type() string { return "owner|relay|app" }

func (l *pgLogin) define(flags *pflag.FlagSet) {
	*l = "owner"
	flags.Var(l, "login", "as whom: the schema's owner, a relay, or the survey app, each with its rights alone")
}

// dsn is the owner's DSN for the login.
func (l *pgLogin) dsn(owner string) string {
	switch *l {
	case "relay":
		return asLogin(owner, devRelay)
	case "app":
		return asLogin(owner, devApp)
	default:
		return owner
	}
}

// privateDSN is the owner's DSN of the private server, which has to run.
func privateDSN(ctx context.Context) (string, error) {
	dsn, ok := runningDevCluster(ctx)
	if !ok {
		return "", unavailable("the private PostgreSQL does not run: start it with surveyhooks pg ensure, or with everything else by surveyhooks dev")
	}
	return dsn, nil
}

func pgEnsure(a *app) *cobra.Command {
	var login pgLogin
	cmd := &cobra.Command{
		Use:   "ensure",
		Short: "Start it if it does not run, apply the migrations, and print how to connect",
		Long: `Starts the private PostgreSQL of surveyhooks dev if it does not run, found on this machine or fetched once, applies the
migrations, and makes the logins and the keyring that surveyhooks dev has: every other command works on it then, without
--database-url. It goes on running until surveyhooks pg stop; it listens on a unix socket alone.`,
		Example: `  surveyhooks pg ensure
  psql "$(surveyhooks pg ensure --login app)"`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			config := a.devCluster()
			config.Detached = true
			server, err := cluster.Start(cmd.Context(), config)
			if err != nil {
				return orStopped(cmd.Context(), unavailable("%w", err))
			}
			if err := migrateDev(cmd.Context(), server.DSN("")); err != nil {
				return err
			}
			if err := a.ensureDevKeys(); err != nil {
				return err
			}
			if server.Attached {
				a.say("it runs already")
			} else {
				a.say("it runs, and goes on until surveyhooks pg stop; its data is in %s", server.Dir)
			}
			if a.databaseURL != "" {
				a.say("other commands go elsewhere by --database-url or %s", twin("database-url"))
			}
			dsn := login.dsn(server.DSN(""))
			return a.print(map[string]any{"dsn": dsn, "folder": server.Dir, "started": !server.Attached}, &table{rows: [][]string{{dsn}}})
		},
	}
	login.define(cmd.Flags())
	return cmd
}

func pgDSN(a *app) *cobra.Command {
	var login pgLogin
	cmd := &cobra.Command{
		Use:   "dsn",
		Short: "Print how to connect to it; exit 4 when it does not run",
		Example: `  surveyhooks pg dsn
  surveyhooks pg dsn --login relay -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			dsn, err := privateDSN(cmd.Context())
			if err != nil {
				return err
			}
			dsn = login.dsn(dsn)
			return a.print(map[string]string{"dsn": dsn}, &table{rows: [][]string{{dsn}}})
		},
	}
	login.define(cmd.Flags())
	return cmd
}

func pgPsql(a *app) *cobra.Command {
	var login pgLogin
	cmd := &cobra.Command{
		Use:   "psql [-- ARGUMENT...]",
		Short: "Become psql, connected to it; the exit code is psql's",
		Example: `  surveyhooks pg psql
  surveyhooks pg psql --login relay -- -c "TABLE webhooks.endpoint_health"`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			program, err := a.psql()
			if err != nil {
				return err
			}
			dsn, err := privateDSN(cmd.Context())
			if err != nil {
				return err
			}
			// In this process's place, so that the terminal and its Ctrl-C are psql's.
			if err := syscall.Exec(program, append([]string{"psql", login.dsn(dsn)}, args...), a.env); err != nil {
				return fmt.Errorf("become %s: %w", program, err)
			}
			return nil
		},
	}
	login.define(cmd.Flags())
	return cmd
}

// psql finds the program in PATH, or beside the server that the environment names.
func (a *app) psql() (string, error) {
	if program, ok := find("psql", append(filepath.SplitList(a.lookup["PATH"]), a.lookup[prefix+"PG_BINDIR"])); ok {
		return program, nil
	}
	return "", errors.New("there is no psql in PATH: install PostgreSQL's client (on Debian postgresql-client), or give another one what surveyhooks pg dsn prints")
}

// find looks for a program in folders that are named from the root: one beside the work at hand is not meant.
func find(name string, folders []string) (string, bool) {
	for _, folder := range folders {
		if !filepath.IsAbs(folder) {
			continue
		}
		if program, err := exec.LookPath(filepath.Join(folder, name)); err == nil {
			return program, true
		}
	}
	return "", false
}

func pgStop(a *app) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "stop",
		Short: "Stop it, whoever started it; its data stays",
		Long: `Stops the private PostgreSQL, whoever started it, and waits until it is gone. Its data stays for the next start. While
somebody is connected, such as surveyhooks dev, it is stopped with --yes alone.`,
		Example: `  surveyhooks pg stop
  surveyhooks pg stop --yes -o json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			dsn, ran := runningDevCluster(cmd.Context())
			if ran && !yes {
				if err := nobodyOn(cmd.Context(), dsn); err != nil {
					return err
				}
			}
			if err := cluster.Halt(cmd.Context(), a.devCluster()); err != nil {
				return err
			}
			words := "it did not run"
			if ran {
				words = "stopped"
			}
			return a.print(map[string]bool{"stopped": ran}, &table{rows: [][]string{{words}}})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "stop it while somebody is connected, too")
	return cmd
}

// nobodyOn refuses while others are connected. A connection that was just closed may be seen for a moment.
func nobodyOn(ctx context.Context, dsn string) error {
	db, err := openDatabase(dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	var n int
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range 20 {
		if n, err = countOthers(ctx, db); err != nil || n == 0 {
			return err
		}
		<-tick.C
	}
	return usage("connections of others: %d, such as those of a running surveyhooks dev; end them first, or give --yes", n)
}

func countOthers(ctx context.Context, db *sql.DB) (n int, err error) {
	if err := db.QueryRowContext(ctx, otherConnections).Scan(&n); err != nil {
		return 0, fmt.Errorf("count connections: %w", err)
	}
	return n, nil
}
