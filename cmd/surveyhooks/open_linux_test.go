package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOpenPrintsALinkAndOpensItWhereSomebodyLooks has a program in the browser's place that notes what it is given.
func TestOpenPrintsALinkAndOpensItWhereSomebodyLooks(t *testing.T) {
	t.Parallel()

	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	base := "http://" + listener.Addr().String()
	bin := t.TempDir()
	noted := filepath.Join(bin, "noted")
	require.NoError(t, os.WriteFile(filepath.Join(bin, "xdg-open"), []byte("#!/bin/sh\necho \"$1\" >>"+noted+"\ntest -z \"$BROKEN\"\n"), 0o700))
	opened := func() []string {
		text, _ := os.ReadFile(noted) // none yet
		require.NoError(t, os.RemoveAll(noted))
		return strings.Fields(string(text))
	}
	s := newShell(t).with("PATH="+bin, "DISPLAY=:0", "USER=grace", "SURVEYHOOKS_PUBLIC_URL="+base)

	code, shown := s.on(newTerminal(t), "open")
	require.Equal(t, exitOK, code)
	require.Regexp(t, `^`+base+`/portal/sign-in\?token=whl_[\w-]+\n$`, shown)
	require.Equal(t, strings.Fields(shown), opened())

	for name, quiet := range map[string]func() (int, string){
		"NoTerminal": func() (int, string) { got := s.run("open"); return got.code, got.stdout },
		"NoDisplay":  func() (int, string) { return s.with("DISPLAY=").on(newTerminal(t), "open") },
		"NoProgram":  func() (int, string) { return s.with("PATH=/nonexistent").on(newTerminal(t), "open") },
		"Print":      func() (int, string) { return s.on(newTerminal(t), "open", "--print") },
		"NoServer":   func() (int, string) { return s.on(newTerminal(t), "open", "--public-url", "http://127.0.0.1:1") },
	} {
		code, shown := quiet()
		require.Equal(t, exitOK, code, name)
		require.Contains(t, shown, "/portal/sign-in?token=whl_", name)
		require.Empty(t, opened(), name)
	}
	require.Contains(t, s.run("open", "--public-url", "http://127.0.0.1:1").stderr, "nothing answers at http://127.0.0.1:1")
	code, shown = s.with("BROKEN=1").on(newTerminal(t), "open", "--company", company, "--as", "ada")
	require.Equal(t, exitOK, code, "the link is there all the same")
	require.Equal(t, strings.Fields(shown), opened())

	trail := s.list("sessions", "trail", "--limit", "1")
	require.Equal(t, company, trail[0]["company_id"])
	require.Contains(t, s.ok("sessions", "trail"), "cli:grace")
	require.Equal(t, "operator", s.object("open", "--print")["role"])
	require.Equal(t, exitUsage, s.run("open", "--public-url", "http://example.com").code)
}
