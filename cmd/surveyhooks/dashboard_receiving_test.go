package main

import (
	"fmt"
	"html"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/dashboard"
	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/samples"
	"github.com/chattosurvey/surveyhooks/outbox/wire"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/retry"
)

// What receivers are told is what the code does: every header that is sent, the schedule that is kept, and what the
// deployment says.
func TestReceiversAreToldWhatIsSo(t *testing.T) {
	t.Parallel()
	p := newTestPages(t)
	text := html.UnescapeString(p.get("/receiving").Body.String())
	for _, f := range (wire.Request{ID: uuid.New()}).Fields() {
		require.Regexp(t, `<code>`+f.Name+`</code></td><td[^>]*>.+?</td><td data-label="Meaning">\w`, text, "%s has words", f.Name)
	}
	for i, words := range []string{"10 s", "1 min", "6 min", "36 min", "3 h 36 min"} {
		require.Contains(t, text, fmt.Sprintf(`<td class="num">%d</td><td class="num">%s</td>`, i+2, words))
	}
	for _, fact := range []string{
		"At most 6 attempts", "at most 20 %", "Any 2xx within 30 s", "256 KiB", "16 KiB", fmt.Sprintf(">%d</td><td>Attempts a second at one endpoint", endpoint.MaxRateLimit), ">5 min<", ">24 h<", "no fixed addresses",
	} {
		require.Contains(t, text, fact)
	}
	for _, name := range samples.Names() {
		require.Contains(t, text, fmt.Sprintf("<summary>%s: ", name))
	}

	var err error
	p.handler, err = newPages(pagesOptions{db: p.pool, keys: p.keys, recovery: p.recovery, contract: dashboard.Contract{
		Retry: retry.Policy{Retries: 2, First: 3 * time.Second}, GiveUp: 72 * time.Hour, Overlap: time.Hour,
		Sources: []netip.Prefix{netip.MustParsePrefix("203.0.113.7/32"), netip.MustParsePrefix("2001:db8::/64")},
	}})
	require.NoError(t, err)
	w := p.do(p.viewer(), http.MethodGet, "/receiving", nil)
	require.Equal(t, http.StatusOK, w.Code)
	for _, fact := range []string{"At most 3 attempts", ">3 s</td>", ">18 s</td>", ">21 s</td>", ">3 days<", ">1 h<", ">203.0.113.7<", ">2001:db8::/64<"} {
		require.Contains(t, w.Body.String(), fact)
	}
}
