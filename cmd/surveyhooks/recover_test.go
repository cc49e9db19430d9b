package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/recovery"
	"github.com/chattosurvey/surveyhooks/projections"
)

// withFailures is a shell whose database has an endpoint with three deliveries that failed for good a minute ago.
func withFailures(t *testing.T) (s shell, db *sql.DB, endpointID string) {
	t.Helper()
	s = newShell(t)
	created := s.object("endpoints", "create", "--company", company, "--url", "https://example.com/hook")
	endpointID, _ = created["id"].(string)
	if endpointID == "" {
		inner, _ := created["endpoint"].(map[string]any)
		endpointID, _ = inner["id"].(string)
	}
	require.NotEmpty(t, endpointID)
	_, dsn, _ := strings.Cut(s.env[0], "=")
	db, err := sql.Open("postgres", dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	_, err = db.ExecContext(t.Context(), `WITH o AS (
		INSERT INTO webhooks.outbox (event_type, company_id, data)
		SELECT 'conversation.started', $1, '{}' FROM generate_series(1, 3) RETURNING *
	), i AS (
		INSERT INTO webhooks.event_ids SELECT event_id, recorded_at, transaction_id, position FROM o
	)
	INSERT INTO webhooks.deliveries (delivery_id, endpoint_id, event_id, company_id, event_type, state, trigger, created_at, finished_at, last_reason)
	SELECT nextval('webhooks.delivery_id'), $2, event_id, company_id, event_type, 'exhausted', 'automatic', now(), now() - interval '1 minute', 'timeout' FROM o`, company, endpointID)
	require.NoError(t, err)
	return s, db, endpointID
}

func TestRecover(t *testing.T) {
	t.Parallel()

	t.Run("CountsFirstAndWantsAYes", func(t *testing.T) {
		t.Parallel()
		s, _, id := withFailures(t)
		require.InDelta(t, 3, s.object("recover", id, "--since", "2h", "--dry-run")["deliveries"], 0)
		got := s.run("recover", id, "--since", "2h")
		require.Equal(t, exitUsage, got.code)
		require.Contains(t, got.stderr, "send 3 deliveries again: give --yes")
		require.Empty(t, s.list("recover", "list"))
	})

	t.Run("StartsListsAndCancels", func(t *testing.T) {
		t.Parallel()
		s, _, id := withFailures(t)
		started := s.object("recover", id, "--since", "2h", "--yes", "--detach", "--reason", "deploy went wrong")
		require.Equal(t, "running", started["state"])
		require.InDelta(t, 3, started["total"], 0)
		require.Len(t, s.list("recover", "list", "--endpoint", id), 1)
		recoveryID, _ := started["id"].(string)
		require.Equal(t, "cancelled", s.object("recover", "cancel", recoveryID)["state"])
	})

	t.Run("FollowsItToTheEnd", func(t *testing.T) {
		t.Parallel()
		s, db, id := withFailures(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- recovery.New(recovery.Config{DB: db, Poll: time.Millisecond}).Run(ctx) }()
		got := s.run("recover", id, "--since", "2h", "--yes")
		cancel()
		require.NoError(t, <-done)
		require.Equal(t, exitOK, got.code, got.stderr)
		require.Contains(t, got.stderr, "3 of 3")
		require.Contains(t, got.stdout, "done")
	})

	t.Run("AnInterruptCancels", func(t *testing.T) {
		t.Parallel()
		s, _, id := withFailures(t)
		ctx, cancel := context.WithCancel(t.Context())
		var stdout bytes.Buffer
		var stderr lines
		done := make(chan int, 1)
		go func() {
			done <- run(ctx, []string{"recover", id, "--since", "2h", "--yes", "-o", "json"}, process{env: s.env, stdout: &stdout, stderr: &stderr})
		}()
		require.Eventually(t, func() bool { return strings.Contains(stderr.String(), "a running relay works on it") }, 20*time.Second, 5*time.Millisecond)
		cancel()
		require.Equal(t, exitOK, <-done, stderr.String())
		var ended map[string]any
		require.NoError(t, json.Unmarshal(stdout.Bytes(), &ended))
		require.Equal(t, "cancelled", ended["state"])
	})

	t.Run("SendsWhatIsMissing", func(t *testing.T) {
		t.Parallel()
		s, db, id := withFailures(t)
		_, err := db.ExecContext(t.Context(), `INSERT INTO webhooks.events
			SELECT event_id, company_id, event_type, created_at, position, clock_timestamp(), '[]' FROM webhooks.outbox`)
		require.NoError(t, err)
		var event string
		require.NoError(t, db.QueryRow(`SELECT event_id FROM webhooks.outbox LIMIT 1`).Scan(&event))
		require.Positive(t, s.object("events", "send", event, id)["delivery_id"])
		require.NoError(t, projections.New(projections.Config{DB: db}).RunToEnd(t.Context()))
		require.Regexp(t, id+`\ton request\t\d+`, s.run("events", "get", event).stdout)
		again := s.run("events", "send", event, id)
		require.Equal(t, exitFailure, again.code)
		require.Contains(t, again.stderr, "it was requested by")
		require.Equal(t, exitNotFound, s.run("events", "send", company, id).code)
		require.Equal(t, exitNotFound, s.run("events", "send", event, company).code)
		require.Equal(t, exitUsage, s.run("events", "send", event, "x").code)

		require.InDelta(t, 2, s.object("recover", id, "--missing", "--since", "2h", "--dry-run")["deliveries"], 0)
		table := s.run("recover", id, "--missing", "--since", "2h", "--dry-run")
		require.Regexp(t, `2\tconversation.started\n2\tmissing\n.+\tthe first of them`, table.stdout)
		require.Contains(t, s.run("recover", id, "--missing", "--since", "2h").stderr, "send 2 events that it was never sent: give --yes")
		started := s.object("recover", id, "--missing", "--type", "conversation.started", "--since", "2h", "--yes", "--detach")
		require.Equal(t, "missing", started["kind"])
		for _, args := range [][]string{{"--missing", "--type", "nonsense"}, {"--type", "conversation.started"}} {
			require.Equal(t, exitUsage, s.run(append([]string{"recover", id, "--since", "2h", "--yes"}, args...)...).code, args)
		}
	})

	t.Run("SaysWhatIsWrong", func(t *testing.T) {
		t.Parallel()
		s, _, id := withFailures(t)
		require.Equal(t, exitNotFound, s.run("recover", company, "--since", "2h", "--yes").code)
		require.Equal(t, exitNotFound, s.run("recover", "cancel", company).code)
		for _, args := range [][]string{
			{"recover", id},
			{"recover", id, "--since", "yesterday"},
			{"recover", id, "--since", "-2h"},
			{"recover", "12", "--since", "2h"},
			{"recover", id, "--since", "1h", "--until", "2h", "--yes"},
		} {
			require.Equal(t, exitUsage, s.run(args...).code, args)
		}
		got := s.run("recover", id, "--since", "1s", "--yes")
		require.Equal(t, exitFailure, got.code)
		require.Contains(t, got.stderr, "nothing to recover")
	})
}
