// Package bench measures the product as a customer would meet it: real PostgreSQL, real relay, real HTTP.
//
// It owns a fresh database for each run, the load, a receiver and the arithmetic. It promises that what it reports was
// seen by the receiver and not by the relay: every published event is matched with what arrived for each endpoint, so
// a lost, invented or repeated delivery cannot hide. It never touches an existing database's tables, and never
// simulates a part of the product.
//
//	bench ──publish──▶ PostgreSQL ◀── relay, projector (processes of their own) ──HTTP──▶ receiver (its own process)
//	  └──────────────── asks what arrived, and when ─────────────────────────────────────────┘
//
// # Failure handling
//
// A run that sees no arrival for Config.Patience stops waiting and reports what is missing as lost. Child processes
// end when their standard input does, so none outlives a bench that was killed.
package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Mode is what is measured.
type Mode string

// The modes.
const (
	Drain      Mode = "drain"      // a backlog that was published while no relay ran
	Throughput Mode = "throughput" // as much as goes, while it is being published
	Latency    Mode = "latency"    // from commit to receipt, at a steady rate
	Hang       Mode = "hang"       // the same, while one endpoint of ten hangs for 30 s on each request
)

// Modes are all of them.
func Modes() []Mode { return []Mode{Drain, Throughput, Latency, Hang} }

// Config of a run. The zero value of every field means its documented default.
type Config struct {
	Mode      Mode          // default Drain
	Endpoints int           // default 100
	FanOut    int           // endpoints of each company; every one is told of every event of its company. Default 10
	Events    int           // of Drain and Throughput; default 20 000
	Payload   int           // bytes of each event's data; default 1024
	Relays    int           // relay processes; default 1
	Rate      int           // events per second of Latency and Hang; default 50
	Duration  time.Duration // of Latency and Hang; default 15 s
	Producers int           // connections that publish; default 4
	Batch     int           // events per transaction of Throughput; default 10
	Patience  time.Duration // how long nothing may arrive before the rest is lost; default 60 s
	DSN       string        // of a server on which a database may be made and dropped, as key=value pairs or a URL; required

	// Profile is a folder for a CPU and an allocation profile of each relay, for go tool pprof. Default: none.
	Profile string
	// Command starts this program as a child: the verb that makes it a receiver or a relay is appended. Empty: both
	// run inside this process, and their CPU and memory cannot be told apart and are reported as 0.
	Command []string
	// Progress is told of each step. Default: silence. It is called from the caller's goroutine.
	Progress func(format string, args ...any)
}

func (c Config) withDefaults() Config {
	c.Mode = cmp.Or(c.Mode, Drain)
	c.Endpoints = cmp.Or(c.Endpoints, 100)
	c.FanOut = cmp.Or(c.FanOut, min(10, c.Endpoints))
	c.Events = cmp.Or(c.Events, 20_000)
	c.Payload = cmp.Or(c.Payload, 1024)
	c.Relays = cmp.Or(c.Relays, 1)
	c.Rate = cmp.Or(c.Rate, 50)
	c.Duration = cmp.Or(c.Duration, 15*time.Second)
	c.Producers = cmp.Or(c.Producers, 4)
	c.Batch = cmp.Or(c.Batch, 10)
	c.Patience = cmp.Or(c.Patience, time.Minute)
	if c.Progress == nil {
		c.Progress = func(string, ...any) {}
	}
	return c
}

// Validate reports every fault of the configuration.
func (c Config) Validate() error {
	c = c.withDefaults()
	var faults []error
	if !slices.Contains(Modes(), c.Mode) {
		faults = append(faults, fmt.Errorf("bench: mode is %q: want one of %v", c.Mode, Modes()))
	}
	for _, n := range []struct {
		name  string
		value int
	}{
		{"endpoints", c.Endpoints},
		{"fan-out", c.FanOut},
		{"events", c.Events},
		{"relays", c.Relays},
		{"rate", c.Rate},
		{"producers", c.Producers},
		{"batch", c.Batch},
	} {
		if n.value < 1 {
			faults = append(faults, fmt.Errorf("bench: %s is %d: want at least 1", n.name, n.value))
		}
	}
	if c.FanOut > 0 && c.Endpoints%c.FanOut != 0 {
		faults = append(faults, fmt.Errorf("bench: %d endpoints do not make companies of %d: want a multiple of the fan-out",
			c.Endpoints, c.FanOut))
	}
	if c.Payload < minPayload || c.Payload > maxPayload {
		faults = append(faults, fmt.Errorf("bench: payload is %d bytes: want %d to %d", c.Payload, minPayload, maxPayload))
	}
	if c.Mode == Hang && c.Endpoints < 10 {
		faults = append(faults, fmt.Errorf("bench: %d endpoints: want at least 10, of which one hangs", c.Endpoints))
	}
	if steady := c.Mode == Latency || c.Mode == Hang; steady && c.Duration > 0 && c.Duration.Seconds()*float64(c.Rate) < 1 {
		faults = append(faults, fmt.Errorf("bench: %s at %d events/s is no event at all: want a longer duration", c.Duration, c.Rate))
	}
	if min(c.Duration, c.Patience) < 0 {
		faults = append(faults, errors.New("bench: a duration is negative: want at least 0"))
	}
	if c.DSN == "" {
		faults = append(faults, errors.New("bench: DSN is empty: want a lib/pq connection string"))
	}
	return errors.Join(faults...)
}

// Result of a run. What a mode does not measure is nil. Endpoints that hang on purpose are counted nowhere.
type Result struct {
	Mode           Mode     `json:"mode"`
	Deliveries     int      `json:"deliveries"`       // that had to arrive
	DeliveriesPerS float64  `json:"deliveries_per_s"` // to the last receipt
	P50Ms          *float64 `json:"p50_ms"`           // from after the producer's commit to receipt, one clock
	P99Ms          *float64 `json:"p99_ms"`
	P99BaselineMs  *float64 `json:"p99_baseline_ms"` // Hang: of the same endpoints under the same load, before one hung
	// CPUPer10k is the CPU time, in seconds per 10 000 deliveries, of all relays and of PostgreSQL, until the history was complete.
	CPUPer10k         float64 `json:"cpu_s_per_10k"`
	RelayCPUPer10k    float64 `json:"relay_cpu_s_per_10k"`    // the relays' part of it
	PostgresCPUPer10k float64 `json:"postgres_cpu_s_per_10k"` // PostgreSQL's part of it; 0 where the server is elsewhere
	ReceiverCPUPer10k float64 `json:"receiver_cpu_s_per_10k"`
	RelayRSSMB        float64 `json:"relay_rss_mb"` // the peak, summed over relays
	WALPerDelivery    float64 `json:"wal_bytes_per_delivery"`
	Lost              int     `json:"lost"`
	Duplicates        int     `json:"duplicates"`
	Invented          int     `json:"invented"` // arrivals that nobody published
	// HealthyOnTimePct is the share of deliveries to healthy endpoints that arrived within 1 s of the commit.
	HealthyOnTimePct *float64 `json:"healthy_on_time_pct"`
	// HistoryCompleteS is from the start until the projections showed every delivery.
	HistoryCompleteS float64 `json:"history_complete_s"`
}

// Err is nil when every delivery arrived and none was invented.
func (r Result) Err() error {
	if r.Lost == 0 && r.Invented == 0 {
		return nil
	}
	return fmt.Errorf("bench %s: of %d deliveries %d were lost, and %d arrived that nobody published: want 0 and 0",
		r.Mode, r.Deliveries, r.Lost, r.Invented)
}

// Run makes a database, runs the mode on it and drops it. An error means that nothing could be measured; lost
// deliveries are in the Result, see Err.
func Run(ctx context.Context, cfg Config) (result Result, err error) {
	if err := cfg.Validate(); err != nil {
		return Result{}, err
	}
	r := &run{cfg: cfg.withDefaults(), committed: newCommits()}
	defer func() {
		if closeErr := r.close(); closeErr != nil {
			err = errors.Join(err, fmt.Errorf("close bench: %w", closeErr))
		}
	}()
	if err := r.open(ctx); err != nil {
		return Result{}, fmt.Errorf("open bench: %w", err)
	}
	result, err = r.measure(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("measure %s: %w", r.cfg.Mode, err)
	}
	return result, nil
}
