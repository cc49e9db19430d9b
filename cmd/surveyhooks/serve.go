package main

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/operator"
	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/recovery"
	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/relay"
	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/retry"
	"github.com/chattosurvey/surveyhooks/relay/seal"
	"github.com/chattosurvey/surveyhooks/schema"
)

// serveOptions are the flags of serve.
type serveOptions struct {
	web         webOptions
	adminAddr   string
	migrate     bool
	insecure    bool
	egress      egressFlags
	concurrency int
	maxInFlight int
	retries     int
	firstRetry  time.Duration
	retryFactor float64 // set by dev; 0: what is promised
	lease       time.Duration
	drain       time.Duration
	retention   time.Duration
	logFormat   string
	logLevel    string

	keys *seal.Ring // no flag: the keyring, once it is read
}

// define adds the flags; config show has the same ones.
func (o *serveOptions) define(flags *pflag.FlagSet) {
	o.web.define(flags)
	flags.StringVar(&o.adminAddr, "admin-addr", "127.0.0.1:9090", "`address` of health, metrics and pprof; off for none")
	flags.BoolVar(&o.migrate, "migrate", false, "apply missing migrations first; safe from many processes at once")
	insecureFlag(flags, &o.insecure)
	o.egress.define(flags)
	flags.IntVar(&o.concurrency, "concurrency", 16, "requests under way to one endpoint")
	flags.IntVar(&o.maxInFlight, "max-in-flight", 1024, "requests under way to all endpoints, shared fairly")
	flags.IntVar(&o.retries, "retries", 5, "retries after the first attempt")
	flags.DurationVar(&o.firstRetry, "first-retry", 10*time.Second, "delay of the first retry; each further one waits 6 times as long")
	flags.DurationVar(&o.lease, "lease", 45*time.Second, "a relay that is silent for that long is dead, and others take its endpoints")
	flags.DurationVar(&o.drain, "drain", 35*time.Second, "how long a stop waits for requests under way")
	retentionFlag(flags, &o.retention)
	flags.StringVar(&o.logFormat, "log-format", "auto", "`auto|text|json`; auto is text on a terminal")
	flags.StringVar(&o.logLevel, logLevel, "info", "`debug|info|warn|error`; SIGHUP reads its file again")
}

// validate reports every value that cannot be meant, before anything is started.
func (o *serveOptions) validate() error {
	var faults []string
	for name, n := range map[string]int{"concurrency": o.concurrency, "max-in-flight": o.maxInFlight, "retries": o.retries} {
		if n < 1 {
			faults = append(faults, fmt.Sprintf("--%s is %d: want at least 1", name, n))
		}
	}
	for name, d := range map[string]time.Duration{"first-retry": o.firstRetry, "lease": o.lease, "drain": o.drain} {
		if d <= 0 {
			faults = append(faults, fmt.Sprintf("--%s is %s: want more than 0, such as 30s", name, d))
		}
	}
	if fault := retentionFault(o.retention); fault != "" {
		faults = append(faults, fault)
	}
	if o.adminAddr != "off" {
		if _, _, err := net.SplitHostPort(o.adminAddr); err != nil {
			faults = append(faults, fmt.Sprintf("--admin-addr is %q: want host:port such as 127.0.0.1:9090, or off", o.adminAddr))
		}
	}
	faults = append(faults, o.web.validate()...)
	if _, err := o.policy(); err != nil {
		faults = append(faults, err.Error())
	}
	if _, err := newLogHandler(nil, o.logFormat, slog.LevelInfo); err != nil {
		faults = append(faults, err.Error())
	}
	if _, err := parseLogLevel(o.logLevel); err != nil {
		faults = append(faults, err.Error())
	}
	if len(faults) > 0 {
		return usage("%s", strings.Join(faults, "; "))
	}
	return nil
}

// policy is what endpoints are held to, when they are stored and when they are called.
func (o *serveOptions) policy(listeners ...net.Addr) (egress.Policy, error) {
	own := o.egress
	own.hosts = slices.Concat(own.hosts, o.web.ownHosts())
	policy, err := own.policy(o.insecure)
	for _, l := range listeners {
		if at, ok := l.(*net.TCPAddr); ok {
			policy.Listeners = append(policy.Listeners, at.AddrPort())
		}
	}
	return policy, err
}

// schedule is that of retries: what the relay keeps, and customers are told.
func (o *serveOptions) schedule() retry.Policy {
	return retry.Policy{Retries: o.retries, First: o.firstRetry, Factor: o.retryFactor}
}

// relay is the relay's part. It is not to call the process that it runs in: listeners are where that one listens.
func (o *serveOptions) relay(dsn string, logger *slog.Logger, metrics prometheus.Registerer, listeners ...net.Addr) (relay.Config, error) {
	policy, err := o.policy(listeners...)
	return relay.Config{
		DSN:         dsn,
		Keys:        o.keys,
		Egress:      egress.Config{Policy: policy},
		Retry:       o.schedule(),
		Concurrency: o.concurrency, MaxInFlight: o.maxInFlight,
		Lease: o.lease, Drain: o.drain, Retention: o.retention,
		Logger: logger, Metrics: metrics,
	}, err
}

func newServeCommand(a *app) *cobra.Command {
	var o serveOptions
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the relay, its projections and the web server until SIGTERM",
		Long: `Runs the relay, which sends committed events, the projections, which keep the history of it, and the public web
server, by which people sign in. It speaks plain HTTP: put a proxy that ends TLS before it, and name that one with
--trusted-proxies.

SIGTERM or SIGINT: stop claiming, let requests under way end (at most --drain), exit 0. A second signal exits 1 at
once; what was under way is sent again. SIGHUP reads the files of $SURVEYHOOKS_SEAL_KEYS_FILE and
$SURVEYHOOKS_LOG_LEVEL_FILE again.

It needs a keyring: surveyhooks keys generate makes one. An endpoint whose key is missing waits, uncharged, and /readyz
says so; the others go on.`,
		Example: `  surveyhooks serve --database-url postgres://relay@db/survey --public-url https://webhooks.example.com --migrate
  SURVEYHOOKS_DATABASE_URL_FILE=/run/secrets/dsn SURVEYHOOKS_SEAL_KEYS_FILE=/run/secrets/seal-keys surveyhooks serve --log-format json`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.serve(cmd.Context(), o) },
	}
	o.define(cmd.Flags())
	a.sealKeysFlag(cmd.Flags())
	return cmd
}

// serve runs everything. The admin server is first and last, so that an orchestrator sees the start and the drain.
func (a *app) serve(ctx context.Context, o serveOptions) error {
	if err := o.validate(); err != nil {
		return err
	}
	level := new(slog.LevelVar)
	logger, err := a.logger(o, level)
	if err != nil {
		return err
	}
	dsn, err := a.dsn(ctx)
	if err != nil {
		return err
	}
	if o.keys, err = a.requireKeyring(); err != nil {
		return err
	}
	db, err := openDatabase(dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	b := readBuild()
	logger.Info("surveyhooks starts", "version", b.Version, "revision", b.Revision, "database", maskDSN(dsn), "keys", o.keys.IDs())
	if o.insecure {
		logger.Warn("INSECURE ENDPOINTS ARE ALLOWED: plain http and private addresses; never in production", "flag", "insecure-endpoints")
	}
	defer reloader{a, o.keys, level, logger}.watch(ctx)()
	admin := newAdmin(db, o.keys, logger)
	if o.adminAddr != "off" {
		stop, err := admin.listen(ctx, o.adminAddr)
		if err != nil {
			return err
		}
		defer stop()
	}
	if err := prepareDatabase(ctx, db, o.keys, o.migrate, logger); ctx.Err() != nil {
		return nil // stopped before it began
	} else if err != nil {
		return err
	}
	projector := projections.New(projections.Config{DB: db, DSN: dsn, Logger: logger})
	recoveries := recovery.New(recovery.Config{DB: db, Logger: logger})
	operations := operator.New(operator.Config{DB: db, Logger: logger})
	parts := []part{{"projections", projector.Run}, {"recoveries", recoveries.Run}, {"operations", operations.Run}}
	listeners := admin.listeners
	if o.web.listenAddr != "off" {
		site, err := openWeb(ctx, o, dsn, operations, logger)
		if err != nil {
			return err
		}
		defer site.close()
		parts = append(parts, part{"web", site.run})
		listeners = append(listeners, site.listener.Addr())
	}
	cfg, err := o.relay(dsn, logger, admin.registry, listeners...)
	if err != nil {
		return err
	}
	sender, err := relay.New(cfg)
	if err != nil {
		return usage("%w", err)
	}
	admin.watched.Store(&watched{sender, stuckLeases * o.lease})
	return a.runParts(ctx, admin, o.drain, append(parts, part{"relay", sender.Run}))
}

// logger logs to standard error.
func (a *app) logger(o serveOptions, level *slog.LevelVar) (*slog.Logger, error) {
	least, err := parseLogLevel(o.logLevel)
	if err != nil {
		return nil, err
	}
	level.Set(least)
	handler, err := newLogHandler(a.stderr, o.logFormat, level)
	return slog.New(handler), err
}

// runParts runs until ctx ends or a part does, and tells whoever supervises the process.
func (a *app) runParts(ctx context.Context, admin *admin, drain time.Duration, parts []part) error {
	background, end := context.WithCancel(context.WithoutCancel(ctx)) // until all have ended, the drain included
	defer end()
	admin.state.Store(running)
	systemd := supervisor{a.lookup["NOTIFY_SOCKET"]}
	systemd.tell(ctx, "READY=1")
	go systemd.keepWatch(background, a.lookup["WATCHDOG_USEC"], admin.alive)
	context.AfterFunc(ctx, func() {
		admin.state.Store(draining)
		systemd.tell(background, "STOPPING=1")
		admin.logger.Info("surveyhooks stops: no new work, requests under way may end", "drain", drain.String())
	})
	group, work := errgroup.WithContext(ctx)
	for _, p := range parts {
		group.Go(func() error { return whileWanted(work, p) })
	}
	err := group.Wait()
	if err != nil && ctx.Err() == nil {
		return err
	}
	if err != nil {
		admin.logger.Error("surveyhooks did not stop in order", "error", err)
		return &exitError{code: exitFailure, err: err, told: true}
	}
	admin.logger.Info("surveyhooks stopped")
	return nil
}

// prepareDatabase waits for the database, and for its schema and its secrets to be as this build wants them.
func prepareDatabase(ctx context.Context, db *sql.DB, keys *seal.Ring, migrate bool, logger *slog.Logger) error {
	if err := awaitDatabase(ctx, db, logger); err != nil {
		return unavailable("reach the database: %w", err)
	}
	if migrate {
		if err := schema.Migrate(ctx, db); err != nil {
			return err
		}
	}
	if err := requireMigrated(ctx, db); err != nil {
		return err
	}
	return sealLeftovers(ctx, db, keys, logger)
}

// part is one of the things that serve runs until it is stopped.
type part struct {
	name string
	run  func(context.Context) error
}

// whileWanted forgives the error of a run that was asked to end, if it is only that it was asked.
func whileWanted(ctx context.Context, p part) error {
	err := p.run(ctx)
	switch {
	case err == nil && ctx.Err() == nil:
		return fmt.Errorf("run %s: it ended by itself", p.name)
	case err == nil || ctx.Err() != nil && isContextError(err):
		return nil
	default:
		return fmt.Errorf("run %s: %w", p.name, err)
	}
}

// awaitDatabase waits for a server that is starting up, as in a compose file or after a failover. Any other refusal
// (password, no such database) will not go away by waiting and is returned.
func awaitDatabase(ctx context.Context, db *sql.DB, logger *slog.Logger) error {
	told := false
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := ping(ctx, db)
		if err == nil || !schema.Starting(err) && !isContextError(err) || ctx.Err() != nil {
			return err
		}
		if !told {
			logger.Warn("database not ready; waiting for it", "error", err)
			told = true
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}
