package access_test

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

const cookieName = "__Host-surveyhooks"

// us is whoever runs the command line.
func us() access.Caller { return access.Caller{Role: access.Operator, Actor: "cli:grace"} }

// testBundle is a gate before a handler that says who came in, on a real database.
type testBundle struct {
	db      *schematest.DB
	store   *access.Store
	gate    *access.Gate
	log     *logBuffer
	company uuid.UUID
	url     string
}

type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func setup(t *testing.T) testBundle {
	t.Helper()

	db := schematest.New(t)
	store, err := access.NewStore(access.Options{DB: db.DB})
	require.NoError(t, err)
	b := testBundle{db: db, store: store, log: &logBuffer{}, company: uuid.New()}
	b.gate = access.NewGate(store, slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	whoAmI := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := access.From(r.Context())
		if !ok {
			http.Error(w, "nobody", http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, string(c.Role)+" "+c.CompanyID.String()+" "+c.Actor)
	})
	mux := http.NewServeMux()
	mux.Handle("/v1/", b.gate.RequireKey(whoAmI))
	mux.Handle("/portal/", b.gate.Portal())
	mux.Handle("/", b.gate.RequireSession(whoAmI))
	mux.Handle("/ops", b.gate.RequireOperator(whoAmI, http.NotFoundHandler()))
	// Each test is a client of its own behind this proxy, by the addresses that it gives.
	server := httptest.NewServer(access.Located([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, access.Hardened(true, mux)))
	t.Cleanup(server.Close)
	b.url = server.URL
	return b
}

// answer is what a request got.
type answer struct {
	status int
	header http.Header
	body   string
	cookie string // the session's token, if one was set
}

// ask sends a request with headers in pairs; redirects are not followed.
func (b testBundle) ask(t *testing.T, method, path, form string, headers ...string) answer {
	t.Helper()

	r, err := http.NewRequestWithContext(t.Context(), method, b.url+path, strings.NewReader(form))
	require.NoError(t, err)
	if form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w, err := http.DefaultTransport.RoundTrip(r)
	require.NoError(t, err)
	defer func() { require.NoError(t, w.Body.Close()) }()
	body, err := io.ReadAll(w.Body)
	require.NoError(t, err)
	a := answer{status: w.StatusCode, header: w.Header, body: string(body)}
	for _, c := range w.Cookies() {
		if c.Name == cookieName {
			a.cookie = c.Value
		}
	}
	a.header.Del("Date")
	id := a.header.Get("X-Request-ID")
	require.NotEmpty(t, id, "every answer names its request")
	if a.header.Get("Content-Type") == "application/problem+json" && method != http.MethodHead {
		require.Contains(t, a.body, `"request_id":"`+id+`"`)
	}
	a.header.Del("X-Request-ID")
	a.body = strings.Replace(a.body, id, "", 1)
	return a
}

// post sends a form as a browser does from a page of ours.
func (b testBundle) post(t *testing.T, path, form string, headers ...string) answer {
	t.Helper()
	return b.ask(t, http.MethodPost, path, form, append([]string{"Sec-Fetch-Site", "same-origin", "Origin", "null"}, headers...)...)
}

// get opens a page as a browser does.
func (b testBundle) get(t *testing.T, path string, headers ...string) answer {
	t.Helper()
	return b.ask(t, http.MethodGet, path, "", append([]string{"Accept", "text/html", "Sec-Fetch-Mode", "navigate"}, headers...)...)
}

func with(session string) []string { return []string{"Cookie", cookieName + "=" + session} }

func (b testBundle) link(t *testing.T) string {
	t.Helper()

	_, token, err := b.store.MintLink(t.Context(), us(), access.NewLink{CompanyID: b.company, Role: access.Owner, Person: "ada", Landing: "/endpoints?new=1"})
	require.NoError(t, err)
	return token.Reveal()
}

func (b testBundle) use(t *testing.T, link string, headers ...string) answer {
	t.Helper()
	return b.post(t, "/portal/sign-in", url.Values{"token": {link}}.Encode(), headers...)
}

// signIn returns a session's token.
func (b testBundle) signIn(t *testing.T) string {
	t.Helper()

	got := b.use(t, b.link(t))
	require.Equal(t, http.StatusSeeOther, got.status, got.body)
	require.NotEmpty(t, got.cookie)
	return got.cookie
}

func (b testBundle) signedIn(t *testing.T, session string) bool {
	t.Helper()
	return b.get(t, "/", with(session)...).status == http.StatusOK
}

func (b testBundle) key(t *testing.T, k access.NewKey) (access.Key, string) {
	t.Helper()

	made, token, err := b.store.CreateKey(t.Context(), us(), k)
	require.NoError(t, err)
	return made, token.Reveal()
}

func (b testBundle) exec(t *testing.T, query string, args ...any) {
	t.Helper()

	_, err := b.db.ExecContext(t.Context(), query, args...)
	require.NoError(t, err)
}

// trail is actions and actors, oldest first.
func (b testBundle) trail(t *testing.T, by access.Caller) []string {
	t.Helper()

	page, _, err := b.store.Trail(t.Context(), by, access.TrailPage{Limit: 500})
	require.NoError(t, err)
	list := []string{}
	for _, e := range page {
		list = append([]string{e.Action + " by " + e.Actor}, list...)
	}
	return list
}
