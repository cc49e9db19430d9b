package api

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// ids are what stands in for the placeholders of a path.
type ids map[string]string

func (i ids) in(pattern string) string {
	for name, id := range i {
		pattern = strings.ReplaceAll(pattern, "{"+name+"}", id)
	}
	return pattern
}

// with is a copy with another company.
func (i ids) with(company uuid.UUID) ids {
	other := maps.Clone(i)
	other["company_id"] = company.String()
	return other
}

// belongings is one of everything that a company can have.
func (b *testBundle) belongings(company uuid.UUID, as string, delivery int64) ids {
	b.Helper()
	w := b.told(company, delivery, fact.Response{Body: []byte("no")}, fact.Exhausted)
	path := fmt.Sprintf("/v1/companies/%s/endpoints/%s/recoveries", company, w.endpoint.ID)
	job := decodeAs[struct {
		ID string `json:"id"`
	}](b.do(call{line: "POST " + path, as: as, body: `{"since":"2026-01-01T00:00:00Z"}`}).requireStatus(202))
	return ids{
		"company_id": company.String(), "endpoint_id": w.endpoint.ID.String(), "event_id": w.event.String(),
		"delivery_id": strconv.FormatInt(delivery, 10), "attempt": "1", "recovery_id": job.ID,
	}
}

func nobodys() ids {
	return ids{
		"company_id": uuid.NewString(), "endpoint_id": uuid.NewString(), "event_id": uuid.NewString(),
		"delivery_id": "987654321", "attempt": "1", "recovery_id": uuid.NewString(),
	}
}

// bodies are what the routes with a body must be given to get as far as looking for something.
func bodies() map[string]string {
	return map[string]string{
		"PATCH " + one:      `{"description":"changed"}`,
		"POST " + endpoints: `{"url":"https://example.com/new"}`,
		"POST " + recovered: `{"since":"2026-01-01T00:00:00Z"}`,
		"POST " + events:    `{"type":"conversation.started","data":{"a":1}}`,
	}
}

// TestB54_WhatIsAnotherCompanysIsAnsweredLikeWhatIsNot walks all routes with another tenant's ids, in every place of the
// path that they fit, and with ids of nothing. The control that own ids are found makes sure that it can fail.
func TestB54_WhatIsAnotherCompanysIsAnsweredLikeWhatIsNot(t *testing.T) {
	t.Parallel()

	b := setup(t)
	mine, theirs, none := b.belongings(b.mine, "owner", 1), b.belongings(b.theirs, "foreign", 2), nobodys()
	required := func(rt route) string {
		if strings.HasSuffix(rt.pattern, "/preview") {
			return "?since=2026-01-01T00:00:00Z"
		}
		return ""
	}
	walked := 0
	for _, rt := range routes() {
		if rt.may != reads && rt.may != changes {
			continue
		}
		walked++
		name := rt.method + " " + rt.pattern
		ask := func(of ids) reply {
			return b.do(call{line: rt.method + " " + of.in(rt.pattern) + required(rt), body: bodies()[name]})
		}
		nothing := ask(none).requireStatus(http.StatusNotFound)
		requireSame(t, nothing, ask(theirs), name)
		requireSame(t, nothing, ask(mine.with(b.theirs)), name)
		requireSame(t, nothing, ask(none.with(b.theirs)), name)
		if strings.Count(rt.pattern, "{") > 1 {
			requireSame(t, nothing, ask(theirs.with(b.mine)), name)
			requireSame(t, nothing, ask(none.with(b.mine)), name)
		}
	}
	require.Equal(t, 27, walked)

	for _, rt := range routes() { // the control; what deletes comes last
		if rt.method == http.MethodGet && rt.may == reads && !rt.streams {
			b.do(call{line: "GET " + mine.in(rt.pattern) + required(rt)}).requireStatus(http.StatusOK)
			b.do(call{line: "GET " + theirs.in(rt.pattern) + required(rt), as: "operator"}).requireStatus(http.StatusOK)
		}
	}
	require.Zero(t, b.count(`SELECT count(*) FROM webhooks.endpoints WHERE version > 1 OR deleted_at IS NOT NULL`), "nothing of anybody was changed by asking")
}

// requireSame compares what a stranger sees: everything but the id of the request and the time.
func requireSame(t *testing.T, want, got reply, route string) {
	t.Helper()
	plain := func(r reply) (http.Header, problem) {
		header := r.header.Clone()
		header.Del("X-Request-ID")
		header.Del("Date")
		p := decodeAs[problem](r)
		p.RequestID = ""
		return header, p
	}
	wantHeader, wantBody := plain(want)
	gotHeader, gotBody := plain(got)
	require.Equal(t, want.status, got.status, "%s: %s", route, got.body)
	require.Equal(t, wantHeader, gotHeader, route)
	require.Equal(t, wantBody, gotBody, route)
}

// TestB54_FiltersAndCursorsShowNothingOfOthers: an id in a filter, and a cursor from another company's list.
func TestB54_FiltersAndCursorsShowNothingOfOthers(t *testing.T) {
	t.Parallel()

	b := setup(t)
	theirs := b.belongings(b.theirs, "foreign", 1)
	b.belongings(b.theirs, "foreign", 2)
	mine := b.belongings(b.mine, "owner", 3)
	for _, query := range []string{
		"/events?endpoint=" + theirs["endpoint_id"], "/deliveries?endpoint=" + theirs["endpoint_id"],
		"/deliveries?event=" + theirs["event_id"], "/attempts?endpoint=" + theirs["endpoint_id"],
		"/attempts?event=" + theirs["event_id"], "/attempts?delivery=1", "/health?endpoint=" + theirs["endpoint_id"],
		"/audit?endpoint=" + theirs["endpoint_id"], "/endpoints?q=" + theirs["endpoint_id"],
	} {
		require.JSONEq(t, `{"items":[],"next":null}`, string(b.get("{mine}"+query).requireStatus(200).body), query)
		own := strings.NewReplacer(theirs["endpoint_id"], mine["endpoint_id"], theirs["event_id"], mine["event_id"], "delivery=1", "delivery=3").Replace(query)
		require.NotContains(t, string(b.get("{mine}"+own).requireStatus(200).body), `"items":[]`, own)
	}
	for _, path := range []string{"/events", "/deliveries", "/attempts", "/health", "/audit", "/endpoints"} {
		first := decodeAs[list[map[string]any]](b.do(call{line: "GET {theirs}" + path + "?limit=1", as: "foreign"}).requireStatus(200))
		require.NotNil(t, first.Next, path)
		rest := b.get("{mine}" + path + "?cursor=" + url.QueryEscape(*first.Next)).requireStatus(200)
		require.NotContains(t, string(rest.body), b.theirs.String(), path)
	}
}

// TestRolesBoundWhatACallerMayDo: a viewer reads, an owner changes, an operator of every company reaches all.
func TestRolesBoundWhatACallerMayDo(t *testing.T) {
	t.Parallel()

	b := setup(t)
	mine := b.belongings(b.mine, "owner", 1)
	for _, rt := range routes() {
		name := rt.method + " " + rt.pattern
		ask := func(as string) reply {
			return b.do(call{line: rt.method + " " + mine.in(rt.pattern), as: as, body: bodies()[name]})
		}
		if rt.may != anybody {
			require.Equal(t, "Bearer", ask("nobody").header.Get("WWW-Authenticate"), name)
			ask("nobody").requireProblem(http.StatusUnauthorized, "unauthorized")
		}
		if rt.may == changes {
			ask("viewer").requireProblem(http.StatusForbidden, "read_only")
		}
		if rt.may == operates {
			ask("owner").requireProblem(http.StatusForbidden, "operators_only")
			ask("viewer").requireProblem(http.StatusForbidden, "operators_only")
		}
	}
	b.do(call{line: "GET {mine}/endpoints", as: "viewer"}).requireStatus(200)
	b.do(call{line: "GET {theirs}/endpoints", as: "operator"}).requireStatus(200)
	b.do(call{line: "GET /v1/openapi.json", as: "nobody"}).requireStatus(200)
}
