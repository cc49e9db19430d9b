package main

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/relay/fleet"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// relayRow is a relay as others see it: its row.
func relayRow(t *testing.T, db *schematest.DB, host string) uuid.UUID {
	t.Helper()
	id := uuid.New()
	_, err := db.ExecContext(t.Context(), `INSERT INTO webhooks.relays (relay_id, host, lease_until) VALUES ($1, $2, now() + interval '10 minutes')`, id, host)
	require.NoError(t, err)
	return id
}

// trail is what was done, the oldest first, as action and actor.
func trail(t *testing.T, db *schematest.DB) []string {
	t.Helper()
	store, err := access.NewStore(access.Options{DB: db.DB})
	require.NoError(t, err)
	entries, _, err := store.Trail(t.Context(), access.Caller{Role: access.Operator}, access.TrailPage{})
	require.NoError(t, err)
	var list []string
	for _, e := range slices.Backward(entries) {
		list = append(list, e.Action+" "+e.Actor)
	}
	return list
}

// TestAnOperatorPausesOnThePageAndCustomersAreToldWithoutNames: a confirmed form, the stored result, and the trail.
func TestAnOperatorPausesOnThePageAndCustomersAreToldWithoutNames(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	e := p.endpoint("https://example.com/hook", "")
	ask := func(method, path string, form url.Values) (int, string) {
		w := p.do(p.operator(), method, path, form)
		return w.Code, w.Body.String()
	}
	_, page := ask(http.MethodGet, "/ops", nil)
	require.Contains(t, page, `href="/ops/pause"`)
	require.NotContains(t, p.get("/endpoints").Body.String(), "Sending is paused")
	status, page := ask(http.MethodGet, "/ops/pause", nil)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, page, `method="post" action="/ops/pause"`)
	requirePage(t, "ops/pause", page)

	status, page = ask(http.MethodPost, "/ops/pause", url.Values{"reason": {"  "}})
	require.Equal(t, http.StatusUnprocessableEntity, status)
	require.Contains(t, page, "want why, in a few words")
	requirePage(t, "ops/pause", page)
	status, _ = ask(http.MethodPost, "/ops/pause", url.Values{"reason": {planted}})
	require.Equal(t, http.StatusSeeOther, status)
	_, page = ask(http.MethodGet, "/ops?done=pause", nil)
	require.Contains(t, page, "All sending is paused")
	require.Contains(t, page, "olga")
	require.Contains(t, page, "&lt;script&gt;", "the reason is shown, as text")
	require.NotContains(t, page, planted)
	require.Contains(t, page, `href="/ops/resume"`)
	requirePage(t, "ops", page)

	for _, path := range []string{"/endpoints", "/endpoints/" + e.ID.String(), "/deliveries"} {
		page := p.get(path).Body.String()
		require.Contains(t, page, "Sending is paused for everybody", path)
		require.NotContains(t, page, "olga", path)
		require.NotContains(t, page, "alert(", path)
	}
	p.post("/endpoints/"+e.ID.String()+"/disable", url.Values{})
	page = p.get("/endpoints/" + e.ID.String()).Body.String()
	require.NotContains(t, page, "Tests are still sent")
	require.Contains(t, page, "Tests are sent again once the pause of all sending is over.")
	test := p.post("/endpoints/"+e.ID.String()+"/test", url.Values{})
	require.Equal(t, http.StatusConflict, test.Code)
	require.Contains(t, test.Body.String(), "Sending is paused for everybody, so no test is sent.")
	require.NotContains(t, test.Body.String(), "olga")
	made := p.post("/endpoints", url.Values{"url": {"https://example.com/other"}, "events": {"all"}, "then": {"test"}})
	require.Equal(t, http.StatusCreated, made.Code)
	require.Contains(t, made.Body.String(), "whsec_", "the secret is shown, this once")
	require.Contains(t, made.Body.String(), "Sending is paused for everybody, so no test is sent.")

	status, page = ask(http.MethodGet, "/ops/resume", nil)
	require.Equal(t, http.StatusOK, status)
	requirePage(t, "ops/resume", page)
	for range 2 { // the second changes nothing, and says nothing to the trail
		status, _ = ask(http.MethodPost, "/ops/resume", url.Values{})
		require.Equal(t, http.StatusSeeOther, status)
	}
	require.NotContains(t, p.get("/endpoints").Body.String(), "Sending is paused")
	require.Equal(t, []string{"sending.paused operator:olga", "sending.resumed operator:olga"}, trail(t, p.db))
}

// TestDrainingTheOnlyRelayIsWarnedOfBefore it is confirmed; with another one there is no warning.
func TestDrainingTheOnlyRelayIsWarnedOfBefore(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	first := relayRow(t, p.db, "relay-1.internal")
	at := "?relay=" + first.String()
	page := p.do(p.operator(), http.MethodGet, "/ops/drain"+at, nil).Body.String()
	require.Contains(t, page, "It is the only relay.")
	requirePage(t, "ops/drain", page)
	second := relayRow(t, p.db, "relay-2.internal")
	require.NotContains(t, p.do(p.operator(), http.MethodGet, "/ops/drain"+at, nil).Body.String(), "It is the only relay.")

	order := func(kind string, relay uuid.UUID) int {
		return p.do(p.operator(), http.MethodPost, "/ops/"+kind, url.Values{"relay": {relay.String()}}).Code
	}
	require.Equal(t, http.StatusSeeOther, order("drain", first))
	page = p.do(p.operator(), http.MethodGet, "/ops", nil).Body.String()
	require.Contains(t, page, "Drained")
	require.Contains(t, page, "/ops/undrain"+at)
	require.Contains(t, p.do(p.operator(), http.MethodGet, "/ops/drain?relay="+second.String(), nil).Body.String(), "It is the only relay.", "the other one drains")
	require.Equal(t, http.StatusSeeOther, order("drain", second))
	require.Contains(t, p.do(p.operator(), http.MethodGet, "/ops", nil).Body.String(), "Every relay is drained")
	require.Equal(t, http.StatusSeeOther, order("undrain", first))
	require.Equal(t, http.StatusNotFound, order("drain", uuid.New()))
	require.Equal(t, http.StatusNotFound, p.do(p.operator(), http.MethodGet, "/ops/drain?relay=x", nil).Code)
	require.Equal(t, http.StatusNotFound, p.do(p.operator(), http.MethodGet, "/ops/drain?relay="+uuid.NewString(), nil).Code)
	require.Equal(t, http.StatusNotFound, p.do(p.operator(), http.MethodGet, "/ops/explode", nil).Code)
	require.Equal(t, []string{"relay.drained operator:olga", "relay.drained operator:olga", "relay.undrained operator:olga"}, trail(t, p.db))
}

// TestOrdersAreForOperatorsAlone: to a customer they do not exist, even past the gate before them.
func TestOrdersAreForOperatorsAlone(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	at := url.Values{"relay": {relayRow(t, p.db, "relay-1.internal").String()}, "reason": {"mine"}}
	company := access.Caller{CompanyID: p.owner.CompanyID, Role: access.Operator, Actor: "key:one-company"}
	for _, kind := range []string{"pause", "resume", "drain", "undrain", "verify", "rebuild"} {
		for _, caller := range []access.Caller{p.owner, company} {
			require.Equal(t, http.StatusNotFound, p.do(caller, http.MethodGet, "/ops/"+kind+"?"+at.Encode(), nil).Code, kind)
			require.Equal(t, http.StatusNotFound, p.do(caller, http.MethodPost, "/ops/"+kind, at).Code, kind)
		}
		require.Contains(t, []int{http.StatusForbidden, http.StatusNotFound}, p.do(p.viewer(), http.MethodPost, "/ops/"+kind, at).Code, kind)
	}
	require.Empty(t, trail(t, p.db))
	pause, err := fleet.Paused(t.Context(), p.db.DB)
	require.NoError(t, err)
	require.Nil(t, pause)
}

// TestTheHistoryIsVerifiedAndRebuiltFromThePage: as a job, whose stored result the page shows.
func TestTheHistoryIsVerifiedAndRebuiltFromThePage(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.operating.Run(ctx) }()
	t.Cleanup(func() { stop(); require.NoError(t, <-ended) })
	e := p.endpoint("https://example.com/hook", "")
	p.told(p.facts(story{endpoint: e, id: 1, at: p.now, outcomes: []told{succeeded()}})...)

	run := func(kind, want string) {
		t.Helper()
		require.Equal(t, http.StatusOK, p.do(p.operator(), http.MethodGet, "/ops/"+kind, nil).Code)
		require.Equal(t, http.StatusSeeOther, p.do(p.operator(), http.MethodPost, "/ops/"+kind, url.Values{"nonce": {uuid.NewString()}}).Code)
		var page string
		require.Eventually(t, func() bool {
			page = p.do(p.operator(), http.MethodGet, "/ops", nil).Body.String()
			return !strings.Contains(page, "Running")
		}, 20*time.Second, 20*time.Millisecond)
		require.Contains(t, page, want)
		require.Contains(t, page, "olga")
		requirePage(t, "ops", page)
	}
	run("verify", "The history is what the journal says")
	run("rebuild", "The history is what the journal says")
	_, err := p.db.Owner.ExecContext(t.Context(), `UPDATE webhooks.deliveries SET state = 'exhausted'`)
	require.NoError(t, err)
	run("verify", "The history differs from the journal")
	run("rebuild", "Differed, and was rebuilt")
	run("verify", "The history is what the journal says")
	part := p.do(p.operator(), http.MethodGet, "/ops", nil, "HX-Request", "true").Body.String()
	require.True(t, strings.HasPrefix(strings.TrimSpace(part), `<section class="panel" id="history"`), part)
	require.Len(t, trail(t, p.db), 5)
}

// TestOrdersOnTheCommandLine are the pages' twins.
func TestOrdersOnTheCommandLine(t *testing.T) {
	t.Parallel()
	s, db := shellOn(t)
	require.Equal(t, exitUsage, s.run("pause").code)
	require.Equal(t, exitUsage, s.run("pause", "--reason", " ").code)
	require.Contains(t, s.ok("resume"), "it was not paused")
	made := s.object("pause", "--reason", "wrong prices")
	require.Equal(t, "wrong prices", made["reason"])
	require.Contains(t, s.run("doctor").stdout, "paused by cli")
	e := s.object("endpoints", "create", "--company", company, "--url", "https://example.com/x")
	refused := s.run("endpoints", "test", e["id"].(string))
	require.Equal(t, exitFailure, refused.code)
	require.Contains(t, refused.stderr, "sending is paused by cli")
	require.Contains(t, s.ok("resume"), "resumed; it was paused by cli")
	require.Contains(t, s.run("doctor").stdout, "not paused")

	require.Empty(t, s.list("relays", "list"))
	first := relayRow(t, db, "relay-1.internal").String()
	alone := s.run("relays", "drain", first)
	require.Equal(t, exitUsage, alone.code)
	require.Contains(t, alone.stderr, "--yes")
	relayRow(t, db, "relay-2.internal")
	require.Contains(t, s.ok("relays", "drain", first), "drained")
	require.Len(t, s.list("relays", "list"), 2)
	require.Contains(t, s.run("doctor").stdout, "2 alive, of which 1 drained")
	require.Nil(t, s.object("relays", "undrain", first)["drained_at"])
	require.Equal(t, exitNotFound, s.run("relays", "drain", uuid.NewString(), "--yes").code)
	require.Equal(t, exitUsage, s.run("relays", "drain", "x").code)
	s.ok("projections", "rebuild")
	require.Len(t, trail(t, db), 5)
}

// TestServeTellsThatItIsPausedAndReadyAndThatItIsDrainedAndNot: a pause is everybody's, and no reason to take a process
// out of a load balancer; draining is.
func TestServeTellsThatItIsPausedAndReadyAndThatItIsDrainedAndNot(t *testing.T) {
	t.Parallel()
	s, _ := shellOn(t)
	ctx, stop := context.WithCancel(t.Context())
	log := &lines{seen: make(chan string, 1)}
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"serve", "--admin-addr", "127.0.0.1:0", "--listen-addr", "off"}, process{env: s.env, stdout: &bytes.Buffer{}, stderr: log})
	}()
	addr := "http://" + <-log.seen
	ready := func(status int, words string) {
		t.Helper()
		var got string
		require.Eventually(t, func() bool {
			var is int
			is, got = get(t, addr+"/readyz?verbose")
			return is == status && strings.Contains(got, words)
		}, 20*time.Second, 10*time.Millisecond, got)
	}
	ready(http.StatusOK, `"process":"ok"`)
	s.ok("pause", "--reason", "a test")
	ready(http.StatusOK, `"paused_since":"2`)
	require.Eventually(t, func() bool {
		_, metrics := get(t, addr+"/metrics")
		return strings.Contains(metrics, "\nsurveyhooks_paused 1\n")
	}, 20*time.Second, 10*time.Millisecond)
	s.ok("resume")
	relay := s.list("relays", "list")[0]["relay_id"].(string)
	s.ok("relays", "drain", relay, "--yes")
	ready(http.StatusServiceUnavailable, `"process":"drained"`)
	status, _ := get(t, addr+"/livez")
	require.Equal(t, http.StatusOK, status)
	s.ok("relays", "undrain", relay)
	ready(http.StatusOK, `"process":"ok"`)
	stop()
	require.Equal(t, exitOK, <-code, log)
	require.Equal(t, 1, strings.Count(log.String(), "sending is paused"), "one line for each change")
	require.Equal(t, 1, strings.Count(log.String(), "sending is resumed"))
	require.Contains(t, s.ok("audit"), "unaccounted: 0\n")
}
