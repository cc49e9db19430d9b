package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/operator"
	"github.com/chattosurvey/surveyhooks/relay/relaytest"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// site is a web server with handlers behind its gate.
type site struct {
	shell

	url  string
	log  *screen
	stop context.CancelFunc
	done chan error
}

// newSite serves a handler that says who came in, one that streams, one that reads all it gets, and one that panics.
func newSite(t *testing.T) site {
	t.Helper()
	return openSite(t, schematest.New(t).DSN, func(w *web) http.Handler {
		inside := http.NewServeMux()
		inside.HandleFunc("/", func(rw http.ResponseWriter, r *http.Request) {
			caller, _ := access.From(r.Context())
			fmt.Fprint(rw, caller.Actor)
		})
		inside.HandleFunc("/stream", func(rw http.ResponseWriter, r *http.Request) {
			fmt.Fprintln(rw, "data: hello")
			_ = http.NewResponseController(rw).Flush()
			select {
			case <-w.streams.Done():
			case <-r.Context().Done():
			}
		})
		inside.HandleFunc("POST /v1/read", func(rw http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				rw.WriteHeader(http.StatusRequestEntityTooLarge)
			}
		})
		inside.HandleFunc("/panic", func(http.ResponseWriter, *http.Request) { panic("oh") })
		return inside
	})
}

// openSite serves what stands behind the gate; nil: the real API and pages.
func openSite(t *testing.T, dsn string, behind func(*web) http.Handler) site {
	t.Helper()

	s := site{shell: shell{t, []string{"SURVEYHOOKS_DATABASE_URL=" + dsn}}, log: newScreen(), done: make(chan error, 1)}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	o := webOptions{listenAddr: "127.0.0.1:0", publicURL: "http://localhost:8080", proxies: []string{"127.0.0.1"}, idle: time.Hour, absolute: time.Hour}
	logger := slog.New(slog.NewTextHandler(s.log, nil))
	db, err := openDatabase(dsn)
	require.NoError(t, err)
	w, err := openWeb(ctx, serveOptions{web: o, keys: relaytest.Keys(t)}, dsn, operator.New(operator.Config{DB: db, Logger: logger}), logger)
	require.NoError(t, err)
	if behind != nil {
		inside := behind(w)
		require.NoError(t, w.serve(behindGate{api: inside, pages: inside, nothing: http.NotFoundHandler()}))
	}
	s.url = "http://" + w.listener.Addr().String()
	go func() { s.done <- w.run(ctx) }()
	t.Cleanup(func() { stop(); w.close(); _ = db.Close() })
	return s
}

// reply is what a request got.
type reply struct {
	status int
	header http.Header
	body   string
}

// open sends a request; the caller closes the body.
func (s site) open(method, path, body string, headers ...string) *http.Response {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute) // a turn that is never given back is waited for without end
	s.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, s.url+path, strings.NewReader(body))
	require.NoError(s.t, err)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w, err := http.DefaultTransport.RoundTrip(r)
	require.NoError(s.t, err)
	return w
}

func (s site) ask(method, path, body string, headers ...string) reply {
	s.t.Helper()
	w := s.open(method, path, body, headers...)
	defer w.Body.Close()
	text, err := io.ReadAll(w.Body)
	require.NoError(s.t, err)
	return reply{w.StatusCode, w.Header, string(text)}
}

// signIn goes the whole way from the command line, and returns the Cookie header.
func (s site) signIn(args ...string) string {
	s.t.Helper()
	link, err := url.Parse(strings.TrimSpace(s.ok(append([]string{"portal", "link"}, args...)...)))
	require.NoError(s.t, err)
	require.Equal(s.t, "localhost:8080", link.Host)
	require.Contains(s.t, s.ask(http.MethodGet, link.RequestURI(), "").body, "Continue")
	w := s.ask(http.MethodPost, link.Path, link.RawQuery, "Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin")
	require.Equal(s.t, http.StatusSeeOther, w.status)
	cookie, _, _ := strings.Cut(w.header.Get("Set-Cookie"), ";")
	return cookie
}

func TestServeLetsInByLinkAndByKey(t *testing.T) {
	t.Parallel()

	s := newSite(t)
	cookie := s.signIn("--company", company, "--as", "ada")
	require.Equal(t, "portal:ada", s.ask(http.MethodGet, "/", "", "Cookie", cookie).body)
	require.Equal(t, http.StatusNotFound, s.ask(http.MethodGet, "/ops", "", "Cookie", cookie).status)
	require.Equal(t, http.StatusUnauthorized, s.ask(http.MethodGet, "/v1/x", "", "Cookie", cookie).status)
	operator := s.signIn("--operator", "grace")
	require.Equal(t, "operator:grace", s.ask(http.MethodGet, "/ops/x", "", "Cookie", operator).body)
	key, _ := s.object("api-keys", "create", "--name", "app")["token"].(string)
	require.Equal(t, "key:app", s.ask(http.MethodGet, "/v1/x", "", "Authorization", "Bearer "+key).body)
	require.Equal(t, http.StatusUnauthorized, s.ask(http.MethodGet, "/", "", "Authorization", "Bearer "+key).status)
	require.Equal(t, http.StatusNotFound, s.ask(http.MethodGet, "/portal/nowhere", "").status)
}

// TestOpsIsToACustomerWhatEveryUnknownAddressIs: the same page, in the pages' dress; of the API a problem.
func TestOpsIsToACustomerWhatEveryUnknownAddressIs(t *testing.T) {
	t.Parallel()

	s := openSite(t, schematest.New(t).DSN, nil)
	cookie := s.signIn("--company", company, "--as", "ada")
	unknown := s.ask(http.MethodGet, "/nowhere", "", "Cookie", cookie)
	require.Equal(t, http.StatusNotFound, unknown.status)
	require.Contains(t, unknown.body, "There is nothing here")
	for _, path := range []string{"/ops", "/ops/", "/ops/pause", "/ops/nowhere"} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			got := s.ask(method, path, "", "Cookie", cookie, "Sec-Fetch-Site", "same-origin")
			require.Equal(t, http.StatusNotFound, got.status, path)
			require.Equal(t, unknown.body, got.body, path)
			for _, name := range []string{"Content-Type", "Content-Security-Policy", "Cache-Control", "Allow"} {
				require.Equal(t, unknown.header.Get(name), got.header.Get(name), "%s %s", path, name)
			}
		}
	}
	part := s.ask(http.MethodGet, "/ops", "", "Cookie", cookie, "HX-Request", "true")
	require.Equal(t, "#message", part.header.Get("HX-Retarget"))
	require.NotContains(t, part.body, "<html")
	require.Contains(t, s.ask(http.MethodGet, "/ops", "", "Cookie", s.signIn("--operator", "grace")).body, "Worst endpoints")

	key, _ := s.object("api-keys", "create", "--name", "app")["token"].(string)
	problem := s.ask(http.MethodGet, "/v1/nowhere", "", "Authorization", "Bearer "+key)
	require.Equal(t, http.StatusNotFound, problem.status)
	require.Equal(t, "application/problem+json", problem.header.Get("Content-Type"))
}

func TestTheRequestLogHoldsNoToken(t *testing.T) {
	t.Parallel()

	s := newSite(t)
	cookie := s.signIn("--company", company, "--as", "ada")
	key, _ := s.object("api-keys", "create", "--name", "app")["token"].(string)
	s.ask(http.MethodGet, "/v1/"+key+"?key="+key, "", "Authorization", "Bearer "+key, "X-Forwarded-For", "203.0.113.9")
	s.ask(http.MethodGet, "/last", "", "Cookie", cookie)
	log := s.log.await(t, "path=/v1/***", "path=/portal/sign-in", "ip=203.0.113.9", "path=/last", "status=303")
	require.NotContains(t, log, key)
	require.NotContains(t, log, "token=")
	require.NotRegexp(t, `wh[kls]_`, log)
}

func TestRequestsAreBounded(t *testing.T) {
	t.Parallel()

	s := newSite(t)
	key, _ := s.object("api-keys", "create", "--name", "app")["token"].(string)
	post := func(size int) int {
		return s.ask(http.MethodPost, "/v1/read", strings.Repeat("a", size), "Authorization", "Bearer "+key).status
	}
	require.Equal(t, http.StatusOK, post(1<<20))
	require.Equal(t, http.StatusRequestEntityTooLarge, post(1<<20+1))
	w := s.ask(http.MethodGet, "/portal/", "", "X-Padding", strings.Repeat("a", 64<<10))
	require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, w.status)
}

func TestAHandlerThatPanicsAnswers500AndServingGoesOn(t *testing.T) {
	t.Parallel()

	s := newSite(t)
	cookie := s.signIn("--company", company, "--as", "ada")
	require.Equal(t, http.StatusInternalServerError, s.ask(http.MethodGet, "/panic", "", "Cookie", cookie).status)
	s.log.await(t, "handler panicked", "status=500")
	require.Equal(t, http.StatusOK, s.ask(http.MethodGet, "/", "", "Cookie", cookie).status)
}

func TestStreamsEndAtOnceWhenServeStops(t *testing.T) {
	t.Parallel()

	s := newSite(t)
	w := s.open(http.MethodGet, "/stream", "", "Cookie", s.signIn("--company", company, "--as", "ada"))
	defer w.Body.Close()
	lines := bufio.NewReader(w.Body)
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "data: hello\n", line)
	s.stop()
	_, err = lines.ReadString('\n')
	require.ErrorIs(t, err, io.EOF, "an orderly end")
	require.NoError(t, <-s.done)
	require.NotContains(t, s.log.await(t, "listens"), "cut off")
}

func TestServeServesThePortalUntilItStops(t *testing.T) {
	t.Parallel()

	s := newShell(t)
	ctx, stop := context.WithCancel(t.Context())
	log := newScreen()
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"serve", "--admin-addr", "off", "--listen-addr", "127.0.0.1:0", "--log-format", "json"}, process{env: s.env, stdout: io.Discard, stderr: log})
	}()
	var addr string
	for line := range strings.Lines(log.await(t, "web server listens")) {
		var entry struct{ Msg, Addr string }
		require.NoError(t, json.Unmarshal([]byte(line), &entry))
		if entry.Msg == "web server listens" {
			addr = entry.Addr
		}
	}
	status, page := get(t, "http://"+addr+"/portal/")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, page, "Please open a new link")

	got := s.run("serve", "--admin-addr", "off", "--listen-addr", addr)
	require.Equal(t, exitFailure, got.code)
	require.Contains(t, got.stderr, "free the port")
	stop()
	require.Equal(t, exitOK, <-code, log.await(t, "listens"))
}

func TestWebFlagsThatCannotBeMeantAreRefused(t *testing.T) {
	t.Parallel()

	good := webOptions{listenAddr: ":8080", publicURL: "https://webhooks.example.com", idle: time.Hour, absolute: time.Hour}
	require.Empty(t, good.validate())
	require.Equal(t, []string{"webhooks.example.com"}, good.ownHosts())
	local := good
	local.publicURL = "http://localhost:8080"
	require.Empty(t, local.validate())
	require.Empty(t, local.ownHosts(), "a developer's receivers are there, too")
	for word, change := range map[string]func(*webOptions){
		"--listen-addr":           func(o *webOptions) { o.listenAddr = "8080" },
		"want https://":           func(o *webOptions) { o.publicURL = "http://webhooks.example.com" },
		"scheme and host alone":   func(o *webOptions) { o.publicURL = "https://example.com/hooks" },
		"--public-url is \"ftp":   func(o *webOptions) { o.publicURL = "ftp://example.com" },
		"--trusted-proxies has":   func(o *webOptions) { o.proxies = []string{"10.0.0.0/8", "proxy"} },
		"--session-idle is 1s":    func(o *webOptions) { o.idle = time.Second },
		"--session-life is 10m0s": func(o *webOptions) { o.absolute = 10 * time.Minute },
	} {
		o := good
		change(&o)
		faults := o.validate()
		require.Len(t, faults, 1, word)
		require.Contains(t, faults[0], word)
	}
}

func TestSignInFromTheShell(t *testing.T) {
	t.Parallel()

	s := newSite(t)
	key := s.object("api-keys", "create", "--name", "app", "--company", company, "--role", "viewer", "--expires", "1h")
	require.Regexp(t, `^whk_`, key["token"])
	require.Equal(t, company, key["company_id"])
	id, _ := key["id"].(string)
	require.Len(t, s.list("api-keys", "list"), 1)
	require.NotContains(t, s.ok("api-keys", "list"), "whk_")
	require.Equal(t, true, s.object("api-keys", "revoke", id)["revoked"])
	require.Equal(t, exitNotFound, s.run("api-keys", "revoke", id).code)

	link := s.object("portal", "link", "--company", company, "--as", "ada", "--ttl", "1h", "--landing", "/endpoints", "--public-url", "https://w.example.com/")
	require.Regexp(t, `^https://w\.example\.com/portal/sign-in\?token=whl_`, link["url"])
	s.signIn("--company", company, "--as", "ada", "--role", "viewer")
	signedIn := s.list("sessions", "list", "--company", company)
	require.Len(t, signedIn, 1)
	require.Equal(t, "viewer", signedIn[0]["role"])
	require.Empty(t, s.list("sessions", "list", "--company", uuid.NewString()))
	session, _ := signedIn[0]["id"].(string)
	s.ok("sessions", "revoke", session)
	require.Equal(t, exitNotFound, s.run("sessions", "revoke", session).code)
	s.signIn("--company", company, "--as", "ada")
	require.InDelta(t, 1, s.object("sessions", "revoke", "--company", company, "--yes")["sessions"], 0)
	s.signIn("--operator", "grace")
	require.InDelta(t, 1, s.object("sessions", "revoke", "--all", "--yes")["sessions"], 0)
	require.Contains(t, s.ok("sessions", "trail"), "session.revoked")
	require.Len(t, s.list("sessions", "trail", "--limit", "3"), 3)

	for word, args := range map[string][]string{
		"at least one of the flags":  {"portal", "link"},
		"none of the others can be":  {"portal", "link", "--company", company, "--operator", "grace"},
		"role: use owner or viewer":  {"portal", "link", "--company", company, "--as", "x", "--role", "operator"},
		"person: give a name":        {"portal", "link", "--company", company},
		"ttl: use 1m to 24h":         {"portal", "link", "--operator", "grace", "--ttl", "48h"},
		"landing: use a path":        {"portal", "link", "--company", company, "--as", "x", "--landing", "//evil.example"},
		"--public-url is":            {"portal", "link", "--operator", "grace", "--public-url", "http://evil.example"},
		"company_id: name the":       {"api-keys", "create", "--name", "x", "--role", "owner"},
		"give --yes":                 {"sessions", "revoke", "--all"},
		"name one session, or give ": {"sessions", "revoke"},
		"session: ":                  {"sessions", "revoke", "12"},
		"--limit is 0":               {"sessions", "trail", "--limit", "0"},
	} {
		got := s.run(args...)
		require.Equal(t, exitUsage, got.code, got.stderr)
		require.Contains(t, got.stderr, word)
	}
}
