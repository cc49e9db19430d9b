package main

import (
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// waiting is delivery 1, whose first attempt failed, as the history and the relays know it.
func (p *pages) waiting(due time.Time) (e endpoint.Endpoint, event uuid.UUID) {
	p.Helper()
	e, event = p.endpoint("https://example.com/hook", ""), uuid.New()
	p.outboxed(event, outbox.ConversationCompletedType, "{}")
	p.told(p.facts(story{endpoint: e, id: 1, event: event, at: p.now.Add(-10 * time.Minute), outcomes: []told{refused()}})...)
	p.exec(`INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id, due_at, started, completed, first_attempt_at)
		VALUES ($1, 1, $2, $3, 1, 1, $4)`, e.ID, event, due, p.now.Add(-10*time.Minute))
	return e, event
}

func (p *pages) exec(query string, args ...any) {
	p.Helper()
	_, err := p.db.Owner.ExecContext(p.Context(), query, args...)
	require.NoError(p, err)
}

// both are that delivery's own page and its row in the list.
func (p *pages) both() []string {
	p.Helper()
	return []string{p.get("/deliveries/1").Body.String(), p.get("/deliveries?text=1").Body.String()}
}

func TestARequestUnderWayIsShown(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	e, _ := p.waiting(p.now)
	p.exec(`INSERT INTO webhooks.intents (relay_id, batch, started_at, endpoint_ids, delivery_ids, attempts)
		VALUES (gen_random_uuid(), 1, now() - interval '12 seconds', ARRAY[$1]::uuid[], '{1}', '{2}')`, e.ID)
	for _, page := range p.both() {
		require.Contains(t, page, "Delivering")
		require.Contains(t, page, "delivering since")
		require.Contains(t, page, "12 s ago")
		require.NotContains(t, page, "Retry now")
	}
	require.Contains(t, p.post("/deliveries/1/retry", url.Values{"nonce": {"A"}}).Body.String(), "It is being sent now")
	p.exec(`DELETE FROM webhooks.intents`)
	require.NotContains(t, p.both()[0], "Delivering")
}

func TestNoNextAttemptIsShownAsPast(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	e, event := p.waiting(p.now.Add(-6 * time.Minute))
	for _, page := range append(p.both(), p.get("/endpoints/"+e.ID.String()).Body.String()) {
		require.Contains(t, page, "due now")
		require.NotContains(t, page, "6 min ago")
	}
	p.exec(`UPDATE webhooks.lanes SET breaker = 'open', not_before = $1`, p.now.Add(40*time.Second))
	for _, page := range p.both() {
		require.Contains(t, page, "breaker open, again")
		require.Contains(t, page, "in 40 s")
	}
	require.Contains(t, p.get("/endpoints/"+e.ID.String()).Body.String(), "It failed many times in a row")
	require.NotContains(t, p.get("/endpoints").Body.String(), "many times", "five lines in each row of a list")
	p.exec(`UPDATE webhooks.lanes SET not_before = $1`, p.now.Add(-20*time.Second))
	for _, page := range append(p.both(), p.get("/endpoints").Body.String(), p.get(fmt.Sprintf("/events/%s?endpoint=%s", event, e.ID)).Body.String()) {
		require.NotContains(t, page, "20 s ago", "never in the past")
	}
	require.Contains(t, p.both()[0], "half-open: the next attempt is its probe")
}

// TestWhereNoDeliveryIsListedNothingIsOfferedForThem: neither to select nor to export them.
func TestWhereNoDeliveryIsListedNothingIsOfferedForThem(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	offers := func(path string, want bool) {
		t.Helper()
		page := p.get(path).Body.String()
		requirePage(t, path, page)
		require.Equal(t, want, strings.Contains(page, `<form id="bulk" class="bulk" method=`), path)
		require.Equal(t, want, strings.Contains(page, `<span class="exports"><a`), path)
		require.Equal(t, !want, strings.Contains(page, `<form id="bulk" class="bulk" hidden method=`), path)
		require.Equal(t, !want, strings.Contains(page, `<span class="exports" hidden><a`), path)
		require.Equal(t, !want, strings.Contains(page, `<div class="nothing">`), path)
	}
	offers("/deliveries", false)
	p.waiting(p.now.Add(time.Minute))
	offers("/deliveries", true)
	offers("/deliveries?state=delivered", false)
}

func TestHeldOffersToEnableInsteadOfARetry(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	e, _ := p.waiting(p.now.Add(time.Minute))
	_, err := p.store.Disable(t.Context(), endpoint.Ref{Scope: endpoint.Company(e.CompanyID), ID: e.ID, Actor: "relay"}, fact.Gone, "")
	require.NoError(t, err)
	for _, page := range p.both() {
		require.Contains(t, page, "once the endpoint is enabled")
		require.NotContains(t, page, "Retry now")
	}
	require.Contains(t, p.both()[0], "Enable the endpoint")
	require.NotContains(t, p.do(p.viewer(), http.MethodGet, "/deliveries/1", nil).Body.String(), "Enable the endpoint</button>")
	refused := p.post("/deliveries/1/retry", url.Values{"nonce": {"A"}})
	require.Equal(t, http.StatusConflict, refused.Code)
	require.Contains(t, refused.Body.String(), "Enable the endpoint: then it is sent")
	bulk := p.post("/deliveries/retry", url.Values{"delivery": {"1"}, "nonce": {"B"}}).Body.String()
	require.Contains(t, bulk, "0 deliveries are due now")
	require.Contains(t, bulk, "Not retried")
}

func TestARetryBehindABreakerSaysUntilWhen(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	e, _ := p.waiting(p.now.Add(time.Minute))
	p.exec(`UPDATE webhooks.lanes SET breaker = 'open', not_before = $1`, p.now.Add(2*time.Minute))
	require.Contains(t, p.both()[0], "Retry now")
	at := p.post("/deliveries/1/retry", url.Values{"nonce": {"A"}}).Header().Get("Location")
	require.Equal(t, "/deliveries/1?done=retried-breaker", at)
	page := p.get(at).Body.String()
	require.Contains(t, page, "its breaker is open")
	require.Contains(t, page, "breaker open, again")
	require.Contains(t, page, "<dt>Retried</dt><dd>by ada@example.com")
	require.Regexp(t, `,,portal:ada@example\.com,\d{4}-\d\d-\S+Z\n$`, p.get("/deliveries/export?format=csv").Body.String())
	require.Contains(t, p.get("/deliveries/export?format=jsonl").Body.String(), `"requested_by":"","retried_by":"portal:ada@example.com","retried_at":"2`)
	bulk := p.post("/deliveries/retry", url.Values{"delivery": {"1"}, "nonce": {"B"}}).Body.String()
	require.Contains(t, bulk, "0 deliveries are due now, 1 waits for a breaker")

	p.exec(`UPDATE webhooks.lanes SET breaker = 'closed', not_before = NULL WHERE endpoint_id = $1`, e.ID)
	require.Contains(t, p.post("/deliveries/1/retry", url.Values{"nonce": {"C"}}).Body.String(), "It is due already")
	require.Contains(t, page, `hx-get="/deliveries/1?shown=1"`)
	require.Empty(t, p.get("/deliveries/1?shown=1", "HX-Request", "true").Header().Get("HX-Redirect"))
	require.Equal(t, "/deliveries/1", p.get("/deliveries/1?shown=0", "HX-Request", "true").Header().Get("HX-Redirect"), "another attempt is the newest: all of the page is old")
	require.Contains(t, p.get("/deliveries/1?attempt=1").Body.String(), `hx-get="/deliveries/1?attempt=1"`, "who chose an attempt keeps it")
	p.exec(`UPDATE webhooks.pending SET due_at = now() + interval '1 hour'`)
	require.Equal(t, "/deliveries/1?done=retried", p.post("/deliveries/1/retry", url.Values{"nonce": {"D"}}).Header().Get("Location"))
}

// The history is told of a retry a moment after it was asked for: until then the page must not stay with what was before.
func TestAPageWaitsUntilTheHistoryTellsOfARetry(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	e, event := p.endpoint("https://example.com/hook", ""), uuid.New()
	p.outboxed(event, outbox.ConversationCompletedType, "{}")
	six := []told{refused(), refused(), refused(), refused(), refused(), refused()}
	p.told(p.facts(story{endpoint: e, id: 7, event: event, at: p.now.Add(-6 * time.Hour), outcomes: six})...)
	asks := `hx-get="/deliveries/7?shown=6"`
	require.NotContains(t, p.get("/deliveries/7").Body.String(), asks, "it is over")
	require.Equal(t, "/deliveries/7?done=retried", p.post("/deliveries/7/retry", url.Values{"nonce": {"A"}}).Header().Get("Location"))
	require.Contains(t, p.get("/deliveries/7").Body.String(), asks)
	p.exec(`UPDATE webhooks.replays SET asked_at = $1`, p.now.Add(-2*time.Minute))
	require.NotContains(t, p.get("/deliveries/7").Body.String(), asks, "not for ever, whatever clocks say")
}

func TestADecisionIsNoDelivery(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	_, event := p.waiting(p.now.Add(time.Minute))
	page := p.get("/events/" + event.String()).Body.String()
	require.NotContains(t, page, "Sent")
	require.Contains(t, page, "Delivery made")
	require.Contains(t, page, "Retry scheduled")
	require.Contains(t, page, "made for 1 of 1 endpoint, 0 delivered")
}

func TestEventsAreListed(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	e, told := p.waiting(p.now.Add(time.Minute))
	nobody := uuid.New()
	p.told(fact.Fact{Name: fact.EventFannedOut, CompanyID: p.owner.CompanyID, Body: fact.FannedOut{
		EventID: nobody, EventType: "conversation.started", CreatedAt: p.now, Position: 9,
		Decisions: []fact.EndpointChoice{{EndpointID: e.ID, Version: 1, Decision: fact.TypeNotSelected}},
	}})
	all := p.get("/events").Body.String()
	require.Contains(t, all, "made for 1 of 1")
	require.Contains(t, all, "made for 0 of 1")
	require.Regexp(t, `(?s)`+nobody.String()+`.*`+told.String(), all, "the newest first")
	require.Contains(t, p.get("/endpoints").Body.String(), `<a href="/events">Events</a>`)

	started := p.get("/events?type=conversation.started").Body.String()
	require.Contains(t, started, nobody.String())
	require.NotContains(t, started, told.String())
	found := p.get("/events?text=" + told.String()).Body.String()
	require.Contains(t, found, told.String())
	require.NotContains(t, found, nobody.String())
	require.Equal(t, http.StatusBadRequest, p.get("/events?text=12").Code)
	require.Equal(t, http.StatusBadRequest, p.get("/events?type=nothing").Code)
	require.Equal(t, http.StatusBadRequest, p.get("/events?cursor=x").Code)
	stranger := access.Caller{CompanyID: uuid.New(), Role: access.Owner, Actor: "portal:eve@example.com"}
	require.Contains(t, p.do(stranger, http.MethodGet, "/events", nil).Body.String(), "Nothing has happened yet")
	require.Contains(t, p.do(p.viewer(), http.MethodGet, "/events", nil).Body.String(), told.String())

	// A search for an event's deliveries that finds none leads to why there are none.
	why := p.get("/deliveries?text=" + nobody.String()).Body.String()
	require.Contains(t, why, "This event made no delivery")
	require.Contains(t, why, `href="/events/`+nobody.String()+`"`)
	mine := p.get("/endpoints/" + e.ID.String() + "/deliveries?text=" + nobody.String()).Body.String()
	require.Contains(t, mine, `href="/events/`+nobody.String()+`?endpoint=`+e.ID.String()+`"`)
	for _, other := range []string{"?text=" + told.String() + "&state=delivered", "?text=" + uuid.NewString()} {
		require.NotContains(t, p.get("/deliveries"+other).Body.String(), "made no delivery")
	}
	require.NotContains(t, p.do(stranger, http.MethodGet, "/deliveries?text="+nobody.String(), nil).Body.String(), "made no delivery")
}

func TestEventsArePaged(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	var facts []fact.Fact
	for i := range int64(51) {
		facts = append(facts, fact.Fact{Name: fact.EventFannedOut, CompanyID: p.owner.CompanyID, Body: fact.FannedOut{
			EventID: uuid.New(), EventType: "conversation.started", CreatedAt: p.now, Position: i + 1,
		}})
	}
	p.told(facts...)
	page := p.get("/events?type=conversation.started").Body.String()
	require.Contains(t, page, "Older events")
	link := regexp.MustCompile(`href="(/events\?[^"]*cursor=[^"]*)"`).FindStringSubmatch(page)
	require.NotNil(t, link)
	next := html.UnescapeString(link[1])
	require.Contains(t, next, "type=conversation.started", "the filter stays")
	last := p.get(next).Body.String()
	require.Contains(t, last, "conversation.started")
	require.NotContains(t, last, "Older events")
}

// What was done beside changes of endpoints is in the trail that owners read, and of their own company alone.
func TestActivityOfACompanyIsShownToItsOwners(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	e, _ := p.waiting(p.now.Add(time.Hour))
	path := "/endpoints/" + e.ID.String()
	p.post("/deliveries/1/retry", url.Values{"nonce": {"A"}})
	p.post(path+"/test", url.Values{"nonce": {"B"}})
	p.post("/event-types/example", url.Values{"nonce": {"C"}, "type": {"conversation.started"}, "endpoint": {e.ID.String()}})
	six := []told{refused(), refused(), refused(), refused(), refused(), refused()}
	p.told(p.facts(story{endpoint: e, id: 7, at: p.now.Add(-6 * time.Hour), outcomes: six})...)
	at := p.post(path+"/recover", url.Values{"since": {p.now.Add(-24 * time.Hour).Format(time.RFC3339)}, "nonce": {"D"}}).Header().Get("Location")
	require.Equal(t, http.StatusSeeOther, p.post(at+"/cancel", url.Values{"nonce": {"E"}}).Code)

	page := p.get("/trail").Body.String()
	requirePage(t, "trail", page)
	for what, link := range map[string]string{
		"Retried a delivery": "/deliveries/1", "Sent a test (test.webhook)": path + "/tests/", "Sent a test (conversation.started)": path + "/tests/",
		"Recovered 1 failed delivery": at, "Cancelled a recovery": at,
	} {
		require.Regexp(t, regexp.QuoteMeta(`href="`+link)+`[^"]*">`+regexp.QuoteMeta(what), page)
	}
	require.Equal(t, 5, strings.Count(page, "<span>ada@example.com</span>"))
	stranger := access.Caller{CompanyID: uuid.New(), Role: access.Owner, Actor: "portal:eve@example.com"}
	require.Contains(t, p.do(stranger, http.MethodGet, "/trail", nil).Body.String(), "Nobody has done anything yet")
	require.Equal(t, http.StatusForbidden, p.do(p.viewer(), http.MethodGet, "/trail", nil).Code)
	require.NotContains(t, p.do(p.viewer(), http.MethodGet, "/endpoints", nil).Body.String(), `href="/trail"`)
	require.Equal(t, http.StatusBadRequest, p.get("/trail?cursor=x").Code)
	p.exec(`INSERT INTO webhooks.access_trail (company_id, action, subject_id, actor, detail)
		SELECT $1, 'session.started', gen_random_uuid(), 'portal:grace', '{"person": "grace"}' FROM generate_series(1, 50)`, p.owner.CompanyID)
	page = p.get("/trail").Body.String()
	require.Contains(t, page, "<span>Signed in</span>")
	require.NotContains(t, page, "Signed in for", "the column beside it says who")
	next := regexp.MustCompile(`href="(/trail\?cursor=\d+)"`).FindStringSubmatch(page)
	require.NotNil(t, next)
	require.Contains(t, p.get(next[1]).Body.String(), "Retried a delivery")
}
