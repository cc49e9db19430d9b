// Package relay carries committed events to endpoints: fan-out, lanes, the delivery pipeline and the recorder.
//
// It owns the tables endpoints (package endpoint), replays (package delivery), lanes, relays, event_ids, pending and
// intents. It promises that every committed event reaches every endpoint that subscribes to it at least once, in spite
// of crashes of its own and of hostile endpoints; that no byte leaves before the intent to send it is committed; that
// no transaction is open while it talks to an endpoint; and that an endpoint's troubles stay its own. It never reads
// the projections.
//
// # The way of an event
//
//	outbox ─page─▶ fanner ─pending rows─▶ lane.Source ─message─▶ pipeline ─outcome─▶ recorder ─facts─▶ journal
//	               (fanout.go)            (lane)      (Watermill  (pipeline.go)      (recorder.go)
//	                                                   Router)
//
// # State
//
// A Relay runs one session after another. A session is a row in the table relays: while the row is there the session
// holds its lanes; whoever deletes it, after its lease ran out, has fenced the session out.
//
//	joined ──heartbeat──▶ joined ──stop──▶ left (row deleted by itself, nothing under way)
//	   │ lease ended, row deleted by another relay; or another server took over
//	   └──────────▶ fenced: outcomes are recorded as stale, and a new session begins
//
// A joined session obeys what operators order (package fleet): paused, its lanes start nothing; drained, it hands them
// over and takes none.
//
// # Failure handling
//
// A session that cannot reach PostgreSQL keeps the outcomes it has and repeats their commit. A session that ends in an
// error is followed by another one, later and later up to 10 s, until the caller's context ends. Each has connections of its
// own: those to a server that takes no writes any more end with the session that noticed. When another server was promoted,
// or the database was restored to another cluster, either of which may lack the last commits and gives their numbers out
// again, a session is fenced too: what its lanes have read, and what they have under way, is of a database that is no more.
// An endpoint whose secrets or headers cannot be opened waits in its lane, uncharged, and is tried again every few seconds.
// A lane whose attempt failed by a fault of this machine rests for a second.
package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
	"github.com/chattosurvey/surveyhooks/relay/breaker"
	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/retry"
	"github.com/chattosurvey/surveyhooks/relay/seal"
)

// GiveUp is how long an endpoint may only fail before it is disabled, unless a Config says otherwise.
const GiveUp = 5 * 24 * time.Hour

// Config is how a relay runs. The zero value of every field but DSN means its documented default.
type Config struct {
	DSN         string         // lib/pq connection string of the survey app's database; required
	Keys        *seal.Ring     // opens secrets and headers; an endpoint whose key it lacks waits until Replace brings it
	Egress      egress.Config  // the HTTP client
	Retry       retry.Policy   // the schedule
	Breaker     breaker.Config // of each endpoint
	Concurrency int            // requests under way to one endpoint; default 16
	MaxInFlight int            // requests under way to all endpoints, shared fairly; default 1024
	PageRows    int            // events fanned out together; default 500
	Lease       time.Duration  // a relay silent for that long is dead; default 45 s
	Poll        time.Duration  // how late a lost wake-up may be noticed; default 1 s
	GiveUp      time.Duration  // an endpoint that only fails for that long is disabled; default 5 days
	Drain       time.Duration  // how long a stop waits for requests under way; default 35 s
	Retention   time.Duration  // how long days of the logs and the history are kept; default 30 days, at least 1
	Logger      *slog.Logger
	Metrics     prometheus.Registerer // nil: none
}

func (c Config) withDefaults() Config {
	c.Concurrency = cmp.Or(c.Concurrency, 16)
	c.MaxInFlight = cmp.Or(c.MaxInFlight, 1024)
	c.PageRows = cmp.Or(c.PageRows, 500)
	c.Lease = cmp.Or(c.Lease, 45*time.Second)
	c.Poll = cmp.Or(c.Poll, time.Second)
	c.GiveUp = cmp.Or(c.GiveUp, GiveUp)
	c.Drain = cmp.Or(c.Drain, 35*time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Validate reports every fault of the configuration.
func (c Config) Validate() error {
	var faults []error
	if c.DSN == "" {
		faults = append(faults, errors.New("relay: DSN is empty: want a lib/pq connection string"))
	}
	for name, d := range map[string]time.Duration{"Lease": c.Lease, "Poll": c.Poll, "GiveUp": c.GiveUp, "Drain": c.Drain} {
		if d < 0 {
			faults = append(faults, fmt.Errorf("relay: %s is %s: want at least 0", name, d))
		}
	}
	if c.Retention != 0 && c.Retention < 24*time.Hour {
		faults = append(faults, fmt.Errorf("relay: Retention is %s: want at least 24h, or 0 for 30 days", c.Retention))
	}
	for name, n := range map[string]int{"Concurrency": c.Concurrency, "MaxInFlight": c.MaxInFlight, "PageRows": c.PageRows} {
		if n < 0 {
			faults = append(faults, fmt.Errorf("relay: %s is %d: want at least 0", name, n))
		}
	}
	return errors.Join(append(faults, c.Retry.Validate(), c.Egress.Validate())...)
}

// Relay carries events to endpoints. Several relays, in any number of processes, share one database.
type Relay struct {
	cfg     Config
	metrics *metrics
	made    time.Time
	beat    atomic.Int64 // how long after made the loop that keeps the lanes came round last
	drained atomic.Bool
}

// New returns a relay, or every fault of its configuration.
func New(cfg Config) (*Relay, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	return &Relay{cfg: cfg, metrics: newMetrics(cfg.Metrics), made: time.Now()}, nil
}

// Silent is how long ago the loop that keeps the lanes came round, which it does every Poll, whether the database answers
// or refuses; its statements are bounded. It is meant for a watchdog. While Run ends, nothing comes round.
func (r *Relay) Silent() time.Duration { return time.Since(r.made) - time.Duration(r.beat.Load()) }

func (r *Relay) comeRound() { r.beat.Store(int64(time.Since(r.made))) }

// Drained reports whether an operator has ordered this relay to hand its lanes over.
func (r *Relay) Drained() bool { return r.drained.Load() }

// Run relays until ctx ends, then lets what is under way come to its end, for at most Drain.
func (r *Relay) Run(ctx context.Context) error {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		began := time.Now()
		r.comeRound()
		db, err := commitlog.Open(r.cfg.DSN, "surveyhooks-relay", maxConns, settings())
		if err != nil {
			return err // what cannot be read today cannot be read tomorrow
		}
		err = r.runSession(ctx, db)
		_ = db.Close()
		if ctx.Err() != nil {
			return err
		}
		r.cfg.Logger.Error("relay session ended; another one begins", "error", err, "retry_in", wait)
		if time.Since(began) > time.Minute {
			wait = 100 * time.Millisecond
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// maxConns bounds a session's connections, but for those that listen.
const maxConns = 8

// settings keep PostgreSQL on the plans that the statements of this package are written for: short index ranges,
// whatever statistics say about a queue table that was empty a second ago. They are planned once.
func settings() map[string]string {
	return map[string]string{
		"enable_seqscan": "off", "jit": "off", "plan_cache_mode": "force_generic_plan",
		"search_path": "pg_catalog", "statement_timeout": "30000",
		"idle_in_transaction_session_timeout": "60000",
		"default_transaction_isolation":       "read committed", // whatever the database's: here one statement sees what another waited for
	}
}

func hostName() string {
	host, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return host
}
