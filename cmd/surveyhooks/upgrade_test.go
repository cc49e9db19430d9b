package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/relaytest"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// TestF31_NextVersionsMigrationRunsUnderThisVersionsRelay is an upgrade as the deployment makes it: the schema first,
// under the running relays of the version before, which may also be restarted then. What a migration may do to its
// predecessor's relays is to add: a column to any table, an index, a table.
func TestF31_NextVersionsMigrationRunsUnderThisVersionsRelay(t *testing.T) {
	t.Parallel()

	received := make(chan string, 64)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { received <- r.Header.Get("X-Webhook-ID") }))
	t.Cleanup(receiver.Close)
	db := schematest.New(t)
	s := shell{t, []string{
		"SURVEYHOOKS_DATABASE_URL=" + db.DSN, "SURVEYHOOKS_SEAL_KEYS=" + relaytest.Key(t, "upgrade").Reveal(), "SURVEYHOOKS_INSECURE_ENDPOINTS=1",
	}}
	s.ok("endpoints", "create", "--company", company, "--url", receiver.URL)
	publish := func() string {
		id, _ := s.object("publish", "--company", company, "--type", "conversation.started", "--sample")["event_id"].(string)
		return id
	}
	delivered := func(n int) {
		t.Helper()
		require.Eventually(t, func() bool { return len(s.list("deliveries", "list", "--state", "delivered")) == n }, 30*time.Second, 50*time.Millisecond)
	}

	r := s.serve()
	before := publish()
	require.Equal(t, before, <-received)
	rows, err := db.Owner.QueryContext(t.Context(), `SELECT relname FROM pg_class WHERE relnamespace = 'webhooks'::regnamespace
		AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY relname`)
	require.NoError(t, err)
	defer rows.Close()
	wanted := 1
	for rows.Next() {
		var table string
		require.NoError(t, rows.Scan(&table))
		_, err := db.Owner.ExecContext(t.Context(), `ALTER TABLE webhooks.`+table+` ADD COLUMN next_version text DEFAULT 'x'`)
		require.NoError(t, err, table)
		wanted++
		require.Equal(t, publish(), <-received, "after a column was added to %s", table)
	}
	require.NoError(t, rows.Err())
	require.Greater(t, wanted, 10)
	_, err = db.Owner.ExecContext(t.Context(), `CREATE INDEX next_version_index ON webhooks.pending (event_id);
		CREATE TABLE webhooks.next_version (); INSERT INTO public.webhooks_migrations (version_id, is_applied) VALUES (99999, true)`)
	require.NoError(t, err)
	delivered(wanted)
	status, said := get(t, r.addr+"/readyz?verbose")
	require.Equal(t, http.StatusOK, status, said)
	require.Equal(t, exitOK, r.stop(), r.log)
	require.NotContains(t, r.log.String(), `"level":"ERROR"`)

	r = s.serve() // the version before, crashed and started again on the new schema
	require.Equal(t, publish(), <-received)
	delivered(wanted + 1)
	require.Equal(t, exitOK, r.stop(), r.log)
	require.NotContains(t, r.log.String(), `"level":"ERROR"`)
	require.Contains(t, s.ok("audit"), "unaccounted: 0\n")
}
