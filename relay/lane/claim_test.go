package lane_test

import (
	"context"
	"database/sql"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/lane"
)

// claim has the lane claim a delivery of a transaction that is open.
func (b *testBundle) claim(id uuid.UUID) (tx *sql.Tx, delivery int64, claimed *lane.Claim) {
	b.t.Helper()
	tx, err := b.Begin()
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = tx.Rollback() }) // after a commit there is nothing to roll back
	delivery = insertIn(b.t, tx, id)
	eventually(b.t, func() bool { // once it has read what it was woken for before, and the slot of what came before is free
		var rest []*lane.Delivery
		claimed, rest = b.source.Claim(0, b.source.Mark(), offered(id, delivery))
		require.Len(b.t, append(claimed.Deliveries(), rest...), 1)
		return len(rest) == 0
	}, "it is not claimed")
	return tx, delivery, claimed
}

func TestClaimedDeliveriesStartWithTheCommitThatMakesThem(t *testing.T) {
	t.Parallel()
	b, id, next := upToDate(t)
	for range 3 {
		tx, want, claimed := b.claim(id)
		require.Equal(t, 1, b.source.Busy(id), "it has its slot")
		require.NoError(t, tx.Commit())
		claimed.Started()
		require.Equal(t, want, next())
	}
}

// What cannot start at once is not claimed: only what is committed may wait in a lane, from where others start it.
func TestWhatHasToWaitIsNotClaimedButOffered(t *testing.T) {
	t.Parallel()
	for name, hold := range map[string]func(*testBundle, uuid.UUID) (letGo func()){
		"NoSlotIsFree": func(b *testBundle, id uuid.UUID) func() {
			tx, _, claimed := b.claim(id)
			return func() {
				require.NoError(b.t, tx.Rollback())
				claimed.Failed()
			}
		},
		"TheLaneIsShut": func(b *testBundle, id uuid.UUID) func() {
			b.source.Shut(id, true)
			return func() { b.source.Shut(id, false) }
		},
		"TheEndpointIsDisabled": func(b *testBundle, id uuid.UUID) func() {
			b.source.Disable(id, true)
			return func() { b.source.Disable(id, false) }
		},
		"ThereIsAPause": func(b *testBundle, _ uuid.UUID) func() {
			b.source.Pause(true)
			return func() { b.source.Pause(false) }
		},
		"TheLaneHasToRead": func(b *testBundle, id uuid.UUID) func() {
			b.source.Offer(0, -1, offered(id, 0)) // of a moment long ago
			return func() {}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, id, next := upToDate(t)
			letGo := hold(b, id)
			mark := b.source.Mark()
			tx, err := b.Begin()
			require.NoError(t, err)
			want := insertIn(t, tx, id)
			claimed, rest := b.source.Claim(0, mark, offered(id, want))
			require.Empty(t, claimed.Deliveries())
			require.Len(t, rest, 1)
			require.NoError(t, tx.Commit())
			b.source.Offer(0, mark, rest)
			letGo()
			require.Equal(t, want, next())
		})
	}
}

// refusing is a gate that is closed until it is opened, and then is to be asked again.
type refusing struct {
	opened atomic.Bool
	asked  atomic.Int32
	again  time.Duration
}

func (g *refusing) Allow() (lane.Permit, time.Time, bool) {
	g.asked.Add(1)
	if g.opened.Load() {
		return free{}, time.Time{}, true
	}
	return nil, time.Now().Add(g.again), false
}

func TestGateThatRefusesAClaimIsAskedAgainOnceThereIsSomethingToStart(t *testing.T) {
	t.Parallel()
	gate := &refusing{again: time.Millisecond}
	b, id := setup(t, lane.Config{Poll: time.Hour}), uuid.New()
	out := b.subscribe(id, lane.Options{Gate: gate})
	b.run()
	eventually(t, func() bool { return b.source.Mark() >= 2 }, "the lane has not read")
	mark := b.source.Mark()
	want := b.pending(1, id)
	claimed, rest := b.source.Claim(0, mark, offered(id, want...))
	require.Empty(t, claimed.Deliveries())
	b.source.Offer(0, mark, rest)
	require.Zero(t, b.source.Busy(id))
	gate.opened.Store(true)
	require.Equal(t, want[0], b.finishAll(out, 1)[0])
	nothing(t, out)
}

func TestNothingIsClaimedBeforeWhatWaits(t *testing.T) {
	t.Parallel()
	gate := &refusing{again: time.Hour}
	b, id := setup(t, lane.Config{Poll: time.Hour}), uuid.New()
	out := b.subscribe(id, lane.Options{Gate: gate})
	b.run()
	eventually(t, func() bool { return b.source.Mark() >= 2 }, "the lane has not read")
	mark := b.source.Mark()
	waits := b.pending(1, id)
	b.source.Offer(0, mark, offered(id, waits...))
	eventually(t, func() bool { return gate.asked.Load() > 0 }, "it does not wait for the gate")
	gate.opened.Store(true)
	next := b.pending(1, id)
	claimed, rest := b.source.Claim(0, mark, offered(id, next...))
	require.Empty(t, claimed.Deliveries())
	b.source.Offer(0, mark, rest)
	require.Equal(t, append(waits, next...), b.finishAll(out, 2))
}

// once refuses the first question after it is told to, as a breaker does whose probe is just coming back.
type once struct{ refuse atomic.Int32 }

func (g *once) Allow() (lane.Permit, time.Time, bool) {
	if g.refuse.Add(-1) >= 0 {
		return nil, time.Time{}, false
	}
	return free{}, time.Time{}, true
}

// A lane that refuses a delivery is not asked for the next one of the page, though it could start that by then: it would overtake,
// and the lane's cursor would pass the first one by.
func TestNothingIsClaimedPastWhatWasRefused(t *testing.T) {
	t.Parallel()
	gate := new(once)
	b, id, other := setup(t, lane.Config{Poll: time.Hour}), uuid.New(), uuid.New()
	out := b.subscribe(id, lane.Options{Gate: gate})
	b.subscribe(other, lane.Options{})
	b.run()
	tx, _, ready := b.claim(other) // which may have been read for with the first one
	require.NoError(t, tx.Rollback())
	ready.Failed()
	gate.refuse.Store(1)
	mark := b.source.Mark()
	tx, err := b.Begin()
	require.NoError(t, err)
	first, elsewhere, second := insertIn(t, tx, id), insertIn(t, tx, other), insertIn(t, tx, id)
	deliveries := append(append(offered(id, first), offered(other, elsewhere)...), offered(id, second)...)
	claimed, rest := b.source.Claim(0, mark, deliveries)
	require.NotContains(t, claimed.Deliveries(), deliveries[2])
	b.source.Wake(id) // by the poll, say
	require.NoError(t, tx.Commit())
	claimed.Started()
	b.source.Offer(0, mark, rest)
	require.Equal(t, []int64{first, second}, b.finishAll(out, 2))
}

// A transaction whose answer was lost has made its deliveries or has not. Both are found by reading.
func TestLaneReadsAgainAfterAClaimThatFailed(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*sql.Tx) error{"RolledBack": (*sql.Tx).Rollback, "Committed": (*sql.Tx).Commit} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, id, next := upToDate(t)
			tx, claimedID, claimed := b.claim(id)
			claimed.Failed()
			require.Zero(t, b.source.Busy(id), "its slot is free again")
			require.NoError(t, end(tx)) // later than anybody thought
			want := b.pending(1, id)
			b.source.Wake(id)
			if name == "Committed" {
				require.Equal(t, claimedID, next())
			}
			require.Equal(t, want[0], next())
		})
	}
}

// TestClaimThatFailedIsAbandoned: its intents may be there, and somebody has to end them.
func TestClaimThatFailedIsAbandoned(t *testing.T) {
	t.Parallel()
	abandoned := make(chan *lane.Delivery, 1)
	b := setup(t, lane.Config{Poll: time.Hour, Abandoned: func(d *lane.Delivery) { abandoned <- d }})
	id := uuid.New()
	out := b.subscribe(id, lane.Options{})
	b.run()
	eventually(t, func() bool { return b.source.Mark() >= 2 }, "the lane has not read")
	tx, want, claimed := b.claim(id)
	require.NoError(t, tx.Commit())
	claimed.Failed()
	d := <-abandoned
	require.Equal(t, want, d.ID)
	require.True(t, d.Uncertain)
	b.source.Wake(id)
	nothing(t, out) // until its end is committed, nobody else may start it
	b.source.Settled(d, true)
	b.source.Wake(id)
	require.Equal(t, want, b.finishAll(out, 1)[0])
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	b.source.Remove(id)
	require.True(t, b.source.Drained(ctx, id))
}
