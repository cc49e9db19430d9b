package main

import (
	"cmp"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/dashboard"
	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
)

// pathIDs are what stands in for the placeholders of a pattern.
type pathIDs map[string]string

// walk is a request for a pattern of the pages. What it asks for is told by path, query and form alike.
type walk struct {
	method, path string
	form         url.Values
	ids          int // placeholders that were filled
}

// of fills the pattern. The queries and forms are those that make a page with no id in its path look for one.
func (ids pathIDs) of(t *testing.T, pattern string) walk {
	t.Helper()
	placeholder := regexp.MustCompile(`\{(\w+)\}`)
	var w walk
	fill := func(text string) string {
		return placeholder.ReplaceAllStringFunc(text, func(name string) string {
			id, ok := ids[strings.Trim(name, "{}")]
			require.True(t, ok, "%s has a placeholder that this test has no id for: give it one of each company", pattern)
			w.ids++
			return id
		})
	}
	query := map[string]string{
		"GET /deliveries/live":   "?endpoint={endpoint}",
		"GET /deliveries/export": "?format=csv&endpoint={endpoint}",
		"GET /ops/{order}":       "",
	}[pattern]
	method, path, _ := strings.Cut(pattern, " ")
	w.method, w.path = method, fill(strings.ReplaceAll(path, "{$}", "")+query)
	if method == http.MethodPost {
		w.form = url.Values{"version": {"1"}, "url": {"https://evil.example"}, "events": {"all"}, "since": {"2026-01-01T00:00"}, "type": {"test.webhook"}, "reason": {"mine"}}
	}
	if pattern == "POST /event-types/example" {
		w.form.Set("endpoint", fill("{endpoint}"))
	}
	if pattern == "POST /deliveries/retry" {
		w.form.Set("delivery", ids["delivery"]) // answered for each; see below
	}
	return w
}

// belongings is one of everything that a company can have.
func (p *pages) belongings(company uuid.UUID, delivery int64) pathIDs {
	p.Helper()
	e, _, err := p.store.Create(p.Context(), endpoint.Create{
		CompanyID: company, URL: "https://example.com/" + uuid.NewString(), Actor: p.owner.Actor,
	})
	require.NoError(p, err)
	event := uuid.New()
	p.told(p.facts(story{endpoint: e, id: delivery, event: event, at: p.now, outcomes: []told{refused(), refused(), refused(), refused(), refused(), refused()}})...)
	if company == p.owner.CompanyID {
		p.outboxed(event, outbox.ConversationCompletedType, sampleData(p.T, outbox.ConversationCompletedType, company))
	}
	caller := access.Caller{CompanyID: company, Role: access.Owner, Actor: p.owner.Actor}
	begun := p.do(caller, http.MethodPost, "/endpoints/"+e.ID.String()+"/recover", url.Values{"since": {"2026-01-01T00:00"}})
	require.Equal(p, http.StatusSeeOther, begun.Code, begun.Body)
	_, recovery, _ := strings.Cut(strings.Split(begun.Header().Get("Location"), "?")[0], "/recoveries/")
	return pathIDs{
		"endpoint": e.ID.String(), "delivery": strconv.FormatInt(delivery, 10), "event": event.String(), "recovery": recovery, "attempt": "1", "order": "pause",
	}
}

func (p *pages) ask(c access.Caller, w walk) *httptest.ResponseRecorder {
	p.Helper()
	return p.do(c, w.method, w.path, w.form)
}

func (p *pages) count(query string, args ...any) (n int) {
	p.Helper()
	require.NoError(p, p.db.QueryRowContext(p.Context(), query, args...).Scan(&n))
	return n
}

// streams tells a page that has no end of its own.
func streams(pattern string) bool { return pattern == "GET /deliveries/live" }

// everything is each pattern that the pages serve, what deletes the last.
func everything() []string {
	looking, changing := dashboard.Patterns()
	all := slices.Concat(looking, changing)
	slices.SortStableFunc(all, func(a, b string) int {
		return cmp.Compare(strings.Count(a, "delete"), strings.Count(b, "delete"))
	})
	return all
}

// TestB54_AnotherCompanysPagesAreNotThere walks all pages with another company's ids, in every place that they fit, and
// with ids of nothing. What names no id shows nothing of others. The control that own ids are found makes sure that it
// can fail.
func TestB54_AnotherCompanysPagesAreNotThere(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	mallory := access.Caller{CompanyID: uuid.New(), Role: access.Owner, Actor: "portal:mallory"}
	theirs, own := p.belongings(p.owner.CompanyID, 7), p.belongings(mallory.CompanyID, 8)
	none := pathIDs{
		"endpoint": uuid.NewString(), "delivery": "987654321", "event": uuid.NewString(), "recovery": uuid.NewString(), "attempt": "1", "order": "pause",
	}
	named := 0
	for _, pattern := range everything() {
		asked := theirs.of(t, pattern)
		got := p.ask(mallory, asked)
		if asked.ids == 0 {
			for _, what := range []string{"endpoint", "event", "recovery"} {
				require.NotContains(t, got.Body.String(), theirs[what], "%s shows the other company's %s", pattern, what)
			}
			continue
		}
		named++
		nothing := p.ask(mallory, none.of(t, pattern))
		require.Equal(t, http.StatusNotFound, nothing.Code, pattern)
		same := func(w *httptest.ResponseRecorder) {
			t.Helper()
			require.Equal(t, nothing.Code, w.Code, pattern)
			require.Equal(t, nothing.Body.String(), w.Body.String(), pattern)
		}
		same(got)
		if strings.Contains(pattern, "{endpoint}/") && !strings.HasSuffix(pattern, "/tests/{event}") { // a test of one's own is told of by its endpoint
			mixed := pathIDs{"endpoint": own["endpoint"], "event": theirs["event"], "recovery": theirs["recovery"], "attempt": "1"}
			if w := mixed.of(t, pattern); w.ids > 1 {
				same(p.ask(mallory, w))
			}
		}
	}
	require.Positive(t, named)
	filtered := func(ids pathIDs) string {
		page := p.do(mallory, http.MethodGet, "/deliveries?endpoint="+ids["endpoint"]+"&text="+ids["event"], nil).Body.String()
		page = strings.NewReplacer(ids["endpoint"], "ENDPOINT", ids["event"], "EVENT").Replace(page)
		return regexp.MustCompile(`name="nonce" value="\w+"`).ReplaceAllString(page, "")
	}
	require.Equal(t, filtered(none), filtered(theirs))
	bulk := p.do(mallory, http.MethodPost, "/deliveries/retry", url.Values{"delivery": {theirs["delivery"], none["delivery"]}})
	require.Equal(t, 2, strings.Count(bulk.Body.String(), "There is no such delivery."))
	require.Equal(t, 1, p.count(`SELECT count(*) FROM webhooks.endpoints WHERE company_id = $1 AND version = 1 AND state = 'enabled' AND deleted_at IS NULL`, p.owner.CompanyID))
	require.Equal(t, 1, p.count(`SELECT count(*) FROM webhooks.recoveries WHERE company_id = $1 AND state = 'running'`, p.owner.CompanyID))
	require.Zero(t, p.count(`SELECT count(*) FROM webhooks.pending`), "nothing is sent")

	for _, pattern := range everything() { // the control
		if asked := theirs.of(t, pattern); !streams(pattern) && !strings.Contains(pattern, "/ops") {
			require.NotEqual(t, http.StatusNotFound, p.ask(p.owner, asked).Code, pattern)
		}
	}
	require.Equal(t, http.StatusOK, p.do(p.operator(), http.MethodGet, "/endpoints/"+own["endpoint"], nil).Code)
}

// TestWhoMayOnlyLookChangesNothing: every form is refused, and every page that is not has no form.
func TestWhoMayOnlyLookChangesNothing(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	own := p.belongings(p.owner.CompanyID, 7)
	looking, changing := dashboard.Patterns()
	for _, pattern := range changing {
		require.Equal(t, http.StatusForbidden, p.ask(p.viewer(), own.of(t, pattern)).Code, pattern)
	}
	var refused []string
	for _, pattern := range looking {
		if streams(pattern) || pattern == "POST /signature" {
			continue
		}
		w := p.ask(p.viewer(), own.of(t, pattern))
		switch w.Code {
		case http.StatusForbidden, http.StatusNotFound:
			refused = append(refused, pattern)
		case http.StatusOK, http.StatusSeeOther, http.StatusConflict:
			page := strings.NewReplacer(`method="post" action="/portal/sign-out"`, "", `method="post" action="/signature"`, "").Replace(w.Body.String())
			require.NotContains(t, page, `method="post"`, "%s shows no button", pattern)
		default:
			require.Failf(t, "a page that is neither shown nor refused", "%s: %d", pattern, w.Code)
		}
	}
	require.ElementsMatch(t, []string{
		"GET /endpoints/new", "GET /endpoints/check", "GET /endpoints/{endpoint}/edit", "GET /endpoints/{endpoint}/rotate", "GET /endpoints/{endpoint}/delete",
		"GET /endpoints/{endpoint}/recover", "GET /ops", "GET /ops/{order}", "GET /trail",
	}, refused)
	require.Equal(t, 1, p.count(`SELECT count(*) FROM webhooks.endpoints WHERE version = 1 AND state = 'enabled' AND deleted_at IS NULL`))
	require.Equal(t, 1, p.count(`SELECT count(*) FROM webhooks.recoveries WHERE state = 'running'`))
	require.Zero(t, p.count(`SELECT count(*) FROM webhooks.pending`))

	nobody := httptest.NewRecorder()
	p.handler.ServeHTTP(nobody, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/endpoints", nil))
	require.Equal(t, http.StatusUnauthorized, nobody.Code)
	require.Equal(t, http.StatusForbidden, p.do(access.Caller{Role: access.Owner}, http.MethodGet, "/endpoints", nil).Code, "no company")
}
