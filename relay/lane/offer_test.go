package lane_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/lane"
)

// offered are deliveries as the fan-out hands them over.
func offered(endpoint uuid.UUID, ids ...int64) []*lane.Delivery {
	deliveries := make([]*lane.Delivery, len(ids))
	for i, id := range ids {
		deliveries[i] = &lane.Delivery{ID: id, EndpointID: endpoint, Event: &lane.Event{ID: uuid.New()}, Generation: 1}
	}
	return deliveries
}

// upToDate opens a lane that reads only when it is woken, and has read all there is.
func upToDate(t *testing.T) (b *testBundle, id uuid.UUID, receiveNext func() int64) {
	t.Helper()
	b, id = setup(t, lane.Config{Concurrency: 1, Poll: time.Hour}), uuid.New()
	out := b.subscribe(id, lane.Options{})
	b.run()
	next := func() int64 { return b.finishAll(out, 1)[0] }
	want := b.pending(1, id)
	b.source.Wake()
	require.Equal(t, want[0], next())
	return b, id, next
}

func TestOfferedDeliveriesNeedNoRead(t *testing.T) {
	t.Parallel()
	b, id, next := upToDate(t)
	mark := b.source.Mark()
	want := b.pending(3, id)
	b.source.Offer(0, mark, offered(id, want...))
	for _, w := range want {
		require.Equal(t, w, next(), "in the order of their ids")
	}
	require.Equal(t, mark, b.source.Mark(), "nothing was read")
}

func TestLaneThatMayHaveSeenAnOfferReadsForItself(t *testing.T) {
	t.Parallel()
	b, id, next := upToDate(t)
	mark := b.source.Mark()
	first := b.pending(1, id)
	b.source.Wake(id) // by the poll, say
	require.Equal(t, first[0], next())
	b.source.Offer(0, mark, offered(id, first...))
	second := b.pending(1, id)
	b.source.Wake(id)
	require.Equal(t, second[0], next(), "the first is over, and not sent again")
}

func TestLaneThatMayHaveMissedAPageReadsBeforeItTakesAnOffer(t *testing.T) {
	t.Parallel()
	b, id, next := upToDate(t)
	older := b.pending(1, id) // another relay's page, whose notice is still on its way
	since, mark := b.source.Mark(), b.source.Mark()
	newer := b.pending(2, id)
	b.source.Offer(since, mark, offered(id, newer[0]))
	b.source.Offer(since, mark, offered(id, newer[1]))
	for _, w := range append(older, newer...) {
		require.Equal(t, w, next())
	}
}

// holdRead has the lane begin a read that waits, until the transaction ends, to look; mark is a moment of the wait.
func (b *testBundle) holdRead(id uuid.UUID) (tx *sql.Tx, mark int64) {
	b.t.Helper()
	tx, err := b.Begin()
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = tx.Rollback() }) // after a commit there is nothing to roll back
	_, err = tx.Exec(`LOCK TABLE webhooks.pending`)
	require.NoError(b.t, err)
	b.source.Wake(id)
	eventually(b.t, func() bool {
		var waits bool
		err := b.QueryRow(`SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'webhooks.pending'::regclass AND NOT granted)`).Scan(&waits)
		return err == nil && waits
	}, "the lane is not reading")
	return tx, b.source.Mark()
}

// insertIn makes a delivery in a transaction that the caller commits.
func insertIn(t *testing.T, tx *sql.Tx, endpoint uuid.UUID) int64 {
	t.Helper()
	var ids []int64
	require.NoError(t, tx.QueryRow(insertPending, pq.Array([]string{endpoint.String()}), 1, nil, automatic).Scan(pq.Array(&ids)))
	return ids[0]
}

// TestLaneThatIsReadingTakesNoOffer: the read may see what is offered.
func TestLaneThatIsReadingTakesNoOffer(t *testing.T) {
	t.Parallel()
	b, id, next := upToDate(t)
	tx, mark := b.holdRead(id)
	want := insertIn(t, tx, id)
	b.source.Offer(0, mark, offered(id, want))
	require.Zero(t, b.source.Busy(id))
	require.NoError(t, tx.Commit())
	require.Equal(t, want, next())
}

func TestDisabledLaneKeepsAnOfferForLater(t *testing.T) {
	t.Parallel()
	b, id, next := upToDate(t)
	b.source.Disable(id, true)
	mark := b.source.Mark()
	want := b.pending(1, id)
	b.source.Offer(0, mark, offered(id, want...))
	require.Zero(t, b.source.Busy(id))
	b.source.Disable(id, false)
	require.Equal(t, want[0], next())
}

// TestOffersAndReadsMeet has a fan-out that offers two of three deliveries, while polls, wake-ups, disabling
// and enabling read the same rows at the same time.
func TestOffersAndReadsMeet(t *testing.T) {
	t.Parallel()
	const n = 150
	b, id := setup(t, lane.Config{Concurrency: 1, PageRows: 16, Poll: time.Millisecond}), uuid.New()
	out := b.subscribe(id, lane.Options{})
	b.run()
	want := make(chan int64, n)
	go func() {
		defer close(want)
		since := int64(0)
		for i := range n {
			mark := b.source.Mark()
			ids := b.pending(1, id)
			want <- ids[0]
			switch i % 3 {
			case 0:
				since = b.source.Mark()
				b.source.Wake(id)
			default:
				b.source.Offer(since, mark, offered(id, ids...))
			}
			if i%20 == 0 {
				b.source.Disable(id, true)
				b.source.Disable(id, false)
			}
		}
	}()
	for w := range want {
		require.Equal(t, w, b.finishAll(out, 1)[0], "each once, in order")
	}
	nothing(t, out)
}

// TestReadThatEndsAfterTheCommitMayHaveSeenTheOffer has a read begin before deliveries are committed, see them, and end
// before they are offered.
func TestReadThatEndsAfterTheCommitMayHaveSeenTheOffer(t *testing.T) {
	t.Parallel()
	b, id, next := upToDate(t)
	tx, mark := b.holdRead(id)
	want := insertIn(t, tx, id)
	require.NoError(t, tx.Commit())
	require.Equal(t, want, next(), "the read saw it")
	b.source.Offer(0, mark, offered(id, want))
	after := b.pending(1, id)
	b.source.Wake(id)
	require.Equal(t, after[0], next(), "the first is over, and not sent again")
}

// TestPausedLanesKeepWhatTheyAreOffered: nothing starts in a pause, and after it everything flows once and in order,
// whether it was offered before the pause, in it or after it, or has to be read.
func TestPausedLanesKeepWhatTheyAreOffered(t *testing.T) {
	t.Parallel()
	b, id, next := upToDate(t)
	var want []int64
	offer := func() {
		mark := b.source.Mark()
		ids := b.pending(2, id)
		want = append(want, ids...)
		b.source.Offer(0, mark, offered(id, ids...))
	}
	b.source.Pause(true)
	offer()
	offer()
	b.source.Wake(id) // by the poll, say: from then on it has to read
	offer()
	require.Zero(t, b.source.Busy(id))
	b.source.Pause(false)
	offer()
	for _, w := range want {
		require.Equal(t, w, next())
	}
	last := b.pending(1, id)
	b.source.Wake(id)
	require.Equal(t, last[0], next(), "each was sent once")
}

// TestPacedLaneTakesOffersInOrder: they wait for their tokens like what was read.
func TestPacedLaneTakesOffersInOrder(t *testing.T) {
	t.Parallel()
	b, id, next := upToDate(t)
	b.source.Limit(id, 100)
	began := time.Now()
	var want []int64
	for range 4 {
		mark := b.source.Mark()
		ids := b.pending(3, id)
		want = append(want, ids...)
		b.source.Offer(0, mark, offered(id, ids...))
	}
	for _, w := range want {
		require.Equal(t, w, next())
	}
	require.GreaterOrEqual(t, time.Since(began), 100*time.Millisecond, "twelve of at most a hundred a second")
}
