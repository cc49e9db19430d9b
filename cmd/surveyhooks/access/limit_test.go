package access_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
)

func TestB62_GuessingIsSlowedDownAndGoodTokensAreStillLetIn(t *testing.T) {
	t.Parallel()

	b := setup(t)
	_, key := b.key(t, access.NewKey{Name: "a"})
	guess := func(ip string) answer {
		return b.ask(t, http.MethodGet, "/v1/x", "", "Authorization", "Bearer whk_guess", "X-Forwarded-For", ip)
	}
	// Until the limit is met: a machine that is slow gives some failures back meanwhile.
	until429 := func(try func() answer) (got answer, before int) {
		for got = try(); got.status != http.StatusTooManyRequests && before < 200; got = try() {
			before++
		}
		require.Equal(t, http.StatusTooManyRequests, got.status)
		return got, before
	}
	refused, before := until429(func() answer { return guess("203.0.113.9") })
	require.GreaterOrEqual(t, before, 20)
	require.Equal(t, "3", refused.header.Get("Retry-After"))
	require.Contains(t, refused.body, "too_many_failures")
	_, before = until429(func() answer { return b.use(t, "whl_guess", "X-Forwarded-For", "203.0.113.9") })
	require.Less(t, before, 10, "links and keys have one limit")
	other := setup(t)
	unknown := append(with(other.signIn(t)), "X-Forwarded-For", "203.0.113.11")
	_, before = until429(func() answer { return b.get(t, "/", unknown...) })
	require.GreaterOrEqual(t, before, 20, "sessions are guessed no faster")
	session := b.signIn(t)
	require.Equal(t, http.StatusOK, b.get(t, "/", append(with(session), "X-Forwarded-For", "203.0.113.11")...).status)
	require.Equal(t, http.StatusUnauthorized, guess("203.0.113.10").status)
	good := b.ask(t, http.MethodGet, "/v1/x", "", "Authorization", "Bearer "+key, "X-Forwarded-For", "203.0.113.9")
	require.Equal(t, http.StatusOK, good.status, "one who guesses locks nobody else out")
	require.Equal(t, http.StatusSeeOther, b.use(t, b.link(t), "X-Forwarded-For", "203.0.113.9").status)
}
