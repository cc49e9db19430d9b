package relay

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/lane"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// A fault of ours uses up no retry, and yet the attempts have an end: the table counts them in a smallint.
func TestFaultOfOursIsTriedMoreSlowlyAndNotForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, faultOfOursIsTriedMoreSlowly)
}

func faultOfOursIsTriedMoreSlowly(t *testing.T) {
	s := &session{clock: new(clock)}
	judged := func(started int) *outcome {
		a := &attempt{
			delivery: &lane.Delivery{Started: started, Event: new(lane.Event)}, target: new(target),
			response: egress.Response{Fault: egress.FaultLocal},
		}
		s.judge(t.Context(), a)
		require.Zero(t, a.outcome.attempt.Completed)
		return a.outcome
	}
	for started, wait := range map[int]time.Duration{0: time.Second, 3: 8 * time.Second, 5: 30 * time.Second, mostAttempts - 2: 30 * time.Second} {
		o := judged(started)
		require.False(t, o.over)
		require.Equal(t, time.Now().Add(wait).UTC(), *o.attempt.NextAttemptAt)
	}
	o := judged(mostAttempts - 1)
	require.True(t, o.over)
	require.Equal(t, fact.Exhausted, o.attempt.State)
}

// A fault in the pipeline is ours: the delivery is due again, and the process lives.
func TestF9_PanicInThePipelineChargesNobody(t *testing.T) {
	t.Parallel()
	s := &session{clock: new(clock), logger: slog.New(slog.DiscardHandler), stages: []stage{func(context.Context, *attempt) { panic("a fault") }}}
	a := &attempt{delivery: &lane.Delivery{Event: new(lane.Event)}, target: new(target)}
	s.attempt(t.Context(), a)
	require.Equal(t, fact.Local, a.outcome.attempt.Reason)
	require.Zero(t, a.outcome.attempt.Completed)
	require.NotNil(t, a.outcome.attempt.NextAttemptAt)
	require.False(t, a.outcome.over)
}
