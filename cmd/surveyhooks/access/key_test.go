package access_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
)

func bearer(key string) []string { return []string{"Authorization", "Bearer " + key} }

func TestAKeyOpensWhatItWasMadeFor(t *testing.T) {
	t.Parallel()

	b := setup(t)
	for name, tt := range map[string]struct {
		key  access.NewKey
		want string
	}{
		"Operator":             {access.NewKey{Name: "a"}, "operator " + uuid.Nil.String() + " key:a"},
		"OperatorOfOneCompany": {access.NewKey{Name: "b", CompanyID: b.company}, "operator " + b.company.String() + " key:b"},
		"Viewer":               {access.NewKey{Name: "c", CompanyID: b.company, Role: access.Viewer, Life: time.Hour}, "viewer " + b.company.String() + " key:c"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			_, token := b.key(t, tt.key)
			got := b.ask(t, http.MethodGet, "/v1/x", "", "Authorization", "bearer "+token)
			require.Equal(t, http.StatusOK, got.status)
			require.Equal(t, tt.want, got.body)
		})
	}
}

// A typing error is told from a key that opens nothing; of those that open nothing, none is told from another.
func TestB62_RefusedKeysDoNotTellWhatExists(t *testing.T) {
	t.Parallel()

	b := setup(t)
	revokedKey, revoked := b.key(t, access.NewKey{Name: "revoked"})
	require.NoError(t, b.store.RevokeKey(t.Context(), us(), revokedKey.ID))
	expiredKey, expired := b.key(t, access.NewKey{Name: "expired", Life: time.Hour})
	b.exec(t, `UPDATE webhooks.api_keys SET expires_at = clock_timestamp() - interval '1 second' WHERE key_id = $1`, expiredKey.ID)
	other := setup(t)
	_, unknown := other.key(t, access.NewKey{Name: "unknown"})

	want := b.ask(t, http.MethodGet, "/v1/x", "", bearer(unknown)...)
	require.Equal(t, http.StatusUnauthorized, want.status)
	require.JSONEq(t, `{"title":"Unauthorized","status":401,"code":"api_key_refused","detail":"This API key opens nothing. Ask an operator for a new one.","request_id":""}`, want.body)
	require.Equal(t, `Bearer realm="surveyhooks", error="invalid_token"`, want.header.Get("WWW-Authenticate"))
	require.Equal(t, "application/problem+json", want.header.Get("Content-Type"))
	for name, key := range map[string]string{"revoked": revoked, "expired": expired} {
		require.Equal(t, want, b.ask(t, http.MethodGet, "/v1/x", "", bearer(key)...), name)
	}

	_, live := b.key(t, access.NewKey{Name: "live"})
	flipped := []byte(live)
	flipped[10] ^= 1
	for _, typo := range []string{live[1:], live[:len(live)-1], live + "A", string(flipped), strings.ToUpper(live), b.link(t), "' OR 1=1 --"} {
		require.Contains(t, b.ask(t, http.MethodGet, "/v1/x", "", bearer(typo)...).body, "api_key_malformed")
	}
	for name, headers := range map[string][]string{"None": nil, "Basic": {"Authorization", "Basic " + live}, "NoScheme": {"Authorization", live}, "Cookie": with(live)} {
		got := b.ask(t, http.MethodGet, "/v1/x?api_key="+live, "", headers...)
		require.Contains(t, got.body, "api_key_missing", name)
		require.Equal(t, `Bearer realm="surveyhooks"`, got.header.Get("WWW-Authenticate"))
	}
	require.Equal(t, http.StatusOK, b.ask(t, http.MethodGet, "/v1/x", "", bearer(live)...).status)
	require.NotContains(t, b.log.String(), "whk_")
}

func TestAKeysUseIsNotedAtMostOnceAMinute(t *testing.T) {
	t.Parallel()

	b := setup(t)
	made, token := b.key(t, access.NewKey{Name: "a"})
	require.Nil(t, made.LastUsedAt)
	version := func() (xmin string) {
		require.NoError(t, b.db.QueryRowContext(t.Context(), `SELECT xmin FROM webhooks.api_keys`).Scan(&xmin))
		return xmin
	}
	unused := version()
	b.ask(t, http.MethodGet, "/v1/x", "", bearer(token)...)
	first := version()
	require.NotEqual(t, unused, first)
	for range 3 {
		b.ask(t, http.MethodGet, "/v1/x", "", bearer(token)...)
	}
	require.Equal(t, first, version(), "within the minute nothing is written")
	b.exec(t, `UPDATE webhooks.api_keys SET last_used_at = last_used_at - interval '61 seconds'`)
	aged := version()
	b.ask(t, http.MethodGet, "/v1/x", "", bearer(token)...)
	require.NotEqual(t, aged, version())
}

func TestOnlyAnOperatorMakesKeysAndNoFurtherThanItReaches(t *testing.T) {
	t.Parallel()

	b := setup(t)
	bound := access.Caller{Role: access.Operator, CompanyID: b.company, Actor: "key:bound"}
	for name, tt := range map[string]struct {
		by  access.Caller
		key access.NewKey
		ok  bool
	}{
		"BoundForItsCompany": {bound, access.NewKey{Name: "x", CompanyID: b.company}, true},
		"BoundForAnother":    {bound, access.NewKey{Name: "x", CompanyID: uuid.New()}, false},
		"BoundForAll":        {bound, access.NewKey{Name: "x"}, false},
		"Owner":              {access.Caller{Role: access.Owner, CompanyID: b.company}, access.NewKey{Name: "x", CompanyID: b.company}, false},
		"Nobody":             {access.Caller{}, access.NewKey{Name: "x"}, false},
	} {
		_, _, err := b.store.CreateKey(t.Context(), tt.by, tt.key)
		if tt.ok {
			require.NoError(t, err, name)
		} else {
			require.ErrorIs(t, err, access.ErrForbidden, name)
		}
	}
	for field, key := range map[string]access.NewKey{
		"name":       {Name: " "},
		"company_id": {Name: "x", Role: access.Owner},
		"role":       {Name: "x", Role: "root"},
		"expires":    {Name: "x", Life: -time.Second},
	} {
		_, _, err := b.store.CreateKey(t.Context(), us(), key)
		var invalid *access.InvalidError
		require.ErrorAs(t, err, &invalid)
		require.Equal(t, field, invalid.Fields[0].Field)
	}
}

func TestB54_KeysAreListedAndRevokedWithinReach(t *testing.T) {
	t.Parallel()

	b := setup(t)
	mine, _ := b.key(t, access.NewKey{Name: "mine", CompanyID: b.company})
	theirs, _ := b.key(t, access.NewKey{Name: "theirs", CompanyID: uuid.New()})
	all, _ := b.key(t, access.NewKey{Name: "all"})
	bound := access.Caller{Role: access.Operator, CompanyID: b.company, Actor: "key:mine"}

	page, next, err := b.store.Keys(t.Context(), bound, access.Page{})
	require.NoError(t, err)
	require.Equal(t, []access.Key{mine}, page)
	require.Zero(t, next)
	for _, id := range []uuid.UUID{theirs.ID, all.ID, uuid.New()} {
		var missing *access.NotFoundError
		require.ErrorAs(t, b.store.RevokeKey(t.Context(), bound, id), &missing, "another's is as good as none")
	}
	require.ErrorIs(t, b.store.RevokeKey(t.Context(), access.Caller{Role: access.Owner, CompanyID: b.company}, mine.ID), access.ErrForbidden)
	require.NoError(t, b.store.RevokeKey(t.Context(), bound, mine.ID))
	require.Error(t, b.store.RevokeKey(t.Context(), bound, mine.ID), "once")

	ids := map[uuid.UUID]bool{}
	p := access.Page{Limit: 2}
	for _, want := range []int{2, 1} {
		page, next, err := b.store.Keys(t.Context(), us(), p)
		require.NoError(t, err)
		require.Len(t, page, want)
		for _, k := range page {
			ids[k.ID] = true
			require.Equal(t, k.ID == mine.ID, k.RevokedAt != nil)
		}
		p.After = next
	}
	require.Zero(t, p.After)
	require.Equal(t, map[uuid.UUID]bool{mine.ID: true, theirs.ID: true, all.ID: true}, ids)
}
