package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// program is the command as a process of its own, with a home of its own.
type program struct {
	t   *testing.T
	bin string
	env []string
}

func newProgram(t *testing.T) program {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "surveyhooks")
	said, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, ".").CombinedOutput()
	require.NoError(t, err, "%s", said)
	home := t.TempDir()
	return program{t, bin, []string{"HOME=" + home, "XDG_CACHE_HOME=" + home, "PATH=" + os.Getenv("PATH")}}
}

func (p program) run(args ...string) answer {
	p.t.Helper()
	var out, talk bytes.Buffer
	cmd := exec.CommandContext(context.WithoutCancel(p.t.Context()), p.bin, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, &out, &talk
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return answer{exit.ExitCode(), out.String(), talk.String()}
	}
	require.NoError(p.t, err)
	return answer{exitOK, out.String(), talk.String()}
}

// dev runs surveyhooks dev until its guide is on the screen, ends it as Ctrl-C does, and returns what it said.
func (p program) dev() string {
	p.t.Helper()
	out, talk := &page{}, &page{}
	cmd := exec.CommandContext(p.t.Context(), p.bin, "dev", "--listen-addr", "127.0.0.1:0", "--receiver-addr", "127.0.0.1:0")
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, out, talk
	require.NoError(p.t, cmd.Start())
	out.has(p.t, "What arrives:")
	require.NoError(p.t, cmd.Process.Signal(os.Interrupt))
	require.NoError(p.t, cmd.Wait(), talk)
	return talk.String()
}

// TestPGIsAServerThatOutlivesTheCommand takes the private PostgreSQL from its making to its end, each step by a process
// of its own.
func TestPGIsAServerThatOutlivesTheCommand(t *testing.T) {
	t.Parallel()

	p := newProgram(t)
	for _, verb := range []string{"dsn", "psql"} {
		got := p.run("pg", verb)
		require.Equal(t, exitUnavailable, got.code)
		require.Contains(t, got.stderr, "surveyhooks pg ensure")
	}
	require.JSONEq(t, `{"stopped":false}`, p.run("pg", "stop", "-o", "json").stdout)

	got := p.run("pg", "ensure", "-o", "json")
	require.Equal(t, exitOK, got.code, got.stderr)
	var made struct {
		DSN, Folder string
		Started     bool
	}
	require.NoError(t, json.Unmarshal([]byte(got.stdout), &made))
	t.Cleanup(func() {
		require.Equal(t, exitOK, p.run("pg", "stop", "--yes").code)
		require.NoError(t, os.RemoveAll(made.Folder))
	})
	require.True(t, made.Started)
	require.Contains(t, p.run("pg", "ensure", "-o", "json").stdout, `"started": false`)
	require.Equal(t, exitOK, p.run("endpoints", "list").code, "it is migrated, and has the logins")
	require.Equal(t, exitOK, p.run("seed", "--company", company, "--count", "3").code, "it is nobody's: no --yes")
	require.Contains(t, p.run("keys", "status").stdout, "dev\tseals", "and the keyring")

	for login, user := range map[string]string{"owner": "surveyhooks", "relay": devRelay, "app": devApp} {
		require.Contains(t, p.run("pg", "dsn", "--login", login).stdout, "user="+user+" ")
		got := p.run("pg", "psql", "--login", login, "--", "-X", "-At", "-c", "SELECT current_user")
		require.Equal(t, answer{exitOK, user + "\n", ""}, got)
	}
	script := filepath.Join(t.TempDir(), "fails.sql")
	require.NoError(t, os.WriteFile(script, []byte("SELECT 1/0;"), 0o600))
	require.Equal(t, 3, p.run("pg", "psql", "--", "-X", "-v", "ON_ERROR_STOP=1", "-f", script).code, "psql's own word for it")
	require.Equal(t, exitUsage, p.run("pg", "dsn", "--login", "root").code)

	require.Contains(t, p.dev(), "PostgreSQL ran before, and goes on")
	require.Equal(t, exitOK, p.run("pg", "dsn").code)

	db, err := openDatabase(made.DSN)
	require.NoError(t, err)
	require.NoError(t, db.PingContext(t.Context()))
	got = p.run("pg", "stop")
	require.Equal(t, exitUsage, got.code)
	require.Contains(t, got.stderr, "connections of others: 1,")
	require.NoError(t, db.PingContext(t.Context()), "it was left alone")
	require.NoError(t, db.Close())
	require.JSONEq(t, `{"stopped":true}`, p.run("pg", "stop", "-o", "json").stdout)
	require.Equal(t, exitUnavailable, p.run("endpoints", "list").code)

	require.Equal(t, exitOK, p.run("pg", "ensure").code)
	p.env = append(p.env[:2:2], "PATH=/nonexistent")
	got = p.run("pg", "psql")
	require.Equal(t, exitFailure, got.code)
	require.Contains(t, strings.ToLower(got.stderr), "there is no psql in path")
}
