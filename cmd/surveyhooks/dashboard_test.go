package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/schema/fact"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

const planted = `<script>alert("x")</script>"'><img src=x onerror=alert(1)>`

func TestEveryPageIsAPageThatAnyoneCanUse(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	paths := p.demo()
	for _, path := range paths {
		w := p.do(p.seer(path), http.MethodGet, "/"+path, nil)
		require.Contains(t, []int{http.StatusOK, http.StatusNotFound}, w.Code, path)
		requirePage(t, path, w.Body.String())
	}
}

// seer is who may see a page.
func (p *pages) seer(path string) access.Caller {
	if path == "ops" {
		return p.operator()
	}
	return p.owner
}

// requirePage holds a page to what a browser and a screen reader need: it parses as it was written, has a language, a
// title and one h1, every field has a name, every id is there once, and nothing in it could run or be styled in place.
func requirePage(t *testing.T, path, text string) {
	t.Helper()
	document, err := html.Parse(strings.NewReader(text))
	require.NoError(t, err)
	counts, ids, labelled := map[string]int{}, map[string]int{}, map[string]bool{}
	for n := range document.Descendants() {
		if n.Type == html.ElementNode {
			if n.Namespace == "" {
				counts[n.Data]++ // a drawing has titles of its own
			}
			if id := attr(n, "id"); id != "" {
				ids[id]++
			}
			if n.Data == "label" {
				labelled[attr(n, "for")] = true
			}
		}
	}
	require.Equal(t, 1, counts["h1"], "%s: one h1", path)
	require.Equal(t, 1, counts["main"], path)
	require.Equal(t, 1, counts["title"], path)
	require.Equal(t, strings.Count(text, "<script "), counts["script"], "%s: no script that we did not write", path)
	require.Zero(t, counts["style"], path)
	for id, n := range ids {
		require.Equal(t, 1, n, "%s: id %q", path, id)
	}
	for n := range document.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		requireElement(t, path, n, labelled)
		for _, reference := range []string{"aria-labelledby", "aria-describedby"} {
			for id := range strings.FieldsSeq(attr(n, reference)) {
				require.Equal(t, 1, ids[id], "%s: %s of <%s> names %q", path, reference, n.Data, id)
			}
		}
	}
	requireBalanced(t, path, text)
}

func requireElement(t *testing.T, path string, n *html.Node, labelled map[string]bool) {
	t.Helper()
	for _, a := range n.Attr {
		require.False(t, strings.HasPrefix(a.Key, "on") || a.Key == "style", "%s: <%s %s>", path, n.Data, a.Key)
		if a.Key == "href" || a.Key == "action" || a.Key == "src" {
			local := strings.HasPrefix(a.Val, "/") || strings.HasPrefix(a.Val, "#") || a.Val == "https://www.standardwebhooks.com"
			require.True(t, local, "%s: %s=%q leaves the house", path, a.Key, a.Val)
		}
	}
	switch n.Data {
	case "html":
		require.Equal(t, "en", attr(n, "lang"), path)
	case "script":
		require.Regexp(t, `^/assets/[a-z.]+\.[0-9a-f]{12}\.js$`, attr(n, "src"), path)
		require.Nil(t, n.FirstChild, path)
	case "input", "select", "textarea":
		named := attr(n, "type") == "hidden" || attr(n, "aria-label") != "" || labelled[attr(n, "id")] && attr(n, "id") != "" || inside(n, "label")
		require.True(t, named, "%s: <%s name=%s> has no label", path, n.Data, attr(n, "name"))
	case "button", "a":
		require.True(t, attr(n, "aria-label") != "" || strings.TrimSpace(textOf(n)) != "", "%s: <%s> says nothing", path, n.Data)
	case "th":
		require.NotEmpty(t, attr(n, "scope"), "%s: a th without scope", path)
	case "svg":
		named := attr(n, "aria-hidden") == "true" || attr(n, "role") == "img" && attr(n, "aria-label") != ""
		require.True(t, named, "%s: an svg is hidden or named", path)
	}
}

// requireBalanced holds that each element that needs an end has it: the parser would mend it silently.
func requireBalanced(t *testing.T, path, text string) {
	t.Helper()
	var open []string
	tokens := html.NewTokenizer(strings.NewReader(text))
	for {
		switch kind := tokens.Next(); kind { //nolint:exhaustive // texts and comments open nothing
		case html.ErrorToken:
			require.Empty(t, open, path)
			return
		case html.StartTagToken, html.EndTagToken:
			name, _ := tokens.TagName()
			switch tag := string(name); {
			case slices.Contains([]string{"meta", "link", "input", "img", "br", "hr", "wbr"}, tag):
			case kind == html.StartTagToken:
				open = append(open, tag)
			default:
				require.NotEmpty(t, open, "%s: </%s>", path, tag)
				require.Equal(t, open[len(open)-1], tag, "%s: </%s> ends <%s>", path, tag, open[len(open)-1])
				open = open[:len(open)-1]
			}
		}
	}
}

func attr(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func inside(n *html.Node, tag string) bool {
	for n = n.Parent; n != nil; n = n.Parent {
		if n.Data == tag {
			return true
		}
	}
	return false
}

func textOf(n *html.Node) string {
	var text strings.Builder
	for c := range n.Descendants() {
		if c.Type == html.TextNode {
			text.WriteString(c.Data)
		}
	}
	return text.String()
}

func TestPagesSayWhatABrowserMayDo(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	for _, path := range []string{"/endpoints", "/nothing", "/deliveries"} {
		header := p.get(path).Header()
		require.Equal(t, "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "+
			"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'", header.Get("Content-Security-Policy"))
		require.Equal(t, "nosniff", header.Get("X-Content-Type-Options"))
		require.Equal(t, "no-store", header.Get("Cache-Control"))
	}
	asset := regexp.MustCompile(`/assets/style\.[0-9a-f]+\.css`).FindString(p.get("/endpoints").Body.String())
	w := p.get(asset)
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, "text/css; charset=utf-8", w.Header().Get("Content-Type"))
	require.Contains(t, w.Header().Get("Cache-Control"), "immutable")
	require.Equal(t, http.StatusNotFound, p.get("/assets/style.css").Code)
}

// What strangers and customers write is text wherever it is shown.
func TestB49_B50_B61_PlantedScriptsAreText(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	e := p.endpoint("https://example.com/hook?x=%3Cscript%3E", planted)
	event := uuid.New()
	p.outboxed(event, outbox.ConversationCompletedType, `{"note":"`+strings.ReplaceAll(planted, `"`, `\"`)+`"}`)
	bad := refused()
	bad.detail, bad.body = planted, []byte(planted+"\x1b[31m\x00\xff\u202e")
	bad.header = map[string][]string{"X-Note": {planted + "\r\nSet-Cookie: a=b"}}
	p.told(p.facts(story{endpoint: e, id: 7, event: event, at: p.now.Add(-time.Minute), outcomes: []told{bad}})...)

	for _, path := range []string{"/endpoints", "/endpoints/" + e.ID.String(), "/endpoints/" + e.ID.String() + "/edit", "/deliveries", "/deliveries/7", "/events/" + event.String(), "/event-types"} {
		w := p.get(path)
		require.Equal(t, http.StatusOK, w.Code, path)
		requirePage(t, path, w.Body.String())
		require.NotContains(t, w.Body.String(), "<img", path)
		require.Empty(t, w.Header().Get("Set-Cookie"))
	}
	page := p.get("/deliveries/7").Body.String()
	require.Contains(t, page, html.EscapeString(planted)[:20])
	require.Contains(t, page, `\x1B[31m\x00\xFF\u{202E}`)
	require.NotContains(t, page, "\x1b")
	require.NotContains(t, page, "\u202e")

	raw := p.get("/deliveries/7/attempts/1/response")
	require.Equal(t, string(bad.body), raw.Body.String(), "the download is the bytes")
	require.Equal(t, "text/plain; charset=utf-8", raw.Header().Get("Content-Type"))
	require.Equal(t, "nosniff", raw.Header().Get("X-Content-Type-Options"))
	require.Equal(t, "default-src 'none'; sandbox", raw.Header().Get("Content-Security-Policy"))
	require.Regexp(t, `^attachment; filename="[a-z0-9.-]+"$`, raw.Header().Get("Content-Disposition"))
	request := p.get("/deliveries/7/request")
	require.Equal(t, http.StatusOK, request.Code)
	require.Contains(t, request.Body.String(), `"event":"conversation.completed"`)
}

func TestB52_APageIsChangedByPOSTAlone(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	e := p.endpoint("https://example.com/hook", "")
	path := "/endpoints/" + e.ID.String()
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete} {
		w := p.do(p.owner, method, path+"/disable", nil)
		require.Equal(t, http.StatusMethodNotAllowed, w.Code, method)
		require.Equal(t, http.MethodPost, w.Header().Get("Allow"))
	}
	override := p.do(p.owner, http.MethodGet, path+"/disable?_method=POST", nil, "X-HTTP-Method-Override", "POST")
	require.Equal(t, http.StatusMethodNotAllowed, override.Code)
	got, err := p.store.Get(t.Context(), endpoint.Company(p.owner.CompanyID), e.ID)
	require.NoError(t, err)
	require.Equal(t, e, got)
}

// An address that nobody could have from us is refused in words; a limit is brought to the nearest that there is.
func TestB59_NonsenseInAnAddressIsToldInWords(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	path := "/endpoints/" + p.endpoint("https://example.com/hook", "").ID.String()
	for _, bad := range []string{
		"/deliveries?state=gone", "/deliveries?class=9xx", "/deliveries?type=nope", "/deliveries?trigger=x", "/deliveries?since=1y",
		"/deliveries/export?format=csv&text=%27%3B--", "/deliveries/live?text=%25", "/deliveries?cursor=zzz", "/deliveries?limit=x", "/endpoints?state=x",
		"/endpoints?cursor=%27", "/endpoints?text=%00", "/endpoints?text=" + strings.Repeat("x", 201), path + "?window=2h", "/deliveries/export?format=xml", "/deliveries/export?format=csv&state=x",
	} {
		w := p.get(bad)
		require.Equal(t, http.StatusBadRequest, w.Code, bad)
		requirePage(t, bad, w.Body.String())
		part := p.get(bad, "HX-Request", "true")
		require.Equal(t, "#message", part.Header().Get("HX-Retarget"))
		require.NotContains(t, part.Body.String(), "<html")
	}
	for _, clamped := range []string{"/deliveries?limit=-1", "/deliveries?limit=1000000000", "/endpoints?text=%25%27"} {
		require.Equal(t, http.StatusOK, p.get(clamped).Code, clamped)
	}
	for _, missing := range []string{"/endpoints/1", "/deliveries/x", "/deliveries/-1", "/deliveries/99999999999999999999", "/events/x", "/deliveries/1?attempt=x", path + "/tests/x"} {
		require.Equal(t, http.StatusNotFound, p.get(missing).Code, missing)
	}
}

func TestB60_AFormIsAFormOfBoundedSize(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	e := p.endpoint("https://example.com/hook", "")
	path := "/endpoints/" + e.ID.String()
	large := p.post("/endpoints", url.Values{"description": {strings.Repeat("x", 70_000)}})
	require.Equal(t, http.StatusRequestEntityTooLarge, large.Code)
	text := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path+"/disable", strings.NewReader(`{"a":1}`))
	text.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	p.as(p.owner).ServeHTTP(w, text)
	require.Equal(t, http.StatusUnsupportedMediaType, w.Code)
	require.Equal(t, http.StatusBadRequest, p.post("/deliveries/retry", url.Values{}).Code)
	require.Equal(t, http.StatusBadRequest, p.post("/deliveries/retry", url.Values{"delivery": {"x"}}).Code)
	require.Equal(t, http.StatusBadRequest, p.post(path+"/test", url.Values{"type": {"nope"}}).Code)
	got, err := p.store.Get(t.Context(), endpoint.Company(p.owner.CompanyID), e.ID)
	require.NoError(t, err)
	require.Equal(t, e, got, "nothing was changed")
}

func TestAFormKeepsWhatWasTypedBesideItsFaults(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	w := p.post("/endpoints", url.Values{"url": {"ftp://example.com"}, "description": {strings.Repeat("é", 501)}, "events": {"conversation.started"}})
	require.Equal(t, http.StatusUnprocessableEntity, w.Code)
	page := w.Body.String()
	requirePage(t, "form", page)
	require.Contains(t, page, `value="ftp://example.com"`)
	require.Contains(t, page, `id="url-fault"`)
	require.Contains(t, page, "The URL must start with https://")
	require.Contains(t, page, "Use at most 500 characters; these are 501")
	require.Regexp(t, `value="conversation.started" checked`, page)
	none := p.post("/endpoints", url.Values{"url": {"https://example.com"}})
	require.Equal(t, http.StatusUnprocessableEntity, none.Code)
	require.Contains(t, none.Body.String(), "Choose at least one event type")
	p.endpoint("https://example.com/taken", "")
	taken := p.post("/endpoints", url.Values{"url": {"https://EXAMPLE.com/taken"}, "events": {"all"}})
	require.Equal(t, http.StatusUnprocessableEntity, taken.Code)
	require.Contains(t, taken.Body.String(), "Another endpoint has this URL")
}

// A limit is typed, shown with the configuration and among the changes, and taken away by an empty field.
func TestARateLimitInTheForm(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	form := url.Values{"url": {"https://example.com/paced"}, "events": {"all"}, "rate_limit": {" 25 "}}
	require.Equal(t, http.StatusCreated, p.post("/endpoints", form).Code)
	e := p.endpoints()[0]
	require.Equal(t, 25, *e.RateLimit)
	path := "/endpoints/" + e.ID.String()
	page := p.get(path + "/edit").Body.String()
	requirePage(t, "form", page)
	require.Regexp(t, `name="rate_limit"[^>]* value="25"`, page)
	require.Contains(t, page, `id="rate_limit-hint"`)
	require.Contains(t, p.get(path).Body.String(), "<dt>Rate limit</dt><dd>25 a second</dd>")

	for name, typed := range map[string]string{
		"B59_Zero": "0", "B59_Negative": "-1", "B59_TooMany": "1001", "B59_Fraction": "1.5", "B59_Words": "ten", "B59_Huge": "99999999999999999999",
	} {
		for _, to := range []string{"/endpoints", path} {
			w := p.post(to, url.Values{"url": {"https://example.com/other"}, "events": {"all"}, "version": {"1"}, "rate_limit": {typed}})
			require.Equal(t, http.StatusUnprocessableEntity, w.Code, name)
			page := w.Body.String()
			requirePage(t, "form", page)
			require.Contains(t, page, `id="rate_limit-fault"`, name)
			require.Contains(t, page, "from 1 to 1000", name)
			require.Contains(t, page, `value="`+typed+`"`, "it is there to be mended")
		}
	}
	require.Equal(t, []endpoint.Endpoint{e}, p.endpoints(), "nothing was changed")

	form.Set("version", "1")
	form.Set("rate_limit", "")
	require.Equal(t, http.StatusSeeOther, p.post(path, form).Code)
	require.Nil(t, p.endpoints()[0].RateLimit)
	p.apply()
	page = p.get(path).Body.String()
	require.Contains(t, page, "<dt>Rate limit</dt><dd>none</dd>")
	require.Contains(t, page, "<dt>Rate limit</dt><dd><del>25 a second</del> <ins>none</ins></dd>")
}

// A form that is sent twice makes one endpoint and answers twice alike; one that is old meets a conflict.
func TestB58_ADoubleSubmitIsOnce(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	form := url.Values{"url": {"https://example.com/once"}, "events": {"all"}, "nonce": {"ONE"}}
	answers := make(chan string)
	for range 4 {
		go func() { answers <- p.post("/endpoints", form).Body.String() }()
	}
	first := <-answers
	secret := regexp.MustCompile(`whsec_[A-Za-z0-9+/=]+`).FindString(html.UnescapeString(first)) // a + is &#43; on a page
	require.Len(t, secret, len("whsec_")+44)
	for range 3 {
		require.Equal(t, first, <-answers)
	}
	list, _, err := p.store.List(t.Context(), endpoint.Filter{Scope: endpoint.Company(p.owner.CompanyID)})
	require.NoError(t, err)
	require.Len(t, list, 1)
	other := p.do(access.Caller{CompanyID: p.owner.CompanyID, Role: access.Owner, Actor: "portal:bob"}, http.MethodPost, "/endpoints", form)
	require.Equal(t, http.StatusUnprocessableEntity, other.Code, "another person's nonce is another form")
	require.NotContains(t, html.UnescapeString(other.Body.String()), secret)

	path := "/endpoints/" + list[0].ID.String()
	for _, page := range []string{path, path + "/edit", "/endpoints"} {
		require.NotContains(t, html.UnescapeString(p.get(page).Body.String()), secret, "it is never shown again")
	}
	rotated := p.post(path+"/rotate", url.Values{"version": {"1"}, "nonce": {"TWO"}})
	require.Equal(t, http.StatusOK, rotated.Code)
	require.Contains(t, rotated.Body.String(), "For 24 h each request is signed with the old secret")
	require.Equal(t, rotated.Body.String(), p.post(path+"/rotate", url.Values{"version": {"1"}, "nonce": {"TWO"}}).Body.String())
	require.Equal(t, http.StatusConflict, p.post(path+"/rotate", url.Values{"version": {"1"}, "nonce": {"THREE"}}).Code)
	require.Equal(t, http.StatusConflict, p.post(path, url.Values{"version": {"1"}, "url": {"https://example.com/b"}, "events": {"all"}}).Code)
	require.Equal(t, http.StatusConflict, p.post(path+"/delete", url.Values{"version": {"1"}}).Code)
	require.Equal(t, http.StatusSeeOther, p.post(path+"/delete", url.Values{"version": {"2"}}).Code)
}

func TestB56_TestsAreLimited(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	e := p.endpoint("https://example.com/hook", "")
	for n := range 11 {
		w := p.post("/endpoints/"+e.ID.String()+"/test", url.Values{})
		if n < 10 {
			require.Equal(t, http.StatusSeeOther, w.Code, n)
			continue
		}
		require.Equal(t, http.StatusTooManyRequests, w.Code)
		require.NotEmpty(t, w.Header().Get("Retry-After"))
	}
	var published int
	require.NoError(t, p.db.QueryRowContext(t.Context(), `SELECT count(*) FROM webhooks.outbox`).Scan(&published))
	require.Equal(t, 10, published)
	w := p.post("/endpoints", url.Values{"url": {"https://example.com/more"}, "events": {"all"}, "then": {"test"}})
	require.Equal(t, http.StatusCreated, w.Code, "the endpoint is made all the same, and its secret shown")
	require.Contains(t, w.Body.String(), "whsec_")
	require.Contains(t, w.Body.String(), "No test was sent")
	_, err := p.db.ExecContext(t.Context(), `UPDATE webhooks.test_quota SET asked_at = ARRAY(SELECT t - interval '1 minute' FROM unnest(asked_at) t)`)
	require.NoError(t, err)
	require.Equal(t, http.StatusSeeOther, p.post("/endpoints/"+e.ID.String()+"/test", url.Values{"type": {"conversation.started"}}).Code)
}

func TestButtonsAnswerWithWhatIsStored(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	e := p.endpoint("https://example.com/hook", "")
	path := "/endpoints/" + e.ID.String()
	w := p.post(path+"/disable", url.Values{}, "HX-Request", "true")
	require.Equal(t, http.StatusOK, w.Code)
	require.Contains(t, w.Body.String(), "Disabled by you")
	require.Contains(t, w.Body.String(), `aria-label="Enable example.com`)
	require.True(t, strings.HasPrefix(strings.TrimSpace(w.Body.String()), "<tr "), "the row alone")
	require.Equal(t, path+"?done=enabled", p.post(path+"/enable", url.Values{}).Header().Get("Location"))
	require.Contains(t, p.get(path+"?done=enabled").Body.String(), "Held deliveries go on")
	saved := p.post(path, url.Values{"version": {"3"}, "url": {"https://example.com/new"}, "events": {"test.webhook"}})
	require.Equal(t, http.StatusSeeOther, saved.Code)
	p.apply()
	page := p.get(path).Body.String()
	require.Contains(t, page, "https://example.com/new")
	require.Contains(t, page, "Configuration changed")
	require.Contains(t, page, "<del>https://example.com/hook</del>")
}

// TestABadSearchOfDeliveriesIsToldBesideItsField: the list keeps its frame and what was typed. What has no field, such as
// an export, is refused as a whole.
func TestABadSearchOfDeliveriesIsToldBesideItsField(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	e := p.endpoint("https://example.com/hook", "")
	p.told(p.facts(story{endpoint: e, id: 7, at: p.now, outcomes: []told{succeeded()}})...)
	p.apply()
	const right = "That is no id. Give the whole id of an event, which is a UUID as in X-Webhook-ID, or of a delivery, which is a number."
	query := url.Values{"text": {planted}, "state": {"delivered"}}.Encode()
	for _, path := range []string{"/deliveries", "/endpoints/" + e.ID.String() + "/deliveries"} {
		w := p.get(path + "?" + query)
		require.Equal(t, http.StatusBadRequest, w.Code, path)
		page := w.Body.String()
		requirePage(t, path, page)
		for _, kept := range []string{
			right, "<h1>Deliveries</h1>", `value="&lt;script&gt;`, `aria-invalid="true"`, `<option value="delivered" selected>`, "<thead>",
			"Nothing was looked for.", `<div id="search-fault" class="search-fault"><p class="fault" role="alert">`,
		} {
			require.Contains(t, page, kept, path)
		}
		require.NotContains(t, page, "/deliveries/7", path)
		require.NotContains(t, page, "/deliveries/export", "what would be refused is not offered")
		require.NotContains(t, page, "data-live", path)
		part := p.get(path+"?"+query, "HX-Request", "true")
		require.Equal(t, http.StatusBadRequest, part.Code)
		require.Empty(t, part.Header().Get("HX-Retarget"), "it replaces the list")
		require.True(t, strings.HasPrefix(part.Body.String(), `<div id="list">`))
		require.Contains(t, part.Body.String(), `<div id="search-fault" class="search-fault" hx-swap-oob="true"><p class="fault"`)
		good := p.get(path+"?text=7", "HX-Request", "true").Body.String()
		require.Contains(t, good, "/deliveries/7")
		require.Contains(t, good, `<div id="search-fault" class="search-fault" hx-swap-oob="true"></div>`, "what was wrong is right now")
	}
	for _, path := range []string{"/deliveries/export?format=csv&", "/deliveries/live?"} {
		w := p.get(path + query)
		require.Equal(t, http.StatusBadRequest, w.Code, path)
		require.Contains(t, w.Body.String(), right)
		require.Contains(t, w.Body.String(), "problem-code")
	}
	require.Contains(t, p.get("/deliveries?text=x&state=mood").Body.String(), "problem-code", "nobody could have chosen that")
}

// TestDeliveriesTellEndpointsOfOneHostApart, and show nobody what stands in a query.
func TestDeliveriesTellEndpointsOfOneHostApart(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	all := []fact.Fact{}
	for i, at := range []struct{ url, description string }{
		{"https://example.com/orders", ""}, {"https://example.com/", "plain"}, {"https://example.com/in?token=s3cr3t1", "of " + planted}, {"https://example.com/in?token=s3cr3t2", ""},
	} {
		all = append(all, p.facts(story{endpoint: p.endpoint(at.url, at.description), id: int64(7 + i), at: p.now, outcomes: []told{succeeded()}})...)
	}
	p.told(all...)
	p.apply()
	for _, caller := range []access.Caller{p.owner, p.viewer()} {
		page := p.do(caller, http.MethodGet, "/deliveries", nil).Body.String()
		requirePage(t, "deliveries", page)
		require.NotContains(t, page, "s3cr3t")
		require.NotContains(t, page, planted)
		require.Equal(t, 4, strings.Count(page, `">example.com`))
		require.Contains(t, page, `title="https://example.com/ plain">example.com</a>`)
		require.Contains(t, page, `example.com<span class="sub clip">/orders</span>`)
		require.Contains(t, page, `<span class="sub clip">/in?token=*** · of &lt;script&gt;`)
		require.Regexp(t, `<span class="sub clip">/in\?token=\*\*\* · [0-9a-f]{8}…[0-9a-f]{4}</span>`, page)
	}
}

// TestWhyAnEndpointIsDisabled: who, for what and in whose words is on its page, in the list, among its changes, and in the
// answer to "why was I not sent this?"; what the relay disabled is told apart. A note that cannot be kept changes nothing.
func TestWhyAnEndpointIsDisabled(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	e := p.endpoint("https://example.com/hook", "")
	path := "/endpoints/" + e.ID.String()
	w := p.post(path+"/disable", url.Values{"note": {planted + "\u202e"}})
	require.Equal(t, http.StatusUnprocessableEntity, w.Code)
	require.Contains(t, w.Body.String(), "Use one line of plain text")
	require.Contains(t, w.Body.String(), `<details class="drop" open>`)
	require.Contains(t, w.Body.String(), `value="&lt;script&gt;`, "what was typed is still there")
	require.NotContains(t, w.Body.String(), planted)
	requirePage(t, path, w.Body.String())
	part := p.post(path+"/disable", url.Values{"note": {strings.Repeat("x", 201)}}, "HX-Request", "true")
	require.Equal(t, http.StatusUnprocessableEntity, part.Code)
	require.Contains(t, part.Body.String(), "Use at most 200 characters")
	stored, err := p.store.Get(t.Context(), endpoint.AnyCompany(), e.ID)
	require.NoError(t, err)
	require.Equal(t, e, stored)

	require.Equal(t, path+"?done=disabled", p.post(path+"/disable", url.Values{"note": {planted}}).Header().Get("Location"))
	event := uuid.New()
	p.told(p.facts(story{endpoint: e, id: 7, event: event, at: p.now, outcomes: nil, others: []fact.EndpointChoice{
		{EndpointID: e.ID, Version: 2, Decision: fact.EndpointIsDisabled, Trigger: fact.Automatic},
	}})...)
	p.apply()
	shown := `<q class="note">&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt;&#34;&#39;&gt;&lt;img src=x onerror=alert(1)&gt;</q>`
	for at, times := range map[string]int{path: 3, "/endpoints": 1} { // badge, notice and change; badge
		page := p.get(at).Body.String()
		require.Equal(t, times, strings.Count(page, shown), at)
		require.Contains(t, page, "Disabled by you", at)
		require.NotContains(t, page, planted, at)
		requirePage(t, at, page)
	}
	why := p.get("/events/" + event.String() + "?endpoint=" + e.ID.String()).Body.String()
	require.Contains(t, why, "somebody asked for it (“&lt;script&gt;")
	require.Contains(t, why, shown)
	require.Contains(t, p.do(p.viewer(), http.MethodGet, path, nil).Body.String(), ">Disabled</span>")
	require.NotContains(t, p.do(p.viewer(), http.MethodGet, path, nil).Body.String(), "Disabled by you")
	require.Contains(t, p.get(path).Body.String(), "Tests are still sent.")

	p.post(path+"/enable", url.Values{})
	tx, err := p.db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	var version int
	require.NoError(t, tx.QueryRowContext(t.Context(), `SELECT version FROM webhooks.endpoints WHERE endpoint_id = $1`, e.ID).Scan(&version))
	changed, err := endpoint.DisableByRelay(t.Context(), tx, e.ID, version, fact.Gone)
	require.NoError(t, err)
	require.True(t, changed)
	require.NoError(t, tx.Commit())
	page := p.get(path).Body.String()
	require.Contains(t, page, "Disabled automatically")
	require.Contains(t, page, "Your server answered 410 Gone.")
	require.NotContains(t, page, "Disabled by you")
	p.post(path+"/enable", url.Values{})
	_, err = p.store.Disable(t.Context(), endpoint.Ref{Scope: endpoint.AnyCompany(), ID: e.ID, Actor: "key:monitor"}, fact.Gone, "")
	require.NoError(t, err)
	page = p.get(path).Body.String()
	require.NotContains(t, page, "Disabled automatically", "a program said that it is gone")
	require.Contains(t, page, "By API key monitor. Your server answered 410 Gone.")
}

func TestADeliveryThatAnOpenBreakerKeepsSaysSo(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	e := p.endpoint("https://example.com/hook", "")
	p.told(p.facts(story{endpoint: e, id: 7, at: p.now, outcomes: []told{refused()}})...)
	p.told(p.facts(story{endpoint: e, id: 8, at: p.now, outcomes: []told{succeeded()}})...)
	require.NotContains(t, p.get("/deliveries/7").Body.String(), "Breaker open")
	_, err := p.db.ExecContext(p.Context(), `UPDATE webhooks.lanes SET breaker = 'open', not_before = now() + interval '40 seconds' WHERE endpoint_id = $1`, e.ID)
	require.NoError(t, err)
	page := p.get("/deliveries/7").Body.String()
	require.Contains(t, page, "Breaker open", "whoever pressed Retry learns what it waits for")
	require.Contains(t, page, "use up no retry")
	require.NotContains(t, p.get("/deliveries/8").Body.String(), "Breaker open", "it is over")
}

func TestWhyWasIToldOfThisOrNot(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	e, other := p.endpoint("https://example.com/hook", ""), p.endpoint("https://example.com/other", "", "test.webhook")
	event := uuid.New()
	p.told(p.facts(story{endpoint: e, id: 7, event: event, at: p.now, outcomes: []told{succeeded()}, others: []fact.EndpointChoice{
		{EndpointID: other.ID, Version: 1, Decision: fact.TypeNotSelected, Trigger: fact.Automatic},
	}})...)
	page := p.get("/events/" + event.String() + "?endpoint=" + other.ID.String()).Body.String()
	require.Contains(t, page, "The endpoint had not selected conversation.completed")
	require.Contains(t, page, "Edit the endpoint and select the type.")
	require.Contains(t, page, "1 of 2 endpoints")
	require.Contains(t, p.get("/events/"+event.String()+"?endpoint="+e.ID.String()).Body.String(), "Delivered")
	require.Equal(t, http.StatusNotFound, p.get("/events/"+event.String()+"?endpoint="+uuid.NewString()).Code)
}

func TestRecoverCountsConfirmsRunsAndIsCancelled(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	e := p.endpoint("https://example.com/hook", "")
	six := []told{refused(), refused(), refused(), refused(), refused(), refused()}
	event := uuid.New()
	p.outboxed(event, outbox.ConversationCompletedType, "{}")
	p.told(p.facts(story{endpoint: e, id: 7, event: event, at: p.now.Add(-6 * time.Hour), outcomes: six})...)
	path := "/endpoints/" + e.ID.String()
	since := p.now.Add(-24 * time.Hour).Format(time.RFC3339)
	require.Contains(t, p.get(path+"/recover?since="+since).Body.String(), "1 failed delivery")
	require.Equal(t, http.StatusUnprocessableEntity, p.get(path+"/recover?since=soon").Code)
	require.Equal(t, http.StatusUnprocessableEntity, p.get(path+"/recover?since="+p.now.Add(time.Hour).Format(time.RFC3339)).Code)
	form := url.Values{"since": {since}, "nonce": {"GO"}}
	at := p.post(path+"/recover", form).Header().Get("Location")
	require.Regexp(t, `/recoveries/`, at)
	require.Contains(t, p.get(at).Body.String(), "Running")
	require.Equal(t, http.StatusConflict, p.post(path+"/recover", url.Values{"since": {since}, "nonce": {"AGAIN"}}).Code, "one at a time")

	require.Equal(t, http.StatusSeeOther, p.post(at+"/cancel", url.Values{}).Code)
	require.Contains(t, p.get(at).Body.String(), "Cancelled")
	at = p.post(path+"/recover", url.Values{"since": {since}, "nonce": {"THIRD"}}).Header().Get("Location")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.recovery.Run(ctx) }()
	require.Eventually(t, func() bool { return strings.Contains(p.get(at).Body.String(), "Done") }, 30*time.Second, 20*time.Millisecond)
	cancel()
	if err := <-ended; err != nil {
		require.ErrorIs(t, err, context.Canceled)
	}
	var due int
	require.NoError(t, p.db.QueryRowContext(t.Context(), `SELECT count(*) FROM webhooks.pending WHERE delivery_id = 7`).Scan(&due))
	require.Equal(t, 1, due)
}

func TestWhatAnEndpointMissedIsCountedAndSent(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	e := p.endpoint("https://example.com/hook", "")
	path := "/endpoints/" + e.ID.String()
	var events []uuid.UUID
	for range 2 {
		event := uuid.New()
		p.outboxed(event, outbox.ConversationCompletedType, "{}")
		events = append(events, event)
	}
	_, err := p.db.ExecContext(t.Context(), `INSERT INTO webhooks.events
		SELECT event_id, company_id, event_type, created_at, position, clock_timestamp(), '[]' FROM webhooks.outbox`)
	require.NoError(t, err)
	why := "/events/" + events[0].String() + "?endpoint=" + e.ID.String()
	require.Contains(t, p.get(why).Body.String(), "Send it now")
	require.NotContains(t, p.do(p.viewer(), http.MethodGet, why, nil).Body.String(), "Send it now")
	send := "/events/" + events[0].String() + path + "/send"
	require.Equal(t, http.StatusForbidden, p.do(p.viewer(), http.MethodPost, send, url.Values{}).Code)
	require.Equal(t, http.StatusNotFound, p.post("/events/"+uuid.NewString()+path+"/send", url.Values{}).Code)
	require.Equal(t, why+"&done=requested", p.post(send, url.Values{"nonce": {"ONE"}}).Header().Get("Location"))
	require.Equal(t, why+"&done=requested", p.post(send, url.Values{"nonce": {"TWO"}}).Header().Get("Location"), "a second click")
	p.apply()
	require.Regexp(t, `/deliveries/\d+`, p.post(send, url.Values{"nonce": {"THREE"}}).Header().Get("Location"))
	page := p.get(why).Body.String()
	require.Contains(t, page, "it was requested by portal:ada@example.com")
	require.Contains(t, page, "Delivery made on request")
	require.Contains(t, page, "made for 1 of 1 endpoint, 0 delivered")
	require.NotContains(t, page, "Send it now")

	require.Contains(t, p.get(path).Body.String(), path+"/recover?what=missing")
	since := p.now.Add(-24 * time.Hour).Format(time.RFC3339)
	counted := p.get(path + "/recover?what=missing&since=" + since).Body.String()
	require.Contains(t, counted, "1 missed event")
	require.Contains(t, counted, `1 <span class="mono">conversation.completed</span>`)
	at := p.post(path+"/recover", url.Values{"since": {since}, "what": {"missing"}, "nonce": {"GO"}}).Header().Get("Location")
	require.Contains(t, p.get(at).Body.String(), "Events that were not sent since")
	require.Equal(t, http.StatusSeeOther, p.post(at+"/cancel", url.Values{}).Code)
	_, err = p.db.ExecContext(t.Context(), `DELETE FROM webhooks.event_ids WHERE event_id = $1`, events[1])
	require.NoError(t, err)
	require.Contains(t, p.get(path+"/recover?what=missing&since="+since).Body.String(), "1 more event is no longer kept")
	require.Contains(t, p.post(path+"/recover", url.Values{"since": {since}, "what": {"missing"}, "nonce": {"NONE"}}).Body.String(), "Nothing is missing that could be sent")
}

func TestExportIsTheFilteredListRedacted(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	e := p.endpoint("https://example.com/hook?token=s3cret", "")
	var facts []fact.Fact
	for id := range int64(120) {
		outcome := succeeded()
		if id%2 == 0 {
			outcome = refused()
		}
		facts = append(facts, p.facts(story{endpoint: e, id: id + 1, at: p.now, outcomes: []told{outcome}})...)
	}
	p.told(facts...)
	w := p.get("/deliveries/export?format=csv&state=retrying")
	require.Equal(t, "text/csv; charset=utf-8; header=present", w.Header().Get("Content-Type"))
	lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
	require.Len(t, lines, 61)
	require.True(t, strings.HasPrefix(lines[0], "delivery_id,event_id,"))
	jsonl := p.get("/deliveries/export?format=jsonl&endpoint=" + e.ID.String()).Body.String()
	rows := strings.Split(strings.TrimSpace(jsonl), "\n")
	require.Len(t, rows, 120)
	var row map[string]any
	require.NoError(t, json.Unmarshal([]byte(rows[0]), &row))
	require.InDelta(t, 120, row["delivery_id"], 0)
	for _, secret := range []string{"s3cret", "503 Service", "v1,"} {
		require.NotContains(t, w.Body.String()+jsonl, secret)
	}
	// The pages of the list are the same rows, each once.
	seen := map[string]bool{}
	for path := "/deliveries?state=retrying&limit=25"; path != ""; {
		page := p.get(path).Body.String()
		for _, id := range regexp.MustCompile(`id="delivery-(\d+)"`).FindAllStringSubmatch(page, -1) {
			require.False(t, seen[id[1]])
			seen[id[1]] = true
		}
		path = ""
		if next := regexp.MustCompile(`href="([^"]+)" rel="next"`).FindStringSubmatch(page); next != nil {
			path = html.UnescapeString(next[1])
		}
	}
	require.Len(t, seen, 60)
}

func TestAFaultOfOursTellsNothing(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	_, err := p.db.Owner.ExecContext(t.Context(), `ALTER TABLE webhooks.endpoint_slots RENAME TO gone`)
	require.NoError(t, err)
	w := p.get("/endpoints")
	require.Equal(t, http.StatusInternalServerError, w.Code)
	require.NotContains(t, w.Body.String(), "endpoint_slots")
	requirePage(t, "500", w.Body.String())
}

// counter counts the statements of a pool.
type counter struct {
	driver.Connector

	n *atomic.Int64
}

type countedConn struct {
	driver.Conn

	n *atomic.Int64
}

func (c counter) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	return countedConn{conn, c.n}, err
}

func (c countedConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.n.Add(1)
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

func (c countedConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.n.Add(1)
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

// BeginTx lets nothing write: a page that only shows changes nothing.
func (c countedConn) BeginTx(ctx context.Context, options driver.TxOptions) (driver.Tx, error) {
	if !options.ReadOnly {
		return nil, errors.New("a page that only shows begins no transaction that could write")
	}
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, options)
}

// A page asks the database a fixed number of questions, however much it shows.
func TestEachPageHasItsBudgetOfQueries(t *testing.T) {
	t.Parallel()
	db := schematest.New(t)
	config, err := pq.NewConfig(db.DSN)
	require.NoError(t, err)
	connector, err := pq.NewConnectorConfig(config)
	require.NoError(t, err)
	var n atomic.Int64
	pool := sql.OpenDB(counter{connector, &n})
	t.Cleanup(func() { _ = pool.Close() })
	p := pagesOver(t, db, pool)
	paths := p.demo()
	budget := map[string]int64{
		"endpoints": 2, "endpoints/new": 1, "endpoints/{id}": 7, "deliveries": 3, "endpoints/{id}/deliveries": 3, "deliveries/{id}": 7,
		"events/{id}": 6, "events": 2, "event-types": 2, "ops": 9, "trail": 2, "endpoints/{id}/recover": 4, "endpoints/{id}/rotate": 2, "receiving": 1, "signature": 5,
		"nothing": 0,
	}
	id := regexp.MustCompile(`/([0-9a-f]{8}-[0-9a-f-]{27}|\d+)`)
	for _, path := range paths {
		name, _, _ := strings.Cut(id.ReplaceAllString(path, "/{id}"), "?")
		most, ok := budget[name]
		require.True(t, ok, "give %s a budget", name)
		n.Store(0)
		p.do(p.seer(path), http.MethodGet, "/"+path, nil)
		require.LessOrEqual(t, n.Load(), most, "%s asks %d times", path, n.Load())
	}
}
