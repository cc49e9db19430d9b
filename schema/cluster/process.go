package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	readyLimit = time.Minute // crash recovery of a development database included
	fastLimit  = 20 * time.Second
	quitLimit  = 5 * time.Second
	logLimit   = 10 << 20
	logTail    = 4 << 10
)

// process is the postmaster that we started.
type process struct {
	cmd      *exec.Cmd
	detached bool          // nobody waits for it: reap looks
	done     chan struct{} // closed when it has ended
	err      error         // how it ended; read after done
}

// run starts the server on s.data and waits until it takes connections. It is called under the start lock.
func (s *Server) run(ctx context.Context) error {
	if err := s.home.own(s.home.socket); err != nil { // a sweep of /tmp may have taken it since
		return fmt.Errorf("start cluster %s: %w", s.Dir, err)
	}
	deadline := time.Now().Add(readyLimit)
	for {
		proc, tail, err := s.attempt(ctx, deadline)
		if err == nil {
			if !s.config.Detached {
				s.proc = proc
			}
			return nil
		}
		// After a kill -9 of the postmaster its children need a moment to notice; PostgreSQL refuses until then.
		if !strings.Contains(tail, "shared memory block") || time.Now().After(deadline) {
			return fmt.Errorf("start cluster %s: %w", s.Dir, err)
		}
		if err := pause(ctx, 5*tick); err != nil {
			return fmt.Errorf("start cluster %s: %w", s.Dir, err)
		}
	}
}

// attempt launches the server once; tail is the end of its log when it failed.
func (s *Server) attempt(ctx context.Context, deadline time.Time) (proc *process, tail string, err error) {
	log, err := openLog(filepath.Join(s.Dir, "postgres.log"))
	if err != nil {
		return nil, "", err
	}
	defer log.Close()
	from, _ := log.Seek(0, io.SeekEnd)

	cmd := exec.Command(filepath.Join(s.Bin, "postgres"), s.arguments()...) //nolint:noctx,gosec // outlives ctx on purpose; our own words
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = environment(), "/", log, log
	if pid := recordedPID(s.data); pid > 0 && !runsOn(pid, s.data) {
		// A stranger may have the dead server's number, and PostgreSQL would take it for the server. pg_ctl's own
		// variable says "this number is not a rival", and leaves the check of shared memory in force.
		cmd.Env = append(cmd.Env, "PG_GRANDPARENT_PID="+strconv.Itoa(pid))
	}
	cmd.SysProcAttr = procAttr(s.home, s.config.Detached)
	if proc, err = launch(cmd, s.config.Detached); err != nil {
		return nil, "", err
	}
	for {
		// The number tells our server from one that somebody else started in its place.
		if s.home.probe(ctx) == answers && recordedPID(s.data) == cmd.Process.Pid {
			return proc, "", nil
		}
		proc.reap()
		select {
		case <-proc.done:
			tail = readFrom(log, from)
			return nil, tail, fmt.Errorf("postgres ended (%w): %s", cmpErr(proc.err), tail)
		case <-time.After(tick):
		}
		if err := ctx.Err(); err != nil || time.Now().After(deadline) {
			if stopErr := proc.stop(); stopErr != nil {
				err = errors.Join(err, stopErr)
			}
			return nil, "", fmt.Errorf("postgres is not ready (%w): %s", cmpErr(err), readFrom(log, from))
		}
	}
}

// launch starts cmd on a thread that lives as long as it: the death signal follows the thread. A detached one has no
// death signal, and no goroutine stays behind for it.
func launch(cmd *exec.Cmd, detached bool) (*process, error) {
	p := &process{cmd: cmd, detached: detached, done: make(chan struct{})}
	if detached {
		if err := cmd.Start(); err != nil {
			return nil, fmt.Errorf("launch postgres: %w", err)
		}
		return p, nil
	}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("launch postgres: %w", err)
	}
	return p, nil
}

// reap notices the end of a detached server. Only its starter calls it, and only until it is ready.
func (p *process) reap() {
	if !p.detached {
		return
	}
	var status syscall.WaitStatus
	if pid, err := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WNOHANG, nil); err == nil && pid == p.cmd.Process.Pid {
		p.err = fmt.Errorf("exit status %d", status.ExitStatus())
		close(p.done)
	}
}

// stop ends the server in order, then less so: fast shutdown, immediate shutdown, kill.
func (p *process) stop() error {
	if p.ended(0) {
		return nil // it died before we asked, which is not our failure
	}
	_ = p.cmd.Process.Signal(syscall.SIGINT) // ended in between: done says so
	if p.ended(fastLimit) {
		if exit, ok := errors.AsType[*exec.ExitError](p.err); ok && !exit.Exited() {
			return nil // PostgreSQL handles SIGINT: another signal was faster, as if it had died before
		}
		return p.err
	}
	p.quit()
	return fmt.Errorf("no fast shutdown within %v: it was killed, the next start recovers", fastLimit)
}

// quit ends the server at once.
func (p *process) quit() {
	_ = p.cmd.Process.Signal(syscall.SIGQUIT)
	if !p.ended(quitLimit) {
		_ = p.cmd.Process.Kill()
		p.ended(quitLimit)
	}
}

func (p *process) ended(within time.Duration) bool {
	for limit := time.After(within); ; {
		p.reap()
		select {
		case <-p.done:
			return true
		case <-limit:
			select { // both may be ready, and select has no order
			case <-p.done:
				return true
			default:
				return false
			}
		case <-time.After(tick):
		}
	}
}

// openLog appends, so that a restart keeps the reason for the crash before it, and begins anew when it has grown.
func openLog(path string) (*os.File, error) {
	flags := os.O_CREATE | os.O_RDWR | os.O_APPEND
	if st, err := os.Stat(path); err == nil && st.Size() > logLimit {
		flags |= os.O_TRUNC
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return f, nil
}

func readFrom(f *os.File, from int64) string {
	if st, err := f.Stat(); err == nil {
		from = max(from, st.Size()-logTail)
	}
	text, _ := io.ReadAll(io.NewSectionReader(f, from, logTail)) // what can be read is better than nothing
	return strings.TrimSpace(string(text))
}

func cmpErr(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// makeData is the data folder for these binaries, made on first use. It is built aside and renamed, so that an
// interrupted initdb leaves nothing that looks finished.
func (h *home) makeData(ctx context.Context, b build, config Config) (string, error) {
	data := filepath.Join(h.dir, "data-"+strconv.Itoa(b.major))
	if _, err := os.Stat(data); err == nil {
		return data, nil
	}
	for _, old := range h.folders() {
		config.Logf("keeping %s; PostgreSQL %d starts with an empty one", old, b.major)
	}
	fresh := data + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return "", fmt.Errorf("remove half-made data: %w", err)
	}
	if err := h.own(fresh); err != nil {
		return "", err
	}
	config.Logf("making a PostgreSQL %d data folder in %s (once)", b.major, data)
	args := []string{
		"-D", fresh, "-U", superuser, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-instructions",
	}
	if config.Unsafe {
		args = append(args, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, filepath.Join(b.dir, "initdb"), args...) //nolint:gosec // found or fetched by us
	cmd.Env, cmd.Dir, cmd.SysProcAttr = environment(), "/", procAttr(*h, false)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("initdb: %w: %s", err, out)
	}
	if err := os.Rename(fresh, data); err != nil {
		return "", fmt.Errorf("finish data folder: %w", err)
	}
	return data, nil
}
