// Package cluster gives a process a private PostgreSQL: it finds server binaries on the machine or fetches them, makes
// a data folder on first use, and runs the server on a unix socket only.
//
// It promises that any number of processes may call Start on one folder at once: one of them starts the server, the
// others attach to it. A folder that a crash left behind (stale postmaster.pid, half-made data, an orphaned server)
// is taken over without an operator. It never listens on a network address, never runs PostgreSQL as root, and never
// touches a server or a data folder that it did not make.
//
//	       Start: nobody answers             Start: somebody answers
//	stopped ────────────────────▶ owned      ───────────────────────▶ attached
//	   ▲   Stop, end of the owner  │ ▲                                   Stop does nothing
//	   └───────────────────────────┘ └─ Restart
//
// # Failure handling
//
// On Linux the kernel ends the server with its owner, even after kill -9; elsewhere the orphan runs on and the next
// Start attaches to it. The server has a process group of its own, so that Ctrl-C reaches the owner first, who still
// needs the database to shut down in order.
package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// Config says where the cluster lives and how it runs. The zero value is a durable cluster in the user's cache folder.
type Config struct {
	// Dir holds data, log, lock and fetched binaries. Default: surveyhooks/postgres below os.UserCacheDir. Root cannot
	// run PostgreSQL: when the user that stands in for root cannot reach Dir, a folder below /var/tmp is used instead.
	Dir string
	// Unsafe turns fsync off: faster, and a power cut destroys the data. For tests.
	Unsafe bool
	// NoSearch ignores installed servers and takes the npm bundle.
	NoSearch bool
	// Detached lets the server outlive this process; Stop does nothing and Halt ends it. For a server that many test
	// processes share.
	Detached bool
	// Logf is told what Start does, most of all while it fetches or builds. Default: silence. It is called by Start,
	// Restart and Halt only, from the caller's goroutine.
	Logf func(format string, args ...any)
}

// Server is a running cluster. Its methods may be called from several goroutines.
type Server struct {
	// Attached reports that the server was running already: it belongs to somebody else, who ends it.
	Attached bool
	// Dir is the folder really used, which is not Config.Dir when root could not use that.
	Dir string
	// Bin is the folder of the server's programs; empty when attached.
	Bin string

	config Config
	home   home

	mu   sync.Mutex
	proc *process // nil when attached, detached or stopped
	data string
}

// Start attaches to the cluster in config.Dir, or starts it: it then finds or fetches binaries and makes the data
// folder if there is none for their major version. It returns when the server takes connections. An error says what
// to install when no binaries can be had.
func Start(ctx context.Context, config Config) (*Server, error) {
	if config.Logf == nil {
		config.Logf = func(string, ...any) {}
	}
	h, err := openHome(config)
	if err != nil {
		return nil, fmt.Errorf("open cluster: %w", err)
	}
	s := &Server{Dir: h.dir, config: config, home: h}
	if h.probe(ctx) == answers { // the common case of tests, without waiting for the lock
		s.Attached = true
		return s, nil
	}
	unlock, err := lockFile(ctx, filepath.Join(h.dir, "start.lock"))
	if err != nil {
		return nil, fmt.Errorf("lock cluster %s: %w", h.dir, err)
	}
	defer unlock()
	if s.Attached, err = h.settle(ctx, config.Logf); err != nil || s.Attached {
		return s.orNil(err)
	}
	b, err := binaries(ctx, config, h)
	if err != nil {
		return nil, fmt.Errorf("start cluster: %w", err)
	}
	s.Bin = b.dir
	if s.data, err = h.makeData(ctx, b, config); err != nil {
		return nil, fmt.Errorf("make cluster: %w", err)
	}
	return s.orNil(s.run(ctx))
}

// DSN is the lib/pq connection string for a database of the cluster; an empty name is the database "postgres".
func (s *Server) DSN(dbname string) string { return s.home.dsn(cmp.Or(dbname, "postgres")) }

// Stop ends the server that this Server started: it disconnects clients and writes everything out, bounded to half a
// minute. It does nothing when attached, detached, already stopped, or when the server has died by itself.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return nil
	}
	err := s.proc.stop()
	s.proc = nil
	if err != nil {
		return fmt.Errorf("stop cluster %s: %w", s.Dir, err)
	}
	return nil
}

// Restart ends the server at once, as a crash would (SIGQUIT: no checkpoint, clients cut off), and starts it on the
// same data. It is for tests of faults, works on a server that has died, and is an error when attached or detached.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Attached || s.config.Detached {
		return errors.New("restart cluster: another process owns the server; restart it there")
	}
	unlock, err := lockFile(ctx, filepath.Join(s.Dir, "start.lock"))
	if err != nil {
		return fmt.Errorf("lock cluster %s: %w", s.Dir, err)
	}
	defer unlock()
	if s.proc != nil {
		s.proc.quit()
		s.proc = nil
	}
	return s.run(ctx)
}

// Halt ends the server in dir, whoever started it, and returns when it is gone. No server is not an error.
func Halt(ctx context.Context, config Config) error {
	if config.Logf == nil {
		config.Logf = func(string, ...any) {}
	}
	h, err := openHome(config)
	if err != nil {
		return fmt.Errorf("open cluster: %w", err)
	}
	unlock, err := lockFile(ctx, filepath.Join(h.dir, "start.lock"))
	if err != nil {
		return fmt.Errorf("lock cluster %s: %w", h.dir, err)
	}
	defer unlock()
	if err := h.halt(ctx, config.Logf); err != nil {
		return fmt.Errorf("halt cluster %s: %w", h.dir, err)
	}
	return nil
}

func (s *Server) orNil(err error) (*Server, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// arguments are the server's command line. Every setting that environment or postgresql.conf could bend is named.
func (s *Server) arguments() []string {
	args := []string{
		"-D", s.data, "-k", s.home.socket, "-p", port,
		"-c", "listen_addresses=",
		"-c", "max_connections=300",
		"-c", "timezone=UTC",
		"-c", "log_timezone=UTC",
		"-c", "log_min_messages=warning",
	}
	if s.config.Unsafe {
		args = append(args, "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
	}
	return args
}

// environment is ours without what would bend the server: its own variables and the locale.
func environment(more ...string) []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "PG") && !strings.HasPrefix(kv, "LC_") && !strings.HasPrefix(kv, "LANG") {
			env = append(env, kv)
		}
	}
	return append(append(env, "LC_ALL=C"), more...)
}
