package main

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSeedPublishesConversationsOfTheTimeThatWasAsked(t *testing.T) {
	t.Parallel()

	s, db := shellOn(t)
	seed := []string{"seed", "--company", company, "--count", "50", "--since", "10h"}
	got := s.run(seed...)
	require.Equal(t, exitUsage, got.code)
	require.Contains(t, got.stderr, "send 50 invented events to the endpoints of company "+company+": give --yes")

	total := 0.0
	for _, c := range s.list(append(seed, "--dry-run")...) {
		require.Positive(t, c["events"], c)
		total += c["events"].(float64)
	}
	require.InDelta(t, 50, total, 0)
	stored := func() (rows []string) {
		result, err := db.QueryContext(t.Context(), `SELECT event_id || ' ' || event_type || ' ' || to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US')
			FROM webhooks.outbox WHERE company_id = $1 ORDER BY position`, company)
		require.NoError(t, err)
		defer result.Close()
		for result.Next() {
			var row string
			require.NoError(t, result.Scan(&row))
			rows = append(rows, row)
		}
		require.NoError(t, result.Err())
		return rows
	}
	require.Empty(t, stored(), "neither has published anything")

	told := s.list(append(seed, "--yes")...)
	require.Len(t, told, 50)
	rows := stored()
	require.Len(t, rows, 50)
	var before time.Time
	for i, e := range told {
		at, err := time.Parse(time.RFC3339Nano, e["created_at"].(string))
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("%s %s %s", e["event_id"], e["event_type"], at.Truncate(time.Microsecond).Format("2006-01-02T15:04:05.000000")), rows[i])
		require.False(t, at.Before(before), "in the order in which they happened")
		before = at
		require.WithinRange(t, at, time.Now().Add(-10*time.Hour-time.Minute), time.Now())
	}
	require.Greater(t, before, time.Now().Add(-time.Hour), "up to now")

	var data struct {
		Survey struct {
			Company string `json:"company_id"`
		}
		Conversation struct{ State string }
		Responses    []json.RawMessage
	}
	var text string
	require.NoError(t, db.QueryRowContext(t.Context(),
		`SELECT data FROM webhooks.outbox WHERE event_type = 'conversation.completed' ORDER BY position DESC LIMIT 1`).Scan(&text))
	require.NoError(t, json.Unmarshal([]byte(text), &data))
	require.Equal(t, company, data.Survey.Company)
	require.Equal(t, "completed", data.Conversation.State)
	require.NotEmpty(t, data.Responses)

	for _, wrong := range [][]string{{"--count", "0"}, {"--count", "10001"}, {"--since", "yesterday"}, {"--since", "2999-01-01T00:00:00Z"}} {
		got := s.run(append([]string{"seed", "--company", company, "--yes"}, wrong...)...)
		require.Equal(t, exitUsage, got.code, wrong)
		require.Contains(t, got.stderr, wrong[0]+" is ")
	}
	require.Len(t, stored(), 50)
	require.Len(t, s.list("seed", "--company", company, "--yes", "--count", "10000"), 10000, "the most that is taken can be published")
}
