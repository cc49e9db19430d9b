package relay

import (
	"database/sql"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
	"github.com/chattosurvey/surveyhooks/relay/lane"
	"github.com/chattosurvey/surveyhooks/schema/fact"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// newClaimant is a session that has joined, and the recorder of its claims.
func newClaimant(t *testing.T, db *schematest.DB) (*session, *recorder) {
	t.Helper()
	s := &session{
		cfg: Config{Lease: time.Hour}.withDefaults(), db: db.DB, id: uuid.New(), clock: new(clock), logger: slog.New(slog.DiscardHandler),
	}
	require.NoError(t, s.join(t.Context()))
	r := newRecorder(s.db, s.id, s.clock, s.logger)
	r.settled = func(*lane.Delivery, bool) {}
	var err error
	r.timeline, err = timelineOf(t.Context(), s.db)
	require.NoError(t, err)
	return s, r
}

func newborn(id int64) *lane.Delivery {
	return &lane.Delivery{ID: id, EndpointID: uuid.New(), Event: &lane.Event{ID: uuid.New()}, Generation: 1, Trigger: fact.Automatic}
}

// claimIn has the transaction make a delivery and the intent of its first attempt.
func claimIn(t *testing.T, tx *sql.Tx, r *recorder, d *lane.Delivery) {
	t.Helper()
	_, err := tx.Exec(`INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id) VALUES ($1, $2, $3)`, d.EndpointID, d.ID, d.Event.ID)
	require.NoError(t, err)
	require.NoError(t, r.startWith(t.Context(), tx, []*lane.Delivery{d}))
}

// Nothing is sent for a relay that was declared dead, or on the strength of a server that does not know what was sent: then
// neither the intents nor the deliveries that they came with are there.
func TestIntentsOfAClaimHoldWithItsTransactionOrNotAtAll(t *testing.T) {
	t.Parallel()
	db := schematest.New(t)
	s, r := newClaimant(t, db)
	pool, err := commitlog.Open(db.DSN, "surveyhooks-relay", 1, settings())
	require.NoError(t, err)
	defer pool.Close()
	started := 0
	claim := func() error {
		tx, err := pool.Begin()
		require.NoError(t, err)
		d := newborn(int64(7 + started))
		claimIn(t, tx, r, d)
		require.Equal(t, d.StartedAt, d.FirstAttemptAt)
		return tx.Commit()
	}
	check := func() {
		var deliveries, intents int
		require.NoError(t, db.QueryRow(`SELECT (SELECT count(*) FROM webhooks.pending), (SELECT count(*) FROM webhooks.intents i
			JOIN webhooks.pending p ON i.delivery_ids = ARRAY[p.delivery_id] WHERE i.relay_id = $1 AND i.attempts = '{1}')`, s.id).Scan(&deliveries, &intents))
		require.Equal(t, started, deliveries)
		require.Equal(t, started, intents)
		require.Equal(t, started, toldFacts(t, db.DB)[fact.AttemptsStarted])
	}
	for started < 2 {
		require.NoError(t, claim())
		started++
		check()
	}
	known := r.timeline
	cluster, timeline, _ := strings.Cut(known, "/")
	for _, elsewhere := range []string{cluster + "/000000FF", "7/" + timeline} {
		r.timeline = elsewhere
		require.ErrorContains(t, claim(), "another one took over")
		check()
	}
	r.timeline = known
	_, err = db.Owner.Exec(`DELETE FROM webhooks.relays WHERE relay_id = $1`, s.id)
	require.NoError(t, err)
	require.ErrorContains(t, claim(), "this relay lost its own")
	check()
}

// A claim that is too large to travel with COMMIT is refused while the page is applied: that is no fault of the page's rows.
func TestLargeClaimThatIsRefusedIsNobodysPoison(t *testing.T) {
	t.Parallel()
	db := schematest.New(t)
	_, r := newClaimant(t, db)
	pool, err := commitlog.Open(db.DSN, "surveyhooks-relay", 1, settings())
	require.NoError(t, err)
	defer pool.Close()
	many := make([]*lane.Delivery, 300)
	for i := range many {
		many[i] = newborn(int64(i))
	}
	r.timeline = "7/000000FF"
	tx, err := pool.Begin()
	require.NoError(t, err)
	err = r.startWith(t.Context(), tx, many)
	require.ErrorContains(t, err, "another one took over")
	_, ok := errors.AsType[*pq.Error](err)
	require.False(t, ok, "whose class would be that of bad data")
	require.NoError(t, tx.Rollback())
}

// A COMMIT whose answer was lost may still be under way when its claim is given up. What it leaves later is closed with the next
// outcomes, or the delivery would be shown as under way for as long as the relay lives.
func TestIntentsThatComeAfterTheirClaimWasGivenUpAreClosed(t *testing.T) {
	t.Parallel()
	db := schematest.New(t)
	_, r := newClaimant(t, db)
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	left := func() (n int) {
		require.NoError(t, db.QueryRow(`SELECT count(*) FROM webhooks.intents`).Scan(&n))
		return n
	}
	d := newborn(7)
	tx, err := db.Begin()
	require.NoError(t, err)
	require.NoError(t, r.startWith(t.Context(), tx, []*lane.Delivery{d}))
	d.Uncertain = true
	r.abandon(d)
	require.NoError(t, r.commit(conn, r.gather()))
	require.NoError(t, tx.Commit())
	require.Equal(t, 1, left())

	next := newborn(8)
	r.Start([]*lane.Delivery{next}, func([]*lane.Delivery) {})
	require.NoError(t, r.commit(conn, r.gather()))
	r.abandon(next)
	require.NoError(t, r.commit(conn, r.gather()))
	require.Zero(t, left())
	require.Empty(t, r.open)
}

// Whoever declares a relay dead settles what it claimed; then there is nothing left to tell.
func TestEndOfAClaimThatFailedIsNotToldForTheDead(t *testing.T) {
	t.Parallel()
	db := schematest.New(t)
	s, r := newClaimant(t, db)
	d := newborn(7)
	tx, err := db.Begin()
	require.NoError(t, err)
	require.NoError(t, r.startWith(t.Context(), tx, []*lane.Delivery{d}))
	require.NoError(t, tx.Commit())
	require.NoError(t, s.reap(t.Context(), s.id))
	d.Uncertain = true
	r.abandon(d)
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	require.ErrorIs(t, r.commitUntilDone(t.Context(), &conn, r.gather()), errFenced)
	require.Equal(t, map[fact.Name]int{fact.AttemptsStarted: 1}, toldFacts(t, db.DB))
}

// What becomes of a claim that failed hangs on what became of its transaction, which only the tables know.
func TestEndOfAClaimThatFailedIsToldIfItsDeliveryIsThere(t *testing.T) {
	t.Parallel()
	for name, held := range map[string]bool{"TheTransactionHeld": true, "ItWasRolledBack": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := schematest.New(t)
			_, r := newClaimant(t, db)
			d := newborn(7)
			tx, err := db.Begin()
			require.NoError(t, err)
			claimIn(t, tx, r, d)
			want := map[fact.Name]int{}
			if held {
				require.NoError(t, tx.Commit())
				want = map[fact.Name]int{fact.AttemptsStarted: 1, fact.AttemptInterrupted: 1}
			} else {
				require.NoError(t, tx.Rollback())
			}
			told := 0
			r.settled = func(ended *lane.Delivery, waiting bool) {
				require.Same(t, d, ended)
				require.True(t, waiting, "the lane looks for it again")
				told++
			}
			d.Uncertain = true
			r.abandon(d)
			conn, err := db.Conn(t.Context())
			require.NoError(t, err)
			defer func() { require.NoError(t, conn.Close()) }()
			require.NoError(t, r.commit(conn, r.gather()))
			require.Equal(t, 1, told)
			require.Equal(t, want, toldFacts(t, db.DB))
			require.Empty(t, r.open)
			var intents, due int
			require.NoError(t, db.QueryRow(`SELECT (SELECT count(*) FROM webhooks.intents),
				(SELECT count(*) FROM webhooks.pending WHERE started = 1 AND completed = 0 AND due_at <= clock_timestamp())`).Scan(&intents, &due))
			require.Zero(t, intents)
			require.Equal(t, want[fact.AttemptInterrupted], due, "and it is due at once")
		})
	}
}
