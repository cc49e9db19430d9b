package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/operator"
	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/recovery"
	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/relaytest"
	"github.com/chattosurvey/surveyhooks/relay/seal"
	"github.com/chattosurvey/surveyhooks/schema/fact"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// within bounds every wait of a test; it is generous, since other tests share the cores.
const within = 20 * time.Second

// testBundle is the API over HTTP on a database of its own, with two companies.
type testBundle struct {
	*testing.T

	db       *schematest.DB
	store    *endpoint.Store
	keys     *seal.Ring
	operator *operator.Service
	base     string
	client   *http.Client
	contract *contract
	log      *logBuffer
	stop     context.CancelFunc // as a server that begins to stop
	mine     uuid.UUID
	theirs   uuid.UUID
}

// logBuffer is a log that is written and read at once.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func setup(t *testing.T) *testBundle {
	t.Helper()
	b := &testBundle{T: t, db: schematest.New(t), mine: uuid.New(), theirs: uuid.New(), contract: newContract(t), log: &logBuffer{}}
	var err error
	b.keys = relaytest.Keys(t)
	b.operator = operator.New(operator.Config{DB: b.db.DB})
	b.store, err = endpoint.New(endpoint.Options{DB: b.db.DB, Policy: egress.Policy{Insecure: true}, Keys: b.keys})
	require.NoError(t, err)
	stopping, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	b.stop = stop
	b.serve(b.config(stopping.Done()))
	t.Cleanup(stop)
	return b
}

// serve makes the API of a configuration the one that is called.
func (b *testBundle) serve(c Config) {
	b.Helper()
	handler, err := New(c)
	require.NoError(b, err)
	server := httptest.NewServer(b.letIn(handler))
	b.Cleanup(server.Close)
	b.base, b.client = server.URL, server.Client()
}

func (b *testBundle) config(stopping <-chan struct{}) Config {
	b.Helper()
	store, err := access.NewStore(access.Options{DB: b.db.DB})
	require.NoError(b, err)
	return Config{
		DB: b.db.DB, Endpoints: b.store, Recoveries: recovery.New(recovery.Config{DB: b.db.DB}), Operations: b.operator,
		Access: store, PublicURL: "https://hooks.example.com", Stopping: stopping, Logger: slog.New(slog.NewJSONHandler(b.log, nil)),
	}
}

// letIn is what access does for the API: the word after Bearer says who calls.
func (b *testBundle) letIn(next http.Handler) http.Handler {
	callers := map[string]access.Caller{
		"owner":    {CompanyID: b.mine, Role: access.Owner, Actor: "key:owner"},
		"second":   {CompanyID: b.mine, Role: access.Owner, Actor: "key:second"},
		"viewer":   {CompanyID: b.mine, Role: access.Viewer, Actor: "key:viewer"},
		"foreign":  {CompanyID: b.theirs, Role: access.Owner, Actor: "key:foreign"},
		"operator": {Role: access.Operator, Actor: "key:operator"},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if caller, ok := callers[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]; ok {
			r = r.WithContext(access.With(r.Context(), caller))
		}
		next.ServeHTTP(w, r)
	})
}

// in is the same for a subtest.
func (b *testBundle) in(t *testing.T) *testBundle {
	t.Helper()
	c := *b
	c.T = t
	return &c
}

// count counts rows.
func (b *testBundle) count(query string, args ...any) int {
	b.Helper()
	var n int
	require.NoError(b, b.db.QueryRowContext(b.Context(), query, args...).Scan(&n))
	return n
}

// call is one request: `METHOD path`, who asks, and what is sent.
type call struct {
	line   string // {mine} and {theirs} are the companies
	as     string // default: owner
	body   string // sent as JSON when it is not empty
	header map[string]string
}

// reply is what came back.
type reply struct {
	*testing.T

	status int
	header http.Header
	body   []byte
}

// do makes the call, and holds the exchange to the document.
func (b *testBundle) do(c call) reply {
	b.Helper()
	method, path, _ := strings.Cut(c.line, " ")
	path = strings.NewReplacer("{mine}", "/v1/companies/"+b.mine.String(), "{theirs}", "/v1/companies/"+b.theirs.String()).Replace(path)
	request, err := http.NewRequestWithContext(b.Context(), method, b.base+path, strings.NewReader(c.body))
	require.NoError(b, err)
	if c.as == "" {
		c.as = "owner"
	}
	request.Header.Set("Authorization", "Bearer "+c.as)
	if c.body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for name, value := range c.header {
		request.Header.Set(name, value)
	}
	response, err := b.client.Do(request)
	require.NoError(b, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(b, err)
	b.contract.judge(b, request, []byte(c.body), response, body)
	return reply{T: b.T, status: response.StatusCode, header: response.Header, body: body}
}

func (b *testBundle) get(path string) reply { return b.do(call{line: "GET " + path}) }

func (b *testBundle) post(path, body string) reply {
	return b.do(call{line: "POST " + path, body: body})
}

// requireStatus shows the answer when it is another one.
func (r reply) requireStatus(want int) reply {
	r.Helper()
	require.Equal(r, want, r.status, "%s", r.body)
	return r
}

// requireProblem checks status and code, and that each named field is complained of.
func (r reply) requireProblem(status int, code string, fields ...string) problem {
	r.Helper()
	p := decodeAs[problem](r)
	require.Equal(r, status, r.status, "%s", r.body)
	require.Equal(r, code, p.Code, "%s", r.body)
	var named []string
	for _, f := range p.Fields {
		named = append(named, f.Field)
		require.NotEmpty(r, f.Code)
		require.NotEmpty(r, f.Message)
	}
	require.ElementsMatch(r, fields, named, "%s", r.body)
	return p
}

func decodeAs[T any](r reply) T {
	r.Helper()
	var value T
	require.NoError(r, json.Unmarshal(r.body, &value), "%s", r.body)
	return value
}

// endpoint makes one of a company, outside of the API.
func (b *testBundle) endpoint(company uuid.UUID) endpoint.Endpoint {
	b.Helper()
	e, _, err := b.store.Create(b.Context(), endpoint.Create{
		CompanyID: company, URL: "https://example.com/" + uuid.NewString(), Actor: "test",
	})
	require.NoError(b, err)
	return e
}

// told is a company's endpoint with an event, a delivery and an attempt in the history.
type told struct {
	company  uuid.UUID
	endpoint endpoint.Endpoint
	event    uuid.UUID
	delivery int64
}

// data is what an app publishes of a type of the catalogue, for the own company.
func (b *testBundle) data(kind outbox.Type) string {
	text, err := json.Marshal(outbox.NewSample(kind, b.mine).Data)
	require.NoError(b, err)
	return string(text)
}

// noon is when everything in the histories of the tests happens.
func noon() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

func (b *testBundle) told(company uuid.UUID, delivery int64, response fact.Response, state fact.State) told {
	b.Helper()
	w := told{company: company, endpoint: b.endpoint(company), event: uuid.New(), delivery: delivery}
	name, reason, status := fact.AttemptFailed, fact.StatusServer, 503
	if state == fact.Delivered {
		name, reason, status = fact.AttemptSucceeded, fact.OK, 200
	}
	b.given(
		fact.Fact{Name: fact.EventFannedOut, CompanyID: company, Body: fact.FannedOut{
			EventID: w.event, EventType: "conversation.started", CreatedAt: noon(), Position: delivery,
			Decisions: []fact.EndpointChoice{{
				EndpointID: w.endpoint.ID, Version: 1, Decision: fact.Chosen, DeliveryID: &delivery, Trigger: fact.Automatic,
			}},
		}},
		fact.Fact{Name: name, CompanyID: company, Body: fact.Attempt{
			AttemptID: fact.AttemptID{DeliveryID: delivery, Attempt: 1}, EndpointID: w.endpoint.ID, EventID: w.event,
			EventType: "conversation.started", Generation: 1, Trigger: fact.Automatic, StartedAt: noon(), Reason: reason,
			Status: status, Completed: 1, State: state, FirstAttemptAt: noon(),
			Request:  fact.Request{ConfigVersion: 1, URL: w.endpoint.URL, Timestamp: noon().Unix(), Signature: "v1,abc", Bytes: 512},
			Response: response, RemoteAddr: "192.0.2.1:443", Timing: fact.Timing{Total: 1000},
		}},
	)
	return w
}

// given appends facts and lets the history read everything.
func (b *testBundle) given(facts ...fact.Fact) {
	b.Helper()
	tx, err := b.db.BeginTx(b.Context(), nil)
	require.NoError(b, err)
	defer tx.Rollback() //nolint:errcheck // a test that failed
	require.NoError(b, commitlog.Append(b.Context(), tx, facts...))
	require.NoError(b, tx.Commit())
	b.project()
}

func (b *testBundle) project() {
	b.Helper()
	require.NoError(b, projections.New(projections.Config{DB: b.db.DB, Logger: slog.New(slog.DiscardHandler)}).RunToEnd(b.Context()))
}
