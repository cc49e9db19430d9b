//go:build browser

package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox"
)

// An operator pauses all sending, sees that it is, resumes, and has the history compared with what was sent meanwhile.
func TestJourneyOfAnOperatorWhoPausesAndResumes(t *testing.T) {
	t.Parallel()
	j := newJourney(t)
	e := j.endpoint(j.receiver.URL+"/paused", "")
	j.owner = j.operator()

	j.open("/ops")
	j.clicks(`a[href="/ops/pause"]`)
	j.types("#reason", "the prices are wrong")
	j.clicks(`form[action="/ops/pause"] button`)
	j.sees(".advice-hold", "All sending is paused")
	j.sees(".advice-hold", "the prices are wrong")

	tx, err := j.db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = outbox.Publish(t.Context(), tx, outbox.NewSample(outbox.ConversationStartedType, e.CompanyID))
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	require.Eventually(t, func() bool {
		var waiting int
		return j.db.QueryRow(`SELECT count(*) FROM webhooks.pending`).Scan(&waiting) == nil && waiting == 1
	}, journeyWithin, 20*time.Millisecond)
	require.Empty(t, j.receiver.Arrivals())

	j.clicks(`a[href="/ops/resume"]`)
	j.clicks(`form[action="/ops/resume"] button`)
	j.sees("#message", "Resumed.")
	j.sees(".page-head", "Pause all sending")
	j.receiver.Await(t, 1, journeyWithin)

	j.clicks(`a[href="/ops/verify"]`)
	j.clicks(`form[action="/ops/verify"] button`)
	j.sees("#history", "The history is what the journal says")
	j.untroubled()
}
