package endpoint_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// TestARateLimitFromItsFirstValueToNone: each change is a version and a fact with both values, and what stays is none.
func TestARateLimitFromItsFirstValueToNone(t *testing.T) {
	t.Parallel()

	b := setup(t)
	one, thousand := 1, 1000
	e, _, err := b.store.Create(t.Context(), endpoint.Create{CompanyID: b.company, URL: "https://example.com", RateLimit: &one, Actor: "ada"})
	require.NoError(t, err)
	require.Equal(t, &one, e.RateLimit)
	require.Equal(t, &one, b.last(t, fact.EndpointCreated).New.RateLimit)
	require.Equal(t, 1, b.load(t, e.ID)[0].RateLimit)

	same := 1
	now, err := b.store.Update(t.Context(), endpoint.Update{Ref: b.ref(e), RateLimit: &same})
	require.NoError(t, err)
	require.Equal(t, e, now, "the same value is no change")
	words := "ERP"
	now, err = b.store.Update(t.Context(), endpoint.Update{Ref: b.ref(e), Description: &words})
	require.NoError(t, err)
	require.Equal(t, &one, now.RateLimit, "what is not given stays")

	now, err = b.store.Update(t.Context(), endpoint.Update{Ref: b.ref(e), RateLimit: &thousand})
	require.NoError(t, err)
	require.Equal(t, &thousand, now.RateLimit)
	require.Equal(t, 3, now.Version)
	told := b.last(t, fact.EndpointUpdated)
	require.Equal(t, []*int{&one, &thousand}, []*int{told.Old.RateLimit, told.New.RateLimit})

	now, err = b.store.Update(t.Context(), endpoint.Update{Ref: b.ref(e), RemoveRateLimit: true})
	require.NoError(t, err)
	require.Nil(t, now.RateLimit)
	told = b.last(t, fact.EndpointUpdated)
	require.Equal(t, []*int{&thousand, nil}, []*int{told.Old.RateLimit, told.New.RateLimit})
	require.Zero(t, b.load(t, e.ID)[0].RateLimit)
	again, err := b.store.Update(t.Context(), endpoint.Update{Ref: b.ref(e), RemoveRateLimit: true})
	require.NoError(t, err)
	require.Equal(t, now, again, "there is none to remove")
}

// TestB59_BadRateLimitIsRefusedByTheStore, and by the table whoever writes there.
func TestB59_BadRateLimitIsRefusedByTheStore(t *testing.T) {
	t.Parallel()

	b := setup(t)
	e, _ := b.create(t, "https://example.com/")
	for _, limit := range []int{0, -1, 1001, 1 << 40} {
		_, _, err := b.store.Create(t.Context(), endpoint.Create{CompanyID: b.company, URL: "https://example.com/new", RateLimit: &limit, Actor: "ada"})
		requireCode(t, err, "out_of_range")
		_, err = b.store.Update(t.Context(), endpoint.Update{Ref: b.ref(e), RateLimit: &limit})
		requireCode(t, err, "out_of_range")
		require.ErrorContains(t, err, "rate_limit: use a whole number of attempts a second, from 1 to 1000")
	}
	for _, limit := range []int{0, -1, 1001} {
		_, err := b.db.ExecContext(t.Context(), `UPDATE webhooks.endpoints SET rate_limit = $1`, limit)
		require.ErrorContains(t, err, "rate_limit_is_1_to_1000")
	}
	require.Equal(t, 1, b.count(t, `SELECT count(*) FROM webhooks.endpoints WHERE version = 1 AND rate_limit IS NULL`))
	require.Len(t, b.journal(t), 1)
}
