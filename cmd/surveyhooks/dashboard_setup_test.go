package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

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

// pages is one database, the pages over it, and who looks at them.
type pages struct {
	*testing.T

	db        *schematest.DB
	pool      *sql.DB // of the pages: its statements may be counted
	store     *endpoint.Store
	keys      *seal.Ring
	projector *projections.Projector
	recovery  *recovery.Service
	operating *operator.Service
	handler   http.Handler
	owner     access.Caller
	now       time.Time
	clock     func() time.Time // of the pages
	resolve   egress.Resolve   // of the pages
	random    *rand.Rand
}

func newTestPages(t *testing.T) *pages {
	t.Helper()
	db := schematest.New(t)
	return pagesOver(t, db, db.DB)
}

func pagesOver(t *testing.T, db *schematest.DB, pool *sql.DB) *pages {
	t.Helper()
	policy := egress.Policy{Insecure: true}
	keys := relaytest.Keys(t)
	store, err := endpoint.New(endpoint.Options{DB: db.DB, Policy: policy, Keys: keys})
	require.NoError(t, err)
	p := &pages{
		T: t, db: db, pool: pool, store: store, keys: keys, projector: projections.New(projections.Config{DB: db.DB}),
		recovery:  recovery.New(recovery.Config{DB: db.DB, Poll: 20 * time.Millisecond}),
		operating: operator.New(operator.Config{DB: pool}),
		owner:     access.Caller{CompanyID: uuid.New(), Role: access.Owner, Actor: "portal:ada@example.com"},
		now:       time.Now().UTC(), random: rand.New(rand.NewPCG(1, 2)),
	}
	p.clock = func() time.Time { return p.now }
	p.resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
		if host == "missing.example.com" {
			return noSuchName(ctx, host)
		}
		return leadsTo("93.184.215.14")(ctx, host)
	}
	p.handler, err = newPages(pagesOptions{
		db: pool, keys: keys, policy: policy, recovery: p.recovery, operator: p.operating, signOut: "/portal/sign-out", now: func() time.Time { return p.clock() },
		resolve: func(ctx context.Context, host string) ([]netip.Addr, error) { return p.resolve(ctx, host) },
		lease:   45 * time.Second, retention: 30 * 24 * time.Hour,
	})
	require.NoError(t, err)
	return p
}

// leadsTo is a resolver that has one answer.
func leadsTo(address string) egress.Resolve {
	return func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr(address)}, nil
	}
}

func noSuchName(_ context.Context, host string) ([]netip.Addr, error) {
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// as lets a caller in, as package access does for a session.
func (p *pages) as(c access.Caller) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.handler.ServeHTTP(w, r.WithContext(access.With(r.Context(), c)))
	})
}

func (p *pages) viewer() access.Caller {
	return access.Caller{CompanyID: p.owner.CompanyID, Role: access.Viewer, Actor: "portal:vic@example.com"}
}

func (p *pages) operator() access.Caller {
	return access.Caller{Role: access.Operator, Actor: "operator:olga"}
}

// get asks as the owner.
func (p *pages) get(path string, headers ...string) *httptest.ResponseRecorder {
	p.Helper()
	return p.do(p.owner, http.MethodGet, path, nil, headers...)
}

// post sends a form as the owner.
func (p *pages) post(path string, form url.Values, headers ...string) *httptest.ResponseRecorder {
	p.Helper()
	return p.do(p.owner, http.MethodPost, path, form, headers...)
}

func (p *pages) do(c access.Caller, method, path string, form url.Values, headers ...string) *httptest.ResponseRecorder {
	p.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r := httptest.NewRequestWithContext(p.Context(), method, path, body)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	p.as(c).ServeHTTP(w, r)
	return w
}

// endpoint makes one of the owner's company.
func (p *pages) endpoint(address, description string, types ...string) endpoint.Endpoint {
	p.Helper()
	e, _, err := p.store.Create(p.Context(), endpoint.Create{
		CompanyID: p.owner.CompanyID, URL: address, Description: description, EventTypes: types, Actor: p.owner.Actor,
	})
	require.NoError(p, err)
	return e
}

// told appends facts and applies them.
func (p *pages) told(facts ...fact.Fact) {
	p.Helper()
	tx, err := p.db.BeginTx(p.Context(), nil)
	require.NoError(p, err)
	defer tx.Rollback() //nolint:errcheck // a test that failed
	for len(facts) > 0 {
		n := min(len(facts), 500)
		require.NoError(p, commitlog.Append(p.Context(), tx, facts[:n]...))
		facts = facts[n:]
	}
	require.NoError(p, tx.Commit())
	p.apply()
}

func (p *pages) apply() {
	p.Helper()
	require.NoError(p, p.projector.RunToEnd(p.Context()))
}

// story is a delivery as a test tells it: one attempt for each outcome, the first at its time.
type story struct {
	endpoint endpoint.Endpoint
	id       int64
	event    uuid.UUID
	kind     outbox.Type
	at       time.Time
	outcomes []told
	others   []fact.EndpointChoice
}

type told struct {
	reason fact.Reason
	status int
	detail string
	body   []byte
	header map[string][]string
	took   time.Duration
}

func succeeded() told {
	return told{
		reason: fact.OK, status: 200, body: []byte(`{"received":true}`),
		header: map[string][]string{"Content-Type": {"application/json"}, "Server": {"nginx"}},
	}
}

func refused() told {
	return told{
		reason: fact.StatusServer, status: 503, body: []byte("<html><body><h1>503 Service Unavailable</h1></body></html>"),
		header: map[string][]string{"Content-Type": {"text/html"}, "Retry-After": {"30"}, "Server": {"nginx/1.24.0"}},
	}
}

// facts are what the relay would have written.
func (p *pages) facts(s story) []fact.Fact {
	if s.event == uuid.Nil {
		s.event = uuid.New()
	}
	if s.kind == "" {
		s.kind = outbox.ConversationCompletedType
	}
	mine := func(name fact.Name, body any) fact.Fact {
		return fact.Fact{Name: name, CompanyID: s.endpoint.CompanyID, Body: body}
	}
	list := []fact.Fact{mine(fact.EventFannedOut, fact.FannedOut{
		EventID: s.event, EventType: string(s.kind), CreatedAt: s.at, Position: s.id,
		Decisions: append([]fact.EndpointChoice{{
			EndpointID: s.endpoint.ID, Version: s.endpoint.Version, Decision: fact.Chosen, DeliveryID: &s.id, Trigger: fact.Automatic,
		}}, s.others...),
	})}
	delays := []time.Duration{0, 10 * time.Second, time.Minute, 6 * time.Minute, 36 * time.Minute, 216 * time.Minute}
	at := s.at
	for i, o := range s.outcomes {
		at = at.Add(delays[min(i, 5)])
		total := o.took
		if total == 0 {
			total = time.Duration(18+p.random.IntN(160)) * time.Millisecond
		}
		a := fact.Attempt{
			AttemptID: fact.AttemptID{DeliveryID: s.id, Attempt: i + 1}, EndpointID: s.endpoint.ID, EventID: s.event, EventType: string(s.kind),
			Generation: 1, Trigger: fact.Automatic, StartedAt: at, Reason: o.reason, Detail: o.detail, Status: o.status, Completed: i + 1,
			State: fact.Retrying, FirstAttemptAt: s.at,
			Request: fact.Request{
				ConfigVersion: s.endpoint.Version, URL: s.endpoint.URL, Timestamp: at.Unix(),
				Signature: "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=", Bytes: 1184,
			},
			Response:   fact.Response{Headers: o.header, Body: o.body},
			RemoteAddr: "203.0.113.24:443",
			Timing: fact.Timing{
				DNS: total.Microseconds() / 12, Connect: total.Microseconds() / 7, TLS: total.Microseconds() / 5,
				FirstByte: total.Microseconds() * 92 / 100, Total: total.Microseconds(),
			},
		}
		name := fact.AttemptFailed
		switch {
		case o.reason == fact.OK:
			name, a.State = fact.AttemptSucceeded, fact.Delivered
		case i == 5:
			a.State = fact.Exhausted
		default:
			next := at.Add(delays[i+1])
			a.NextAttemptAt = &next
		}
		if o.status == 0 {
			a.Response, a.FirstByte = fact.Response{}, 0
		}
		list = append(list, mine(name, a))
	}
	if len(s.outcomes) == 6 && s.outcomes[5].reason != fact.OK {
		list = append(list, mine(fact.DeliveryExhausted, fact.Delivery{
			DeliveryID: s.id, EndpointID: s.endpoint.ID, EventID: s.event, Generation: 1, State: fact.Exhausted, Actor: "relay", Reason: fact.RetriesUsedUp,
		}))
	}
	return list
}

// outboxed puts an event into the outbox, as if it were fanned out, so that the bytes of its requests can be made.
func (p *pages) outboxed(event uuid.UUID, kind outbox.Type, data string) {
	p.Helper()
	_, err := p.db.ExecContext(p.Context(), `WITH o AS (
		INSERT INTO webhooks.outbox (event_id, event_type, company_id, data) VALUES ($1, $2, $3, $4) RETURNING *)
		INSERT INTO webhooks.event_ids SELECT event_id, recorded_at, transaction_id, position FROM o`, event, kind, p.owner.CompanyID, data)
	require.NoError(p, err)
}

func sampleData(t *testing.T, kind outbox.Type, company uuid.UUID) string {
	t.Helper()
	data, err := json.Marshal(outbox.NewSample(kind, company).Data)
	require.NoError(t, err)
	return string(data)
}
