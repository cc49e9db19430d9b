package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/bench"
	"github.com/chattosurvey/surveyhooks/schema/cluster"
)

// newBenchCommand measures the product on this machine.
func newBenchCommand(a *app) *cobra.Command {
	var cfg bench.Config
	cmd := &cobra.Command{
		Use:   "bench [drain|throughput|latency|hang]",
		Short: "Measure this build on this machine: a real database, real relays, a real receiver",
		Long: `Measure this build on this machine.

  drain       a backlog that was published while no relay ran (the default)
  throughput  as much as goes, while it is being published
  latency     from commit to receipt, at a steady rate
  hang        the same twice: for a baseline, and while one endpoint of ten hangs for 30 s on each request

Relays and the receiver are processes of their own on loopback. The database is a fresh one, dropped at the end, in a
private durable PostgreSQL or on the server of --database-url. Exits with 1 when a delivery was lost.`,
		Example: `  surveyhooks bench drain --events 20000 --fan-out 10
  surveyhooks bench latency --rate 50 --duration 15s -o json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				cfg.Mode = bench.Mode(args[0])
			}
			return a.bench(cmd, cfg)
		},
	}
	for _, mode := range bench.Modes() {
		cmd.ValidArgs = append(cmd.ValidArgs, string(mode))
	}
	flags := cmd.Flags()
	flags.IntVar(&cfg.Endpoints, "endpoints", 100, "`number` of endpoints, a multiple of the fan-out")
	flags.IntVar(&cfg.FanOut, "fan-out", 10, "`number` of endpoints that each event goes to")
	flags.IntVar(&cfg.Events, "events", 20_000, "`number` of events (drain, throughput)")
	flags.IntVar(&cfg.Payload, "payload", 1024, "`bytes` of each event's data")
	flags.IntVar(&cfg.Relays, "relays", 1, "`number` of relay processes")
	flags.IntVar(&cfg.Rate, "rate", 50, "`events` per second (latency, hang)")
	flags.DurationVar(&cfg.Duration, "duration", 15*time.Second, "`time` to publish for (latency, hang)")
	flags.StringVar(&cfg.Profile, "profile", "", "`folder` for CPU and allocation profiles of the relays (go tool pprof)")
	cmd.AddCommand(
		&cobra.Command{Use: bench.ReceiverVerb, Hidden: true, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			return bench.ServeReceiver(cmd.Context(), a.stdin, a.stdout)
		}},
		&cobra.Command{Use: bench.RelayVerb, Hidden: true, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			return bench.ServeRelay(cmd.Context(), a.stdin, a.stdout)
		}},
	)
	return cmd
}

func (a *app) bench(cmd *cobra.Command, cfg bench.Config) (err error) {
	ctx := cmd.Context()
	if isTerminal(a.stderr) {
		cfg.Progress = a.say
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	cfg.Command = []string{self, "bench"}
	cfg.DSN = a.databaseURL
	if cfg.DSN == "" {
		cfg.DSN = "pending" // the rest is judged before a server is started for it
	}
	if err := cfg.Validate(); err != nil {
		return usage("%s: see %s --help", strings.ReplaceAll(err.Error(), "\n", "; "), cmd.CommandPath())
	}
	if a.databaseURL == "" {
		server, err := cluster.Start(ctx, cluster.Config{Dir: benchDir(), Logf: a.say})
		if err != nil {
			return unavailable("%w", err)
		}
		defer func() { err = errors.Join(err, server.Stop()) }()
		cfg.DSN = server.DSN("")
	}
	result, err := bench.Run(ctx, cfg)
	if err != nil {
		return err
	}
	if err := a.print(result, benchTable(result)); err != nil {
		return err
	}
	return result.Err()
}

// benchDir is where the private cluster of bench lives: not the one of dev, whose database is kept, and not a temporary
// folder, which may be memory and would make fsync free.
func benchDir() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "" // the cluster's default
	}
	return filepath.Join(cache, "surveyhooks", "bench")
}

func benchTable(r bench.Result) *table {
	t := &table{head: []string{"MEASURE", "VALUE"}}
	optional := func(v *float64, unit string) string {
		if v == nil {
			return "-"
		}
		return fmt.Sprintf("%.2f %s", *v, unit)
	}
	t.add("mode", string(r.Mode))
	t.add("deliveries", number(r.Deliveries))
	t.add("deliveries per second", fmt.Sprintf("%.0f", r.DeliveriesPerS))
	t.add("commit to receipt, p50", optional(r.P50Ms, "ms"))
	t.add("commit to receipt, p99", optional(r.P99Ms, "ms"))
	t.add("p99 before one hung", optional(r.P99BaselineMs, "ms"))
	t.add("healthy within 1 s", optional(r.HealthyOnTimePct, "%"))
	t.add("CPU per 10 000, relay + PostgreSQL", fmt.Sprintf("%.2f s (%.2f + %.2f)", r.CPUPer10k, r.RelayCPUPer10k, r.PostgresCPUPer10k))
	t.add("CPU per 10 000, receiver", fmt.Sprintf("%.2f s", r.ReceiverCPUPer10k))
	t.add("relay memory, peak", fmt.Sprintf("%.0f MiB", r.RelayRSSMB))
	t.add("WAL per delivery", fmt.Sprintf("%.0f bytes", r.WALPerDelivery))
	t.add("history complete after", fmt.Sprintf("%.2f s", r.HistoryCompleteS))
	t.add("lost", number(r.Lost))
	t.add("duplicates", number(r.Duplicates))
	t.add("invented", number(r.Invented))
	return t
}
