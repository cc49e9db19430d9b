package access_test

import (
	"net/http"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
)

func TestB53_SigningInMakesANewSessionAndEndsTheOldOne(t *testing.T) {
	t.Parallel()

	b := setup(t)
	// Fixation: a cookie that somebody planted is not taken over, whatever it is.
	planted := "whs_" + b.link(t)[4:]
	got := b.use(t, b.link(t), with(planted)...)
	require.NotEqual(t, planted, got.cookie)
	require.False(t, b.signedIn(t, planted))

	again := b.use(t, b.link(t), with(got.cookie)...)
	require.NotEqual(t, got.cookie, again.cookie)
	require.False(t, b.signedIn(t, got.cookie), "one browser has one session")
	require.True(t, b.signedIn(t, again.cookie))

	failed := b.use(t, "whl_nonsense", with(again.cookie)...)
	require.Empty(t, failed.header.Get("Set-Cookie"))
	require.True(t, b.signedIn(t, again.cookie), "a link that fails signs nobody out")
}

func TestB53_ASessionEnds(t *testing.T) {
	t.Parallel()

	for name, end := range map[string]func(testBundle, string){
		"BySigningOut": func(b testBundle, session string) {
			got := b.post(t, "/portal/sign-out", "x=y", with(session)...)
			require.Equal(t, "/portal/signed-out", got.header.Get("Location"))
			require.Contains(t, got.header.Get("Set-Cookie"), cookieName+"=; Path=/; Max-Age=0")
		},
		"Idle": func(b testBundle, _ string) {
			b.exec(t, `UPDATE webhooks.sessions SET seen_at = seen_at - interval '30 minutes'`)
		},
		"HoweverBusy": func(b testBundle, _ string) {
			b.exec(t, `UPDATE webhooks.sessions SET expires_at = expires_at - interval '12 hours'`)
		},
		"ByRevocation": func(b testBundle, _ string) {
			page, _, err := b.store.Sessions(t.Context(), us(), access.Page{})
			require.NoError(t, err)
			require.Len(t, page, 1)
			require.NoError(t, b.store.RevokeSession(t.Context(), us(), page[0].ID))
		},
		"WithAllOfItsCompany": func(b testBundle, _ string) {
			sessions, _, err := b.store.RevokeSessions(t.Context(), access.Caller{Role: access.Operator, CompanyID: b.company, Actor: "cli"})
			require.NoError(t, err)
			require.Equal(t, 1, sessions)
		},
		"WithAll": func(b testBundle, _ string) {
			_, _, err := b.store.RevokeSessions(t.Context(), us())
			require.NoError(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			b := setup(t)
			session := b.signIn(t)
			require.True(t, b.signedIn(t, session))
			end(b, session)
			got := b.get(t, "/", with(session)...)
			require.Equal(t, http.StatusSeeOther, got.status)
			require.Equal(t, "/portal/", got.header.Get("Location"))
			require.Contains(t, got.header.Get("Set-Cookie"), "Max-Age=0")
			page, _, err := b.store.Sessions(t.Context(), us(), access.Page{})
			require.NoError(t, err)
			require.Empty(t, page, "and it is not listed")
		})
	}
}

func TestUseKeepsASessionAndIsNotedOnceAMinute(t *testing.T) {
	t.Parallel()

	b := setup(t)
	session := b.signIn(t)
	seen := func() (ago float64) {
		require.NoError(t, b.db.QueryRowContext(t.Context(), `SELECT extract(epoch FROM clock_timestamp() - seen_at) FROM webhooks.sessions`).Scan(&ago))
		return ago
	}
	b.exec(t, `UPDATE webhooks.sessions SET seen_at = seen_at - interval '50 seconds'`)
	require.True(t, b.signedIn(t, session))
	require.Greater(t, seen(), 49.0, "within the minute nothing is written")
	b.exec(t, `UPDATE webhooks.sessions SET seen_at = seen_at - interval '29 minutes'`)
	require.True(t, b.signedIn(t, session))
	require.Less(t, seen(), 49.0)
}

func TestWhoIsNotSignedInIsToldSoInTheirLanguage(t *testing.T) {
	t.Parallel()

	b := setup(t)
	page := b.get(t, "/endpoints")
	require.Equal(t, http.StatusSeeOther, page.status)
	require.Contains(t, b.get(t, page.header.Get("Location")).body, "Go back to your survey app")
	form := b.post(t, "/endpoints", "a=b", "Sec-Fetch-Mode", "navigate")
	require.Equal(t, http.StatusSeeOther, form.status, "a form that was sent too late")

	fetch := b.ask(t, http.MethodGet, "/endpoints", "", "Sec-Fetch-Mode", "cors", "Accept", "text/html")
	require.Equal(t, http.StatusUnauthorized, fetch.status)
	require.Contains(t, fetch.body, "session_missing")
	htmx := b.ask(t, http.MethodGet, "/endpoints", "", "HX-Request", "true", "Accept", "text/html")
	require.Equal(t, http.StatusUnauthorized, htmx.status)
	require.Equal(t, "/portal/", htmx.header.Get("HX-Redirect"))
	_, key := b.key(t, access.NewKey{Name: "x"})
	require.Equal(t, http.StatusSeeOther, b.get(t, "/endpoints", append(with(key), "Authorization", "Bearer "+key)...).status, "a key is no session")
}

func TestSessionsAreRevokedWithinReach(t *testing.T) {
	t.Parallel()

	b := setup(t)
	session := b.signIn(t)
	page, _, err := b.store.Sessions(t.Context(), us(), access.Page{})
	require.NoError(t, err)
	for name, by := range map[string]access.Caller{
		"OwnerOfAnother":    {Role: access.Owner, CompanyID: uuid.New()},
		"OperatorOfAnother": {Role: access.Operator, CompanyID: uuid.New()},
		"OwnerOfNone":       {Role: access.Owner},
	} {
		var missing *access.NotFoundError
		require.ErrorAs(t, b.store.RevokeSession(t.Context(), by, page[0].ID), &missing, name)
		n, _, err := b.store.RevokeSessions(t.Context(), by)
		require.NoError(t, err)
		require.Zero(t, n, name)
		list, _, err := b.store.Sessions(t.Context(), by, access.Page{})
		require.NoError(t, err)
		require.Empty(t, list, name)
	}
	viewer := access.Caller{Role: access.Viewer, CompanyID: b.company}
	require.ErrorIs(t, b.store.RevokeSession(t.Context(), viewer, page[0].ID), access.ErrForbidden)
	_, _, err = b.store.RevokeSessions(t.Context(), viewer)
	require.ErrorIs(t, err, access.ErrForbidden)
	require.True(t, b.signedIn(t, session))
}

func TestEndedRowsGoAndTheTrailStays(t *testing.T) {
	t.Parallel()

	b := setup(t)
	b.signIn(t)
	b.exec(t, `UPDATE webhooks.sessions SET expires_at = clock_timestamp() - interval '25 hours'`)
	b.exec(t, `UPDATE webhooks.portal_links SET expires_at = clock_timestamp() - interval '25 hours'`)
	b.signIn(t)
	var sessions, links int
	require.NoError(t, b.db.QueryRowContext(t.Context(),
		`SELECT (SELECT count(*) FROM webhooks.sessions), (SELECT count(*) FROM webhooks.portal_links)`).Scan(&sessions, &links))
	require.Equal(t, []int{1, 1}, []int{sessions, links})
	require.Len(t, b.trail(t, us()), 4)
}
