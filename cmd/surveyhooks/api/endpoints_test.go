package api

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/sign"
)

// TestAnEndpointsLife: made, read, changed by version, disabled, enabled, given a new secret, deleted.
func TestAnEndpointsLife(t *testing.T) {
	t.Parallel()

	b := setup(t)
	created := b.post("{mine}/endpoints", `{"url":"https://example.com/hooks","description":"CRM","events":["conversation.completed"]}`).requireStatus(201)
	made := decodeAs[withSecret](created)
	require.Equal(t, b.mine, made.CompanyID)
	require.Equal(t, []string{"conversation.completed"}, made.Events)
	require.Equal(t, endpoint.Enabled, made.State)
	require.False(t, made.Withheld)
	_, err := sign.ParseSecret(*made.Secret)
	require.NoError(t, err)
	path := created.header.Get("Location")
	require.Equal(t, "/v1/companies/"+b.mine.String()+"/endpoints/"+made.ID.String(), path)

	read := b.get(path).requireStatus(200)
	require.Equal(t, `"1"`, read.header.Get("ETag"))
	require.NotContains(t, string(read.body), "whsec_")

	changed := b.do(call{line: "PATCH " + path, body: `{"description":"","events":["all"]}`, header: map[string]string{"If-Match": `"1"`}}).requireStatus(200)
	require.Equal(t, `"2"`, changed.header.Get("ETag"))
	require.Empty(t, decodeAs[endpoint.Endpoint](changed).Description)
	require.Equal(t, []string{"all"}, decodeAs[endpoint.Endpoint](changed).Events)

	disabled := decodeAs[endpoint.Endpoint](b.post(path+"/disable", `{"reason":"gone","note":"Moving to the new CRM."}`).requireStatus(200))
	require.Equal(t, endpoint.Disabled, disabled.State)
	require.EqualValues(t, "gone", disabled.StateReason)
	require.Equal(t, "Moving to the new CRM.", disabled.StateNote)
	require.Contains(t, string(b.get(path).body), `"state_note":"Moving to the new CRM."`)
	require.Contains(t, string(b.get("{mine}/health").body), `"state_note":"Moving to the new CRM."`)
	require.Equal(t, "key:owner", disabled.StateActor)
	require.Equal(t, endpoint.Enabled, decodeAs[endpoint.Endpoint](b.post(path+"/enable", "").requireStatus(200)).State)

	rotated := decodeAs[withSecret](b.post(path+"/secrets", "").requireStatus(201))
	require.NotEqual(t, *made.Secret, *rotated.Secret)

	b.do(call{line: "DELETE " + path}).requireStatus(204)
	b.do(call{line: "DELETE " + path}).requireProblem(404, "not_found")
	b.get(path).requireProblem(404, "not_found")

	b.project()
	audit := decodeAs[list[struct {
		Fact  string `json:"fact"`
		Actor string `json:"actor"`
		Note  string `json:"note"`
	}]](b.get("{mine}/audit?endpoint=" + made.ID.String()).requireStatus(200))
	var facts []string
	for _, change := range audit.Items {
		require.Equal(t, "key:owner", change.Actor)
		facts = append(facts, change.Fact)
	}
	require.Equal(t, []string{
		"endpoint.deleted", "endpoint.secret_rotated", "endpoint.enabled", "endpoint.disabled", "endpoint.updated", "endpoint.created",
	}, facts)
	require.Equal(t, "Moving to the new CRM.", audit.Items[3].Note)
	require.Empty(t, audit.Items[2].Note)
}

// TestAnEndpointThatCannotBeMeantIsRefusedFieldByField in the words of the store.
func TestAnEndpointThatCannotBeMeantIsRefusedFieldByField(t *testing.T) {
	t.Parallel()

	b := setup(t)
	e := b.endpoint(b.mine)
	path := "{mine}/endpoints/" + e.ID.String()
	for name, tc := range map[string]struct {
		body   string
		fields []string
	}{
		"NoURL":         {`{}`, []string{"url"}},
		"Everything":    {fmt.Sprintf(`{"url":"ftp://example.com","description":%q,"events":["nope"]}`, strings.Repeat("x", 501)), []string{"url", "description", "events"}},
		"NoEvents":      {`{"url":"https://example.com/x","events":[]}`, []string{"events"}},
		"Taken":         {`{"url":"` + e.URL + `"}`, []string{"url"}},
		"WrongKinds":    {`{"url":1}`, []string{"url"}},
		"ControlInText": {`{"url":"https://example.com/x","description":"a\u0000b"}`, []string{"description"}},
		"Userinfo":      {`{"url":"https://user:pw@example.com/"}`, []string{"url"}},
		"B59_NoRate":    {`{"url":"https://example.com/x","rate_limit":0}`, []string{"rate_limit"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			b := b.in(t)
			b.post("{mine}/endpoints", tc.body).requireProblem(422, "invalid_fields", tc.fields...)
			require.Equal(t, 1, b.count(`SELECT count(*) FROM webhooks.endpoints`))
		})
	}
	b.do(call{line: "PATCH " + path, body: `{}`}).requireProblem(422, "invalid_fields", "")
	b.post(path+"/disable", `{"reason":"bored"}`).requireProblem(422, "invalid_fields", "reason")
	b.post(path+"/disable", `{"note":"two\nlines"}`).requireProblem(422, "invalid_fields", "note")
	b.get("{mine}/endpoints?state=asleep").requireProblem(400, "invalid_parameters", "state")
}

// TestEndpointsAreListedByPagesAndFilters in the order of their creation, each once.
func TestEndpointsAreListedByPagesAndFilters(t *testing.T) {
	t.Parallel()

	b := setup(t)
	var want []uuid.UUID
	for range 5 {
		want = append(want, b.endpoint(b.mine).ID)
	}
	b.endpoint(b.theirs)
	b.post("{mine}/endpoints/"+want[3].String()+"/disable", "").requireStatus(200)
	var got []uuid.UUID
	for path, pages := "{mine}/endpoints?limit=2", 1; ; pages++ {
		part := decodeAs[list[endpoint.Endpoint]](b.get(path).requireStatus(200))
		for _, e := range part.Items {
			got = append(got, e.ID)
		}
		if part.Next == nil {
			require.Equal(t, 3, pages)
			break
		}
		path = "{mine}/endpoints?limit=2&cursor=" + *part.Next
	}
	require.Equal(t, want, got)
	one := func(query string) endpoint.Endpoint {
		part := decodeAs[list[endpoint.Endpoint]](b.get("{mine}/endpoints?" + query).requireStatus(200))
		require.Len(t, part.Items, 1, query)
		return part.Items[0]
	}
	require.Equal(t, want[3], one("state=disabled").ID)
	require.Equal(t, want[1], one("q="+want[1].String()).ID)
}

// TestB58_AChangeForAnOldVersionIsRefused, and of two at once for the same version one wins.
func TestB58_AChangeForAnOldVersionIsRefused(t *testing.T) {
	t.Parallel()

	b := setup(t)
	path := "{mine}/endpoints/" + b.endpoint(b.mine).ID.String()
	change := func(description, version string) reply {
		return b.do(call{line: "PATCH " + path, body: `{"description":"` + description + `"}`, header: map[string]string{"If-Match": version}})
	}
	change("first", `"1"`).requireStatus(200)
	change("second", `"1"`).requireProblem(412, "version_conflict")
	for _, line := range []string{"POST " + path + "/enable", "POST " + path + "/disable", "POST " + path + "/secrets", "DELETE " + path} {
		b.do(call{line: line, header: map[string]string{"If-Match": `"1"`}}).requireProblem(412, "version_conflict")
		b.do(call{line: line, header: map[string]string{"If-Match": "1"}}).requireProblem(400, "invalid_if_match")
	}
	for _, bad := range []string{`1`, `"x"`, `W/"1"`, `"0"`, `"1", "2"`} {
		change("third", bad).requireProblem(400, "invalid_if_match")
	}
	statuses := make([]int, 8)
	var group sync.WaitGroup
	for i := range statuses {
		group.Go(func() { statuses[i] = change("at once "+strconv.Itoa(i), `"2"`).status })
	}
	group.Wait()
	won := 0
	for _, status := range statuses {
		if status == http.StatusOK {
			won++
		} else {
			require.Equal(t, http.StatusPreconditionFailed, status)
		}
	}
	require.Equal(t, 1, won)
	change("whatever", "*").requireStatus(200)
	disabled := b.do(call{line: "POST " + path + "/disable", header: map[string]string{"If-Match": `"4"`}}).requireStatus(200)
	require.Equal(t, `"5"`, disabled.header.Get("ETag"), "every answer that is the endpoint says its version")
	require.Equal(t, `"6"`, b.post(path+"/secrets", "").requireStatus(201).header.Get("ETag"))
	require.Equal(t, `"1"`, b.post("{mine}/endpoints", `{"url":"https://example.com/new"}`).requireStatus(201).header.Get("ETag"))
}

// TestB56_TestsAreTenAMinuteOfACompany, however many endpoints it has; another company has its own ten.
func TestB56_TestsAreTenAMinuteOfACompany(t *testing.T) {
	t.Parallel()

	b := setup(t)
	first, second := b.endpoint(b.mine).ID.String(), b.endpoint(b.mine).ID.String()
	statuses := make([]reply, 12)
	var group sync.WaitGroup
	for i := range statuses {
		group.Go(func() { statuses[i] = b.post("{mine}/endpoints/"+[]string{first, second}[i%2]+"/tests", "") })
	}
	group.Wait()
	accepted := 0
	for _, r := range statuses {
		if r.status == http.StatusAccepted {
			accepted++
			require.Equal(t, r.header.Get("Location"), decodeAs[tested](r).Deliveries)
			require.JSONEq(t, `{"items":[],"next":null}`, string(b.get(r.header.Get("Location")).requireStatus(200).body))
			continue
		}
		r.requireProblem(http.StatusTooManyRequests, "too_many_tests")
		wait, err := strconv.Atoi(r.header.Get("Retry-After"))
		require.NoError(t, err)
		require.True(t, wait >= 1 && wait <= 60, wait)
	}
	require.Equal(t, 10, accepted, "as the documents promise")
	b.do(call{line: "POST {theirs}/endpoints/" + b.endpoint(b.theirs).ID.String() + "/tests", as: "foreign"}).requireStatus(202)

	// The minute passes.
	_, err := b.db.ExecContext(t.Context(), `UPDATE webhooks.test_quota SET asked_at = ARRAY(SELECT a - interval '1 minute' FROM unnest(asked_at) a)`)
	require.NoError(t, err)
	b.post("{mine}/endpoints/"+first+"/tests", "").requireStatus(202)
	require.Equal(t, 1, b.count(`SELECT cardinality(asked_at) FROM webhooks.test_quota WHERE company_id = $1`, b.mine), "what no longer counts is forgotten")
}

// TestNoTestIsSentWhileSendingIsPaused: it says since when, and not by whom or why.
func TestNoTestIsSentWhileSendingIsPaused(t *testing.T) {
	t.Parallel()

	b := setup(t)
	id := b.endpoint(b.mine).ID.String()
	_, err := b.db.ExecContext(t.Context(), `INSERT INTO webhooks.pause (paused_by, reason) VALUES ('operator:olga', 'wrong prices')`)
	require.NoError(t, err)
	refused := b.post("{mine}/endpoints/"+id+"/tests", "").requireProblem(http.StatusConflict, "sending_paused")
	require.Contains(t, refused.Detail, "paused since 2")
	require.NotContains(t, refused.Detail, "olga")
	require.NotContains(t, refused.Detail, "prices")
	require.Zero(t, b.count(`SELECT count(*) FROM webhooks.outbox`))
}

// TestB56_ATestCannotReachAnInternalTarget: the URL policy is asked when an endpoint is made, and again at every dial; the
// refusal never names an address.
func TestB56_ATestCannotReachAnInternalTarget(t *testing.T) {
	t.Parallel()

	b := setup(t)
	strict, err := endpoint.New(endpoint.Options{DB: b.db.DB})
	require.NoError(t, err)
	config := b.config(nil)
	config.Endpoints = strict
	b.serve(config)
	for _, url := range []string{"http://example.com/", "https://localhost/", "https://127.0.0.1/", "https://[::1]/", "https://169.254.169.254/latest", "https://10.0.0.1:6379/"} {
		b.post("{mine}/endpoints", `{"url":"`+url+`"}`).requireProblem(422, "invalid_fields", "url")
	}
}

// TestARateLimitIsSetAndTakenAwayByNull, in the answers always, and in the audit log with both values.
func TestARateLimitIsSetAndTakenAwayByNull(t *testing.T) {
	t.Parallel()

	b := setup(t)
	require.Contains(t, string(b.post("{mine}/endpoints", `{"url":"https://example.com/1"}`).requireStatus(201).body), `"rate_limit":null`)
	require.Contains(t, string(b.post("{mine}/endpoints", `{"url":"https://example.com/2","rate_limit":null}`).requireStatus(201).body), `"rate_limit":null`)
	made := decodeAs[endpoint.Endpoint](b.post("{mine}/endpoints", `{"url":"https://example.com/3","rate_limit":1000}`).requireStatus(201))
	require.Equal(t, 1000, *made.RateLimit)
	path := "{mine}/endpoints/" + made.ID.String()
	change := func(body string) endpoint.Endpoint {
		return decodeAs[endpoint.Endpoint](b.do(call{line: "PATCH " + path, body: body}).requireStatus(200))
	}
	require.Equal(t, 1, *change(`{"rate_limit":1}`).RateLimit)
	require.Equal(t, 1, *change(`{"description":"x"}`).RateLimit, "what is left out stays")
	require.Contains(t, string(b.get("{mine}/endpoints").requireStatus(200).body), `"rate_limit":1,`)
	require.Nil(t, change(`{"rate_limit":null}`).RateLimit)
	require.Contains(t, string(b.get(path).requireStatus(200).body), `"rate_limit":null`)

	b.project()
	audit := string(b.get("{mine}/audit?endpoint=" + made.ID.String()).requireStatus(200).body)
	require.Contains(t, audit, `"rate_limit":1000`)
	require.Contains(t, audit, `"rate_limit":1`)
}

// TestB59_ABadRateLimitIsRefusedByFieldAndCode, when an endpoint is made and when it is changed.
func TestB59_ABadRateLimitIsRefusedByFieldAndCode(t *testing.T) {
	t.Parallel()

	b := setup(t)
	path := "{mine}/endpoints/" + b.endpoint(b.mine).ID.String()
	for name, tc := range map[string]struct{ value, code string }{
		"Zero":     {`0`, "out_of_range"},
		"Negative": {`-1`, "out_of_range"},
		"TooMany":  {`1001`, "out_of_range"},
		"Fraction": {`1.5`, "wrong_type"},
		"Exponent": {`1e2`, "wrong_type"},
		"String":   {`"10"`, "wrong_type"},
		"True":     {`true`, "wrong_type"},
		"List":     {`[10]`, "wrong_type"},
		"Huge":     {strings.Repeat("9", 10_000), "wrong_type"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			b := b.in(t)
			for _, got := range []reply{
				b.post("{mine}/endpoints", `{"url":"https://example.com/x","rate_limit":`+tc.value+`}`),
				b.do(call{line: "PATCH " + path, body: `{"rate_limit":` + tc.value + `}`}),
			} {
				p := got.requireProblem(422, "invalid_fields", "rate_limit")
				require.Equal(t, tc.code, p.Fields[0].Code)
				require.Contains(t, p.Fields[0].Message, "a whole number")
				require.Less(t, len(got.body), 1000, "what was sent is not echoed whole")
			}
			require.Equal(t, 1, b.count(`SELECT count(*) FROM webhooks.endpoints WHERE version = 1`))
		})
	}
}
