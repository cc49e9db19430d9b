package relay_test

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/relaytest"
	"github.com/chattosurvey/surveyhooks/schema/cluster"
)

// A server that recovers refuses connections with 57P03. One that recovers for as long as the test wants is a standby that
// takes no readers.
func TestF15_RelayThatStartsBeforeItsDatabaseWaitsForIt(t *testing.T) {
	t.Parallel()
	c := newChaos(t, 15)
	receiver := c.endpoint()
	require.NoError(t, c.transaction(t.Context(), 1, 0, false))
	require.NoError(t, c.server.Stop())
	data := dataOf(t, c.server)
	demote(t, data, "hot_standby = off")
	started := make(chan error, 1)
	go func() { started <- c.server.Restart(t.Context()) }()
	require.Eventually(t, func() bool {
		fault, ok := errors.AsType[*pq.Error](c.db.PingContext(t.Context()))
		return ok && fault.Code == "57P03"
	}, within, 10*time.Millisecond)

	p := c.launch()
	c.relays = append(c.relays, p)
	refused := func() int {
		text, err := os.ReadFile(p.log)
		require.NoError(t, err)
		return strings.Count(string(text), "57P03")
	}
	require.Eventually(t, func() bool { return refused() >= 3 }, within, 10*time.Millisecond, "it tries again and again: %s", tail(p.log))
	require.Less(t, refused(), 20, "and not all the time")
	promote(t, data)
	require.NoError(t, <-started)
	receiver.Await(t, 1, within)
	c.await(within, 0, `SELECT count(*) FROM webhooks.pending`)
	require.True(t, p.stop(), "the process that was started first ends in order: %s", tail(p.log))
	require.Len(t, receiver.Arrivals(), 1)
}

// The primary is killed, and its standby, which lacks the last transactions, is promoted. What was lost is lost: a delivery
// that was recorded there alone is made again, an event that was committed there alone has been sent and exists no more. But
// nothing may stand still, and above all not wait for numbers that the new server gives out again.
func TestF28_StandbyThatLacksTheLastCommitsIsPromoted(t *testing.T) {
	t.Parallel()
	c := newChaos(t, 28)
	receiver := c.endpoint()
	standby := c.replica()
	copied, err := sql.Open("postgres", standby.DSN(""))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, copied.Close()) })
	c.dsn = hosts(c.server.DSN(""), standby.DSN("")) + " target_session_attrs=read-write"
	p := c.launch()
	c.relays = append(c.relays, p)

	require.NoError(t, c.transaction(t.Context(), 1, 0, false))
	receiver.Await(t, 1, within)
	c.await(within, 0, `SELECT count(*) FROM webhooks.pending`)
	require.Eventually(t, func() bool {
		var caughtUp bool
		err := c.db.QueryRowContext(t.Context(), `SELECT count(*) = 1 AND bool_and(replay_lsn >= pg_current_wal_lsn()) FROM pg_stat_replication`).Scan(&caughtUp)
		return err == nil && caughtUp
	}, within, 10*time.Millisecond)
	// From here on the standby hears nothing more.
	for _, statement := range []string{`ALTER SYSTEM SET primary_conninfo = ''`, `SELECT pg_reload_conf()`} {
		_, err = copied.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	c.await(within, 0, `SELECT count(*) FROM pg_stat_replication`)
	const lost = 100 // more than the numbers that a sequence is ahead of its log
	require.NoError(t, c.transaction(t.Context(), lost, 0, false))
	receiver.Await(t, 1+lost, within)
	c.await(within, 0, `SELECT count(*) FROM webhooks.pending`)

	require.NoError(t, syscall.Kill(postmaster(t, dataOf(t, c.server)), syscall.SIGKILL))
	promote(t, dataOf(t, standby))
	_ = c.db.Close() // its server is gone
	c.db = copied
	require.Eventually(t, func() bool {
		var standing bool
		return copied.QueryRowContext(t.Context(), `SELECT pg_is_in_recovery()`).Scan(&standing) == nil && !standing
	}, within, 10*time.Millisecond)
	before := len(receiver.Arrivals())
	const after = 20
	require.NoError(t, c.transaction(t.Context(), after, 0, false))
	c.await(recovery, 0, `SELECT count(*) FROM public.truth WHERE event_id NOT IN (SELECT event_id FROM webhooks.event_ids)`)
	c.await(recovery, 0, `SELECT count(*) FROM webhooks.pending`)
	c.await(recovery, 0, `SELECT count(*) FROM webhooks.intents`)
	require.Len(t, receiver.Arrivals(), before+after)
	require.True(t, p.stop(), tail(p.log))
	c.await(within, 0, `SELECT count(*) FROM webhooks.relays`)
}

// replica is a standby of c's server: a cold copy that streams. It takes no more than initdb and postgres, which are all
// that a bundle holds.
func (c *chaos) replica() *cluster.Server {
	c.t.Helper()
	require.NoError(c.t, c.server.Stop())
	from := dataOf(c.t, c.server)
	dir := filepath.Join(filepath.Dir(c.server.Dir), "standby")
	data := filepath.Join(dir, filepath.Base(from))
	require.NoError(c.t, os.Mkdir(dir, 0o755))
	require.NoError(c.t, os.CopyFS(data, os.DirFS(from)))
	owner, err := os.Stat(from)
	require.NoError(c.t, err)
	who, ok := owner.Sys().(*syscall.Stat_t)
	require.True(c.t, ok)
	require.NoError(c.t, filepath.WalkDir(data, func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			err = os.Chmod(path, 0o700)
		}
		return errors.Join(err, os.Lchown(path, int(who.Uid), int(who.Gid)))
	}))
	conninfo := strings.ReplaceAll(strings.ReplaceAll(c.server.DSN(""), "'", ""), "dbname=postgres ", "")
	demote(c.t, data, "primary_conninfo = '"+conninfo+"'")
	require.NoError(c.t, c.server.Restart(c.t.Context()))
	standby, err := cluster.Start(c.t.Context(), cluster.Config{Dir: dir, Logf: c.t.Logf})
	require.NoError(c.t, err)
	c.t.Cleanup(func() { require.NoError(c.t, standby.Stop()) })
	return standby
}

// endpoint makes a receiver that is well.
func (c *chaos) endpoint() *relaytest.Receiver {
	c.t.Helper()
	c.receiveAt(nil)
	for _, r := range c.receivers {
		return r
	}
	return nil
}

// hosts is the DSN of both servers, tried in turn.
func hosts(first, second string) string {
	other, _, _ := strings.Cut(strings.TrimPrefix(second, "host="), " ")
	host, rest, _ := strings.Cut(first, " ")
	return host + "," + other + " " + rest
}

func dataOf(t *testing.T, server *cluster.Server) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(server.Dir, "data-*"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	return found[0]
}

// demote makes a standby of the data of a stopped server.
func demote(t *testing.T, data, setting string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(data, "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(setting + "\n")
	require.NoError(t, errors.Join(err, f.Close()))
	require.NoError(t, os.WriteFile(filepath.Join(data, "standby.signal"), nil, 0o644))
}

// promote does what pg_ctl promote does, which a bundle may lack and root may not call.
func promote(t *testing.T, data string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(data, "promote"), nil, 0o644))
	require.NoError(t, syscall.Kill(postmaster(t, data), syscall.SIGUSR1))
}

func postmaster(t *testing.T, data string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	require.NoError(t, err)
	first, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(first)
	require.NoError(t, err)
	return pid
}
