package api

import (
	"context"
	"database/sql"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// TestB52_NothingIsChangedByGETNorByAnOverride: every path takes its own methods alone, and says which.
func TestB52_NothingIsChangedByGETNorByAnOverride(t *testing.T) {
	t.Parallel()

	b := setup(t)
	mine := b.belongings(b.mine, "owner", 1)
	takes := map[string][]string{}
	for _, rt := range routes() {
		takes[rt.pattern] = append(takes[rt.pattern], rt.method)
	}
	for pattern, methods := range takes {
		path := mine.in(pattern)
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"} {
			if slices.Contains(methods, method) || method == "HEAD" && slices.Contains(methods, "GET") {
				continue
			}
			r := b.do(call{line: method + " " + path, header: map[string]string{"X-HTTP-Method-Override": methods[0]}})
			require.Equal(t, http.StatusMethodNotAllowed, r.status, "%s %s", method, path)
			for _, allowed := range methods {
				require.Contains(t, r.header.Get("Allow"), allowed)
			}
			require.Empty(t, r.header.Get("Access-Control-Allow-Origin"))
			if method != "HEAD" {
				r.requireProblem(http.StatusMethodNotAllowed, "method_not_allowed")
			}
		}
	}
	head := b.do(call{line: "HEAD {mine}/endpoints"}).requireStatus(200)
	require.Empty(t, head.body)
	require.Equal(t, 1, b.count(`SELECT count(*) FROM webhooks.journal WHERE fact LIKE 'endpoint.%'`), "the endpoint was created, and nothing else happened")
}

// TestB55_ACompanyInBodyOrHeaderIsNotBelieved.
func TestB55_ACompanyInBodyOrHeaderIsNotBelieved(t *testing.T) {
	t.Parallel()

	b := setup(t)
	for _, name := range []string{"company_id", "tenant_id", "actor"} {
		b.post("{mine}/endpoints", `{"url":"https://example.com/x","`+name+`":"`+b.theirs.String()+`"}`).requireProblem(400, "unknown_field")
	}
	made := b.do(call{line: "POST {mine}/endpoints", body: `{"url":"https://example.com/x"}`, header: map[string]string{
		"X-Company-ID": b.theirs.String(), "X-Actor": "somebody",
	}}).requireStatus(201)
	require.Contains(t, string(made.body), b.mine.String())
	require.Contains(t, string(made.body), "key:owner")
	require.JSONEq(t, `{"items":[],"next":null}`, string(b.do(call{line: "GET {theirs}/endpoints", as: "foreign"}).body))
}

// TestB59_ListsTakeNoNonsense: a limit that is too large is the largest, everything else that cannot be meant is refused,
// and a filter is a value, whatever characters it has.
func TestB59_ListsTakeNoNonsense(t *testing.T) {
	t.Parallel()

	b := setup(t)
	b.told(b.mine, 1, fact.Response{}, fact.Exhausted)
	lists := []string{"/endpoints", "/events", "/deliveries", "/attempts", "/health", "/audit", "/trail"}
	for _, path := range lists {
		for _, limit := range []string{"-1", "0", "x", "1.5", "1e3", "99999999999999999999", "%00"} {
			b.get("{mine}"+path+"?limit="+limit).requireProblem(400, "invalid_parameters", "limit")
		}
		require.Contains(t, string(b.get("{mine}"+path+"?limit=1000000").requireStatus(200).body), `"next":null`)
		b.get("{mine}"+path+"?page=1000000000").requireProblem(400, "invalid_parameters", "page")
		b.get("{mine}"+path+"?limit=1&limit=2").requireProblem(400, "invalid_parameters", "limit")
		for _, cursor := range []string{"x", "MQ", "e30", strings.Repeat("A", 4000), "00000000-0000-0000-0000-000000000000", "'; DROP TABLE webhooks.events; --"} {
			b.do(call{line: "GET {mine}" + path + "?cursor=" + urlEscape(cursor)}).requireProblem(400, "bad_cursor")
		}
	}
	for _, query := range []string{
		"/endpoints?q=%25", "/endpoints?q='", "/endpoints?q=%5C", "/events?type=%25", "/attempts?type=_'",
	} {
		require.JSONEq(t, `{"items":[],"next":null}`, string(b.get("{mine}"+query).requireStatus(200).body), query)
	}
	for query, name := range map[string]string{
		"/endpoints?q=%00": "q", "/events?type=%ff": "type", "/deliveries?reason=%00": "reason", "/deliveries?state=lost": "state",
		"/deliveries?status=99": "status", "/deliveries?status=2xx": "status", "/deliveries?endpoint=1": "endpoint",
		"/deliveries?event='": "event", "/attempts?delivery=-1": "delivery", "/attempts?outcome=maybe": "outcome",
		"/events?from=yesterday": "from", "/events?until=0000-01-01T00:00:00Z": "until", "/audit?fact=made.up": "fact",
		"/deliveries?reason='%20OR%201=1--": "reason", "/attempts?reason=tiemout": "reason", "/audit?reason=nobody": "reason",
		"/events?from=2026-03-02T00:00:00Z&until=2026-03-01T00:00:00Z": "until", "/deliveries?status=600": "status",
		"/health?state=broken": "state", "/events?state=x": "state", "/stream?types=made.up": "types",
	} {
		b.get("{mine}"+query).requireProblem(400, "invalid_parameters", name)
	}
	b.get("{mine}/events?status=1&endpoint=x").requireProblem(400, "invalid_parameters", "status")
}

// TestB60_BodiesAreOneWellFormedJSONObject.
func TestB60_BodiesAreOneWellFormedJSONObject(t *testing.T) {
	t.Parallel()

	b := setup(t)
	path := "{mine}/endpoints"
	for name, tc := range map[string]struct {
		body, kind string
		status     int
		code       string
	}{
		"Oversized":          {`{"url":"` + strings.Repeat("x", maxBody) + `"}`, "", 413, "body_too_large"},
		"DeepNesting":        {`{"events":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + `}`, "", 400, "invalid_json"},
		"VeryDeepNesting":    {`{"events":` + strings.Repeat("[", 30000), "", 400, "invalid_json"},
		"UnknownField":       {`{"url":"https://example.com/","colour":1}`, "", 400, "unknown_field"},
		"OtherCase":          {`{"URL":"https://example.com/"}`, "", 400, "unknown_field"},
		"DuplicateKey":       {`{"url":"https://example.com/","url":"https://example.org/"}`, "", 400, "invalid_json"},
		"DuplicateByEscape":  {`{"url":"https://example.com/","\u0075rl":"https://example.org/"}`, "", 400, "invalid_json"},
		"Null":               {`{"url":null}`, "", 400, "invalid_json"},
		"TrailingData":       {`{"url":"https://example.com/"} {}`, "", 400, "invalid_json"},
		"TrailingGarbage":    {`{"url":"https://example.com/"}x`, "", 400, "invalid_json"},
		"BrokenOff":          {`{"url":"https://exam`, "", 400, "invalid_json"},
		"NoObject":           {`["url"]`, "", 400, "invalid_json"},
		"InvalidUTF8":        {"{\"url\":\"https://example.com/\xff\"}", "", 400, "invalid_json"},
		"ByteOrderMark":      {"\ufeff{}", "", 400, "invalid_json"},
		"Form":               {`url=x`, "application/x-www-form-urlencoded", 415, "unsupported_media_type"},
		"PlainText":          {`{}`, "text/plain", 415, "unsupported_media_type"},
		"OtherCharset":       {`{}`, "application/json; charset=latin1", 415, "unsupported_media_type"},
		"NoMediaType":        {`{}`, ";", 415, "unsupported_media_type"},
		"WrongType":          {`{"url":["https://example.com/"]}`, "", 422, "invalid_fields"},
		"WrongTypeInList":    {`{"url":"https://example.com/","events":[1]}`, "", 422, "invalid_fields"},
		"NumberBeyondFloats": {`{"url":1e999}`, "", 422, "invalid_fields"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			b := b.in(t)
			c := call{line: "POST " + path, body: tc.body}
			if tc.kind != "" {
				c.header = map[string]string{"Content-Type": tc.kind}
			}
			p := decodeAs[problem](b.do(c).requireStatus(tc.status))
			require.Equal(t, tc.code, p.Code)
			require.Less(t, len(p.Detail), 300)
			require.Zero(t, b.count(`SELECT count(*) FROM webhooks.endpoints`))
		})
	}
}

// TestB60_ABodyIsJSONInUTF8AndSaysSo, in any spelling that means it.
func TestB60_ABodyIsJSONInUTF8AndSaysSo(t *testing.T) {
	t.Parallel()

	b := setup(t)
	path := "{mine}/endpoints"
	b.do(call{line: "POST " + path, body: `{}`, header: map[string]string{"Content-Encoding": "gzip"}}).requireProblem(415, "unsupported_media_type")
	b.post(path, "").requireProblem(400, "invalid_json")
	b.post("{mine}/events", `{"type":"a","data":{"x":{"y":1,"y":2}}}`).requireProblem(400, "invalid_json")
	b.do(call{line: "POST " + path, body: ` { "url" : "https://example.com/ok" } `, header: map[string]string{"Content-Type": `Application/JSON; charset="UTF-8"`}}).requireStatus(201)
	require.Equal(t, 1, b.count(`SELECT count(*) FROM webhooks.endpoints`))
}

// TestUnknownPathsAreProblemsToo, and tell nothing.
func TestUnknownPathsAreProblemsToo(t *testing.T) {
	t.Parallel()

	b := setup(t)
	for _, path := range []string{"/", "/v1", "/v1/", "/v1/companies", "{mine}", "{mine}/endpoints/", "/v2/companies", "/v1/companies/x/endpoints", "/v1/companies/00000000-0000-0000-0000-000000000000/endpoints"} {
		b.get(path).requireProblem(404, "not_found")
	}
	upper := strings.ToUpper(b.mine.String())
	b.get("/v1/companies/{"+upper+"}/endpoints").requireProblem(404, "not_found")
}

// TestAFaultOfOursTellsNothingAndIsLogged: the answer has an id, and the log the cause.
func TestAFaultOfOursTellsNothingAndIsLogged(t *testing.T) {
	t.Parallel()

	b := setup(t)
	broken, err := sql.Open("postgres", "postgres://nobody:hunter2@127.0.0.1:1/none?connect_timeout=1&sslmode=disable")
	require.NoError(t, err)
	t.Cleanup(func() { _ = broken.Close() })
	config := b.config(nil)
	config.DB = broken
	b.serve(config)
	r := b.get("{mine}/deliveries")
	p := r.requireProblem(503, "unavailable")
	require.Equal(t, "5", r.header.Get("Retry-After"))
	require.NotContains(t, string(r.body), "127.0.0.1")
	require.Contains(t, b.log.String(), p.RequestID)
	require.NotContains(t, b.log.String(), "hunter2")
	b.do(call{line: "POST {mine}/endpoints", body: `{"url":"https://example.com/"}`, header: map[string]string{"Idempotency-Key": "k"}}).requireProblem(503, "unavailable")

	_, err = b.db.Owner.ExecContext(t.Context(), `ALTER TABLE webhooks.deliveries RENAME TO lost`)
	require.NoError(t, err)
	b.serve(b.config(nil))
	r = b.get("{mine}/deliveries")
	p = r.requireProblem(500, "internal")
	require.Equal(t, "1", r.header.Get("Retry-After"))
	require.NotContains(t, string(r.body), "lost")
	require.Contains(t, b.log.String(), p.RequestID)
}

// TestWhatTakesTooLongIsSaidSo.
func TestWhatTakesTooLongIsSaidSo(t *testing.T) {
	t.Parallel()

	p := problemOf(context.DeadlineExceeded)
	require.Equal(t, http.StatusServiceUnavailable, p.Status)
	require.Equal(t, "took_too_long", p.Code)
}

// TestAConfigurationNamesEverythingThatItLacks.
func TestAConfigurationNamesEverythingThatItLacks(t *testing.T) {
	t.Parallel()

	_, err := New(Config{})
	for _, name := range []string{"DB", "Endpoints", "Recoveries", "Operations", "Access"} {
		require.ErrorContains(t, err, name+" is nil")
	}
	require.ErrorContains(t, err, "PublicURL is empty")
}
