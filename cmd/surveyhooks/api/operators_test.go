package api

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
)

// TestAnOperatorMintsAPortalLinkOnce: the URL signs in whoever opens it, so a replay has none.
func TestAnOperatorMintsAPortalLinkOnce(t *testing.T) {
	t.Parallel()

	b := setup(t)
	body := `{"company_id":"` + b.mine.String() + `","role":"owner","person":"ada@example.com","landing":"/endpoints","ttl_seconds":300}`
	first := decodeAs[mintedLink](b.keyed("/v1/portal-links", body, "k", "operator").requireStatus(201))
	require.True(t, strings.HasPrefix(*first.URL, "https://hooks.example.com/portal/sign-in?token=whl_"))
	require.WithinDuration(t, time.Now().Add(5*time.Minute), first.ExpiresAt, time.Minute)
	again := decodeAs[mintedLink](b.keyed("/v1/portal-links", body, "k", "operator").requireStatus(201))
	require.Nil(t, again.URL)
	require.True(t, again.Withheld)
	require.Equal(t, first.ExpiresAt, again.ExpiresAt)

	ask := func(body string) reply { return b.do(call{line: "POST /v1/portal-links", as: "operator", body: body}) }
	ask(`{"role":"owner","person":"ada"}`).requireProblem(422, "invalid_fields", "company_id")
	ask(`{"company_id":"`+b.mine.String()+`","role":"emperor","person":"ada"}`).requireProblem(422, "invalid_fields", "role")
	ask(`{"company_id":"`+b.mine.String()+`","role":"owner","person":"ada","ttl_seconds":-1}`).requireProblem(422, "invalid_fields", "ttl_seconds")
	ask(`{"company_id":"`+b.mine.String()+`","role":"owner","person":"ada","ttl_seconds":9223372036}`).requireProblem(422, "invalid_fields", "ttl_seconds")
	ask(`{"company_id":"`+b.mine.String()+`","role":"owner","person":"ada","ttl_seconds":59}`).requireProblem(422, "invalid_fields", "ttl_seconds")
	ask(`{"company_id":"`+b.mine.String()+`","role":"owner","person":"ada","ttl_seconds":86401}`).requireProblem(422, "invalid_fields", "ttl_seconds")
	ask(`{"company_id":"`+b.mine.String()+`","role":"operator","person":"ada"}`).requireProblem(422, "invalid_fields", "role")
}

// TestAnOperatorKeepsAPIKeys: made once shown, listed without their tokens, revoked once.
func TestAnOperatorKeepsAPIKeys(t *testing.T) {
	t.Parallel()

	b := setup(t)
	made := decodeAs[madeKey](b.keyed("/v1/api-keys", `{"name":"nightly-sync"}`, "k", "operator").requireStatus(201))
	require.NotNil(t, made.Token)
	require.Nil(t, decodeAs[madeKey](b.keyed("/v1/api-keys", `{"name":"nightly-sync"}`, "k", "operator").requireStatus(201)).Token)
	listed := b.do(call{line: "GET /v1/api-keys?limit=10", as: "operator"}).requireStatus(200)
	require.Len(t, decodeAs[list[access.Key]](listed).Items, 1)
	require.NotContains(t, string(listed.body), *made.Token)
	require.Equal(t, http.StatusOK, b.through(*made.Token), "it opens the API, through the real gate")
	revoke := call{line: "DELETE /v1/api-keys/" + made.ID.String(), as: "operator"}
	b.do(revoke).requireStatus(204)
	b.do(revoke).requireProblem(404, "not_found")
	require.Equal(t, http.StatusUnauthorized, b.through(*made.Token))
	b.do(call{line: "DELETE /v1/api-keys/x", as: "operator"}).requireProblem(404, "not_found")
	b.do(call{line: "POST /v1/api-keys", as: "operator", body: `{"name":""}`}).requireProblem(422, "invalid_fields", "name")
	b.do(call{line: "POST /v1/api-keys", as: "operator", body: `{"name":"x","company_id":"x"}`}).requireProblem(422, "invalid_fields", "company_id")
	b.do(call{line: "GET /v1/api-keys?cursor=x", as: "operator"}).requireProblem(400, "bad_cursor")
}

// through is the status of a list behind the gate that serve puts before the API.
func (b *testBundle) through(token string) int {
	b.Helper()
	config := b.config(nil)
	handler, err := New(config)
	require.NoError(b, err)
	w := httptest.NewRecorder()
	r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/v1/companies/"+b.mine.String()+"/endpoints", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	access.NewGate(config.Access, config.Logger).RequireKey(handler).ServeHTTP(w, r)
	return w.Code
}
