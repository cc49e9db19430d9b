package main

import (
	"database/sql"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/schema/cluster"
)

// strictServer is a server that lets nobody but its owner in without a password, with an empty database survey.
func strictServer(t *testing.T) (server *cluster.Server, db *sql.DB) {
	t.Helper()
	server, err := cluster.Start(t.Context(), cluster.Config{Dir: t.TempDir(), Unsafe: true})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, server.Stop())
		require.NoError(t, os.RemoveAll(server.Dir))
	})
	db, err = sql.Open("postgres", server.DSN(""))
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	var hba string
	require.NoError(t, db.QueryRowContext(t.Context(), "SHOW hba_file").Scan(&hba))
	require.NoError(t, os.WriteFile(hba, []byte("local all surveyhooks trust\nlocal survey all scram-sha-256\n"), 0o600))
	for _, statement := range []string{"SELECT pg_reload_conf()", "CREATE DATABASE survey", "CREATE ROLE survey_app LOGIN PASSWORD 'x'", "CREATE ROLE poor LOGIN PASSWORD 'x'"} {
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err, statement)
	}
	return server, db
}

// outcomes are the steps of a bootstrap, in order.
func outcomes(steps []map[string]any) string {
	var words []string
	for _, s := range steps {
		words = append(words, s["step"].(string)+" "+s["outcome"].(string))
	}
	return strings.Join(words, ", ")
}

func TestBootstrapPreparesADatabaseOnce(t *testing.T) {
	t.Parallel()

	server, db := strictServer(t)
	folder := filepath.Join(t.TempDir(), "etc")
	file := func(name string) string { return filepath.Join(folder, name) }
	read := func(name string) string {
		text, err := os.ReadFile(file(name))
		require.NoError(t, err)
		return string(text)
	}
	owner := shell{t, []string{"SURVEYHOOKS_DATABASE_URL=" + server.DSN("survey")}}
	args := []string{"bootstrap", "--to", folder, "--app-login", "survey_app"}

	got := owner.run("bootstrap", "--to", folder, "--app-login", "nobody_knows")
	require.Equal(t, exitNotFound, got.code, got.stderr)
	require.NotContains(t, owner.run("migrate", "status").stdout, "2026", "nothing was changed")

	require.Equal(t, "schema made, keyring made, relay login made, app login made, api key made", outcomes(owner.list(args...)))
	made := map[string]string{}
	for _, name := range []string{"seal-keys", "database-url", "api-key"} {
		made[name] = read(name)
		info, err := os.Stat(file(name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), name)
	}
	require.Regexp(t, `^whk_`, made["api-key"])

	// It works with what was made, and with the right password alone.
	relay := shell{t, []string{"SURVEYHOOKS_DATABASE_URL_FILE=" + file("database-url"), "SURVEYHOOKS_SEAL_KEYS_FILE=" + file("seal-keys")}}
	doctor := relay.ok("doctor")
	require.Contains(t, doctor, "surveyhooks_relay is a member of webhooks_relay, and no more")
	require.NotContains(t, doctor, "fail\t")
	relay.ok("endpoints", "create", "--company", company, "--url", "https://hooks.example.com/in")
	wrong := shell{t, []string{"SURVEYHOOKS_DATABASE_URL=" + strings.Replace(strings.TrimSpace(made["database-url"]), "password=", "password=x", 1)}}
	require.Equal(t, exitUnavailable, wrong.run("endpoints", "list").code, "the server asks for it")
	var publishes bool
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT pg_has_role('survey_app', 'webhooks_app', 'MEMBER')").Scan(&publishes))
	require.True(t, publishes)
	var kept string
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT rolpassword FROM pg_authid WHERE rolname = 'surveyhooks_relay'").Scan(&kept))
	require.Regexp(t, `^SCRAM-SHA-256\$4096:`, kept)

	// Again, nothing is made, nothing is replaced, and nothing secret is said.
	got = owner.run(args...)
	require.Equal(t, exitOK, got.code, got.stderr)
	require.NotContains(t, got.stdout, "made")
	require.Contains(t, got.stderr, "export SURVEYHOOKS_DATABASE_URL_FILE="+file("database-url"))
	for name, text := range made {
		require.Equal(t, text, read(name))
		require.NotContains(t, got.stdout+got.stderr, strings.TrimSpace(text))
	}
	require.Len(t, owner.list("api-keys", "list"), 1)
	require.NotContains(t, got.stdout+got.stderr, passwordOf(made["database-url"]))
}

func TestBootstrapGoesOnAndRefuses(t *testing.T) {
	t.Parallel()

	server, db := strictServer(t)
	owner := shell{t, []string{"SURVEYHOOKS_DATABASE_URL=" + server.DSN("survey")}}
	folder := t.TempDir()
	require.Equal(t, "schema made, keyring made, api key made", outcomes(owner.list("bootstrap", "--to", folder, "--relay-login", "none")))
	require.NoFileExists(t, filepath.Join(folder, "database-url"))

	// Broken off between file and login: the next run makes the login with the file's password.
	dsn := dsnAs(server.DSN("survey"), "late", "of-the-file")
	require.NoError(t, os.WriteFile(filepath.Join(folder, "database-url"), []byte(dsn), 0o600))
	require.Contains(t, outcomes(owner.list("bootstrap", "--to", folder, "--relay-login", "late")), "relay login made")
	require.NoError(t, connects(t.Context(), dsn))

	// The file of one login makes no other one, and gives none the relay's rights.
	got := owner.run("bootstrap", "--to", folder, "--relay-login", "another")
	require.Equal(t, exitUsage, got.code, got.stdout)
	require.Contains(t, got.stderr, `is of the login "late", and not of another: give --relay-login late`)
	require.Equal(t, exitUsage, owner.run("bootstrap", "--to", folder, "--relay-login", "survey_app").code)
	var logins, relays int
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT count(*) FILTER (WHERE rolname = 'another'),
		count(*) FILTER (WHERE rolname = 'survey_app' AND pg_has_role(oid, to_regrole('webhooks_relay'), 'MEMBER')) FROM pg_roles`).Scan(&logins, &relays))
	require.Zero(t, logins+relays)

	// A login whose password nobody has, and a database that another keyring has sealed.
	other := t.TempDir()
	_, err := db.ExecContext(t.Context(), "CREATE ROLE taken LOGIN")
	require.NoError(t, err)
	got = owner.run("bootstrap", "--to", other, "--relay-login", "taken")
	require.Equal(t, exitFailure, got.code)
	require.Contains(t, got.stderr, "the login taken is there, and "+filepath.Join(other, "database-url")+" with its password is not")
	require.Contains(t, got.stderr, "keyring: made", "what was done is told")
	owner.with("SURVEYHOOKS_SEAL_KEYS_FILE="+filepath.Join(folder, "seal-keys")).ok("endpoints", "create", "--company", company, "--url", "https://hooks.example.com/in")
	third := t.TempDir()
	got = owner.run("bootstrap", "--to", third)
	require.Equal(t, exitFailure, got.code)
	require.Contains(t, got.stderr, "put the keyring there that has sealed them")
	require.NoFileExists(t, filepath.Join(third, "seal-keys"))

	// A login that may not do it.
	poor := shell{t, []string{"SURVEYHOOKS_DATABASE_URL=" + dsnAs(server.DSN("survey"), "poor", "x")}}
	got = poor.run("bootstrap", "--to", third)
	require.Equal(t, exitFailure, got.code)
	for name, bad := range map[string][]string{
		"NoDatabase": {"bootstrap", "--to", third, "--database-url", ""},
		"Login":      {"bootstrap", "--to", third, "--relay-login", `x"; DROP`},
		"NoLogin":    {"bootstrap", "--to", third, "--relay-login", ""},
		"App":        {"bootstrap", "--to", third, "--app-login", "A"},
		"NoFolder":   {"bootstrap"},
		"FileThere":  {"bootstrap", "--to", filepath.Join(folder, "api-key")},
	} {
		s := owner
		if name == "NoDatabase" {
			s = shell{t: t}
		}
		require.Equal(t, exitUsage, s.run(bad...).code, name)
	}
}

// The maker of a role may grant it, and since PostgreSQL 16 that is a membership without the role's rights.
func TestLoginThatMadeTheRolesIsGivenTheirRights(t *testing.T) {
	t.Parallel()

	server, db := strictServer(t)
	exec := func(db *sql.DB, statement string) {
		t.Helper()
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err, statement)
	}
	exec(db, "CREATE ROLE maker LOGIN CREATEROLE PASSWORD 'x'")
	dsn := dsnAs(server.DSN("survey"), "maker", "x")
	maker, err := sql.Open("postgres", dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = maker.Close() })
	exec(maker, "CREATE ROLE webhooks_app; CREATE ROLE webhooks_relay; CREATE ROLE webhooks_tenant")
	folder := t.TempDir()
	owner := shell{t, []string{"SURVEYHOOKS_DATABASE_URL=" + server.DSN("survey")}}
	args := []string{"bootstrap", "--to", folder, "--relay-login", "none", "--app-login", "maker"}
	require.Contains(t, outcomes(owner.list(args...)), "app login made")
	require.Contains(t, outcomes(owner.list(args...)), "app login kept")
	exec(maker, "SELECT count(*) FROM webhooks.event_history")

	// What the doctor says helps, and the doctor says so.
	relay := shell{t, []string{"SURVEYHOOKS_DATABASE_URL=" + dsn, "SURVEYHOOKS_SEAL_KEYS_FILE=" + filepath.Join(folder, "seal-keys")}}
	advice := func(check string) string {
		t.Helper()
		got := relay.run("doctor", "-o", "json")
		require.Equal(t, exitFailure, got.code, got.stdout)
		var findings []finding
		require.NoError(t, json.Unmarshal([]byte(got.stdout), &findings))
		for _, f := range findings {
			if f.Check == check && f.Status == fail {
				return f.Advice
			}
		}
		require.Failf(t, "nothing is wrong", "%s: %s", check, got.stdout)
		return ""
	}
	exec(db, advice("migrations"))
	require.Contains(t, relay.ok("doctor"), "maker is a member of webhooks_relay, and no more")
	survey, err := sql.Open("postgres", server.DSN("survey"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = survey.Close() })
	exec(survey, "REVOKE webhooks_tenant FROM webhooks_relay")
	exec(survey, advice("privileges"))
	require.Contains(t, relay.ok("doctor"), "maker is a member of webhooks_relay, and no more")
}

func TestDSNOfAnotherLogin(t *testing.T) {
	t.Parallel()

	for dsn, want := range map[string]string{
		"postgres://owner:o%40x@db:5432/survey?sslmode=require&password=y":   "postgres://relay:p@db:5432/survey?sslmode=require",
		"postgres:///survey?host=/run/pg&user=owner":                         "postgres://relay:p@/survey?host=%2Frun%2Fpg",
		`host=db user=owner password='it\'s one' dbname=survey`:              "user=relay password=p host=db dbname=survey",
		"USER=owner host = db passfile=/x  application_name='superuser = x'": "user=relay password=p host = db  application_name='superuser = x'",
	} {
		got := dsnAs(dsn, "relay", "p")
		require.Equal(t, want, got)
		require.Equal(t, "p", passwordOf(got))
	}
	require.Equal(t, "it's one", passwordOf(`host=db password = 'it\'s one'`))
	require.Empty(t, passwordOf("host=db user=x"))
	require.Empty(t, passwordOf("postgres://x@db/"))
}
