package relay

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/breaker"
	"github.com/chattosurvey/surveyhooks/relay/lane"
)

// The clock of this machine counts the time since the last reading and says nothing else.
func TestF37_DueTimesAreTheDatabases(t *testing.T) {
	t.Parallel()
	outside := new(clock)
	outside.set(time.Now())
	require.Contains(t, outside.last.Load().here.String(), " m=", "monotonic: it does not jump with the wall clock")
	synctest.Test(t, func(t *testing.T) {
		database := time.Date(2031, 2, 3, 4, 5, 6, 0, time.FixedZone("", 3600))
		c := new(clock)
		c.set(database)
		timer := time.NewTimer(10 * time.Second)
		<-timer.C
		require.Equal(t, database.Add(10*time.Second).UTC(), c.now())
		require.Equal(t, time.Now().Add(time.Minute), c.here(c.now().Add(time.Minute)), "for a timer")
		c.set(database.Add(-time.Hour))
		require.Equal(t, database.Add(-time.Hour).UTC(), c.now())
	})
}

// What is kept of an open breaker is the database's time, as another relay's clock may say something else; the lane is to
// ask again after the same time by this one's.
func TestF37_BreakerOpensByTheDatabasesClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &session{cfg: Config{Breaker: breaker.Config{Failures: 1, Open: time.Minute}}, clock: new(clock), logger: slog.New(slog.DiscardHandler)}
		s.recorder = newRecorder(nil, uuid.New(), s.clock, s.logger)
		s.metrics = newMetrics(nil)
		s.clock.set(time.Now().Add(time.Hour))
		m := new(member)
		s.fitBreaker(m, breaker.Snapshot{})
		g := gate{m, s.clock}
		p, _, ok := g.Allow()
		require.True(t, ok)
		p.Done(lane.EndpointFault)
		require.Equal(t, time.Now().Add(time.Hour+time.Minute).UTC(), s.recorder.gather().lanes[0].notBefore)
		_, retryAt, ok := g.Allow()
		require.False(t, ok)
		require.Equal(t, time.Now().Add(time.Minute), retryAt)
	})
}
