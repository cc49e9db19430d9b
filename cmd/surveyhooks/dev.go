package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/receiver"
	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/simulator"
	"github.com/chattosurvey/surveyhooks/schema/cluster"
	"github.com/chattosurvey/surveyhooks/schema/retention"
)

// demoCompany is the same in every run, so that what was tried before can be tried again. It stands in the examples of --help.
const demoCompany = "01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20"

// devOptions are the flags of dev.
type devOptions struct {
	receiverAddr string
	listenAddr   string
	pause        time.Duration
	adminAddr    string
	hint         string // what the commands that are shown need besides
	appURL       string // the survey app's login
}

// newDevCommand runs everything on one machine.
func newDevCommand(a *app) *cobra.Command {
	var o devOptions
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run everything on this machine, with a survey that fills itself and a receiver that prints what arrives",
		Long: `Starts a private PostgreSQL (found on this machine, or fetched once), applies the migrations, and runs the relay,
its projections, API and pages, a sample receiver and a simulated survey app. Three endpoints are told: one is healthy,
one fails and recovers, one never answers. It prints links that sign you in and commands to try. Failed deliveries are
tried again after 1, 2, 4, 8 and 16 s: sooner than by serve, for who watches. Ctrl-C stops everything in order; the
database is kept for the next run.

INSECURE ENDPOINTS ARE ALLOWED: plain http and private addresses. Never offer it to anybody else.`,
		Example: `  surveyhooks dev
  surveyhooks dev --pause 200ms --receiver-addr 127.0.0.1:4000`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.dev(cmd.Context(), o) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.receiverAddr, "receiver-addr", "127.0.0.1:3939", "`address` of the sample receiver; another port is taken when it is in use")
	flags.StringVar(&o.listenAddr, "listen-addr", usualAddr, "`address` of the API and the pages; another port is taken when it is in use")
	flags.DurationVar(&o.pause, "pause", 2*time.Second, "`time` between two transactions of the simulated survey app")
	a.sealKeysFlag(flags)
	flags.StringVar(&o.adminAddr, "admin-addr", "off", "`address` of health, metrics and pprof; off for none")
	return cmd
}

func (o devOptions) validate() error {
	for _, addr := range []struct{ flag, value, example string }{
		{"receiver-addr", o.receiverAddr, "127.0.0.1:3939"}, {"listen-addr", o.listenAddr, usualAddr},
	} {
		host, _, err := net.SplitHostPort(addr.value)
		if err != nil {
			return usage("--%s is %q: want host:port such as %s", addr.flag, addr.value, addr.example)
		}
		if !isThisMachine(host) {
			return usage("--%s is %q: want an address of this machine alone, such as %s", addr.flag, addr.value, addr.example)
		}
	}
	if o.pause <= 0 {
		return usage("--pause is %s: want more than 0, such as 2s", o.pause)
	}
	return nil
}

// dev brings the parts up from the database to the survey app; each one is stopped by the return of the function that
// started it, so that they end the other way round.
func (a *app) dev(ctx context.Context, o devOptions) (err error) {
	if err := o.validate(); err != nil {
		return err
	}
	if a.databaseURL != "" {
		o.hint, o.appURL = " (with the same --database-url)", a.databaseURL
		if err := a.migrate(ctx); err != nil {
			return orStopped(ctx, err)
		}
	} else {
		a.say("starting a private PostgreSQL")
		server, err := cluster.Start(ctx, a.devCluster())
		if err != nil {
			return orStopped(ctx, unavailable("%w", err))
		}
		defer func() {
			if server.Attached {
				a.say("PostgreSQL ran before, and goes on: surveyhooks pg stop ends it")
				return
			}
			a.say("stopping PostgreSQL; its data stays in %s", server.Dir)
			err = errors.Join(err, server.Stop())
		}()
		if err := migrateDev(ctx, server.DSN("")); err != nil {
			return orStopped(ctx, err)
		}
		a.databaseURL, o.appURL = asLogin(server.DSN(""), devRelay), asLogin(server.DSN(""), devApp)
	}
	if err := a.ensureDevKeys(); err != nil {
		return err
	}
	if o.hint != "" && a.keysFile != "" {
		o.hint = fmt.Sprintf(" (with the same --database-url, and %s=%s)", twin(sealKeys)+fileSuffix, a.keysFile)
	}
	db, err := openDatabase(a.databaseURL)
	if err != nil {
		return err
	}
	defer db.Close()
	return orStopped(ctx, a.devReceive(ctx, db, o))
}

// devCluster tells on the screen what takes its time.
func (a *app) devCluster() cluster.Config {
	cfg := devClusterConfig()
	cfg.Logf = func(format string, args ...any) { a.say("  "+format, args...) }
	return cfg
}

// orStopped forgives what only broke off because it was asked to.
func orStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil && isContextError(err) {
		return nil
	}
	return err
}

// devReceive makes the endpoints and serves them.
func (a *app) devReceive(ctx context.Context, db *sql.DB, o devOptions) error {
	listener, err := a.devListen(ctx, "receiver", o.receiverAddr)
	if err != nil {
		return err
	}
	defer listener.Close()
	demos, err := a.demoEndpoints(ctx, db, "http://"+listener.Addr().String())
	if err != nil {
		return err
	}
	screen := &devScreen{printer: receiver.NewPrinter(a.stdout)}
	defer context.AfterFunc(ctx, screen.close)()
	answers := demoAnswers{started: time.Now(), stopping: ctx.Done()}
	handler, err := receiver.New(receiver.Config{Secrets: demos.secrets(), Arrived: screen.arrived, Answer: answers.answer})
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		_ = server.Close() // the relay has ended: nobody waits for an answer
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			a.say("the receiver had stopped: %s", err)
		}
		c := handler.Counts()
		a.say("the receiver got %d requests: %d verified, %d of them duplicates", c.Requests, c.Verified, c.Duplicates)
	}()
	pages, err := a.devListen(ctx, "web server", o.listenAddr)
	if err != nil {
		return err
	}
	defer pages.Close()
	web := devWeb(pages)
	in, err := newDevAccess(ctx, db, web.publicURL)
	if err != nil {
		return err
	}
	screen.guide = a.devGuide(demos, in, web, o.hint)
	screen.remind = fmt.Sprintf("%s  ·  to sign in: %s portal link --company %s --as you", web.publicURL, devSelf(), demoCompany)
	defer time.AfterFunc(guideAfter, screen.show).Stop()
	return a.devRun(ctx, screen, o, web)
}

// devListen takes another port when the wanted one is in use: a second checkout, or what the person works on.
func (a *app) devListen(ctx context.Context, who, addr string) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err == nil {
		return listener, nil
	}
	host, _, splitErr := net.SplitHostPort(addr)
	if splitErr != nil {
		return nil, fmt.Errorf("listen for the %s: %w", who, err)
	}
	a.say("%s is in use: the %s takes another port", addr, who)
	if listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(host, "0")); err != nil {
		return nil, fmt.Errorf("listen for the %s: %w", who, err)
	}
	return listener, nil
}

// devRun runs relay and survey app. The app stops first, so that the relay's drain sends what it committed last.
func (a *app) devRun(ctx context.Context, screen *devScreen, o devOptions, web webOptions) error {
	producer, err := openDatabase(o.appURL)
	if err != nil {
		return err
	}
	defer producer.Close()
	app, err := simulator.New(simulator.Config{
		DB: producer, Company: uuid.MustParse(demoCompany), Pause: o.pause, Eager: eagerSteps, Told: func(s simulator.Step) {
			switch {
			case s.Err != nil:
				screen.notef("%s  survey app  %s could not be committed, and is tried again: %s", s.At.Format("15:04:05.000"), s.Event, oneLine(s.Err.Error()))
			case s.RolledBack:
				screen.notef("%s  survey app  rolled %s %s back: it is never sent", s.At.Format("15:04:05.000"), s.Event, s.EventID)
			}
		},
	})
	if err != nil {
		return err
	}
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	served := make(chan error, 1)
	go func() {
		served <- a.serve(serving, serveOptions{
			web: web, adminAddr: o.adminAddr, insecure: true, concurrency: 16, maxInFlight: 1024, retries: 5,
			firstRetry: time.Second, retryFactor: 2, // 31 s until all are used up: a person who watches does not want to wait
			lease: 45 * time.Second, drain: 5 * time.Second, retention: retention.Default, logFormat: "auto", logLevel: "error",
		})
	}()
	publishing, stopPublishing := context.WithCancel(ctx)
	defer stopPublishing()
	published := make(chan error, 1)
	go func() { published <- app.Run(publishing) }()

	select {
	case err := <-served: // by itself: that is a fault
		stopPublishing()
		return errors.Join(err, <-published)
	case err := <-published:
		if ctx.Err() != nil {
			a.say("\nthe survey app has stopped; the relay lets requests under way end")
		}
		stopServing()
		return errors.Join(err, <-served)
	}
}
