package access_test

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
)

func TestB65_TheTrailHasEveryChangeWithWhoAndFromWhere(t *testing.T) {
	t.Parallel()

	b := setup(t)
	key, _ := b.key(t, access.NewKey{Name: "app", CompanyID: b.company})
	require.NoError(t, b.store.RevokeKey(t.Context(), us(), key.ID))
	agent := "Browser\u009b/1.0 " + strings.Repeat("ü", 200)
	first := b.use(t, b.link(t), "X-Forwarded-For", "203.0.113.9", "User-Agent", agent)
	second := b.use(t, b.link(t), with(first.cookie)...)
	b.post(t, "/portal/sign-out", "x=y", with(second.cookie)...)
	b.post(t, "/portal/sign-out", "x=y", with(second.cookie)...)
	b.signIn(t)
	b.link(t)
	mine := access.Caller{Role: access.Operator, CompanyID: b.company, Actor: "cli:grace"}
	_, _, err := b.store.RevokeSessions(t.Context(), mine)
	require.NoError(t, err)

	want := []string{
		"key.created by cli:grace", "key.revoked by cli:grace", "link.minted by cli:grace", "session.started by portal:ada",
		"link.minted by cli:grace", "session.started by portal:ada", "session.replaced by portal:ada", "session.ended by portal:ada",
		"link.minted by cli:grace", "session.started by portal:ada", "link.minted by cli:grace", "session.revoked by cli:grace", "link.revoked by cli:grace",
	}
	require.ElementsMatch(t, want, b.trail(t, us()))
	require.ElementsMatch(t, want, b.trail(t, mine))
	require.Empty(t, b.trail(t, access.Caller{Role: access.Owner, CompanyID: uuid.New()}), "another company sees none of it")

	page, _, err := b.store.Trail(t.Context(), mine, access.TrailPage{})
	require.NoError(t, err)
	for _, e := range page {
		if e.Action == "session.started" && e.IP == "203.0.113.9" {
			require.Equal(t, "Browser?/1.0 "+strings.Repeat("ü", 93), e.UserAgent, "no control characters, no half ones, 200 bytes")
			return
		}
	}
	require.Fail(t, "no entry with the address")
}

func TestTheTrailIsReadInPages(t *testing.T) {
	t.Parallel()

	b := setup(t)
	for i := range 5 {
		b.key(t, access.NewKey{Name: fmt.Sprint(i), CompanyID: b.company})
		b.key(t, access.NewKey{Name: "noise", CompanyID: uuid.New()})
	}
	var names []string
	p := access.TrailPage{Limit: 2}
	for {
		page, next, err := b.store.Trail(t.Context(), access.Caller{Role: access.Viewer, CompanyID: b.company}, p)
		require.NoError(t, err)
		require.LessOrEqual(t, len(page), 2)
		for _, e := range page {
			var detail struct{ Name string }
			require.NoError(t, json.Unmarshal(e.Detail, &detail))
			names = append(names, detail.Name)
		}
		if p.Before = next; next == 0 {
			break
		}
	}
	require.Equal(t, []string{"4", "3", "2", "1", "0"}, names)
}

func TestB65_TheTrailCannotBeChanged(t *testing.T) {
	t.Parallel()

	b := setup(t)
	b.key(t, access.NewKey{Name: "a"})
	for _, change := range []string{
		`UPDATE webhooks.access_trail SET actor = 'nobody'`, `DELETE FROM webhooks.access_trail`, `TRUNCATE webhooks.access_trail`,
	} {
		_, err := b.db.ExecContext(t.Context(), change)
		require.ErrorContains(t, err, "permission denied", change)
		_, err = b.db.Owner.ExecContext(t.Context(), change)
		require.ErrorContains(t, err, "append-only", change)
	}
	require.Equal(t, []string{"key.created by cli:grace"}, b.trail(t, us()))
}

// What serve runs as can do all that a store does, and no more: not to the trail, and no key disappears.
func TestTheRelaysRoleCanOnlyAddToTheTrail(t *testing.T) {
	t.Parallel()

	b := setup(t)
	config, err := pq.NewConfig(b.db.DSN)
	require.NoError(t, err)
	config = config.Clone()
	config.Runtime["role"], config.Runtime["search_path"] = "webhooks_relay", ""
	connector, err := pq.NewConnectorConfig(config)
	require.NoError(t, err)
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	store, err := access.NewStore(access.Options{DB: db})
	require.NoError(t, err)

	key, _, err := store.CreateKey(t.Context(), us(), access.NewKey{Name: "a"})
	require.NoError(t, err)
	require.NoError(t, store.RevokeKey(t.Context(), us(), key.ID))
	_, _, err = store.MintLink(t.Context(), us(), access.NewLink{CompanyID: b.company, Role: access.Owner, Person: "ada"})
	require.NoError(t, err)
	b.signIn(t)
	sessions, links, err := store.RevokeSessions(t.Context(), us())
	require.NoError(t, err)
	require.Equal(t, []int{1, 1}, []int{sessions, links})
	page, _, err := store.Trail(t.Context(), us(), access.TrailPage{})
	require.NoError(t, err)
	require.Len(t, page, 7)

	for _, change := range []string{
		`UPDATE webhooks.access_trail SET actor = 'nobody'`, `DELETE FROM webhooks.access_trail`, `TRUNCATE webhooks.access_trail`,
		`ALTER TABLE webhooks.access_trail DISABLE TRIGGER ALL`, `DELETE FROM webhooks.api_keys`,
	} {
		_, err := db.ExecContext(t.Context(), change)
		fault, ok := errors.AsType[*pq.Error](err)
		require.True(t, ok, change)
		require.Equal(t, "42501", string(fault.Code), change)
		require.NotContains(t, fault.Message, "append-only", "by grant, before any trigger")
	}
}

// A dump of the database, and the log, hold no token.
func TestTokensAreNowhereAtRest(t *testing.T) {
	t.Parallel()

	b := setup(t)
	_, key := b.key(t, access.NewKey{Name: "a"})
	link, unused := b.link(t), b.link(t)
	b.get(t, "/portal/sign-in?token="+link)
	session := b.use(t, link).cookie
	b.get(t, "/", with(session)...)
	b.ask(t, http.MethodGet, "/v1/x", "", bearer(key)...)
	b.ask(t, http.MethodGet, "/v1/x", "", bearer(unused)...)

	var dump string
	require.NoError(t, b.db.QueryRowContext(t.Context(), `SELECT concat((SELECT json_agg(k) FROM webhooks.api_keys k),
  (SELECT json_agg(l) FROM webhooks.portal_links l), (SELECT json_agg(s) FROM webhooks.sessions s), (SELECT json_agg(a) FROM webhooks.access_trail a))`).Scan(&dump))
	require.Contains(t, dump, "session.started")
	for _, token := range []string{key, link, unused, session} {
		secret := token[4:40]
		require.NotContains(t, dump, secret)
		require.NotContains(t, dump, fmt.Sprintf("%x", secret))
		require.NotContains(t, b.log.String(), secret)
	}
}
