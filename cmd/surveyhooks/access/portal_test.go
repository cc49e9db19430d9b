package access_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
)

func TestB53_ALinkSignsInOnceAndOnlyByTheButton(t *testing.T) {
	t.Parallel()

	b := setup(t)
	link := b.link(t)
	for range 3 { // a preview, a scanner, and the person
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			got := b.ask(t, method, "/portal/sign-in?token="+link, "")
			require.Equal(t, http.StatusOK, got.status)
			require.Empty(t, got.cookie)
		}
	}
	require.Contains(t, b.get(t, "/portal/sign-in?token="+link).body, `name="token" value="`+link+`"`)

	got := b.use(t, link)
	require.Equal(t, http.StatusSeeOther, got.status)
	require.Equal(t, "/endpoints?new=1", got.header.Get("Location"))
	require.NotContains(t, got.body, link)
	require.Equal(t, cookieName+"="+got.cookie+"; Path=/; HttpOnly; Secure; SameSite=Lax", got.header.Get("Set-Cookie"))
	require.Equal(t, "owner "+b.company.String()+" portal:ada", b.get(t, "/", with(got.cookie)...).body)

	require.Equal(t, http.StatusForbidden, b.use(t, link).status, "used")
	require.Equal(t, http.StatusOK, b.get(t, "/portal/sign-in?token="+link).status, "the page does not tell")
}

func TestB62_RefusedLinksDoNotTellWhy(t *testing.T) {
	t.Parallel()

	b := setup(t)
	used, expired := b.link(t), b.link(t)
	b.use(t, used)
	b.exec(t, `UPDATE webhooks.portal_links SET expires_at = clock_timestamp() - interval '1 second' WHERE used_at IS NULL`)
	revoked := b.link(t)
	_, links, err := b.store.RevokeSessions(t.Context(), access.Caller{Role: access.Operator, CompanyID: b.company, Actor: "cli"})
	require.NoError(t, err)
	require.Equal(t, 1, links)
	other := setup(t)

	want := b.use(t, other.link(t))
	require.Equal(t, http.StatusForbidden, want.status)
	require.Contains(t, want.body, "does not open anything")
	for name, token := range map[string]string{"used": used, "expired": expired, "revoked": revoked, "cut off": used[:20], "none": "", "a key": "whk_" + used[4:]} {
		require.Equal(t, want, b.use(t, token), name)
	}
	require.NotContains(t, b.log.String(), "whl_")
}

// Of many that use one link at the same moment, one gets a session.
func TestB53_ALinkUsedByManyAtOnceLetsOneIn(t *testing.T) {
	t.Parallel()

	b := setup(t)
	link := b.link(t)
	answers := make([]answer, 8)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() { answers[i] = b.use(t, link) })
	}
	wg.Wait()
	in := 0
	for _, got := range answers {
		if got.status == http.StatusSeeOther {
			in++
			continue
		}
		require.Equal(t, http.StatusForbidden, got.status)
		require.Empty(t, got.cookie)
	}
	require.Equal(t, 1, in)
	page, _, err := b.store.Sessions(t.Context(), us(), access.Page{})
	require.NoError(t, err)
	require.Len(t, page, 1)
}

func TestLinksAreMintedByOperatorsForPeopleAndPathsHere(t *testing.T) {
	t.Parallel()

	b := setup(t)
	good := access.NewLink{CompanyID: b.company, Role: access.Viewer, Person: "ada"}
	for name, by := range map[string]access.Caller{
		"Owner":           {CompanyID: b.company, Role: access.Owner},
		"Viewer":          {CompanyID: b.company, Role: access.Viewer},
		"AnotherOperator": {CompanyID: uuid.New(), Role: access.Operator},
		"Nobody":          {},
	} {
		_, _, err := b.store.MintLink(t.Context(), by, good)
		require.ErrorIs(t, err, access.ErrForbidden, name)
		_, _, err = b.store.MintOperatorLink(t.Context(), by, "grace", 0)
		require.ErrorIs(t, err, access.ErrForbidden, name)
	}
	bound := access.Caller{CompanyID: b.company, Role: access.Operator, Actor: "key:app"}
	made, _, err := b.store.MintLink(t.Context(), bound, good)
	require.NoError(t, err)
	require.Equal(t, "/", made.Landing)
	require.WithinDuration(t, made.CreatedAt.Add(15*time.Minute), made.ExpiresAt, time.Minute)
	_, _, err = b.store.MintOperatorLink(t.Context(), bound, "grace", 0)
	require.ErrorIs(t, err, access.ErrForbidden, "a key of one company makes no operator")

	refused := func(field string, change func(*access.NewLink)) {
		t.Helper()
		l := good
		change(&l)
		_, _, err := b.store.MintLink(t.Context(), us(), l)
		var invalid *access.InvalidError
		require.ErrorAs(t, err, &invalid)
		require.Equal(t, field, invalid.Fields[0].Field)
	}
	refused("role", func(l *access.NewLink) { l.Role = access.Operator })
	refused("company_id", func(l *access.NewLink) { l.CompanyID = uuid.Nil })
	refused("person", func(l *access.NewLink) { l.Person = "a\nb" })
	refused("ttl", func(l *access.NewLink) { l.Life = 25 * time.Hour })
	refused("ttl", func(l *access.NewLink) { l.Life = -time.Minute })
	for _, path := range []string{
		"//evil.example", `/\evil.example`, `\\evil.example`, "https://evil.example/", "endpoints", "javascript:alert(1)",
		"/a\r\nSet-Cookie: x=1", "/a b", "/\t/evil.example", "/%zz", "/é", "/" + strings.Repeat("a", 500), "/a#b",
	} {
		refused("landing", func(l *access.NewLink) { l.Landing = path })
	}
}

func TestOperatorsReachOpsAndToOthersItDoesNotExist(t *testing.T) {
	t.Parallel()

	b := setup(t)
	_, token, err := b.store.MintOperatorLink(t.Context(), us(), "grace", 0)
	require.NoError(t, err)
	operator := b.use(t, token.Reveal())
	require.Equal(t, "/ops", operator.header.Get("Location"))
	require.Equal(t, "operator "+uuid.Nil.String()+" operator:grace", b.get(t, "/ops", with(operator.cookie)...).body)
	require.Equal(t, http.StatusNotFound, b.get(t, "/ops", with(b.signIn(t))...).status)
	require.Equal(t, http.StatusSeeOther, b.get(t, "/ops").status)
}

func TestB52_NothingChangesByGetOrAMethodInDisguise(t *testing.T) {
	t.Parallel()

	b := setup(t)
	session, link := b.signIn(t), b.link(t)
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		for _, disguise := range []string{"X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"} {
			got := b.ask(t, method, "/portal/sign-out?_method=POST", "", append(with(session), disguise, "POST")...)
			require.Equal(t, http.StatusMethodNotAllowed, got.status)
			got = b.ask(t, method, "/portal/sign-in?_method=POST&token="+link, "", disguise, "POST")
			require.Empty(t, got.cookie)
		}
	}
	for _, method := range []string{http.MethodPut, http.MethodPatch, http.MethodDelete} {
		got := b.ask(t, method, "/portal/sign-in", url.Values{"token": {link}}.Encode(), "Sec-Fetch-Site", "same-origin")
		require.Equal(t, http.StatusMethodNotAllowed, got.status)
	}
	require.Equal(t, http.StatusForbidden, b.post(t, "/portal/sign-in?token="+link, "x=y").status, "a token in the address is not one in the form")
	require.True(t, b.signedIn(t, session))
	require.Equal(t, http.StatusSeeOther, b.use(t, link).status, "it was never used")
}

// What another site makes a browser send is refused in all its forms, and so is what does not say where it is from.
func TestB51_CrossSiteRequestsAreRefused(t *testing.T) {
	t.Parallel()

	b := setup(t)
	session := b.signIn(t)
	host := strings.TrimPrefix(b.url, "http://")
	for name, headers := range map[string][]string{
		"CrossSite":         {"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"},
		"SameSite":          {"Sec-Fetch-Site", "same-site", "Origin", "https://blog.example.com"},
		"CrossSiteOurs":     {"Sec-Fetch-Site", "cross-site", "Origin", "http://" + host},
		"OriginNull":        {"Origin", "null"},
		"OriginOfAnother":   {"Origin", "https://evil.example"},
		"OriginOfOtherPort": {"Origin", "http://127.0.0.1:1"},
		"Neither":           {},
	} {
		for _, path := range []string{"/", "/portal/sign-out", "/portal/sign-in", "/ops"} {
			got := b.ask(t, http.MethodPost, path, "a=b", append(with(session), headers...)...)
			require.Equal(t, http.StatusForbidden, got.status, name+path)
			require.Contains(t, got.body, "cross_origin")
			require.Empty(t, got.header.Get("Set-Cookie"))
		}
	}
	require.True(t, b.signedIn(t, session), "none of them signed anybody out")
	for name, headers := range map[string][]string{
		"SameOrigin": {"Sec-Fetch-Site", "same-origin", "Origin", "null"}, // as a page without referrer sends it
		"OldBrowser": {"Origin", "http://" + host},
	} {
		require.Equal(t, http.StatusOK, b.ask(t, http.MethodPost, "/", "a=b", append(with(session), headers...)...).status, name)
	}
	require.Equal(t, http.StatusOK, b.get(t, "/", append(with(session), "Sec-Fetch-Site", "cross-site")...).status, "a link from elsewhere opens a page")
}

func TestEveryAnswerIsHardened(t *testing.T) {
	t.Parallel()

	b := setup(t)
	for _, path := range []string{"/portal/", "/portal/sign-in?token=" + b.link(t), "/v1/x", "/", "/nowhere"} {
		h := b.get(t, path).header
		require.Equal(t, "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "+
			"base-uri 'none'; frame-ancestors 'none'; object-src 'none'", h.Get("Content-Security-Policy"))
		require.Equal(t, "no-referrer", h.Get("Referrer-Policy"))
		require.Equal(t, "nosniff", h.Get("X-Content-Type-Options"))
		require.Equal(t, "no-store", h.Get("Cache-Control"))
		require.Equal(t, "max-age=31536000", h.Get("Strict-Transport-Security"))
	}
	css := b.get(t, "/portal/portal.css")
	require.Equal(t, "text/css; charset=utf-8", css.header.Get("Content-Type"))
	page := b.get(t, "/portal/").body
	require.NotContains(t, page, "style=")
	require.NotContains(t, page, "<script")
}

func TestB60_AFormThatIsTooLargeIsRefused(t *testing.T) {
	t.Parallel()

	b := setup(t)
	link := b.link(t)
	got := b.post(t, "/portal/sign-in", "filler="+strings.Repeat("a", 8<<10)+"&token="+link)
	require.Equal(t, http.StatusForbidden, got.status)
	require.Empty(t, got.cookie)
}
