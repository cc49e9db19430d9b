package relay_test

import (
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/relaytest"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// processes is a database of its own whose relays are processes.
func processes(t *testing.T) *chaos {
	t.Helper()
	db := schematest.New(t)
	c := &chaos{
		t: t, db: db.DB, dsn: db.DSN, company: uuid.New(), key: relaytest.Key(t, "process"),
		folder: t.TempDir(), receivers: make(map[uuid.UUID]*relaytest.Receiver),
	}
	t.Cleanup(c.killAll)
	return c
}

func (c *chaos) number(query string, args ...any) (n int) {
	c.t.Helper()
	require.NoError(c.t, c.db.QueryRowContext(c.t.Context(), query, args...).Scan(&n))
	return n
}

// addBacklog commits $2 events of company $1 with $3 bytes of text each.
const addBacklog = `INSERT INTO webhooks.outbox (event_type, company_id, data)
SELECT 'conversation.started', $1, json_build_object('n', n, 'text', repeat('x', $3)) FROM generate_series(1, $2::int) n`

// A backlog costs what its events cost, however long it is, and lies in the database and not in memory; the oldest goes first.
func TestF14_BacklogIsWorkedOffInOrderAndByPages(t *testing.T) {
	t.Parallel()
	c := processes(t)
	receiver := c.endpoint()
	c.env = []string{"GODEBUG=gctrace=1"}
	const kilobytes = 16
	type cost struct{ blocks, transactions, live int }
	work := func(events int) cost {
		_, err := c.db.ExecContext(t.Context(), addBacklog, c.company, events, kilobytes<<10)
		require.NoError(t, err)
		before := c.spent()
		arrived := len(receiver.Arrivals())
		p := c.launch()
		c.relays = append(c.relays, p)
		receiver.Await(t, arrived+events, 3*within)
		require.True(t, p.stop(), tail(p.log))
		after := c.spent()
		require.Zero(t, c.number(`SELECT count(*) FROM webhooks.pending`))
		return cost{after.blocks - before.blocks, after.transactions - before.transactions, live(t, p.log)}
	}
	const few, many = 300, 1800
	short, long := work(few), work(many)
	require.Less(t, long.blocks*few, short.blocks*many*3/2, "pages touched for each event: %+v, %+v", short, long)
	require.Less(t, long.transactions*few, short.transactions*many*3/2, "%+v, %+v", short, long)
	require.Less(t, long.live-short.live, (many-few)*kilobytes>>10/2, "megabytes: %+v, %+v", short, long)
	// Sixteen are under way at once, and their intents are queued in any order.
	require.Less(t, c.number(`SELECT max(before - id) FROM (
  SELECT id, max(id) OVER (ORDER BY transaction_id, position, n ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
    FROM webhooks.journal, jsonb_array_elements(data::jsonb -> 'attempts') WITH ORDINALITY a(attempt, n),
         LATERAL (SELECT (attempt ->> 'delivery_id')::bigint AS id) i
   WHERE fact = 'attempts.started') s`), 16, "how many younger ones went before one, at most")
}

// spent is what the database has done so far, without what is still connected.
func (c *chaos) spent() (s struct{ blocks, transactions int }) {
	c.t.Helper()
	c.await(within, 0, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'surveyhooks%'`)
	if c.number(`SELECT current_setting('server_version_num')::int`) < 150000 {
		<-time.After(time.Second) // there what is shown may be half a second old
	}
	require.NoError(c.t, c.db.QueryRowContext(c.t.Context(), `SELECT blks_hit + blks_read, xact_commit FROM pg_stat_database
 WHERE datname = current_database()`).Scan(&s.blocks, &s.transactions))
	return s
}

// live is the most megabytes that were in use after a collection.
func live(t *testing.T, log string) (most int) {
	t.Helper()
	text, err := os.ReadFile(log)
	require.NoError(t, err)
	for _, heap := range regexp.MustCompile(`->(\d+) MB, `).FindAllSubmatch(text, -1) {
		n, err := strconv.Atoi(string(heap[1]))
		require.NoError(t, err)
		most = max(most, n)
	}
	require.Positive(t, most)
	return most
}
