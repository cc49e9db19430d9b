package relay_test

import (
	"net/http"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// A process that may open nothing more cannot call anybody. That is its own trouble: no attempt uses up a retry or tells
// against an endpoint, and the backlog is not tried in vain from end to end.
func TestF11_NoFileLeftIsNobodysFault(t *testing.T) {
	t.Parallel()
	c := processes(t)
	anew := func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") } // every attempt needs a file
	const endpoints, events = 4, 200
	c.receiveAt(anew, anew, anew, anew)
	p := c.launch()
	c.relays = append(c.relays, p)
	_, err := c.db.ExecContext(t.Context(), addBacklog, c.company, 1, 10)
	require.NoError(t, err)
	c.await(within, endpoints, `SELECT count(*) FROM webhooks.journal WHERE fact = 'attempt.succeeded'`)
	c.await(within, 0, `SELECT count(*) FROM webhooks.pending`)

	usual := limitFiles(t, p.cmd.Process.Pid, openFiles(t, p.cmd.Process.Pid))
	_, err = c.db.ExecContext(t.Context(), addBacklog, c.company, events, 10)
	require.NoError(t, err)
	const local = `SELECT count(*) FROM webhooks.journal WHERE fact = 'attempt.failed' AND data ->> 'reason' = 'local'`
	require.Eventually(t, func() bool { return c.number(local) > 0 }, within, 10*time.Millisecond)
	var until time.Time
	require.NoError(t, c.db.QueryRowContext(t.Context(), `SELECT lease_until FROM webhooks.relays`).Scan(&until))
	require.Eventually(t, func() bool {
		return c.number(`SELECT count(*) FROM webhooks.relays WHERE lease_until > $1`, until) == 1
	}, within, 10*time.Millisecond, "it keeps its lease")
	tried := c.number(local)
	require.Less(t, tried, endpoints*events/2, "a lane that failed so rests for a second")
	limitFiles(t, p.cmd.Process.Pid, usual)

	c.await(within, 0, `SELECT count(*) FROM webhooks.pending`)
	require.Equal(t, endpoints*(1+events), c.number(`SELECT count(*) FROM webhooks.journal
 WHERE fact = 'attempt.succeeded' AND data ->> 'completed' = '1'`), "none used a retry up")
	require.Zero(t, c.number(`SELECT count(*) FROM webhooks.journal WHERE fact = 'attempt.failed' AND data ->> 'reason' <> 'local'`))
	require.Zero(t, c.number(`SELECT count(*) FROM webhooks.journal WHERE fact LIKE 'breaker.%'`))
	require.True(t, p.stop(), tail(p.log))
}

func openFiles(t *testing.T, pid int) uint64 {
	t.Helper()
	entries, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/fd")
	require.NoError(t, err)
	return uint64(len(entries))
}

// limitFiles changes how many files a process may have open, by prlimit(2), and returns how many it was.
func limitFiles(t *testing.T, pid int, files uint64) (before uint64) {
	t.Helper()
	var was syscall.Rlimit
	get := func(change *syscall.Rlimit) {
		_, _, errno := syscall.RawSyscall6(syscall.SYS_PRLIMIT64, uintptr(pid), syscall.RLIMIT_NOFILE,
			uintptr(unsafe.Pointer(change)), uintptr(unsafe.Pointer(&was)), 0, 0)
		require.Zero(t, errno, errno.Error())
	}
	get(nil)
	before = was.Cur
	get(&syscall.Rlimit{Cur: files, Max: was.Max})
	return before
}
