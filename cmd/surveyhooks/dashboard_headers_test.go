package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/outbox/wire"
	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/header"
)

// credential is typed as a header's value in these tests, and must be in no answer and no line of the log.
const credential = "c4edential-of-a-customer"

// headerForm is the form of an endpoint with name and value of each header in turn.
func headerForm(address string, headers ...string) url.Values {
	form := url.Values{"url": {address}, "events": {"all"}}
	for i := 0; i+1 < len(headers); i += 2 {
		form.Add("header_name", headers[i])
		form.Add("header_value", headers[i+1])
	}
	return form
}

// sent are the headers with which a relay would send to the endpoint.
func (p *pages) sent(id uuid.UUID) map[string]string {
	p.Helper()
	configs, err := endpoint.Load(p.Context(), p.db.DB, p.keys, []uuid.UUID{id})
	require.NoError(p, err)
	require.Len(p, configs, 1)
	require.NoError(p, configs[0].Sealed)
	values := map[string]string{}
	for _, h := range configs[0].Headers {
		values[h.Name] = h.Value.Reveal()
	}
	return values
}

// endpoints are the company's.
func (p *pages) endpoints() []endpoint.Endpoint {
	p.Helper()
	list, _, err := p.store.List(p.Context(), endpoint.Filter{Scope: endpoint.Company(p.owner.CompanyID)})
	require.NoError(p, err)
	return list
}

// withHeaders makes an endpoint that has these headers, each with a value of its own.
func (p *pages) withHeaders(names ...string) endpoint.Endpoint {
	p.Helper()
	var set []header.Header
	for _, name := range names {
		set = append(set, header.New(name, credential+" of "+name))
	}
	e, _, err := p.store.Create(p.Context(), endpoint.Create{CompanyID: p.owner.CompanyID, URL: "https://example.com/hook", Headers: set, Actor: p.owner.Actor})
	require.NoError(p, err)
	return e
}

// fields are the inputs of a name, in their order.
func fields(t *testing.T, page, name string) []*html.Node {
	t.Helper()
	document, err := html.Parse(strings.NewReader(page))
	require.NoError(t, err)
	var list []*html.Node
	for n := range document.Descendants() {
		if n.Type == html.ElementNode && n.Data == "input" && attr(n, "name") == name {
			list = append(list, n)
		}
	}
	return list
}

// textAt is the text of the element with the id; "" when there is none.
func textAt(t *testing.T, page, id string) string {
	t.Helper()
	document, err := html.Parse(strings.NewReader(page))
	require.NoError(t, err)
	for n := range document.Descendants() {
		if n.Type == html.ElementNode && attr(n, "id") == id {
			return textOf(n)
		}
	}
	return ""
}

// Headers are set, replaced and removed by the form; what is not touched stays, and no page has a value (B29).
func TestB29_HeadersAreSetReplacedAndRemovedByTheForm(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	var shown strings.Builder
	keep := func(w *httptest.ResponseRecorder) *httptest.ResponseRecorder {
		fmt.Fprint(&shown, w.Body.String(), w.Header())
		return w
	}
	empty := keep(p.get("/endpoints/new")).Body.String()
	require.Len(t, fields(t, empty, "header_name"), 3)
	require.Len(t, fields(t, empty, "header_value"), 3)
	require.Empty(t, fields(t, empty, "remove_header"))

	form := headerForm("https://example.com/hook", " Authorization ", "Bearer "+credential+" ", "", "", "x-team", credential+"-2")
	require.Equal(t, http.StatusCreated, keep(p.post("/endpoints", form)).Code)
	e := p.endpoints()[0]
	require.Equal(t, map[string]string{"Authorization": "Bearer " + credential, "x-team": credential + "-2"}, p.sent(e.ID), "blanks of a copy are cut, empty rows are none")

	path := "/endpoints/" + e.ID.String()
	edit := keep(p.get(path + "/edit")).Body.String()
	requirePage(t, "edit", edit)
	remove := fields(t, edit, "remove_header")
	require.Len(t, remove, 2)
	require.Equal(t, "Authorization", attr(remove[0], "value"))
	require.Contains(t, edit, "••••")
	for _, input := range append(fields(t, edit, "header_name"), fields(t, edit, "header_value")...) {
		require.Empty(t, attr(input, "value"))
		require.Equal(t, "off", attr(input, "autocomplete"))
		require.Equal(t, "false", attr(input, "spellcheck"), "browsers may send what they check elsewhere")
	}

	untouched := headerForm("https://example.com/moved", "", "", "", "")
	untouched.Set("version", "1")
	require.Equal(t, http.StatusSeeOther, keep(p.post(path, untouched)).Code)
	require.Equal(t, map[string]string{"Authorization": "Bearer " + credential, "x-team": credential + "-2"}, p.sent(e.ID))

	change := headerForm("https://example.com/moved", "authorization", "Basic "+credential, "X-New", credential+"-3")
	change.Set("version", "2")
	change.Set("remove_header", "x-team")
	require.Equal(t, http.StatusSeeOther, keep(p.post(path, change)).Code)
	require.Equal(t, map[string]string{"authorization": "Basic " + credential, "X-New": credential + "-3"}, p.sent(e.ID))

	p.apply()
	page := keep(p.get(path)).Body.String()
	requirePage(t, "endpoint", page)
	require.Contains(t, page, `<span class="mono">X-New</span>`)
	require.Contains(t, page, "<del>Authorization, x-team</del> <ins>X-New, authorization</ins>", "the changes tell the names")
	for _, other := range []string{"/endpoints", path + "/edit", path + "/rotate", path + "/delete"} {
		keep(p.get(other))
	}
	require.NotContains(t, shown.String(), credential)
}

// The page of somebody who may only look names the headers and has nothing to change them with.
func TestWhoMayOnlyLookSeesTheNamesOfHeaders(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	e := p.withHeaders("X-Api-Key")
	path := "/endpoints/" + e.ID.String()
	page := p.do(p.viewer(), http.MethodGet, path, nil).Body.String()
	require.Contains(t, page, `<span class="mono">X-Api-Key</span>`)
	require.NotContains(t, page, credential)
	for _, name := range []string{"header_name", "header_value", "remove_header"} {
		require.NotContains(t, page, name)
	}
	form := headerForm(e.URL, "X-Api-Key", "stolen")
	form.Set("version", "1")
	require.Equal(t, http.StatusForbidden, p.do(p.viewer(), http.MethodPost, path, form).Code)
	require.Equal(t, map[string]string{"X-Api-Key": credential + " of X-Api-Key"}, p.sent(e.ID))
}

// Another company neither learns the names of headers nor changes one (B54).
func TestB54_AnotherCompanysHeadersAreNotThere(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	e := p.withHeaders("X-Api-Key")
	mallory := access.Caller{CompanyID: uuid.New(), Role: access.Owner, Actor: "portal:mallory"}
	form := headerForm(e.URL, "X-Api-Key", "stolen", "bad name", "x")
	form.Set("version", "1")
	form.Set("remove_header", "X-Api-Key")
	answers := map[uuid.UUID]string{}
	missing := uuid.New()
	for _, id := range []uuid.UUID{e.ID, missing} {
		path := "/endpoints/" + id.String()
		w := p.do(mallory, http.MethodPost, path, form)
		require.Equal(t, http.StatusNotFound, w.Code)
		answers[id] = w.Body.String() + p.do(mallory, http.MethodGet, path, nil).Body.String() + p.do(mallory, http.MethodGet, path+"/edit", nil).Body.String()
	}
	require.Equal(t, answers[missing], answers[e.ID])
	require.NotContains(t, answers[e.ID], "X-Api-Key")
	require.Equal(t, map[string]string{"X-Api-Key": credential + " of X-Api-Key"}, p.sent(e.ID))
}

// Each fault stands in words beside its row, marks the input that it is of, and comes back with names alone.
func TestAFormSaysWhatIsWrongWithWhichHeader(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	for name, tt := range map[string]struct {
		name, value string // of the second row
		input       string // that is marked
		words       string
		back        string // the name as it is shown again
	}{
		"B25_LineBreak":    {"X-A", credential + "\r\nX-B: 1", "header_value", "The value of header X-A has a character that is not printable ASCII", "X-A"},
		"B25_NoValue":      {"X-A", "", "header_value", "Header X-A has no value", "X-A"},
		"B26_NoToken":      {"X A", credential, "header_name", `begins with "X" has a character that no name has`, ""},
		"B26_LineForAName": {"X-A: " + credential, "", "header_name", `begins with "X-A" has a character`, ""},
		"B26_NoName":       {"", credential, "header_name", "Give this header a name", ""},
		"B27_Reserved":     {"hOst", credential, "header_name", "Header hOst is set by the relay or by HTTP itself", "hOst"},
		"B28_NotASCII":     {"X-A", credential + "ü", "header_value", "not printable ASCII", "X-A"},
		"Twice":            {"x-first", credential, "header_name", "Header x-first is given twice", "x-first"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := p.post("/endpoints", headerForm("ftp://example.com", "X-First", credential, tt.name, tt.value))
			require.Equal(t, http.StatusUnprocessableEntity, w.Code)
			page := w.Body.String()
			requirePage(t, name, page)
			require.NotContains(t, page, credential)
			require.Contains(t, textAt(t, page, "header-2-fault"), tt.words)
			require.NotEmpty(t, textAt(t, page, "url-fault"), "everything is said at once")
			require.Empty(t, textAt(t, page, "headers-fault"), "and once")
			require.Empty(t, textAt(t, page, "header-1-fault"))
			names, values := fields(t, page, "header_name"), fields(t, page, "header_value")
			require.Equal(t, []string{"X-First", tt.back, ""}, []string{attr(names[0], "value"), attr(names[1], "value"), attr(names[2], "value")})
			for i, row := range [][]*html.Node{names, values} {
				marked := attr(row[1], "aria-invalid") == "true"
				require.Equal(t, []string{"header_name", "header_value"}[i] == tt.input, marked)
				require.Equal(t, "headers-hint header-2-fault", attr(row[1], "aria-describedby"))
				require.Empty(t, attr(values[i], "value"))
			}
			require.Empty(t, p.endpoints(), "nothing was stored")
		})
	}
}

// What is wrong with all headers together stands below them, and a removal stays chosen.
func TestAFormSaysWhatIsWrongWithAllHeaders(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	e := p.withHeaders("X-Keep", "X-Old")
	many := make([]string, 0, 2*21)
	for i := range 21 {
		many = append(many, fmt.Sprintf("X-%d", i), credential)
	}
	for name, tt := range map[string]struct {
		headers []string
		remove  string
		words   string
	}{
		"B28_TooMany":    {many, "X-Old", "An endpoint has at most 20 headers; these are 22"},
		"B28_TooLarge":   {[]string{"X-A", credential + strings.Repeat("v", 4096)}, "X-Old", "Names and values together have at most 4096 bytes"},
		"SetAndRemoved":  {[]string{"x-old", credential}, "X-Old", "Header x-old is set and removed at once"},
		"RemovedUnknown": {nil, "X-Never", "There is no header to remove with one of these names; the endpoint has: X-Keep, X-Old"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			form := headerForm(e.URL, tt.headers...)
			form.Set("version", "1")
			form.Set("remove_header", tt.remove)
			w := p.post("/endpoints/"+e.ID.String(), form)
			require.Equal(t, http.StatusUnprocessableEntity, w.Code)
			page := w.Body.String()
			requirePage(t, name, page)
			require.NotContains(t, page, credential)
			require.Contains(t, textAt(t, page, "headers-fault"), tt.words)
			require.Len(t, fields(t, page, "header_name"), max(3, len(tt.headers)/2))
			chosen := map[string]bool{}
			for _, box := range fields(t, page, "remove_header") {
				for _, a := range box.Attr {
					if a.Key == "checked" {
						chosen[attr(box, "value")] = true
					}
				}
			}
			require.Equal(t, tt.remove == "X-Old", chosen["X-Old"])
			require.False(t, chosen["X-Keep"])
			got, err := p.store.Get(t.Context(), endpoint.Company(p.owner.CompanyID), e.ID)
			require.NoError(t, err)
			require.Equal(t, e, got, "nothing was stored")
		})
	}
}

// A form that cannot be carried out is logged without what was typed into it.
func TestAFaultOfOursLogsNoHeader(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	var log bytes.Buffer
	var err error
	p.handler, err = newPages(pagesOptions{ // without keys
		db: p.pool, policy: egress.Policy{Insecure: true}, recovery: p.recovery, logger: slog.New(slog.NewJSONHandler(&log, nil)),
	})
	require.NoError(t, err)
	e := p.withHeaders()
	form := headerForm(e.URL, "Authorization", credential)
	form.Set("version", "1")
	w := p.post("/endpoints/"+e.ID.String(), form)
	require.Equal(t, http.StatusInternalServerError, w.Code)
	require.Contains(t, log.String(), "seal header")
	require.NotContains(t, log.String()+w.Body.String(), credential)
}

// TestTheFormShowsWhichHeadersEachRequestHas: ours, with the values that never change, and the names alone of the customer's.
func TestTheFormShowsWhichHeadersEachRequestHas(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	e := p.withHeaders("X-Api-Key")
	page := p.get("/endpoints/" + e.ID.String() + "/edit").Body.String()
	preview := textAt(t, page, "header-preview")
	for _, f := range (wire.Request{}).Fields() {
		require.Contains(t, preview, f.Name)
	}
	require.Contains(t, preview, "User-Agent: HS-Webhook/1.0")
	require.Contains(t, preview, "X-Api-Key")
	require.NotContains(t, page, credential)
}
