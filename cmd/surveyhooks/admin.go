package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/chattosurvey/surveyhooks/relay"
	"github.com/chattosurvey/surveyhooks/relay/fleet"
	"github.com/chattosurvey/surveyhooks/relay/seal"
)

// The states of serve, as /readyz tells them.
const (
	starting int32 = iota
	running
	draining
)

// admin is the operator's HTTP server: health, metrics, profiles. It is unauthenticated, hence on loopback by default.
type admin struct {
	db       *sql.DB
	keys     *seal.Ring
	logger   *slog.Logger
	registry *prometheus.Registry
	state    atomic.Int32
	watched  atomic.Pointer[watched] // nil until the relay is made

	listeners []net.Addr // once listen has returned
}

// stuckLeases is after how many leases without a beat a relay is no longer alive: longer than any statement may take.
const stuckLeases = 2

// watched is the relay whose beat shows that the process works, and how long it may be silent.
type watched struct {
	relay *relay.Relay
	most  time.Duration
}

func newAdmin(db *sql.DB, keys *seal.Ring, logger *slog.Logger) *admin {
	ad := &admin{db: db, keys: keys, logger: logger, registry: prometheus.NewRegistry()}
	b := readBuild()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "surveyhooks_build_info", Help: "Always 1; the labels say which build runs.",
		ConstLabels: prometheus.Labels{"version": b.Version, "revision": b.Revision, "go": b.Go, "schema": b.Schema},
	})
	info.Set(1)
	ad.registry.MustRegister(
		info, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewDBStatsCollector(db, "surveyhooks"), newBacklog(db, logger),
	)
	return ad
}

// listen serves until the returned function is called.
func (ad *admin) listen(ctx context.Context, addr string) (stop func(), err error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		// Not the database: the code "unavailable" would send the operator to the wrong place.
		return nil, &exitError{code: exitFailure, err: fmt.Errorf("listen on --admin-addr %s: %w: free the port, or choose another", addr, err)}
	}
	server := &http.Server{Handler: ad.mux(), ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			ad.logger.Error("admin server ended", "error", err)
		}
	}()
	ad.listeners = append(ad.listeners, listener.Addr())
	ad.logger.Info("admin server listens", "addr", listener.Addr().String())
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			_ = server.Close() // a profile that still runs is cut off
		}
		<-done
	}, nil
}

func (ad *admin) mux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		if !ad.alive() {
			http.Error(w, "the relay's loop does not come round any more", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", ad.ready)
	mux.HandleFunc("GET /healthz", ad.ready)
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, readBuild()) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(ad.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", http.NotFound) // an argument may hold the database's password, or the keyring
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// alive reports whether a restart would not help: /livez and systemd's watchdog ask it. A database that is away does
// not stop the relay's loop, and a drain is bounded by itself.
func (ad *admin) alive() bool {
	w := ad.watched.Load()
	return w == nil || ad.state.Load() != running || w.relay.Silent() <= w.most
}

// readiness is one answer of /readyz.
type readiness struct {
	Ready  bool              `json:"ready"`
	Checks map[string]string `json:"checks"` // ok, or what is wrong

	// PausedSince is when an operator paused all sending; nil: it goes on. A pause is meant, so it is no fault.
	PausedSince *time.Time `json:"paused_since,omitempty"`
}

func (ad *admin) ready(w http.ResponseWriter, r *http.Request) {
	state := ad.readiness(r.Context())
	status := http.StatusOK
	if !state.Ready {
		status = http.StatusServiceUnavailable
	}
	if r.URL.Query().Has("verbose") {
		writeJSON(w, status, state)
		return
	}
	w.WriteHeader(status)
	if state.Ready {
		fmt.Fprintln(w, "ok")
		return
	}
	fmt.Fprintln(w, "not ready: ask ?verbose")
}

// readiness never tells an error's words: they may name hosts and users, and the port may be open to many.
func (ad *admin) readiness(ctx context.Context) readiness {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	checks := map[string]string{"database": "ok", "migrations": "ok", "keys": "unknown", "process": "ok"}
	switch ad.state.Load() {
	case starting:
		checks["process"] = "starting"
	case draining:
		checks["process"] = "draining"
	}
	if w := ad.watched.Load(); w != nil && w.relay.Drained() {
		// Meant, too, but by whoever wants this process to be passed by: what balances load is to do so. It lives, and works.
		checks["process"] = "drained"
	}
	var paused *time.Time
	if err := ad.db.PingContext(ctx); err != nil {
		checks["database"], checks["migrations"] = "does not answer", "unknown"
	} else if missing, err := missingMigrations(ctx, ad.db); err != nil {
		checks["migrations"] = "unknown"
	} else if missing > 0 {
		checks["migrations"] = fmt.Sprintf("%d missing", missing)
	} else {
		checks["keys"] = keysCheck(ctx, ad.db, ad.keys)
		if pause, err := fleet.Paused(ctx, ad.db); err == nil && pause != nil {
			paused = &pause.Since
		}
	}
	ready := true
	for _, check := range checks {
		ready = ready && check == "ok"
	}
	return readiness{Ready: ready, Checks: checks, PausedSince: paused}
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) //nolint:errchkjson // it fails when the client is gone
}
