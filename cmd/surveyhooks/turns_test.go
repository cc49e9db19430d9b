package main

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// key makes an API key of a company's owner, and returns its header.
func (s site) key(company, name string) string {
	s.t.Helper()
	token, _ := s.object("api-keys", "create", "--company", company, "--role", "owner", "--name", name)["token"].(string)
	return "Bearer " + token
}

// TestOneCompanysFloodKeepsNobodyElseWaiting, nor do two at once: behind the real gate, pages and API, with as many connections
// as serve has. The flood's requests hang in the database, as slow ones do; its company's others are refused with the time to
// try again.
func TestOneCompanysFloodKeepsNobodyElseWaiting(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		companies []string
		have      int // connections
	}{
		"One": {[]string{company}, access.Connections / 2},
		"Two": {[]string{company, uuid.NewString()}, access.Connections - 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			flooded(t, c.companies, c.have)
		})
	}
}

func flooded(t *testing.T, companies []string, have int) {
	t.Helper()
	db := schematest.New(t)
	s := openSite(t, db.DSN, nil)
	other := uuid.NewString()
	theirs, cookie := s.key(other, "theirs"), s.signIn("--company", other, "--as", "bob")
	mine := s.signIn("--company", company, "--as", "ada")
	const flood = 6 * access.Connections // requests of each company
	keys, paths := make([][]string, len(companies)), make([]string, len(companies))
	for c, id := range companies {
		for i := range 6 {
			keys[c] = append(keys[c], s.key(id, fmt.Sprintf("flood-%d", i)))
		}
		made := s.ask(http.MethodPost, "/v1/companies/"+id+"/endpoints", `{"url":"https://example.com/x"}`,
			"Authorization", keys[c][0], "Content-Type", "application/json")
		require.Equal(t, http.StatusCreated, made.status, made.body)
		paths[c] = made.header.Get("Location")
	}

	slow, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer slow.Rollback() //nolint:errcheck // a test that failed
	_, err = slow.ExecContext(t.Context(), `SELECT FROM webhooks.endpoints FOR UPDATE`)
	require.NoError(t, err)
	replies := make([]reply, flood*len(companies))
	var group sync.WaitGroup
	for i := range replies {
		c := i % len(companies)
		group.Go(func() {
			replies[i] = s.ask(http.MethodPatch, paths[c], `{"description":"x"}`, "Authorization", keys[c][i/len(companies)%6], "Content-Type", "application/json")
		})
	}
	hanging := func() (n int) {
		require.NoError(t, db.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity
		  WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&n))
		return n
	}
	require.Eventually(t, func() bool { return hanging() >= have }, 20*time.Second, 10*time.Millisecond)

	shown := s.ask(http.MethodGet, "/endpoints", "", "Cookie", cookie)
	require.Equal(t, http.StatusOK, shown.status, "another company's page")
	listed := s.ask(http.MethodGet, "/v1/companies/"+other+"/endpoints", "", "Authorization", theirs)
	require.Equal(t, http.StatusOK, listed.status, "another company's program")
	require.Equal(t, have, hanging(), "and the flood still has its share")
	refused := s.ask(http.MethodGet, "/endpoints", "", "Cookie", mine, "Accept", "text/html")
	require.Equal(t, http.StatusTooManyRequests, refused.status)
	require.Equal(t, "1", refused.header.Get("Retry-After"))
	require.Contains(t, refused.body, "One moment, please")
	requirePage(t, "endpoints", refused.body)

	require.NoError(t, slow.Rollback())
	group.Wait()
	count := map[int]int{}
	for _, r := range replies {
		count[r.status]++
		if r.status == http.StatusTooManyRequests {
			require.Equal(t, "1", r.header.Get("Retry-After"))
			require.Equal(t, "application/problem+json", r.header.Get("Content-Type"))
			require.Contains(t, r.body, `"too_many_requests"`)
		}
	}
	require.Equal(t, len(replies), count[http.StatusOK]+count[http.StatusTooManyRequests], "%v", count)
	require.GreaterOrEqual(t, count[http.StatusOK], have)
	require.Equal(t, http.StatusOK, s.ask(http.MethodGet, "/endpoints", "", "Cookie", mine).status, "and all is well again")
}

// TestAStreamHasATurnForEachLookAlone: all streams that a company may have keep its own pages from nothing.
func TestAStreamHasATurnForEachLookAlone(t *testing.T) {
	t.Parallel()
	s := openSite(t, schematest.New(t).DSN, nil)
	mine, key := s.signIn("--company", company, "--as", "ada"), s.key(company, "listener")
	for range access.Connections/2 + 1 {
		w := s.open(http.MethodGet, "/v1/companies/"+company+"/stream", "", "Authorization", key)
		defer w.Body.Close()
		require.Equal(t, http.StatusOK, w.StatusCode)
		_, err := bufio.NewReader(w.Body).ReadString('\n')
		require.NoError(t, err)
	}
	for range access.Connections/2 + 1 {
		w := s.open(http.MethodGet, "/deliveries/live", "", "Cookie", mine)
		defer w.Body.Close()
		require.Equal(t, http.StatusOK, w.StatusCode)
		_, err := bufio.NewReader(w.Body).ReadString('\n')
		require.NoError(t, err)
	}
	require.Equal(t, http.StatusOK, s.ask(http.MethodGet, "/endpoints", "", "Cookie", mine).status)
	require.Equal(t, http.StatusOK, s.ask(http.MethodGet, "/v1/event-types", "", "Authorization", key).status)
}

// TestWhoeverSavesANameThatLeadsNowhereHasATurnAgainAndGivesItBack: the name is looked up without one.
func TestWhoeverSavesANameThatLeadsNowhereHasATurnAgainAndGivesItBack(t *testing.T) {
	t.Parallel()
	s := openSite(t, schematest.New(t).DSN, nil)
	mine := s.signIn("--company", company, "--as", "ada")
	made := make([]reply, access.Connections/4+1) // more than a session has turns
	var group sync.WaitGroup
	for i := range made {
		group.Go(func() {
			made[i] = s.ask(http.MethodPost, "/endpoints", fmt.Sprintf("url=https%%3A%%2F%%2Fname%d.invalid&events=all", i), "Cookie", mine,
				"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "same-origin")
		})
	}
	group.Wait()
	for _, r := range made {
		require.Equal(t, http.StatusCreated, r.status, r.body)
		require.Contains(t, r.body, leadsNowhere)
	}
	require.Equal(t, http.StatusOK, s.ask(http.MethodGet, "/endpoints", "", "Cookie", mine).status)
}

// TestWhileTheDatabaseIsAwayEverythingSaysSo, and when to try again: programs get a problem, people a page.
func TestWhileTheDatabaseIsAwayEverythingSaysSo(t *testing.T) {
	t.Parallel()
	there := openSite(t, schematest.New(t).DSN, nil)
	cookie, key := there.signIn("--company", company, "--as", "ada"), there.key(company, "app")
	away := openSite(t, "postgres://nobody:hunter2@127.0.0.1:1/none?connect_timeout=1&sslmode=disable", nil)

	said := away.ask(http.MethodGet, "/v1/companies/"+company+"/endpoints", "", "Authorization", key)
	require.Equal(t, http.StatusServiceUnavailable, said.status)
	require.Equal(t, "application/problem+json", said.header.Get("Content-Type"))
	require.Equal(t, "5", said.header.Get("Retry-After"))
	require.Contains(t, said.body, `"code":"unavailable"`)

	shown := away.ask(http.MethodGet, "/endpoints", "", "Cookie", cookie, "Accept", "text/html")
	require.Equal(t, http.StatusServiceUnavailable, shown.status)
	require.True(t, strings.HasPrefix(shown.header.Get("Content-Type"), "text/html"))
	require.Equal(t, "5", shown.header.Get("Retry-After"))
	require.Contains(t, shown.body, "Please try again soon")
	script := away.ask(http.MethodGet, "/endpoints", "", "Cookie", cookie, "Hx-Request", "true")
	require.Equal(t, http.StatusServiceUnavailable, script.status)
	require.Equal(t, "5", script.header.Get("Retry-After"))
	require.Equal(t, "#message", script.header.Get("Hx-Retarget"))
	require.True(t, strings.HasPrefix(script.body, `<div class="notice notice-fail" role="alert">`), script.body)
	require.Equal(t, http.StatusOK, there.ask(http.MethodGet, "/endpoints", "", "Cookie", cookie).status, "with the same cookie")

	// It goes away between the gate and the page.
	p := newTestPages(t)
	pool, err := openDatabase("postgres://nobody:hunter2@127.0.0.1:1/none?connect_timeout=1&sslmode=disable")
	require.NoError(t, err)
	t.Cleanup(func() { _ = pool.Close() })
	behind := pagesOver(t, p.db, pool)
	for _, path := range []string{"/endpoints", "/deliveries"} {
		w := behind.get(path)
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.Equal(t, "5", w.Header().Get("Retry-After"))
		require.Contains(t, w.Body.String(), "Please try again soon")
		require.NotContains(t, w.Body.String(), "127.0.0.1")
		requirePage(t, path, w.Body.String())
	}
}
