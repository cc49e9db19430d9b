package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// patience is how long a server that lives but cannot be reached is waited for, before it is asked to end.
	patience = 10 * time.Second
	// settleLimit bounds the wait for a server that another process starts or stops; crash recovery can take a while.
	settleLimit = 2 * time.Minute

	tick = 10 * time.Millisecond
)

// settle waits until the folder's server answers (true) or is certainly gone (false). It is called under the lock.
func (h *home) settle(ctx context.Context, logf func(string, ...any)) (bool, error) {
	begin, asked := time.Now(), false
	for {
		state := h.probe(ctx)
		if state == answers {
			return true, nil
		}
		pid, alive := h.postmaster()
		if !alive && state != busy { // busy without a process we can see: it runs in another container
			return false, nil
		}
		waited := time.Since(begin)
		// Its socket may have been swept from /tmp. Nobody can reach it then, and no other can start beside it.
		if alive && state == silent && waited > patience && !asked {
			logf("PostgreSQL (pid %d) in %s does not answer: stopping it", pid, h.dir)
			_ = syscall.Kill(pid, syscall.SIGINT) // gone already is as good
			asked = true
		}
		if waited > settleLimit {
			return false, fmt.Errorf("start cluster: PostgreSQL (pid %d) in %s neither answers nor ends: stop it by hand", pid, h.dir)
		}
		if err := pause(ctx, tick); err != nil {
			return false, fmt.Errorf("wait for cluster: %w", err)
		}
	}
}

// halt ends whatever server runs in the folder.
func (h *home) halt(ctx context.Context, logf func(string, ...any)) error {
	for asked := 0; ; {
		pid, alive := h.postmaster()
		if !alive {
			return nil
		}
		if pid != asked {
			logf("stopping PostgreSQL (pid %d) in %s", pid, h.dir)
			if err := syscall.Kill(pid, syscall.SIGINT); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("signal %d: %w", pid, err)
			}
			asked = pid
		}
		if err := pause(ctx, tick); err != nil {
			return err
		}
	}
}

// postmaster is the live server of this folder, if any.
func (h *home) postmaster() (int, bool) {
	for _, data := range h.folders() {
		if pid := recordedPID(data); pid > 0 && runsOn(pid, data) {
			return pid, true
		}
	}
	return 0, false
}

// recordedPID is the process that postmaster.pid names, or 0. The file outlives a kill -9.
func recordedPID(data string) int {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 1 {
		return 0
	}
	return pid
}

// runsOn reports whether process pid is a server of this data folder, and not a stranger who got the number of a dead
// one, as happens after every restart of a container.
func runsOn(pid int, data string) bool {
	if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
		return false
	}
	if runtime.GOOS == "linux" {
		cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)) // a postmaster lives in its data folder
		return err == nil && sameFile(cwd, data)
	}
	out, err := exec.Command("ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output() //nolint:noctx,gosec // our own words, instant
	return err == nil && strings.Contains(string(out), data)
}

func sameFile(a, b string) bool {
	sa, errA := os.Stat(a)
	sb, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(sa, sb)
}

// pause waits, or says why not.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// lockFile takes the lock that at most one starter holds. The kernel drops it with the process, so it is never stale.
func lockFile(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open: %w", err)
	}
	for {
		// Not the blocking form: it would outlast ctx.
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("flock: %w", err)
		}
		if err := pause(ctx, tick); err != nil {
			_ = f.Close()
			return nil, err
		}
	}
}
