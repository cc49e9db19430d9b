package api

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/egresstest"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// TestBadURLIsRefusedByTheAPI: of a new endpoint and of one that is there, which stays as it was.
func TestBadURLIsRefusedByTheAPI(t *testing.T) {
	t.Parallel()

	b := setup(t)
	e := b.endpoint(b.mine)
	strict, err := endpoint.New(endpoint.Options{DB: b.db.DB, Policy: egresstest.Policy()})
	require.NoError(t, err)
	config := b.config(nil)
	config.Endpoints = strict
	b.serve(config)
	for _, bad := range egresstest.BadURLs() {
		t.Run(bad.Name, func(t *testing.T) {
			t.Parallel()

			b := b.in(t)
			body, err := json.Marshal(map[string]string{"url": bad.URL})
			require.NoError(t, err)
			for _, line := range []string{"POST {mine}/endpoints", "PATCH {mine}/endpoints/" + e.ID.String()} {
				p := b.do(call{line: line, body: string(body)}).requireProblem(422, "invalid_fields", "url")
				require.Equal(t, bad.Code, p.Fields[0].Code)
				require.Contains(t, p.Fields[0].Message, bad.Words)
			}
			require.Equal(t, 1, b.count(`SELECT count(*) FROM webhooks.endpoints WHERE version = 1 AND url = $1`, e.URL))
			require.Equal(t, 1, b.count(`SELECT count(*) FROM webhooks.journal`))
		})
	}
}

// TestB22_AURLIsTakenOnceByACompany, however it is spelt; another company may have it.
func TestB22_AURLIsTakenOnceByACompany(t *testing.T) {
	t.Parallel()

	b := setup(t)
	b.post("{mine}/endpoints", `{"url":"https://example.com/hooks"}`).requireStatus(201)
	for _, same := range []string{"https://example.com/hooks", "HTTPS://EXAMPLE.com:443/hooks", "https://example.com./hooks"} {
		p := b.post("{mine}/endpoints", `{"url":"`+same+`"}`).requireProblem(422, "invalid_fields", "url")
		require.Equal(t, "url_taken", p.Fields[0].Code)
	}
	require.Equal(t, 1, b.count(`SELECT count(*) FROM webhooks.endpoints`))
	b.do(call{line: "POST {theirs}/endpoints", as: "foreign", body: `{"url":"https://example.com/hooks"}`}).requireStatus(201)
}

// TestB24_TokensOfAURLAreItsOwnersAlone: the endpoint shows them to who may change it, the history and the log never.
func TestB24_TokensOfAURLAreItsOwnersAlone(t *testing.T) {
	t.Parallel()

	b := setup(t)
	made := decodeAs[endpoint.Endpoint](b.post("{mine}/endpoints", `{"url":"https://example.com/hooks?token=planted-17"}`).requireStatus(201))
	require.Equal(t, "https://example.com/hooks?token=planted-17", made.URL)
	for _, path := range []string{"{mine}/endpoints", "{mine}/endpoints/" + made.ID.String()} {
		require.Contains(t, string(b.get(path).requireStatus(200).body), "planted-17", path)
		seen := string(b.do(call{line: "GET " + path, as: "viewer"}).requireStatus(200).body)
		require.NotContains(t, seen, "planted-17", path)
		require.Contains(t, seen, "https://example.com/hooks?token=***", path)
	}
	b.do(call{line: "PATCH {mine}/endpoints/" + made.ID.String(), body: `{"description":"x"}`}).requireStatus(200)
	b.project()
	for _, path := range []string{"/audit", "/health", "/attempts", "/deliveries", "/events"} {
		require.NotContains(t, string(b.get("{mine}"+path).requireStatus(200).body), "planted-17", path)
	}
	require.NotContains(t, b.log.String(), "planted-17")
}

// TestB30_ASecretIsMadeAndNotTaken: the API has no field for one, and what it makes has 32 bytes.
func TestB30_ASecretIsMadeAndNotTaken(t *testing.T) {
	t.Parallel()

	b := setup(t)
	b.post("{mine}/endpoints", `{"url":"https://example.com/","secret":"whsec_AAAA"}`).requireProblem(400, "unknown_field")
	require.Zero(t, b.count(`SELECT count(*) FROM webhooks.endpoints`))
	path := "{mine}/endpoints/" + b.endpoint(b.mine).ID.String() + "/secrets"
	b.post(path, `{"secret":"whsec_AAAA"}`).requireProblem(400, "unknown_field")
	require.Equal(t, 1, b.count(`SELECT count(*) FROM webhooks.endpoint_secrets`))
}

// TestB32_RotatingAgainEndsTheOldestKey: two are active at most, and each is shown in its own answer alone (B33).
func TestB32_RotatingAgainEndsTheOldestKey(t *testing.T) {
	t.Parallel()

	b := setup(t)
	path := "{mine}/endpoints/" + b.endpoint(b.mine).ID.String()
	shown := map[string]bool{}
	for range 4 {
		shown[*decodeAs[withSecret](b.post(path+"/secrets", "").requireStatus(201)).Secret] = true
	}
	require.Len(t, shown, 4)
	require.Equal(t, 2, b.count(`SELECT count(*) FROM webhooks.endpoint_secrets WHERE expires_at IS NULL OR expires_at > now()`))
	b.project()
	for _, read := range []string{path, "{mine}/endpoints", "{mine}/audit", "{mine}/health"} {
		require.NotContains(t, string(b.get(read).requireStatus(200).body), "whsec_", read)
	}
}

// TestB61_WhatACustomerWritesIsDataAndNoPage: the type says so, and access adds that no browser may guess another.
func TestB61_WhatACustomerWritesIsDataAndNoPage(t *testing.T) {
	t.Parallel()

	b := setup(t)
	const script = `<script>alert(1)</script>`
	b.post("{mine}/endpoints", `{"url":"https://example.com/","description":"`+script+`"}`).requireStatus(201)
	r := b.get("{mine}/endpoints").requireStatus(200)
	require.Equal(t, script, decodeAs[list[endpoint.Endpoint]](r).Items[0].Description)
	require.True(t, strings.HasPrefix(r.header.Get("Content-Type"), "application/json"))

	b.post("{mine}/endpoints", `{"url":"https://example.com/2","description":"a\u001b[31m"}`).requireProblem(422, "invalid_fields", "description")
	require.Equal(t, 1, b.count(`SELECT count(*) FROM webhooks.endpoints`))
}

// TestB65_EveryChangeOfAnEndpointIsInItsTrail, in the transaction that makes it, with who and what; a refused one is not.
func TestB65_EveryChangeOfAnEndpointIsInItsTrail(t *testing.T) {
	t.Parallel()

	b := setup(t)
	made := decodeAs[endpoint.Endpoint](b.post("{mine}/endpoints", `{"url":"https://example.com/a"}`).requireStatus(201))
	path := "{mine}/endpoints/" + made.ID.String()
	b.do(call{line: "PATCH " + path, as: "second", body: `{"url":"https://example.com/b"}`}).requireStatus(200)
	b.do(call{line: "PATCH " + path, as: "viewer", body: `{"url":"https://example.com/c"}`}).requireStatus(403)
	b.do(call{line: "PATCH " + path, body: `{"url":"ftp://example.com/"}`}).requireStatus(422)
	b.project()
	trail := decodeAs[list[struct {
		Fact  string `json:"fact"`
		Actor string `json:"actor"`
		Old   *fact.EndpointConfig
		New   *fact.EndpointConfig
	}]](b.get("{mine}/audit").requireStatus(200)).Items
	require.Len(t, trail, 2)
	require.Equal(t, "endpoint.updated", trail[0].Fact)
	require.Equal(t, "key:second", trail[0].Actor)
	require.Equal(t, "https://example.com/a", trail[0].Old.URL)
	require.Equal(t, "https://example.com/b", trail[0].New.URL)
}
