package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/relaytest"
	"github.com/chattosurvey/surveyhooks/relay/seal"
)

// without is a shell whose environment lacks a variable.
func (s shell) without(name string) shell {
	var env []string
	for _, kv := range s.env {
		if !strings.HasPrefix(kv, name+"=") {
			env = append(env, kv)
		}
	}
	return shell{s.t, env}
}

// withKeyring is a shell on the same database whose keyring is a file.
func (s shell) withKeyring(file string) shell {
	return s.without("SURVEYHOOKS_SEAL_KEYS").with("SURVEYHOOKS_SEAL_KEYS_FILE=" + file)
}

func keyring(t *testing.T, file string) *seal.Ring {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	ring, err := seal.ParseRing(string(content))
	require.NoError(t, err)
	return ring
}

func TestKeysFromTheFirstToTheNext(t *testing.T) {
	t.Parallel()

	file := filepath.Join(t.TempDir(), "seal-keys")
	s := newShell(t).withKeyring(file)
	require.Contains(t, s.ok("keys", "generate", "--to", file, "--id", "one"), "one")
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "its owner's alone")
	s.ok("endpoints", "create", "--company", company, "--url", "https://a.example.com/", "--header", "Authorization: Bearer tea")
	require.Equal(t, []map[string]any{
		{"key_id": "one", "role": "seals", "secrets": 1.0, "headers": 1.0, "unopened": 0.0},
	}, keyLinesOf(t, s.object("keys", "status")))

	require.NoError(t, os.Chmod(file, 0o640)) // the relay's group reads it
	require.Contains(t, s.ok("keys", "generate", "--to", file), time.Now().UTC().Format("2006-"))
	info, err = os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode().Perm(), "as it was")
	ring := keyring(t, file)
	require.Equal(t, "one", ring.IDs()[1], "the new key stands first, the old one behind it")
	rotated := s.object("keys", "rotate")
	require.InDelta(t, 2, rotated["sealed"], 0)
	require.InDelta(t, 0, s.object("keys", "rotate")["sealed"], 0, "nothing is left")
	require.Equal(t, []map[string]any{
		{"key_id": ring.First(), "role": "seals", "secrets": 1.0, "headers": 1.0, "unopened": 0.0},
		{"key_id": "one", "role": "opens", "secrets": 0.0, "headers": 0.0, "unopened": 0.0},
	}, keyLinesOf(t, s.object("keys", "status")))
	require.Contains(t, s.ok("doctor"), ring.First()+" seals")

	before, err := os.ReadFile(file)
	require.NoError(t, err)
	got := s.run("keys", "generate", "--to", file, "--id", "one")
	require.Equal(t, exitUsage, got.code)
	require.Contains(t, got.stderr, `key "one" is there twice`)
	after, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, before, after)
	left, err := filepath.Glob(filepath.Join(filepath.Dir(file), ".*"))
	require.NoError(t, err)
	require.Empty(t, left, "nothing is left beside it")
	require.Equal(t, exitUsage, s.run("keys", "generate", "--id", "Nope!").code)

	printed := s.object("keys", "generate", "--id", "two")
	_, err = seal.ParseRing(fmt.Sprint(printed["key"]))
	require.NoError(t, err)
	require.Equal(t, "two", printed["id"])
}

func keyLinesOf(t *testing.T, status map[string]any) []map[string]any {
	t.Helper()
	require.Empty(t, status["faults"])
	var lines []map[string]any
	for _, line := range status["keys"].([]any) {
		lines = append(lines, line.(map[string]any))
	}
	return lines
}

func TestWithoutAKeyringNothingIsKeptAndItSaysHowToMakeOne(t *testing.T) {
	t.Parallel()

	s := newShell(t)
	made := s.object("endpoints", "create", "--company", company, "--url", "https://a.example.com/")
	bare := s.without("SURVEYHOOKS_SEAL_KEYS")
	id, _ := made["id"].(string)
	for _, verb := range []string{
		"serve --admin-addr off", "endpoints create --url https://b.example.com/ --company " + company, "endpoints rotate-secret " + id,
		"endpoints update --header X-Key:v " + id, "keys rotate",
	} {
		got := bare.run(strings.Fields(verb)...)
		require.Equal(t, exitUsage, got.code, verb)
		require.Contains(t, got.stderr, "surveyhooks keys generate --to", verb)
		require.Contains(t, got.stderr, "SURVEYHOOKS_SEAL_KEYS_FILE", verb)
	}
	require.Len(t, bare.list("endpoints", "list"), 1, "what needs no key works without one")
	require.Equal(t, exitFailure, bare.run("keys", "status").code)
	require.Contains(t, bare.ok("doctor"), "given no keyring")

	wrong := bare.with("SURVEYHOOKS_SEAL_KEYS=hunter2")
	for _, verb := range []string{"serve", "endpoints list", "keys status", "doctor", "config show"} {
		got := wrong.run(strings.Fields(verb)...)
		require.Equal(t, exitUsage, got.code, verb)
		require.Contains(t, got.stderr, "SURVEYHOOKS_SEAL_KEYS): key 1: it has no colon", verb)
		require.NotContains(t, got.stdout+got.stderr, "hunter2", verb)
	}
	shown := s.ok("config", "show")
	require.Regexp(t, `seal-keys\tshell\tenvironment SURVEYHOOKS_SEAL_KEYS`, shown)
}

func TestB29_HeadersOnTheCommandLineAreWriteOnly(t *testing.T) {
	t.Parallel()

	s := newShell(t)
	file := filepath.Join(t.TempDir(), "headers")
	require.NoError(t, os.WriteFile(file, []byte("X-From-File: hunter2\r\n\nX-Second: b\n"), 0o600))
	made := s.object("endpoints", "create", "--company", company, "--url", "https://a.example.com/?token=hunter2",
		"--header", "Authorization: Bearer hunter2", "--header-file", file)
	require.Equal(t, []any{"Authorization", "X-From-File", "X-Second"}, made["header_names"])
	id, _ := made["id"].(string)
	got := s.feed("X-Third: hunter2\n", "endpoints", "update", id, "--header-file", "-", "--remove-header", "x-second")
	require.Equal(t, exitOK, got.code, got.stderr)
	for _, verb := range []string{"endpoints get " + id, "endpoints list"} {
		text := s.ok(strings.Fields(verb)...)
		require.Contains(t, text, "Authorization,X-From-File,X-Third")
		require.NotContains(t, text, "hunter2", "not even a token of the URL, in a table")
	}
	for args, says := range map[string]string{
		"--header Host:hunter2":            "header Host is set by the relay",
		"--header hunter2":                 "--header 1: it has no colon",
		"--header X-Key:":                  "header X-Key has no value",
		"--remove-header Nope":             "the endpoint has: Authorization",
		"--header-file /nonexistent/file":  "read --header-file",
		"--header X-A:1 --header x-a:hun2": "header x-a is given twice",
	} {
		got := s.run(append([]string{"endpoints", "update", id}, strings.Fields(args)...)...)
		require.Equal(t, exitUsage, got.code, args)
		require.Contains(t, got.stderr, says)
		require.NotContains(t, got.stderr, "hunter2")
	}
}

// served is a relay that runs in this process.
type served struct {
	addr string
	log  *lines
	stop func() int
}

func (s shell) serve(args ...string) served {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	log := &lines{seen: make(chan string, 1)}
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, append([]string{"serve", "--admin-addr", "127.0.0.1:0", "--listen-addr", "off"}, args...), process{env: s.env, stdout: io.Discard, stderr: log})
	}()
	return served{addr: "http://" + <-log.seen, log: log, stop: func() int { cancel(); return <-code }}
}

// TestServeWithoutAKeyOfOneEndpointServesTheOthersAndTakesTheKeyOnHangup is the whole way of a key that came late.
func TestServeWithoutAKeyOfOneEndpointServesTheOthersAndTakesTheKeyOnHangup(t *testing.T) {
	t.Parallel()

	received := make(chan string, 16)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { received <- r.URL.Path }))
	t.Cleanup(receiver.Close)
	early, late := relaytest.Key(t, "early"), relaytest.Key(t, "late")
	dir := t.TempDir()
	onlyEarly, onlyLate := filepath.Join(dir, "early"), filepath.Join(dir, "late")
	require.NoError(t, os.WriteFile(onlyEarly, []byte(early.Reveal()+"\n"), 0o600))
	require.NoError(t, os.WriteFile(onlyLate, []byte(late.Reveal()+"\n"), 0o600))
	base := newShell(t).with("SURVEYHOOKS_INSECURE_ENDPOINTS=1")
	s := base.withKeyring(onlyEarly)
	base.withKeyring(onlyLate).ok("endpoints", "create", "--company", company, "--url", receiver.URL+"/waits")
	s.ok("endpoints", "create", "--company", company, "--url", receiver.URL+"/flows")

	r := s.serve()
	require.Eventually(t, func() bool {
		_, ready := get(t, r.addr+"/readyz?verbose")
		return strings.Contains(ready, `"keys":"key \"late\" is missing"`) && strings.Contains(ready, `"process":"ok"`)
	}, 20*time.Second, 20*time.Millisecond)
	status, _ := get(t, r.addr+"/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	s.ok("publish", "--company", company, "--type", "conversation.started", "--sample")
	require.Equal(t, "/flows", <-received)
	got := s.run("doctor")
	require.Equal(t, exitFailure, got.code)
	require.Contains(t, got.stdout, "late")
	got = s.run("keys", "status")
	require.Equal(t, exitFailure, got.code)
	require.Contains(t, got.stdout, "missing")
	require.Contains(t, got.stderr, "1 secrets or headers cannot be opened")
	require.Equal(t, exitFailure, s.run("keys", "rotate").code)

	require.NoError(t, os.WriteFile(onlyEarly, []byte("nonsense"), 0o600))
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	require.Eventually(t, func() bool { return strings.Contains(r.log.String(), "the old one stays") }, 20*time.Second, 20*time.Millisecond)
	require.NoError(t, os.WriteFile(onlyEarly, []byte(early.Reveal()+"\n"+late.Reveal()), 0o600))
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	require.Equal(t, "/waits", <-received)
	require.Eventually(t, func() bool {
		status, _ := get(t, r.addr+"/readyz")
		return status == http.StatusOK
	}, 20*time.Second, 20*time.Millisecond)
	require.Equal(t, exitOK, r.stop(), r.log)
	require.Contains(t, s.ok("audit"), "unaccounted: 0\n")
	require.NotContains(t, r.log.String(), strings.TrimPrefix(late.Reveal(), "late:"))
}

func TestDevKeepsItsOwnKeyringAndTheOtherVerbsFindIt(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())

	verb := &app{}
	none, err := verb.keyring()
	require.NoError(t, err)
	require.Empty(t, none.First())

	a := &app{databaseURL: "of the private cluster"}
	require.NoError(t, a.ensureDevKeys())
	first, err := os.ReadFile(devKeysFile())
	require.NoError(t, err)
	info, err := os.Stat(devKeysFile())
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	ring, err := a.requireKeyring()
	require.NoError(t, err)
	require.Equal(t, "dev", ring.First())

	require.NoError(t, (&app{databaseURL: "again"}).ensureDevKeys())
	again, err := os.ReadFile(devKeysFile())
	require.NoError(t, err)
	require.Equal(t, first, again, "the next run has the same")
	ring, err = verb.keyring()
	require.NoError(t, err)
	require.Equal(t, "dev", ring.First(), "on the private cluster")
	ring, err = (&app{databaseURL: "postgres://elsewhere/"}).keyring()
	require.NoError(t, err)
	require.Empty(t, ring.First(), "never on another database")
	ring, err = (&app{sealKeys: relaytest.Key(t, "given").Reveal()}).keyring()
	require.NoError(t, err)
	require.Equal(t, "given", ring.First(), "what was given goes first")
}
