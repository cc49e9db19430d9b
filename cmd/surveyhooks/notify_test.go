package main

import (
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// systemd is the end of NOTIFY_SOCKET that systemd holds.
type systemd struct {
	t    *testing.T
	conn *net.UnixConn
}

func listenAsSystemd(t *testing.T, socket string) systemd {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return systemd{t, conn}
}

// hears is the next state that comes within a time, or "".
func (s systemd) hears(within time.Duration) string {
	s.t.Helper()
	require.NoError(s.t, s.conn.SetReadDeadline(time.Now().Add(within)))
	buffer := make([]byte, 4096)
	n, err := s.conn.Read(buffer)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ""
	}
	require.NoError(s.t, err)
	return string(buffer[:n])
}

// waitFor hears until a state comes.
func (s systemd) waitFor(state string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return s.hears(time.Second) == state }, 30*time.Second, time.Millisecond, state)
}

// TestServeTellsSystemdOfItsLife is the protocol of Type=notify on a real socket. The watchdog is
// fed while the relay's loop comes round, and not by a mere ticker.
func TestServeTellsSystemdOfItsLife(t *testing.T) {
	t.Parallel()

	socket := filepath.Join(t.TempDir(), "s") // its path has at most 107 bytes
	supervisor := listenAsSystemd(t, socket)
	s := newShell(t).with("NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=100000")
	r := s.serve("--lease", "400ms")
	require.Equal(t, "READY=1", supervisor.hears(30*time.Second), "before it nothing is told")
	status, _ := get(t, r.addr+"/readyz")
	require.Equal(t, http.StatusOK, status)
	supervisor.waitFor("WATCHDOG=1")

	db, err := openDatabase(strings.TrimPrefix(s.env[0], "SURVEYHOOKS_DATABASE_URL="))
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), `LOCK TABLE webhooks.lanes`) // the loop hangs, the process does not
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		status, _ := get(t, r.addr+"/livez")
		return status == http.StatusServiceUnavailable
	}, 30*time.Second, 20*time.Millisecond)
	require.Eventually(t, func() bool { return supervisor.hears(time.Second) == "" }, 30*time.Second, time.Millisecond)
	require.NoError(t, tx.Rollback())
	supervisor.waitFor("WATCHDOG=1")

	code := make(chan int, 1)
	go func() { code <- r.stop() }()
	supervisor.waitFor("STOPPING=1")
	require.Equal(t, exitOK, <-code, r.log)
}

func TestAbstractSocketAndAbsentOneAreTold(t *testing.T) {
	t.Parallel()

	abstract := "@surveyhooks-" + filepath.Base(t.TempDir()) + "-" + time.Now().Format("150405.000000000")
	heard := listenAsSystemd(t, abstract)
	supervisor{abstract}.tell(t.Context(), "READY=1")
	require.Equal(t, "READY=1", heard.hears(time.Second))
	supervisor{}.tell(t.Context(), "READY=1")
	supervisor{"/nonexistent/socket"}.tell(t.Context(), "READY=1")
	supervisor{abstract}.keepWatch(t.Context(), "", nil) // without WatchdogSec there is nothing to keep
}

// TestHangupTakesTheLogLevelOver reads the level's file again, and keeps the level when that cannot be meant.
func TestHangupTakesTheLogLevelOver(t *testing.T) {
	t.Parallel()

	file := filepath.Join(t.TempDir(), "log-level")
	require.NoError(t, os.WriteFile(file, []byte("info\n"), 0o600))
	r := newShell(t).with("SURVEYHOOKS_LOG_LEVEL_FILE=" + file).serve()
	for _, step := range []struct{ content, says string }{
		{"debug\n", `"level":"DEBUG","msg":"log level taken over"`},
		{"loud\n", `log level not taken over: the old one stays`},
		{"error\n", `"level":"ERROR","msg":"log level taken over"`},
	} {
		require.NoError(t, os.WriteFile(file, []byte(step.content), 0o600))
		hangUpUntil(t, r.log, step.says)
	}
	require.Equal(t, exitOK, r.stop(), r.log)
	require.NotContains(t, r.log.String(), `"surveyhooks stopped"`, "which is no error")
}

// hangUpUntil sends SIGHUP, which other tests of this process hear too and are to bear, until the log says something.
func hangUpUntil(t *testing.T, log *lines, message string) {
	t.Helper()
	require.Eventually(t, func() bool {
		require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
		return strings.Contains(log.String(), message)
	}, 20*time.Second, 50*time.Millisecond, "%s in %s", message, log)
}
