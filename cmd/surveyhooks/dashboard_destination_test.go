package main

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/endpoint"
)

const (
	leadsNowhere = "Its name does not lead to a public address now"
	leadsSomeway = "Its name leads to a public address."
)

// inProduction puts pages over the same database that refuse what production refuses.
func (p *pages) inProduction() *pages {
	p.Helper()
	var err error
	p.handler, err = newPages(pagesOptions{
		db: p.pool, keys: p.keys, recovery: p.recovery,
		resolve: func(ctx context.Context, host string) ([]netip.Addr, error) { return p.resolve(ctx, host) },
	})
	require.NoError(p, err)
	return p
}

// TestWhereANameLeadsIsToldWhileItIsTyped, and not what lies inside: a name that does not exist and one that leads to a
// private address, or to one of our own, are answered by the same bytes. Who may not save may not ask.
func TestWhereANameLeadsIsToldWhileItIsTyped(t *testing.T) {
	t.Parallel()
	p := newTestPages(t).inProduction()
	check := func(host string) string {
		w := p.get("/endpoints/check?url="+url.QueryEscape("https://"+host+"/hook?token=s3cr3t"), "HX-Request", "true")
		require.Equal(t, http.StatusOK, w.Code)
		require.NotContains(t, w.Body.String(), "s3cr3t")
		return w.Body.String()
	}
	require.Contains(t, check("hooks.example.com"), leadsSomeway)
	require.Contains(t, check("hooks.example.com"), "https://hooks.example.com/hook?token=***")
	p.resolve = noSuchName
	missing := check("hooks.example.com")
	require.Contains(t, missing, leadsNowhere)
	require.Contains(t, missing, "check-hold")
	for _, inside := range []string{"10.1.2.3", "169.254.169.254", "127.0.0.1", "::1"} {
		p.resolve = leadsTo(inside)
		require.Equal(t, missing, check("hooks.example.com"), inside)
	}

	asked := atomic.Int64{}
	p.resolve = func(context.Context, string) ([]netip.Addr, error) { asked.Add(1); return nil, net.ErrClosed }
	require.Contains(t, check("host.internal"), "Destination not allowed", "refused by its name, it is not even asked for")
	path := "/endpoints/check?url=" + url.QueryEscape("https://hooks.example.com/")
	require.Equal(t, http.StatusForbidden, p.do(p.viewer(), http.MethodGet, path, nil).Code)
	require.Zero(t, asked.Load())

	p.resolve = leadsTo("93.184.215.14")
	for range 30 {
		check("hooks.example.com")
	}
	require.Contains(t, check("hooks.example.com"), "could not be looked up just now", "a person asks 30 times a minute")
	require.Equal(t, http.StatusCreated, p.post("/endpoints", url.Values{"url": {"https://hooks.example.com/x"}, "events": {"all"}}).Code, "and saves all the same")
}

// TestAnEndpointThatLeadsNowhereIsSavedWithAWarning, which needs no script: a name may be made after its endpoint.
func TestAnEndpointThatLeadsNowhereIsSavedWithAWarning(t *testing.T) {
	t.Parallel()
	p := newTestPages(t).inProduction()
	create := func(address string) string {
		w := p.post("/endpoints", url.Values{"url": {address}, "events": {"all"}})
		require.Equal(t, http.StatusCreated, w.Code)
		requirePage(t, "secret", w.Body.String())
		require.Contains(t, w.Body.String(), "whsec_")
		return w.Body.String()
	}
	require.NotContains(t, create("https://hooks.example.com/now"), leadsNowhere)
	p.resolve = noSuchName
	page := create("https://hooks.example.com/later?token=s3cr3t")
	require.Contains(t, page, "https://hooks.example.com/later?token=***</span>: "+leadsNowhere)
	require.NotContains(t, page, "s3cr3t")

	made, _, err := p.store.List(t.Context(), endpoint.Filter{Scope: endpoint.Company(p.owner.CompanyID)})
	require.NoError(t, err)
	require.Len(t, made, 2)
	at := "/endpoints/" + made[0].ID.String()
	update := func(version, address, description string) string {
		w := p.post(at, url.Values{"version": {version}, "url": {address}, "description": {description}, "events": {"all"}})
		require.Equal(t, http.StatusSeeOther, w.Code)
		return w.Header().Get("Location")
	}
	require.Equal(t, at+"?done=saved", update("1", made[0].URL, "the URL is as it was"), "nobody asks again")
	require.Equal(t, at+"?done=saved-nowhere", update("2", "https://elsewhere.example.com/", ""))
	page = p.get(at + "?done=saved-nowhere").Body.String()
	requirePage(t, at, page)
	require.Contains(t, page, "Saved. Attempts from now on use the new configuration.")
	require.Contains(t, page, leadsNowhere)
}
