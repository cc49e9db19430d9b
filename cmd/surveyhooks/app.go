package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/spelling"
)

// process is what a run sees of the operating system, so that a test can run a verb without one.
type process struct {
	env    []string // KEY=value
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
}

// app is one run of the command: its streams, its environment, and the flags that every verb has.
type app struct {
	process

	lookup  map[string]string // the environment
	sources map[string]string // flag name → the variable that set it

	output      string
	bare        bool // print rows without head and padding: see print
	databaseURL string
	sealKeys    string
	keysFile    string // the keyring of surveyhooks dev, in its own run
}

// run executes one command line and returns its exit code. Cancelling ctx asks a long-running verb to end in order.
func run(ctx context.Context, args []string, p process) int {
	a := &app{process: p, lookup: map[string]string{}, sources: map[string]string{}}
	for _, kv := range p.env {
		if key, value, ok := strings.Cut(kv, "="); ok {
			a.lookup[key] = value
		}
	}
	root := newRootCommand(a)
	root.SetArgs(args)
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	code := exitCode(err)
	if silent, ok := errors.AsType[*exitError](err); !ok || !silent.told {
		a.say("surveyhooks: %s", explain(err))
	}
	return code
}

// say tells a person something, on standard error.
func (a *app) say(format string, args ...any) { //nolint:goprintffuncname // reads as a sentence
	fmt.Fprintf(a.stderr, format+"\n", args...)
}

func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "surveyhooks",
		Short: "Sends committed survey events to customers' webhooks, and shows what came of it",
		Long: `Sends committed survey events to customers' webhooks, and shows what came of it.

To see all of it at work on this machine: surveyhooks dev. Without --database-url, every other command then works on
what that one runs.

Data goes to standard output, everything else to standard error; nothing is coloured, whatever NO_COLOR says. The exit
code is 0 (ok), 1 (failure), 2 (usage), 3 (not found) or 4 (what it has to talk to cannot be reached).`,
		Example: `  surveyhooks serve --database-url postgres://relay@db/survey --migrate
  surveyhooks deliveries list --state exhausted -o json`,
		Version:       readBuild().Version, // for --version, which everybody tries first
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.CompletionOptions.HiddenDefaultCmd = false
	flags := root.PersistentFlags()
	flags.StringVarP(&a.output, "output", "o", "table", "`table|json|jsonl`: how data is printed on standard output; jsonl is one line of JSON for each row; without a terminal and this flag, a table's rows alone, separated by tabs")
	flags.StringVar(&a.databaseURL, "database-url", "", "`DSN` of the survey app's PostgreSQL (default: the private cluster of surveyhooks dev, if it runs)")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if strings.Contains(err.Error(), "duration") {
			return usage("%w: want a length of time such as 90s, 2h or 168h: see %s --help", err, cmd.CommandPath())
		}
		hint := ""
		if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok && len(unknown.GetSpecifiedName()) > 1 {
			hint = spelling.DidYouMean("--"+unknown.GetSpecifiedName(), flagNames(cmd))
		}
		return usage("%w%s: see %s --help", err, hint, cmd.CommandPath())
	})
	root.AddCommand(
		newServeCommand(a), newBootstrapCommand(a), newMigrateCommand(a), newEndpointsCommand(a), newPublishCommand(a), newOutboxCommand(a), newEventsCommand(a),
		newDeliveriesCommand(a), newRecoverCommand(a), newAttemptsCommand(a), newProjectionsCommand(a), newAuditCommand(a),
		newPartitionsCommand(a), newPauseCommand(a), newResumeCommand(a), newRelaysCommand(a), newDoctorCommand(a), newPortalCommand(a), newOpenCommand(a), newKeysCommand(a), newSessionsCommand(a),
		newSealKeysCommand(a), newDevCommand(a), newPGCommand(a),
		newBenchCommand(a), newSignatureCommand(a), newSamplesCommand(a), newListenCommand(a), newTriggerCommand(a), newSeedCommand(a),
		newHealthcheckCommand(a), newConfigCommand(a), newVersionCommand(a),
		newManCommand(a), newOpenAPICommand(a),
	)
	asGroup(root)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return a.prepare(cmd) }
	nameTwins(root)
	return root
}

// flagNames are the flags that the command takes, as they are typed.
func flagNames(cmd *cobra.Command) []string {
	var names []string
	cmd.Flags().VisitAll(func(flag *pflag.Flag) { names = append(names, "--"+flag.Name) })
	return names
}

// prepare runs before every verb: it takes the environment over into flags, and refuses what cannot be meant.
func (a *app) prepare(cmd *cobra.Command) error {
	if err := a.bindEnvironment(cmd); err != nil {
		return err
	}
	if !slices.Contains([]string{"table", "json", "jsonl"}, a.output) {
		return usage("--output is %q: want table, json or jsonl", a.output)
	}
	a.bare = !cmd.Flags().Changed("output") && !isTerminal(a.stdout)
	if err := cmd.ValidateRequiredFlags(); err != nil {
		return usage("%w: see %s --help", err, cmd.CommandPath())
	}
	if err := cmd.ValidateFlagGroups(); err != nil {
		return usage("%w: see %s --help", err, cmd.CommandPath())
	}
	return nil
}

// group makes a command that only holds others.
func group(use, short, example string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Example: example}
	cmd.AddCommand(children...)
	asGroup(cmd)
	return cmd
}

// asGroup makes a command without a verb, or with an unknown one, a fault of usage; cobra would show help and succeed.
func asGroup(cmd *cobra.Command) {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			cmd.SetOut(cmd.ErrOrStderr())
			return &exitError{code: exitUsage, err: errors.Join(cmd.Help(), errors.New("a command is missing")), told: true}
		}
		var names []string
		for _, child := range cmd.Commands() {
			if child.IsAvailableCommand() {
				names = append(names, child.Name())
			}
		}
		return usage("unknown command %q for %s%s: see %s --help", args[0], cmd.CommandPath(), spelling.DidYouMean(args[0], names), cmd.CommandPath())
	}
}

// exactly demands the named positional arguments.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != len(names) {
			noun := "arguments"
			if len(names) == 1 {
				noun = "argument"
			}
			return usage("%s takes %d %s, not %d: want %s", cmd.CommandPath(), len(names), noun, len(args), strings.TrimSpace(cmd.UseLine()))
		}
		return nil
	}
}
