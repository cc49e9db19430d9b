package lane_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/lane"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// slowStarter commits after a time of its own for each batch, in turn.
type slowStarter struct {
	takes []time.Duration
	n     atomic.Int64
}

func (s *slowStarter) Start(deliveries []*lane.Delivery, started func([]*lane.Delivery)) {
	takes := s.takes[int(s.n.Add(1))%len(s.takes)]
	time.AfterFunc(takes, func() { started(deliveries) })
}

// bubble is a source without a table, in a synctest bubble: its clock moves when everybody waits, so times are exact.
type bubble struct {
	*testing.T
	source *lane.Source
	last   int64 // delivery id
}

// inBubble runs a test of lanes whose intents take so long to commit, one after the other. Nothing may be left running.
func inBubble(t *testing.T, cfg lane.Config, takes []time.Duration, test func(*bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		attempts, cut := context.WithCancel(context.Background())
		defer cut()
		own := cfg
		own.Starter, own.Attempts = &slowStarter{takes: takes}, attempts
		b := &bubble{T: t, source: lane.NewSource(own)}
		defer b.source.Close()
		test(b)
	})
}

func (b *bubble) subscribe(o lane.Options) (uuid.UUID, <-chan *message.Message) {
	b.Helper()
	id := uuid.New()
	if o.Gate == nil {
		o.Gate = open{}
	}
	b.source.Add(id, o)
	out, err := b.source.Subscribe(b.Context(), id.String())
	require.NoError(b, err)
	return id, out
}

// feed gives the lane deliveries of these triggers in turn.
func (b *bubble) feed(id uuid.UUID, n int, triggers ...fact.Trigger) {
	b.Helper()
	list := make([]*lane.Delivery, n)
	for i := range list {
		b.last++
		list[i] = &lane.Delivery{ID: b.last, EndpointID: id, Event: &lane.Event{ID: uuid.New()}, Trigger: fact.Automatic}
		if len(triggers) > 0 {
			list[i].Trigger = triggers[i%len(triggers)]
		}
	}
	b.source.Feed(id, list...)
}

// arrivals takes and acks what comes for so long, and returns when it came.
func (b *bubble) arrivals(out <-chan *message.Message, during time.Duration) []time.Time {
	b.Helper()
	var times []time.Time
	over := time.After(during)
	for {
		select {
		case msg, isOpen := <-out:
			require.True(b, isOpen, "the channel is closed")
			times = append(times, time.Now())
			require.True(b, msg.Ack())
		case <-over:
			synctest.Wait()
			return times
		}
	}
}

// requireAtMost holds that no second, wherever it begins, has more.
func requireAtMost(t *testing.T, perSecond int, times []time.Time) {
	t.Helper()
	for i, begin := range times {
		n := 0
		for _, at := range times[i:] {
			if at.Sub(begin) < time.Second {
				n++
			}
		}
		require.LessOrEqual(t, n, perSecond, "in the second that begins with arrival %d", i)
	}
}

// TestNoSecondHasMoreThanTheLimit, whatever triggered the attempts and however long the commits before them take; and
// where commits are as quick as they should be, the limit is made use of.
func TestNoSecondHasMoreThanTheLimit(t *testing.T) {
	t.Parallel()
	const seconds = 4
	for name, takes := range map[string][]time.Duration{
		"QuickCommits":   {2 * time.Millisecond},
		"UnevenCommits":  {0, 30 * time.Millisecond, time.Millisecond},
		"StalledCommits": {time.Millisecond, 1500 * time.Millisecond},
	} {
		for _, limit := range []int{1, 2, 24, 25, 100, 1000} {
			t.Run(fmt.Sprintf("%s/%d", name, limit), func(t *testing.T) {
				t.Parallel()
				inBubble(t, lane.Config{Concurrency: 64}, takes, func(b *bubble) {
					id, out := b.subscribe(lane.Options{Rate: limit})
					b.feed(id, (seconds+1)*limit, fact.Automatic, fact.Manual, fact.Test)
					times := b.arrivals(out, seconds*time.Second+time.Second/2)
					requireAtMost(b.T, limit, times)
					if name == "QuickCommits" {
						require.GreaterOrEqual(b, len(times)*10, seconds*limit*9, "nine tenths of the limit flow")
					}
				})
			})
		}
	}
}

// TestALaneWithoutALimitNeverWaits: its whole backlog is there at the same instant, but for the commits.
func TestALaneWithoutALimitNeverWaits(t *testing.T) {
	t.Parallel()
	inBubble(t, lane.Config{Concurrency: 4}, []time.Duration{0}, func(b *bubble) {
		id, out := b.subscribe(lane.Options{})
		began := time.Now()
		b.feed(id, 200)
		times := b.arrivals(out, time.Second)
		require.Len(b, times, 200)
		require.Equal(b, began, times[199])
	})
}

// TestALaneThatWaitsTakesNothingFromTheShareOfTheOthers: not for its pace, and not for its gate.
func TestALaneThatWaitsTakesNothingFromTheShareOfTheOthers(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]lane.Options{
		"ForItsPace": {Rate: 1},
		"ForItsGate": {Gate: gateFunc(func() (lane.Permit, time.Time, bool) { return nil, time.Now().Add(time.Second), false })},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, lane.Config{Concurrency: 8, MaxInFlight: 8}, []time.Duration{time.Millisecond}, func(b *bubble) {
				for range 20 {
					id, out := b.subscribe(o)
					b.feed(id, 30)
					go func() {
						for msg := range out {
							msg.Ack()
						}
					}()
				}
				free, out := b.subscribe(lane.Options{})
				b.feed(free, 1000)
				for range 5 {
					<-time.After(1500 * time.Millisecond) // between two attempts of those that have a limit
					synctest.Wait()
					require.Equal(b, 8, b.source.Busy(free), "the whole of its concurrency")
					for range 8 {
						require.True(b, (<-out).Ack())
					}
				}
			})
		})
	}
}

// TestALimitChangesWhileTheLaneRuns: at once, in both directions, and without a second burst however often.
func TestALimitChangesWhileTheLaneRuns(t *testing.T) {
	t.Parallel()
	inBubble(t, lane.Config{Concurrency: 4}, []time.Duration{time.Millisecond}, func(b *bubble) {
		id, out := b.subscribe(lane.Options{Rate: 1})
		b.feed(id, 100)
		slow := b.arrivals(out, 2500*time.Millisecond)
		require.Len(b, slow, 2)

		b.source.Limit(id, 10)
		quick := b.arrivals(out, 2*time.Second)
		requireAtMost(b.T, 10, quick)
		require.GreaterOrEqual(b, len(quick), 18)

		for range 50 { // back and forth, with and without a time without any limit
			b.source.Limit(id, 1000)
			b.source.Limit(id, 1)
		}
		again := b.arrivals(out, 3*time.Second)
		requireAtMost(b.T, 1, again)
		require.GreaterOrEqual(b, len(again), 2)

		b.source.Limit(id, 0)
		began := time.Now()
		rest := b.arrivals(out, time.Second)
		require.Len(b, rest, 100-len(slow)-len(quick)-len(again))
		require.Less(b, rest[len(rest)-1].Sub(began), 200*time.Millisecond, "it waits for commits alone")

		b.feed(id, 8)
		b.arrivals(out, time.Second)
		b.source.Limit(id, 1)
		b.feed(id, 8)
		require.Empty(b, b.arrivals(out, 900*time.Millisecond), "a new limit begins with nothing to spare")
		require.NotEmpty(b, b.arrivals(out, 200*time.Millisecond))
	})
}

// TestClaimsFromBeforeALimitAreMadeUpFor: what was under way is sent, and counts.
func TestClaimsFromBeforeALimitAreMadeUpFor(t *testing.T) {
	t.Parallel()
	inBubble(t, lane.Config{Concurrency: 4}, []time.Duration{100 * time.Millisecond}, func(b *bubble) {
		id, out := b.subscribe(lane.Options{})
		b.feed(id, 10)
		b.source.Limit(id, 1)
		require.Len(b, b.arrivals(out, 200*time.Millisecond), 4)
		require.Empty(b, b.arrivals(out, 3700*time.Millisecond))
		require.NotEmpty(b, b.arrivals(out, 1300*time.Millisecond))
	})
}

// TestWaitingForThePaceEndsAtOnce when the lane ends, by its subscription or its source; and the endpoint's being
// disabled ends it too. Nobody has claimed anything by then.
func TestWaitingForThePaceEndsAtOnce(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*bubble, uuid.UUID){
		"LaneLost":     func(b *bubble, id uuid.UUID) { b.source.Remove(id) },
		"SourceClosed": func(b *bubble, _ uuid.UUID) { require.NoError(b, b.source.Close()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, lane.Config{}, []time.Duration{0}, func(b *bubble) {
				id, out := b.subscribe(lane.Options{Rate: 1})
				b.feed(id, 5)
				began := time.Now()
				require.Zero(b, b.source.Busy(id))
				end(b, id)
				_, isOpen := <-out
				require.False(b, isOpen)
				require.Equal(b, began, time.Now())
				<-time.After(5 * time.Second) // a timer that was left would send on a closed channel
			})
		})
	}
	t.Run("Disabled", func(t *testing.T) {
		t.Parallel()
		inBubble(t, lane.Config{}, []time.Duration{0}, func(b *bubble) {
			id, out := b.subscribe(lane.Options{Rate: 1})
			b.feed(id, 5)
			b.source.Disable(id, true)
			require.Empty(b, b.arrivals(out, 5*time.Second))
			b.feed(id, 2, fact.Test)
			require.Len(b, b.arrivals(out, 900*time.Millisecond), 1, "tests are paced, too")
		})
	})
}

// TestTheStricterOfPaceAndGateWins, and the gate is asked for no permit that is not used.
func TestTheStricterOfPaceAndGateWins(t *testing.T) {
	t.Parallel()
	inBubble(t, lane.Config{}, []time.Duration{time.Millisecond}, func(b *bubble) {
		opens := time.Now().Add(3 * time.Second)
		var mu sync.Mutex
		permits := 0
		id, out := b.subscribe(lane.Options{Rate: 2, Gate: gateFunc(func() (lane.Permit, time.Time, bool) {
			if time.Now().Before(opens) {
				return nil, opens, false
			}
			mu.Lock()
			defer mu.Unlock()
			permits++
			return free{}, time.Time{}, true
		})})
		b.feed(id, 20)
		times := b.arrivals(out, 6100*time.Millisecond)
		require.False(b, times[0].Before(opens))
		requireAtMost(b.T, 2, times)
		require.GreaterOrEqual(b, len(times), 6)
		mu.Lock()
		defer mu.Unlock()
		require.Equal(b, len(times), permits)
	})
}
