package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestOutboxStatus asks before anybody reads, while a reader has read everything, and while rows wait for one.
func TestOutboxStatus(t *testing.T) {
	t.Parallel()

	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(receiver.Close)
	s, db := shellOn(t)
	s = s.with("SURVEYHOOKS_INSECURE_ENDPOINTS=1")
	s.ok("endpoints", "create", "--company", company, "--url", receiver.URL)

	got := s.run("outbox", "status", "-o", "json")
	require.Equal(t, exitOK, got.code, got.stderr)
	require.Contains(t, got.stderr, "run surveyhooks serve")
	require.Contains(t, got.stdout, `"readers": []`)
	require.Equal(t, false, decode(t, got.stdout)["asleep"])

	relay := s.serve()
	id, _ := s.object("outbox", "emit", "--company", company, "--type", "conversation.started", "--sample")["event_id"].(string)
	var state map[string]any
	require.Eventually(t, func() bool {
		state = s.object("outbox", "status")
		return len(s.list("deliveries", "list", "--state", "delivered", "--event", id)) == 1 && state["deliveries_pending"] == 0.0 && state["asleep"] == true
	}, 20*time.Second, 20*time.Millisecond)
	reader := state["readers"].([]any)[0].(map[string]any)
	require.EqualValues(t, 0, reader["rows"])
	require.Regexp(t, `^\d+:\d+:`, reader["from_snapshot"])
	require.Eventually(t, func() bool { // it looks up now and then
		return strings.Contains(s.ok("outbox", "status"), "doorbell\ta reader has read everything and sleeps")
	}, 20*time.Second, 20*time.Millisecond)
	require.Equal(t, exitOK, relay.stop(), relay.log)

	s.ok("publish", "--company", company, "--type", "conversation.started", "--sample")
	_, err := db.Owner.ExecContext(t.Context(), `INSERT INTO webhooks.quarantine (topic, consumer_group, transaction_id, position, reason, content)
		VALUES ('outbox', 'x', '1', 1, 'odd', '{}'), ('journal', 'x', '1', 1, 'odd', '{}')`)
	require.NoError(t, err)
	state = s.object("outbox", "status")
	require.Equal(t, false, state["asleep"])
	require.EqualValues(t, 1, state["readers"].([]any)[0].(map[string]any)["rows"])
	require.Positive(t, state["readers"].([]any)[0].(map[string]any)["oldest_age_seconds"])
	require.EqualValues(t, 1, state["quarantined_rows"])
	require.Regexp(t, `\t1\t\d+(\.\d+)?m?s\t\d+:\d+:`, s.ok("outbox", "status"))
}
