//go:build browser

package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox"
)

// obeys waits until the relay says that sending is paused, or that it is not.
func (j *journey) obeys(paused bool) {
	j.Helper()
	want := map[bool]float64{true: 1}[paused]
	require.Eventually(j, func() bool {
		families, err := j.metrics.Gather()
		for _, family := range families {
			if family.GetName() == "surveyhooks_paused" {
				return err == nil && family.GetMetric()[0].GetGauge().GetValue() == want
			}
		}
		return false
	}, journeyWithin, 10*time.Millisecond, "the relay does not obey")
}

// tile waits until the operators' page, asked again and again, has a number under a title.
func (j *journey) tile(title string, number int) {
	j.Helper()
	require.Eventually(j, func() bool {
		return strings.Contains(j.get("/ops").Body.String(), fmt.Sprintf("<dt>%s</dt><dd>%d</dd>", title, number))
	}, journeyWithin, 20*time.Millisecond, "%s is not %d", title, number)
}

// An operator pauses all sending, sees that it is, resumes, and has the history compared with what was sent meanwhile. The
// relay is a real one: what happens meanwhile is held back, and is sent by nobody but who resumes.
func TestJourneyOfAnOperatorWhoPausesAndResumes(t *testing.T) {
	t.Parallel()
	const events = 5
	j := newJourney(t)
	e := j.endpoint(j.receiver.URL+"/paused", "")
	publish := func() {
		t.Helper()
		tx, err := j.db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		_, err = outbox.Publish(t.Context(), tx, outbox.NewSample(outbox.ConversationStartedType, e.CompanyID))
		require.NoError(t, err)
		require.NoError(t, tx.Commit())
	}
	publish()
	j.receiver.Await(t, 1, journeyWithin) // the relay holds the endpoint's lane, and sends at once
	j.owner = j.operator()

	j.open("/ops")
	j.clicks(`a[href="/ops/pause"]`)
	j.types("#reason", "the prices are wrong")
	j.clicks(`form[action="/ops/pause"] button`)
	j.sees(".advice-hold", "All sending is paused")
	j.sees(".advice-hold", "the prices are wrong")
	j.obeys(true)
	for range events {
		publish()
	}
	j.tile("Held back", events)
	j.tile("Due now", 0)
	j.open("/ops")
	j.sees(".tiles-big", "Held back")
	require.Len(t, j.receiver.Arrivals(), 1, "nothing is sent meanwhile")
	var started int
	require.NoError(t, j.db.QueryRow(`SELECT count(*) FILTER (WHERE started > 0) + (SELECT count(*) FROM webhooks.intents) FROM webhooks.pending`).Scan(&started))
	require.Zero(t, started, "nor begun")

	j.clicks(`a[href="/ops/resume"]`)
	j.clicks(`form[action="/ops/resume"] button`)
	j.sees("#message", "Resumed.")
	j.sees(".page-head", "Pause all sending")
	j.obeys(false)
	j.receiver.Await(t, 1+events, journeyWithin)
	j.tile("Held back", 0)
	publish()
	j.receiver.Await(t, 2+events, journeyWithin)

	j.clicks(`a[href="/ops/verify"]`)
	j.clicks(`form[action="/ops/verify"] button`)
	j.sees("#history", "The history is what the journal says")
	require.Len(t, j.receiver.Arrivals(), 2+events, "each was sent once")
	j.untroubled()
}
