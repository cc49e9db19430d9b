package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/api"
	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/dashboard"
	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/operator"
	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/recovery"
	"github.com/chattosurvey/surveyhooks/relay"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/seal"
)

const (
	maxRequest = 1 << 20          // an event is at most 256 KiB
	readWithin = 30 * time.Second // a body, and an answer that is no stream
	idleWithin = 2 * time.Minute  // between two requests on one connection
	endWithin  = 10 * time.Second // a stop waits for answers under way
)

// webOptions are the flags of the public HTTP server.
type webOptions struct {
	listenAddr string
	publicURL  string
	proxies    []string
	egressFrom []string // where receivers see requests come from
	idle       time.Duration
	absolute   time.Duration
	listener   net.Listener // set by dev, which has to know the port before
}

// define adds the flags.
func (o *webOptions) define(flags *pflag.FlagSet) {
	flags.StringVar(&o.listenAddr, "listen-addr", ":8080", "`address` of the API and the pages; off for none")
	publicURLFlag(flags, &o.publicURL)
	flags.StringSliceVar(&o.proxies, "trusted-proxies", nil, "`CIDRs` of the proxies before us, whose X-Forwarded-For is believed (default: none)")
	flags.DurationVar(&o.idle, "session-idle", 30*time.Minute, "a session ends that long after its last use")
	flags.StringSliceVar(&o.egressFrom, "egress-addresses", nil, "`addresses` or blocks that requests to endpoints come from: told to customers, whose firewalls may let them pass (default: none is promised)")
	flags.DurationVar(&o.absolute, "session-life", 12*time.Hour, "and that long after its start at the latest")
}

// publicURLFlag is of serve, and of each verb that gives links or stores an endpoint: they have to agree.
func publicURLFlag(flags *pflag.FlagSet, value *string) {
	flags.StringVar(value, "public-url", "http://localhost:8080", "`URL` by which browsers reach us: it begins every portal link, and its host is refused as an endpoint")
}

// validate lists every value that cannot be meant.
func (o *webOptions) validate() (faults []string) {
	if _, _, err := net.SplitHostPort(o.listenAddr); o.listenAddr != "off" && err != nil {
		faults = append(faults, fmt.Sprintf("--listen-addr is %q: want host:port such as :8080, or off", o.listenAddr))
	}
	if _, err := parsePublicURL(o.publicURL); err != nil {
		faults = append(faults, err.Error())
	}
	if _, err := o.trusted(); err != nil {
		faults = append(faults, err.Error())
	}
	if _, err := o.sources(); err != nil {
		faults = append(faults, err.Error())
	}
	if o.idle < 2*time.Minute {
		faults = append(faults, fmt.Sprintf("--session-idle is %s: want at least 2m", o.idle))
	}
	if o.absolute < o.idle {
		faults = append(faults, fmt.Sprintf("--session-life is %s: want at least --session-idle, which is %s", o.absolute, o.idle))
	}
	return faults
}

// trusted are the proxies; a single address is a network of one.
func (o *webOptions) trusted() ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, text := range o.proxies {
		prefix, err := netip.ParsePrefix(text)
		if ip, ipErr := netip.ParseAddr(text); ipErr == nil {
			prefix, err = netip.PrefixFrom(ip, ip.BitLen()), nil
		}
		if err != nil {
			return nil, fmt.Errorf("--trusted-proxies has %q: want networks such as 10.0.0.0/8", text)
		}
		list = append(list, prefix.Masked())
	}
	return list, nil
}

// sources are what customers are told that requests come from.
func (o *webOptions) sources() ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, text := range o.egressFrom {
		block, err := prefixOf(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("--egress-addresses has %q: want an address or a block such as 203.0.113.7 or 2001:db8::/64", text)
		}
		list = append(list, block)
	}
	return list, nil
}

// parsePublicURL refuses what the session cookie would not work with: browsers keep it over TLS, or from localhost.
func parsePublicURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("--public-url is %q: want scheme and host alone, such as https://webhooks.example.com", text)
	case u.Scheme != "https" && (u.Scheme != "http" || !isThisMachine(u.Hostname())):
		return nil, fmt.Errorf("--public-url is %q: want https://, without which browsers do not keep a session; http:// is for localhost", text)
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

func isThisMachine(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// ownHosts are the names that no endpoint may have: a webhook must not call its own sender.
func (o *webOptions) ownHosts() []string {
	u, err := parsePublicURL(o.publicURL)
	if err != nil || isThisMachine(u.Hostname()) {
		return nil
	}
	return []string{u.Hostname()}
}

// behindGate are the handlers that find an access.Caller in their requests' contexts; one that is nil is not served.
type behindGate struct {
	api     http.Handler // /v1/, with an API key
	pages   http.Handler // everything else, signed in; /ops and below for operators alone
	nothing http.Handler // to others there; required with pages
}

// web is the public HTTP server. It has connections of its own to the database: a flood of requests must not keep the
// projections waiting.
type web struct {
	options  webOptions
	db       *sql.DB
	keys     *seal.Ring // of the endpoints
	gate     *access.Gate
	logger   *slog.Logger
	listener net.Listener
	server   *http.Server
	streams  context.Context //nolint:containedctx // ends when the server stops; an answer without an end watches it
	end      context.CancelFunc
}

// openWeb listens; run serves. Somebody runs operations, whose jobs the web server starts.
func openWeb(ctx context.Context, serving serveOptions, dsn string, operations *operator.Service, logger *slog.Logger) (_ *web, err error) {
	o := serving.web
	db, err := openDatabase(dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(access.Connections)
	db.SetMaxIdleConns(access.Connections)
	w := &web{options: o, db: db, keys: serving.keys, logger: logger, listener: o.listener}
	w.streams, w.end = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	store, err := access.NewStore(access.Options{DB: db, Idle: o.idle, Absolute: o.absolute})
	if err != nil {
		return nil, err
	}
	w.gate = access.NewGate(store, logger)
	policy, err := serving.policy()
	if err != nil {
		return nil, err
	}
	sources, err := o.sources()
	if err != nil {
		return nil, usage("%w", err)
	}
	contract := dashboard.Contract{Retry: serving.schedule(), Overlap: rotationOverlap, GiveUp: relay.GiveUp, Sources: sources}
	behind, err := w.handlers(store, pagesOptions{
		policy: policy, contract: contract, operator: operations, lease: serving.lease, retention: serving.retention,
	})
	if err != nil {
		return nil, err
	}
	if err := w.serve(behind); err != nil {
		return nil, err
	}
	if w.listener == nil {
		if w.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", o.listenAddr); err != nil {
			return nil, &exitError{code: exitFailure, err: fmt.Errorf("listen on --listen-addr %s: %w: free the port, or choose another", o.listenAddr, err)}
		}
	}
	return w, nil
}

// handlers are what stands behind the gate. Of o they take what openWeb knows; the rest is the server's own.
func (w *web) handlers(store *access.Store, o pagesOptions) (behindGate, error) {
	endpoints, err := endpoint.New(endpoint.Options{DB: w.db, Policy: o.policy, Keys: w.keys})
	if err != nil {
		return behindGate{}, err
	}
	// Whoever runs recoveries finds what is started here; counting for one must not keep the projections waiting.
	recoveries := recovery.New(recovery.Config{DB: w.db, Logger: w.logger})
	v1, err := api.New(api.Config{
		DB: w.db, Endpoints: endpoints, Recoveries: recoveries, Operations: o.operator, Access: store,
		PublicURL: w.options.publicURL, Stopping: w.streams.Done(), Logger: w.logger,
	})
	if err != nil {
		return behindGate{}, err
	}
	o.db, o.keys, o.recovery, o.logger = w.db, w.keys, recoveries, w.logger
	o.stopping, o.signOut = w.streams.Done(), "/portal/sign-out"
	pages, err := newPages(o)
	if err != nil {
		return behindGate{}, err
	}
	return behindGate{api: v1, pages: pages, nothing: pages.Nothing}, nil
}

// close gives back what openWeb took, whether it was run or not.
func (w *web) close() {
	w.end()
	if w.listener != nil {
		_ = w.listener.Close()
	}
	_ = w.db.Close()
}

// serve puts everything in its place. A handler that streams ends with w.streams, and sets its own write deadlines by
// http.NewResponseController.
func (w *web) serve(behind behindGate) error {
	trusted, err := w.options.trusted()
	if err != nil {
		return usage("%w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/portal/", w.gate.Portal())
	if behind.api != nil {
		mux.Handle("/v1/", w.gate.RequireKey(behind.api))
		mux.Handle("/v1/openapi.json", behind.api) // holds no secret; who writes a client has no key yet
	}
	if behind.pages != nil {
		mux.Handle("/", w.gate.RequireSession(behind.pages))
		mux.Handle("/ops", w.gate.RequireOperator(behind.pages, behind.nothing))
		mux.Handle("/ops/", w.gate.RequireOperator(behind.pages, behind.nothing))
	}
	tls := strings.HasPrefix(w.options.publicURL, "https:")
	w.server = &http.Server{
		Handler:           access.Located(trusted, w.logged(access.Hardened(tls, bounded(mux)))),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       idleWithin,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(w.logger.Handler(), slog.LevelWarn),
	}
	w.server.RegisterOnShutdown(w.end)
	return nil
}

// run serves until ctx ends, then lets answers under way end; streams end at once.
func (w *web) run(ctx context.Context) error {
	w.logger.Info("web server listens", "addr", w.listener.Addr().String())
	served := make(chan error, 1)
	go func() { served <- w.server.Serve(w.listener) }()
	select {
	case err := <-served:
		w.end()
		return err
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), endWithin)
	defer cancel()
	if err := w.server.Shutdown(ending); err != nil {
		w.logger.Warn("answers were cut off", "after", endWithin.String())
		_ = w.server.Close()
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// bounded limits what a request may send, and how long it and its answer may take. A server-wide write deadline would
// end streams.
func bounded(next http.Handler) http.Handler {
	return http.MaxBytesHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		control, until := http.NewResponseController(w), time.Now().Add(readWithin)
		_ = control.SetWriteDeadline(until) // unsupported in a test without a connection
		if r.ContentLength != 0 {
			_ = control.SetReadDeadline(until)
		}
		next.ServeHTTP(w, r)
	}), maxRequest)
}

// logged writes a line for each request, without its query and without anything that looks like a token. A handler that
// panics answers 500.
func (w *web) logged(next http.Handler) http.Handler {
	token := regexp.MustCompile(`wh[kls]_[\w-]+`)
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		began, answered := time.Now(), &response{ResponseWriter: rw, status: http.StatusOK}
		defer func() {
			fault := recover()
			if fault != nil && fault != any(http.ErrAbortHandler) {
				w.logger.Error("handler panicked", "panic", fmt.Sprint(fault), "stack", string(debug.Stack()))
				if !answered.begun {
					http.Error(answered, "internal error", http.StatusInternalServerError)
					fault = nil
				}
			}
			path := r.URL.Path[:min(len(r.URL.Path), 200)]
			w.logger.LogAttrs(r.Context(), slog.LevelInfo, "request",
				slog.String("request_id", rw.Header().Get("X-Request-ID")),
				slog.String("method", r.Method), slog.String("path", token.ReplaceAllString(path, "***")),
				slog.Int("status", answered.status), slog.Int64("bytes", answered.bytes),
				slog.Duration("took", time.Since(began)), slog.String("ip", access.ClientOf(r.Context()).IP.String()))
			if fault != nil {
				panic(http.ErrAbortHandler) // an answer half sent must not look whole
			}
		}()
		next.ServeHTTP(answered, r)
	})
}

// response remembers what was answered.
type response struct {
	http.ResponseWriter

	status int
	bytes  int64
	begun  bool
}

// WriteHeader notes the first final status.
func (a *response) WriteHeader(status int) {
	if !a.begun && status >= http.StatusOK {
		a.status, a.begun = status, true
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write counts.
func (a *response) Write(p []byte) (int, error) {
	a.begun = true
	n, err := a.ResponseWriter.Write(p)
	a.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController flush and set deadlines.
func (a *response) Unwrap() http.ResponseWriter { return a.ResponseWriter }
