package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/relaytest"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// age makes everything forty days older, as far as it has a time of its own, and gives it the partitions of its day.
var age = []string{
	`UPDATE webhooks.outbox SET recorded_at = recorded_at - interval '40 days'`,
	`UPDATE webhooks.event_ids SET recorded_at = recorded_at - interval '40 days'`,
	`UPDATE webhooks.journal SET recorded_at = recorded_at - interval '40 days'`,
	`UPDATE webhooks.events SET fanned_out_at = fanned_out_at - interval '40 days'`,
	`UPDATE webhooks.deliveries SET created_at = created_at - interval '40 days'`,
	`UPDATE webhooks.attempts SET started_at = started_at - interval '40 days'`,
	`UPDATE webhooks.endpoint_changes SET recorded_at = recorded_at - interval '40 days'`,
	`UPDATE webhooks.endpoint_slots SET slot = slot - interval '40 days'`,
	`SELECT webhooks.ensure_partitions()`,
}

// oldDays is what became of the old day of each log.
func oldDays(report map[string]any) map[string]string {
	all := map[string]string{}
	for _, key := range []string{"dropped", "kept"} {
		days, _ := report[key].([]any)
		for _, d := range days {
			day, _ := d.(map[string]any)
			log, _ := day["log"].(string)
			all[log], _ = day["kept_for"].(string)
		}
	}
	return all
}

// TestAuditAndRebuildAreRightAfterPruning takes real events the whole way: sent, aged, pruned around a delivery that is
// still to be sent, and pruned again when it is over.
func TestAuditAndRebuildAreRightAfterPruning(t *testing.T) {
	t.Parallel()

	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/down" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(receiver.Close)
	db := schematest.New(t)
	s := shell{t, []string{"SURVEYHOOKS_DATABASE_URL=" + db.DSN, "SURVEYHOOKS_SEAL_KEYS=" + relaytest.Key(t, "old").Reveal(), "SURVEYHOOKS_INSECURE_ENDPOINTS=1"}}
	s.object("endpoints", "create", "--company", company, "--url", receiver.URL+"/up")
	down, _ := s.object("endpoints", "create", "--company", company, "--url", receiver.URL+"/down")["id"].(string)
	s.ok("publish", "--company", company, "--type", "conversation.started", "--sample")

	ctx, stop := context.WithCancel(t.Context())
	log := &lines{seen: make(chan string, 1)}
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"serve", "--admin-addr", "off", "--listen-addr", "127.0.0.1:0", "--first-retry", "10m"}, process{env: s.env, stdout: io.Discard, stderr: log})
	}()
	require.Eventually(t, func() bool {
		return len(s.list("deliveries", "list", "--state", "delivered")) == 1 && len(s.list("deliveries", "list", "--state", "retrying")) == 1
	}, 20*time.Second, 20*time.Millisecond, log)
	stop()
	require.Equal(t, exitOK, <-code, log)
	for _, statement := range age {
		_, err := db.Owner.ExecContext(t.Context(), statement)
		require.NoError(t, err, statement)
	}
	sound := func() {
		t.Helper()
		require.Contains(t, s.ok("audit"), "unaccounted: 0\n")
		s.ok("projections", "rebuild", "--verify")
	}

	pending := map[string]string{"outbox": "deliveries of its events are still to be sent", "journal": "", "attempts": ""}
	require.Equal(t, pending, oldDays(s.object("partitions", "prune", "--dry-run")))
	require.Contains(t, s.ok("partitions", "list"), "old, kept: deliveries of its events are still to be sent")
	refused := s.run("partitions", "prune")
	require.Equal(t, exitUsage, refused.code)
	require.Contains(t, refused.stderr, "this would drop 2 days: give --yes")
	require.Equal(t, pending, oldDays(s.object("partitions", "prune", "--dry-run")), "nothing was dropped")
	require.Equal(t, pending, oldDays(s.object("partitions", "prune", "--yes")))
	sound()
	require.Len(t, s.list("deliveries", "list"), 2, "the event is kept, with all that was decided about it")

	s.ok("endpoints", "delete", down, "--yes")
	sound()
	require.Equal(t, map[string]string{"outbox": ""}, oldDays(s.object("partitions", "prune", "--yes")))
	sound()
	require.Empty(t, s.list("deliveries", "list"))
	require.Empty(t, s.list("events", "list"))
	require.Equal(t, exitUsage, s.run("partitions", "prune", "--retention", "1h").code)

	// What is new is sent and can be made again, beside what is gone.
	s.ok("publish", "--company", company, "--type", "conversation.started", "--sample")
	ctx, stop = context.WithCancel(t.Context())
	go func() {
		code <- run(ctx, []string{"serve", "--admin-addr", "off", "--listen-addr", "127.0.0.1:0", "--retention", "24h"}, process{env: s.env, stdout: io.Discard, stderr: log})
	}()
	require.Eventually(t, func() bool { return len(s.list("deliveries", "list", "--state", "delivered")) == 1 }, 20*time.Second, 20*time.Millisecond, log)
	stop()
	require.Equal(t, exitOK, <-code, log)
	sound()
}
