package relay_test

import (
	"database/sql"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/relaytest"
)

func (l *log) count(what string) int { return strings.Count(l.String(), what) }

func (l *log) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Reset()
}

// refusal is a way in which a database that lives says no to everybody who writes. DiskFull is said by a trigger: it shows
// what the relay makes of the code, and not what PostgreSQL does when its disk is full.
type refusal struct {
	code   string
	partly bool // a transaction that says that it writes is let through
	strike func(b *testBundle) (lift func())
}

func refusals() map[string]refusal {
	return map[string]refusal{
		"F26_LockTimeout": {code: "55P03", strike: func(b *testBundle) func() {
			b.setting("lock_timeout = '50ms'") // of the next connections
			tx, err := b.Owner.Begin()
			require.NoError(b.t, err)
			_, err = tx.Exec(`LOCK TABLE webhooks.pending`)
			require.NoError(b.t, err)
			return func() { require.NoError(b.t, tx.Rollback()) }
		}},
		"F26_QueryCancelled": {code: "57014", strike: func(b *testBundle) func() { return b.refuse("query_canceled") }},
		"DiskFull":           {code: "53100", strike: func(b *testBundle) func() { return b.refuse("disk_full") }},
		"OutOfMemory":        {code: "53200", strike: func(b *testBundle) func() { return b.refuse("out_of_memory") }},
		// What a session was told when it began it keeps: only a new connection can write again.
		"F28_ReadOnly": {code: "25006", partly: true, strike: func(b *testBundle) func() {
			b.setting("default_transaction_read_only = on")
			return func() {
				b.exec(`ALTER DATABASE ` + pq.QuoteIdentifier(b.Name) + ` RESET default_transaction_read_only`)
			}
		}},
	}
}

func (b *testBundle) exec(statement string) {
	b.t.Helper()
	_, err := b.Owner.Exec(statement)
	require.NoError(b.t, err)
}

// setting is the database's from now on, and every connection of the relays begins anew under it.
func (b *testBundle) setting(what string) {
	b.t.Helper()
	b.exec(`ALTER DATABASE ` + pq.QuoteIdentifier(b.Name) + ` SET ` + what)
	b.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE datname = current_database() AND application_name = 'surveyhooks-relay'`)
}

// refuse has every insertion into the journal fail.
func (b *testBundle) refuse(condition string) (lift func()) {
	b.t.Helper()
	b.exec(`CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no' USING ERRCODE = '` + condition + `'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON webhooks.journal FOR EACH STATEMENT EXECUTE FUNCTION public.refuse()`)
	return func() { b.exec(`DROP TRIGGER refuse ON webhooks.journal`) }
}

// A refusal is waited for: what comes meanwhile is sent once it is over, what was under way is recorded then, each once, and
// nothing is set aside as if it were the event's fault.
func TestDatabaseThatRefusesForAWhileCostsNoDelivery(t *testing.T) {
	t.Parallel()
	for name, refusal := range refusals() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, receiver, said := setup(t), relaytest.NewReceiver(t), new(log)
			b.cfg.Logger = slog.New(slog.NewTextHandler(said, &slog.HandlerOptions{Level: slog.LevelWarn}))
			b.cfg.Lease = 12 * time.Second // longer than any refusal here lasts, on a busy machine, too
			hang := make(chan struct{})
			release := sync.OnceFunc(func() { close(hang) })
			t.Cleanup(release)
			receiver.Answer(func(http.ResponseWriter, *http.Request) { <-hang })
			b.endpoint(receiver.URL)
			b.run()
			b.publish(b.started())
			receiver.Await(t, 1, within)

			lift := sync.OnceFunc(refusal.strike(b))
			t.Cleanup(lift)
			b.publishAs(b.App, b.started()) // in a transaction, since the driver then asks for one that may write
			refused := func(want int) {
				t.Helper()
				require.Eventually(t, func() bool { return said.count(refusal.code) >= want }, within, 10*time.Millisecond)
			}
			refused(1)
			said.forget()
			release()
			refused(2)
			if !refusal.partly {
				require.Len(t, receiver.Arrivals(), 1)
			}
			lift()
			receiver.Await(t, 2, within)
			b.awaitOwner(0, `SELECT count(*) FROM webhooks.pending`)
			b.awaitOwner(2, `SELECT count(*) FROM webhooks.journal WHERE fact = 'attempt.succeeded'`)
			require.Len(t, receiver.Arrivals(), 2, "each once")
			b.awaitOwner(0, `SELECT count(*) FROM webhooks.quarantine`)
		})
	}
}

// A notice comes once. When the configuration cannot be read then, it is read later: else an endpoint that was enabled would
// be sent nothing as long as this session lasts.
func TestF26_ChangeThatCannotBeReadAtItsNoticeIsReadLater(t *testing.T) {
	t.Parallel()
	b, receiver, said := setup(t), relaytest.NewReceiver(t), new(log)
	b.cfg.Logger = slog.New(slog.NewTextHandler(said, &slog.HandlerOptions{Level: slog.LevelWarn}))
	e, _ := b.endpoint(receiver.URL)
	b.exec(`ALTER DATABASE ` + pq.QuoteIdentifier(b.Name) + ` SET lock_timeout = '50ms'`)
	_, err := b.store.Disable(t.Context(), b.ref(e), "", "")
	require.NoError(t, err)
	b.run()
	_, err = b.store.Test(t.Context(), b.ref(e))
	require.NoError(t, err)
	receiver.Await(t, 1, within) // its lane is open

	tx, err := b.Owner.Begin()
	require.NoError(t, err)
	defer tx.Rollback() //nolint:errcheck // a test that failed
	_, err = tx.Exec(`UPDATE webhooks.endpoints SET state = 'enabled', version = version + 1 WHERE endpoint_id = $1`, e.ID)
	require.NoError(t, err)
	_, err = tx.Exec(`LOCK TABLE webhooks.endpoints`)
	require.NoError(t, err)
	b.exec(`SELECT pg_notify('webhooks_lanes', '` + e.ID.String() + `')`)
	require.Eventually(t, func() bool { return said.count("endpoints not refreshed yet") > 0 }, within, 10*time.Millisecond)
	require.NoError(t, tx.Commit())
	b.publish(b.started())
	receiver.Await(t, 2, within)
}

// awaitOwner is await on connections that no refusal is meant for.
func (b *testBundle) awaitOwner(want int, query string) {
	b.t.Helper()
	var got int
	require.Eventually(b.t, func() bool { return b.Owner.QueryRow(query).Scan(&got) == nil && got == want }, within, 10*time.Millisecond, query)
}

// The recorder has a connection of its own, for intents as for outcomes: when no other one is to be had, and those that there
// were are gone, what the lanes have read is sent and recorded.
func TestF25_RecorderNeedsNoConnectionButItsOwn(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	b.cfg.Concurrency = 1
	hang := make(chan struct{})
	release := sync.OnceFunc(func() { close(hang) })
	t.Cleanup(release)
	receiver.Answer(func(http.ResponseWriter, *http.Request) { <-hang })
	b.endpoint(receiver.URL)
	b.run()
	b.publish(b.many(5)...)
	receiver.Await(t, 1, within)
	database := pq.QuoteIdentifier(b.Name)
	b.exec(`ALTER DATABASE ` + database + ` CONNECTION LIMIT 1`)
	lift := sync.OnceFunc(func() { b.exec(`ALTER DATABASE ` + database + ` CONNECTION LIMIT -1`) })
	t.Cleanup(lift)
	var ended int
	require.NoError(t, b.Owner.QueryRow(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
 WHERE datname = current_database() AND usename = 'surveyhooks_test_relay' AND pid <> (SELECT pid FROM pg_stat_activity
 WHERE datname = current_database() AND query LIKE 'WITH fence AS%' ORDER BY query_start DESC LIMIT 1)`).Scan(&ended))
	require.Greater(t, ended, 3)
	refused, err := sql.Open("postgres", b.DSN)
	require.NoError(t, err)
	defer refused.Close()
	require.ErrorContains(t, refused.PingContext(t.Context()), "53300")

	release()
	receiver.Await(t, 5, within)
	b.awaitOwner(0, `SELECT count(*) FROM webhooks.pending`)
	b.awaitOwner(0, `SELECT count(*) FROM webhooks.intents`)
	lift()
	b.publishAs(b.App, b.started())
	receiver.Await(t, 6, within)
	b.awaitOwner(0, `SELECT count(*) FROM webhooks.pending`)
	require.Len(t, receiver.Arrivals(), 6)
}
