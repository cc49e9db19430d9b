package cluster

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// ownerVariable makes this test binary own the cluster in the folder it names, until it is killed.
const ownerVariable = "SURVEYHOOKS_TEST_CLUSTER_OWNER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(ownerVariable); dir != "" {
		s, err := Start(context.Background(), Config{Dir: dir})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("ready", s.Attached)
		select {} // until the kill
	}
	goleak.VerifyTestMain(m)
}

// folder is a short-lived folder that the user who stands in for root can reach; t.TempDir is not.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cluster") //nolint:usetesting // as said
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	pg := filepath.Join(dir, "pg")
	t.Cleanup(func() {
		if h, err := openHome(Config{Dir: pg, Logf: t.Logf}); err == nil {
			require.NoError(t, os.RemoveAll(h.socket))
		} else {
			t.Log(err)
		}
		require.NoError(t, os.RemoveAll(dir))
	})
	return pg
}

func start(t *testing.T, config Config) *Server {
	t.Helper()
	config.Logf = t.Logf
	s, err := Start(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Stop()) })
	return s
}

func ask(t *testing.T, s *Server, query string) string {
	t.Helper()
	db, err := sql.Open("postgres", s.DSN(""))
	require.NoError(t, err)
	defer db.Close()
	var answer string
	require.NoError(t, db.QueryRowContext(t.Context(), query).Scan(&answer))
	return answer
}

func TestStartIsPrivateAndDurable(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: folder(t)})

	require.False(t, s.Attached)
	require.Equal(t, "UTF8", ask(t, s, "SHOW server_encoding"))
	require.Empty(t, ask(t, s, "SHOW listen_addresses"))
	require.Equal(t, "300", ask(t, s, "SHOW max_connections"))
	require.Equal(t, "on", ask(t, s, "SHOW fsync"))
	require.Regexp(t, `/data-\d+$`, ask(t, s, "SHOW data_directory"))
	st, err := os.Stat(s.home.socket)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), st.Mode().Perm())
	require.Less(t, len(s.home.socket+"/.s.PGSQL.5432"), 104)
}

func TestUnsafeTurnsFsyncOff(t *testing.T) {
	t.Parallel()
	require.Equal(t, "off", ask(t, start(t, Config{Dir: folder(t), Unsafe: true}), "SHOW fsync"))
}

func TestSecondStartAttachesAndDoesNotStop(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: folder(t)})
	a := start(t, Config{Dir: s.Dir})

	require.True(t, a.Attached)
	require.Error(t, a.Restart(t.Context()))
	require.NoError(t, a.Stop())
	require.Equal(t, "1", ask(t, s, "SELECT 1"))
}

func TestStopIsIdempotentAndDataSurvives(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: folder(t)})
	require.Equal(t, "7", ask(t, s, "CREATE TABLE kept AS SELECT 7 AS n; SELECT n FROM kept"))
	require.NoError(t, s.Stop())
	require.NoError(t, s.Stop())

	again := start(t, Config{Dir: s.Dir})
	require.False(t, again.Attached)
	require.Equal(t, "7", ask(t, again, "SELECT n FROM kept"))
}

func TestFirstStartsAtOnceMakeOneServer(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	servers := make([]*Server, 6)
	var wg sync.WaitGroup
	for i := range servers {
		wg.Go(func() { servers[i], _ = Start(t.Context(), Config{Dir: dir}) })
	}
	wg.Wait()

	owners := 0
	for _, s := range servers {
		require.NotNil(t, s)
		require.Equal(t, "1", ask(t, s, "SELECT 1"))
		if !s.Attached {
			owners++
		}
	}
	for _, s := range servers {
		require.NoError(t, s.Stop())
	}
	require.Equal(t, 1, owners)
}

func TestRestartComesBackWithTheSameAddress(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: folder(t)})
	before := ask(t, s, "CREATE TABLE kept AS SELECT 7 AS n; SELECT pg_postmaster_start_time()")
	require.NoError(t, s.Restart(t.Context()))
	require.Equal(t, "7", ask(t, s, "SELECT n FROM kept"))
	require.NotEqual(t, before, ask(t, s, "SELECT pg_postmaster_start_time()"))
}

func TestKilledPostmasterLeavesNothingInTheWay(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: folder(t)})
	for _, restart := range []func() *Server{
		func() *Server { return start(t, Config{Dir: s.Dir}) },
		func() *Server { require.NoError(t, s.Restart(t.Context())); return s },
	} {
		pid, alive := s.home.postmaster()
		require.True(t, alive)
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		next := restart()
		require.False(t, next.Attached)
		require.Equal(t, "1", ask(t, next, "SELECT 1"))
		require.NoError(t, next.Stop())
		require.NoError(t, s.Stop(), "the death was not the owner's failure")
		s = start(t, Config{Dir: s.Dir})
	}
}

func TestStrangerWithThePostmastersNumberIsNoRival(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: folder(t)})
	require.NoError(t, s.Stop())
	data := s.data

	stranger := exec.CommandContext(t.Context(), "sleep", "600")
	stranger.SysProcAttr = &syscall.SysProcAttr{Credential: s.home.credential()} // else the number would not frighten
	require.NoError(t, stranger.Start())
	defer func() { _ = stranger.Process.Kill(); _ = stranger.Wait() }()
	text := fmt.Sprintf("%d\n%s\n1\n5432\n%s\n\n  1 1\n", stranger.Process.Pid, data, s.home.socket)
	file := filepath.Join(data, "postmaster.pid")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	require.NoError(t, os.Chown(file, s.home.uid, s.home.gid))

	require.Equal(t, "1", ask(t, start(t, Config{Dir: s.Dir}), "SELECT 1"))
}

func TestServerHasItsOwnProcessGroup(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: folder(t)})
	pid, _ := s.home.postmaster()
	group, err := syscall.Getpgid(pid)
	require.NoError(t, err)
	require.NotEqual(t, syscall.Getpgrp(), group, "Ctrl-C in the terminal would end the database before its owner")
}

func TestOwnerKilledLeavesAClusterThatStarts(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	owner := exec.CommandContext(t.Context(), os.Args[0])
	owner.Env = append(os.Environ(), ownerVariable+"="+dir)
	out, err := owner.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, owner.Start())
	line := make([]byte, 200)
	n, err := out.Read(line)
	require.NoError(t, err)
	require.Equal(t, "ready false", strings.TrimSpace(string(line[:n])))
	a := start(t, Config{Dir: dir})
	require.True(t, a.Attached)
	require.Equal(t, "7", ask(t, a, "CREATE TABLE kept AS SELECT 7 AS n; SELECT n FROM kept"))

	require.NoError(t, owner.Process.Kill())
	_ = owner.Wait()
	// Wait for the orphan's end, where the kernel brings it, so that the new server is surely a new one.
	require.NoError(t, Halt(t.Context(), Config{Dir: dir}))
	require.Equal(t, "7", ask(t, start(t, Config{Dir: dir}), "SELECT n FROM kept"))
}

func TestOrphanIsTakenOver(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	owner := exec.CommandContext(t.Context(), os.Args[0])
	owner.Env = append(os.Environ(), ownerVariable+"="+dir)
	out, err := owner.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, owner.Start())
	_, err = out.Read(make([]byte, 200))
	require.NoError(t, err)
	require.NoError(t, owner.Process.Kill())
	_ = owner.Wait()

	// At once: the orphan may still answer, be shutting down, or be gone. A start copes with all three.
	s := start(t, Config{Dir: dir})
	t.Cleanup(func() { require.NoError(t, Halt(context.Background(), Config{Dir: dir})) })
	require.NotEmpty(t, s.Dir)
}

func TestDetachedServerOutlivesStopAndHaltEndsIt(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: folder(t), Unsafe: true, Detached: true})
	require.NoError(t, s.Stop())
	require.Equal(t, "1", ask(t, s, "SELECT 1"))
	require.NoError(t, Halt(t.Context(), Config{Dir: s.Dir}))
	require.NoError(t, Halt(t.Context(), Config{Dir: s.Dir}), "nothing to end is no error")
	_, alive := s.home.postmaster()
	require.False(t, alive)
}

func TestInterruptedFirstStartLeavesNothingHalfMade(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: folder(t)})
	require.NoError(t, s.Stop())
	// What a kill in the middle of initdb leaves: a folder aside, with some files.
	require.NoError(t, os.Rename(s.data, s.data+".new"))
	require.NoError(t, os.Remove(filepath.Join(s.data+".new", "postgresql.conf")))
	require.Equal(t, "1", ask(t, start(t, Config{Dir: s.Dir}), "SELECT 1"))
}

func TestUnreachableFolderIsReplacedForRoot(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "pg") // 0700 and root's, when we are root
	s := start(t, Config{Dir: dir})
	if os.Geteuid() == 0 {
		require.True(t, strings.HasPrefix(s.Dir, "/var/tmp/surveyhooks-pg-"), s.Dir)
		t.Cleanup(func() { _ = s.Stop(); _ = os.RemoveAll(s.Dir); _ = os.RemoveAll(s.home.socket) })
	} else {
		require.Equal(t, dir, s.Dir)
	}
	require.True(t, start(t, Config{Dir: dir}).Attached, "the replacement is found again")
}

func TestForeignSocketFolderIsRefused(t *testing.T) {
	t.Parallel()
	s := start(t, Config{Dir: folder(t)})
	require.NoError(t, s.Stop())
	require.NoError(t, os.RemoveAll(s.home.socket))
	require.NoError(t, os.Symlink(t.TempDir(), s.home.socket))
	t.Cleanup(func() { require.NoError(t, os.Remove(s.home.socket)) })
	_, err := Start(t.Context(), Config{Dir: s.Dir})
	require.ErrorContains(t, err, "remove it")
}

func TestStartEndsWithItsContext(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	unlock, err := lockFile(t.Context(), filepath.Join(dir, "start.lock"))
	require.NoError(t, err)
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Start(ctx, Config{Dir: dir})
	require.ErrorIs(t, err, context.Canceled)
}
