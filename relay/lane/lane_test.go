package lane_test

import (
	"bytes"
	"context"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/lane"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

func TestLaneEmitsAtMostItsConcurrencyUnacked(t *testing.T) {
	t.Parallel()
	b, id := setup(t, lane.Config{Concurrency: 3}), uuid.New()
	want := b.pending(10, id)
	out := b.subscribe(id, lane.Options{})
	b.run()

	unacked := receiveAll(t, out, 3)
	nothing(t, out)
	require.Equal(t, 3, b.source.Busy(id))
	b.finish(unacked[1])
	unacked[1] = receive(t, out)
	nothing(t, out)

	got := []int64{}
	for _, msg := range unacked {
		got = append(got, delivery(t, msg).ID)
		b.finish(msg)
	}
	got = append(got, want[1])
	require.ElementsMatch(t, want, append(got, b.finishAll(out, 6)...))
	nothing(t, out)
	eventually(t, func() bool { return b.source.Busy(id) == 0 }, "an idle lane is busy")
}

func TestBacklogBeyondAPageIsReadInOrder(t *testing.T) {
	t.Parallel()
	b, id := setup(t, lane.Config{Concurrency: 1, PageRows: 4, CacheBytes: 20}), uuid.New()
	want := b.pending(30, id)
	out := b.subscribe(id, lane.Options{})
	b.run()
	require.Equal(t, want, b.finishAll(out, 30))
	want = b.pending(5, id)
	b.source.Wake(id)
	require.Equal(t, want, b.finishAll(out, 5))
	nothing(t, out)
}

func TestBusyLanesShareTheGlobalBound(t *testing.T) {
	t.Parallel()
	db := schematest.New(t)
	for name, c := range map[string]struct{ lanes, each int }{
		"Evenly":                      {lanes: 5, each: 4},
		"RoundedDown":                 {lanes: 9, each: 2},
		"NeverLessThanOne":            {lanes: 40, each: 1},
		"NeverMoreThanTheConcurrency": {lanes: 2, each: 6},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupOn(t, db, lane.Config{Concurrency: 6, MaxInFlight: 20})
			ids, outs := make([]uuid.UUID, c.lanes), make([]<-chan *message.Message, c.lanes)
			for i := range ids {
				ids[i] = uuid.New()
				outs[i] = b.subscribe(ids[i], lane.Options{})
			}
			b.pending(12, ids...)
			b.run()
			unacked := make([][]*message.Message, c.lanes)
			for i := range outs {
				unacked[i] = receiveAll(t, outs[i], c.each)
			}
			nothing(t, outs[0])
			for _, id := range ids {
				require.Equal(t, c.each, b.source.Busy(id))
			}
			// The others end, and the lane that is left has its whole concurrency.
			for _, id := range ids[1:] {
				b.source.Remove(id)
			}
			b.finish(unacked[0][0])
			receiveAll(t, outs[0], 6-c.each+1)
			nothing(t, outs[0])
		})
	}
}

func TestDisablingAndEnablingLeaveNoTraceInTheShare(t *testing.T) {
	t.Parallel()
	b, shut, free := setup(t, lane.Config{Concurrency: 6, MaxInFlight: 6}), uuid.New(), uuid.New()
	b.pending(10, shut, free)
	var asked atomic.Int64
	b.subscribe(shut, lane.Options{Gate: gateFunc(func() (lane.Permit, time.Time, bool) {
		asked.Add(1)
		return nil, time.Time{}, false
	})})
	b.run()
	for range 20 {
		before := asked.Load()
		eventually(t, func() bool { return asked.Load() > before }, "the lane was not read")
		b.source.Disable(shut, true)
		b.source.Disable(shut, false)
	}
	b.source.Remove(shut)
	out := b.subscribe(free, lane.Options{})
	receiveAll(t, out, 6)
}

func TestDisabledLaneEmitsOnlyTestsAndOnceEnabledTheRestOnce(t *testing.T) {
	t.Parallel()
	b, id := setup(t, lane.Config{PageRows: 8}), uuid.New()
	rest := b.pending(20, id)
	rest = append(rest, b.insert(10, in(-time.Second), automatic, id)...)
	probes := append(b.insert(1, in(-time.Second), "test", id), b.pendingTests(2, id)...)
	out := b.subscribe(id, lane.Options{Disabled: true})
	b.run()
	require.ElementsMatch(t, probes, b.finishAll(out, 3))
	nothing(t, out)
	b.source.Disable(id, false)
	require.ElementsMatch(t, rest, b.finishAll(out, 30))
	nothing(t, out)
}

func TestShutLaneEmitsNothingNotEvenTestsAndGoesOnWhenItIsOpened(t *testing.T) {
	t.Parallel()
	b, id := setup(t, lane.Config{Concurrency: 2}), uuid.New()
	want := append(b.pending(5, id), b.pendingTests(1, id)...)
	out := b.subscribe(id, lane.Options{Shut: true})
	b.run()
	nothing(t, out)
	b.source.Shut(id, false)
	underWay := receiveAll(t, out, 2)
	b.source.Shut(id, true)
	got := make([]int64, 0, len(want))
	for _, msg := range underWay { // what started comes to its end
		got = append(got, delivery(t, msg).ID)
		b.finish(msg)
	}
	nothing(t, out)
	b.source.Shut(id, false)
	require.ElementsMatch(t, want, append(got, b.finishAll(out, 4)...))
	nothing(t, out)
}

func (b *testBundle) pendingTests(n int, id uuid.UUID) []int64 {
	ids := b.insert(n, in(0), "test", id)
	b.exec(`UPDATE webhooks.pending SET due_at = NULL WHERE delivery_id = ANY (ARRAY(
	  SELECT delivery_id FROM webhooks.pending WHERE trigger = 'test' ORDER BY delivery_id DESC LIMIT $1))`, n)
	return ids
}

func TestDisablingForgetsWhatWasReadAhead(t *testing.T) {
	t.Parallel()
	b, id := setup(t, lane.Config{Concurrency: 2}), uuid.New()
	want := b.pending(10, id)
	out := b.subscribe(id, lane.Options{})
	b.run()
	underWay := receiveAll(t, out, 2)
	b.source.Disable(id, true)
	for _, msg := range underWay { // what started comes to its end
		b.finish(msg)
	}
	nothing(t, out)
	b.source.Disable(id, false)
	require.Equal(t, want[2], delivery(t, receive(t, out)).ID)
	b.finishAll(out, 7)
	nothing(t, out)
}

func TestTestPassesAClosedGateWithoutAPermit(t *testing.T) {
	t.Parallel()
	b, id := setup(t, lane.Config{}), uuid.New()
	b.pending(3, id)
	probe := b.insert(1, in(-time.Second), "test", id)
	out := b.subscribe(id, lane.Options{Gate: gateFunc(func() (lane.Permit, time.Time, bool) { return nil, time.Time{}, false })})
	b.run()
	require.Equal(t, probe, b.finishAll(out, 1))
	nothing(t, out)
}

func TestRetryIsEmittedWhenDueAndNotBefore(t *testing.T) {
	t.Parallel()
	b, id := setup(t, lane.Config{}), uuid.New()
	ids := b.insert(1, in(150*time.Millisecond), automatic, id)
	out := b.subscribe(id, lane.Options{})
	b.run()
	for attempt := 1; attempt <= 3; attempt++ {
		msg := receive(t, out)
		d := delivery(t, msg)
		require.Equal(t, ids[0], d.ID)
		require.Equal(t, attempt, d.Attempt())
		var due bool
		require.NoError(t, b.QueryRow(`SELECT due_at <= clock_timestamp() FROM webhooks.pending`).Scan(&due))
		require.True(t, due)
		nothing(t, out) // though it stays due, it is in memory
		if attempt == 3 {
			b.finish(msg)
		} else {
			b.fail(msg, 100*time.Millisecond)
		}
	}
	nothing(t, out)
}

func TestRetryThatIsDueWaitsForItsOutcomeToBeSettled(t *testing.T) {
	t.Parallel()
	b, id := setup(t, lane.Config{}), uuid.New()
	b.pending(1, id)
	out := b.subscribe(id, lane.Options{})
	b.run()
	msg := receive(t, out)
	d := delivery(t, msg)
	b.exec(retry, d.EndpointID, d.ID, 0)
	nothing(t, out) // committed, and the lane has not been told
	b.source.Settled(d, true)
	require.True(t, msg.Ack())
	again := receive(t, out)
	require.Equal(t, 2, delivery(t, again).Attempt())
	nothing(t, out)
}

// TestPageReadBeforeDisablingIsDropped holds a read up with a lock until the lane is disabled.
func TestPageReadBeforeDisablingIsDropped(t *testing.T) {
	t.Parallel()
	b, id := setup(t, lane.Config{}), uuid.New()
	out := b.subscribe(id, lane.Options{})
	tx, err := b.Begin()
	require.NoError(t, err)
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	_, err = tx.Exec(`LOCK TABLE webhooks.pending`)
	require.NoError(t, err)
	var want []int64
	require.NoError(t, tx.QueryRow(insertPending, pq.Array([]string{id.String()}), 3, nil, automatic).Scan(pq.Array(&want)))
	b.run()
	eventually(t, func() bool {
		var waits bool
		err := b.QueryRow(`SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'webhooks.pending'::regclass AND NOT granted)`).Scan(&waits)
		return err == nil && waits
	}, "the lane is not reading")
	b.source.Disable(id, true)
	require.NoError(t, tx.Commit())
	nothing(t, out)
	b.source.Disable(id, false)
	require.ElementsMatch(t, want, b.finishAll(out, 3))
	nothing(t, out)
}

// TestDeliveryIsInMemoryAtMostOnce disables, enables and wakes a lane as fast as it can, while half of the deliveries fail
// once.
func TestDeliveryIsInMemoryAtMostOnce(t *testing.T) {
	t.Parallel()
	const n = 120
	b, id := setup(t, lane.Config{Concurrency: 8, PageRows: 16}), uuid.New()
	ids := b.pending(n, id)
	out := b.subscribe(id, lane.Options{})
	b.run()

	var storm sync.WaitGroup
	calm := make(chan struct{})
	for worker := range 3 {
		storm.Go(func() {
			tick := time.NewTicker(time.Duration(worker+1) * time.Millisecond)
			defer tick.Stop()
			for disabled := true; ; disabled = !disabled {
				select {
				case <-calm:
					return
				case <-tick.C:
					if worker == 0 {
						b.source.Wake()
					} else {
						b.source.Disable(id, disabled)
					}
				}
			}
		})
	}
	work := make(chan *message.Message)
	var workers sync.WaitGroup
	var mu sync.Mutex
	inMemory, times, twice := map[int64]bool{}, map[int64]int{}, 0
	begin := func(d *lane.Delivery) (again bool) {
		mu.Lock()
		defer mu.Unlock()
		if inMemory[d.ID] {
			twice++
		}
		inMemory[d.ID] = true
		times[d.ID]++
		return d.ID%2 == 0 && times[d.ID] == 1
	}
	end := func(d *lane.Delivery) {
		mu.Lock()
		defer mu.Unlock()
		delete(inMemory, d.ID)
	}
	for range 4 {
		workers.Go(func() {
			for msg := range work {
				d, _ := lane.DeliveryOf(msg)
				statement, args := deleteOver, []any{d.EndpointID, d.ID}
				again := begin(d)
				if again {
					statement, args = retry, append(args, 0.001)
				}
				if _, err := b.Exec(statement, args...); err != nil {
					t.Error(err)
				}
				end(d)
				b.source.Settled(d, again)
				msg.Ack()
			}
		})
	}
	want := n
	for _, id := range ids {
		want += int((id + 1) % 2)
	}
	for range want {
		work <- receive(t, out)
	}
	close(work)
	workers.Wait()
	close(calm)
	storm.Wait()
	b.source.Disable(id, false)
	nothing(t, out)
	require.Zero(t, twice)
	for _, id := range ids {
		require.Equal(t, 2-int(id%2), times[id], "delivery %d", id)
	}
}

type gateFunc func() (lane.Permit, time.Time, bool)

func (f gateFunc) Allow() (lane.Permit, time.Time, bool) { return f() }

// verdicts is a permit that remembers.
type verdicts chan lane.Verdict

func (v verdicts) Done(verdict lane.Verdict) { v <- verdict }

func TestClosedGateIsAskedAgainAtItsTime(t *testing.T) {
	t.Parallel()
	b, id := setup(t, lane.Config{Poll: time.Hour}), uuid.New()
	b.pending(1, id)
	given := make(verdicts, 10)
	opensAt := time.Now().Add(200 * time.Millisecond)
	var early atomic.Int64
	out := b.subscribe(id, lane.Options{Gate: gateFunc(func() (lane.Permit, time.Time, bool) {
		if time.Now().Before(opensAt) {
			early.Add(1)
			return nil, opensAt, false
		}
		return given, time.Time{}, true
	})})
	b.run()
	msg := receive(t, out)
	require.False(t, time.Now().Before(opensAt))
	require.LessOrEqual(t, early.Load(), int64(1), "a closed gate is not polled")
	d := delivery(t, msg)
	d.Settle(lane.EndpointFault)
	d.Settle(lane.Success)
	b.finish(msg)
	require.Equal(t, lane.EndpointFault, <-given)
	eventually(t, func() bool { return b.source.Busy(id) == 0 }, "the ack was not seen")
	require.Empty(t, given, "a permit is given back once")
}

func TestGateWithoutATimeIsAskedWhenAPermitComesBack(t *testing.T) {
	t.Parallel()
	b, id := setup(t, lane.Config{Poll: time.Hour}), uuid.New()
	want := b.pending(3, id)
	given := make(verdicts, 10)
	given <- lane.Success // the first permit
	out := b.subscribe(id, lane.Options{Gate: gateFunc(func() (lane.Permit, time.Time, bool) {
		select {
		case <-given:
			return given, time.Time{}, true
		default:
			return nil, time.Time{}, false
		}
	})})
	b.run()
	for _, id := range want {
		msg := receive(t, out)
		require.Equal(t, id, delivery(t, msg).ID)
		nothing(t, out)
		b.finish(msg) // nobody judged it: the ack gives the permit back
	}
}

func TestNackedMessageIsEmittedAgainAfterAWhile(t *testing.T) {
	t.Parallel()
	b, id := setup(t, lane.Config{Concurrency: 1, ResendAfter: 80 * time.Millisecond}), uuid.New()
	b.pending(2, id)
	out := b.subscribe(id, lane.Options{})
	b.run()
	first := receive(t, out)
	nacked := time.Now()
	require.True(t, first.Nack())
	second := receive(t, out)
	require.GreaterOrEqual(t, time.Since(nacked), 80*time.Millisecond)
	require.NotSame(t, first, second)
	require.Same(t, delivery(t, first), delivery(t, second), "the attempt is the same")
	eventually(t, func() bool { return first.Context().Err() != nil }, "the context of a nacked message does not end")
	require.NoError(t, second.Context().Err())
	b.finish(second)
	b.finishAll(out, 1)
}

// held is a starter that starts when it is told to.
type held chan func()

func (h held) Start(deliveries []*lane.Delivery, started func([]*lane.Delivery)) {
	h <- func() { started(deliveries) }
}

func TestRemovedLaneIsClosedAndForgotten(t *testing.T) {
	t.Parallel()
	starting := make(held, 10)
	b, id := setup(t, lane.Config{Concurrency: 2, Starter: starting}), uuid.New()
	want := b.pending(5, id)
	given := make(verdicts, 10)
	gate := gateFunc(func() (lane.Permit, time.Time, bool) { return given, time.Time{}, true })
	out := b.subscribe(id, lane.Options{Gate: gate})
	b.run()
	start := <-starting
	b.source.Remove(id)
	closed(t, out)
	start() // the intent was committed too late
	require.Equal(t, lane.Excluded, <-given)
	require.Equal(t, lane.Excluded, <-given)
	require.Zero(t, b.source.Busy(id))

	again := b.subscribe(id, lane.Options{Gate: gate})
	(<-starting)()
	got := receiveAll(t, again, 2)
	require.Equal(t, want[0], delivery(t, got[0]).ID)
	require.Equal(t, want[1], delivery(t, got[1]).ID)
}

func TestLaneIsDrainedWhenEveryOutcomeIsCommitted(t *testing.T) {
	t.Parallel()
	b, id := setup(t, lane.Config{Concurrency: 2}), uuid.New()
	b.exec(`INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id) VALUES ($1, 1000000, gen_random_uuid())`, id)
	b.pending(5, id)
	b.source.Add(id, lane.Options{Gate: open{}})
	type key struct{}
	ctx, end := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
	out, err := b.source.Subscribe(ctx, id.String())
	require.NoError(t, err)
	b.run()
	underWay := receiveAll(t, out, 2)
	end()
	closed(t, out)
	require.NoError(t, underWay[0].Context().Err(), "what is under way outlives the subscription")
	require.Equal(t, "value", underWay[0].Context().Value(key{}))

	soon, cancel := context.WithTimeout(t.Context(), quiet)
	defer cancel()
	require.False(t, b.source.Drained(soon, id))
	b.finish(underWay[0])
	require.True(t, underWay[1].Nack()) // nobody is there to send it to again
	ample, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	require.True(t, b.source.Drained(ample, id))
	require.True(t, b.source.Drained(ample, uuid.New()), "an unknown lane has nothing under way")
}

// TestPausedLanesStartNothingAndGoOnFromWhereTheyAre: no gate is asked meanwhile, and what was read before is not forgotten,
// though nothing but the end of the hold says that it may go on.
func TestPausedLanesStartNothingAndGoOnFromWhereTheyAre(t *testing.T) {
	t.Parallel()
	b, id := setup(t, lane.Config{Concurrency: 1, PageRows: 4, Poll: time.Hour}), uuid.New()
	want := b.pending(6, id)
	var asked atomic.Int64
	out := b.subscribe(id, lane.Options{Gate: gateFunc(func() (lane.Permit, time.Time, bool) {
		asked.Add(1)
		return free{}, time.Time{}, true
	})})
	b.run()
	first := receive(t, out)
	b.source.Pause(true)
	before := asked.Load()
	b.finish(first) // what was started goes on
	b.source.Wake()
	nothing(t, out)
	require.Equal(t, before, asked.Load())
	b.source.Pause(false)
	require.Equal(t, want[1:], b.finishAll(out, 5))
}

// TestEndOfTheAttemptsMeetsAHandlerThatJudges is for the race detector, and for the permit, which is given back once.
func TestEndOfTheAttemptsMeetsAHandlerThatJudges(t *testing.T) {
	t.Parallel()
	const n = 16
	b, id := setup(t, lane.Config{Concurrency: n}), uuid.New()
	b.pending(n, id)
	given := make(verdicts, 4*n)
	out := b.subscribe(id, lane.Options{Gate: gateFunc(func() (lane.Permit, time.Time, bool) { return given, time.Time{}, true })})
	b.run()
	var handlers sync.WaitGroup
	for _, msg := range receiveAll(t, out, n) {
		handlers.Go(func() {
			<-msg.Context().Done()
			d, _ := lane.DeliveryOf(msg)
			d.Settle(lane.EndpointFault)
			msg.Ack()
		})
	}
	b.cut()
	handlers.Wait()
	eventually(t, func() bool { return b.source.Busy(id) == 0 }, "attempts that were cut are under way")
	require.Len(t, given, n)
}

// TestIdleLanesCostNoGoroutines counts all goroutines of the process, so that it runs before the parallel tests do.
func TestIdleLanesCostNoGoroutines(t *testing.T) { //nolint:paralleltest // see above
	const n = 1200
	b := setup(t, lane.Config{Poll: 50 * time.Millisecond})
	ids, outs := make([]uuid.UUID, n), make([]<-chan *message.Message, n)
	before := runtime.NumGoroutine()
	for i := range ids {
		ids[i] = uuid.New()
		outs[i] = b.subscribe(ids[i], lane.Options{})
	}
	b.run()
	b.pending(1, ids[0], ids[n-1])
	b.finishAll(outs[0], 1)
	b.finishAll(outs[n-1], 1)
	require.Less(t, runtime.NumGoroutine()-before, 20)
	for _, id := range ids {
		b.source.Remove(id)
	}
	closed(t, outs[n/2])
}

// lines keeps what was logged.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *lines) count(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Count(l.text.Bytes(), []byte(what))
}

func TestLostEventHoldsUpNobody(t *testing.T) {
	t.Parallel()
	log, id, neighbour := new(lines), uuid.New(), uuid.New()
	b := setup(t, lane.Config{Concurrency: 1, Logger: slog.New(slog.NewTextHandler(log, nil))})
	b.exec(`INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id) VALUES ($1, 0, gen_random_uuid())`, id)
	b.exec(`INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id, due_at) VALUES ($1, -1, gen_random_uuid(), now())`, id)
	want := b.pending(3, id, neighbour)
	out, beside := b.subscribe(id, lane.Options{}), b.subscribe(neighbour, lane.Options{})
	b.run()
	require.ElementsMatch(t, want, append(b.finishAll(out, 3), b.finishAll(beside, 3)...))
	nothing(t, out)
	require.LessOrEqual(t, log.count("not in the outbox"), 2, "it is told once, not at every poll")
	require.Positive(t, log.count("not in the outbox"))
}

func TestFailedReadIsTriedAgain(t *testing.T) {
	t.Parallel()
	log, id := new(lines), uuid.New()
	b := setup(t, lane.Config{Logger: slog.New(slog.NewTextHandler(log, nil))})
	want := b.pending(3, id)
	b.exec(`ALTER TABLE webhooks.pending RENAME TO gone`)
	out := b.subscribe(id, lane.Options{})
	b.run()
	eventually(t, func() bool { return log.count("lane read failed") > 1 }, "no read failed")
	b.exec(`ALTER TABLE webhooks.gone RENAME TO pending`)
	require.ElementsMatch(t, want, b.finishAll(out, 3))
	nothing(t, out)
}

func TestSubscribeRefuses(t *testing.T) {
	t.Parallel()
	b := setupOn(t, &schematest.DB{}, lane.Config{})
	id := uuid.New()
	_, err := b.source.Subscribe(t.Context(), "orders")
	require.ErrorContains(t, err, `subscribe to lane "orders": want an endpoint id`)
	_, err = b.source.Subscribe(t.Context(), id.String())
	require.ErrorContains(t, err, "it was not added")
	out := b.subscribe(id, lane.Options{})
	_, err = b.source.Subscribe(t.Context(), id.String())
	require.ErrorContains(t, err, "it has a subscriber")
	require.NoError(t, b.source.Close())
	require.NoError(t, b.source.Close())
	closed(t, out)
	_, err = b.source.Subscribe(t.Context(), id.String())
	require.ErrorIs(t, err, lane.ErrClosed)
}
