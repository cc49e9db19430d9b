package lane_test

import (
	"context"
	"database/sql"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/chattosurvey/surveyhooks/relay/lane"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	// patient bounds every wait; it is generous, since other tests share the cores.
	patient = 20 * time.Second
	// quiet is how long a channel is watched when nothing may come: many times the poll of these tests.
	quiet = 60 * time.Millisecond
)

// insertPending makes an event and, for each endpoint, its delivery. Nothing else is needed: pending has no foreign
// key, and lanes read neither endpoints nor their rows of state.
const insertPending = `WITH e AS (
  INSERT INTO webhooks.outbox (event_type, company_id, data)
  SELECT 'conversation.started', gen_random_uuid(), json_build_object('n', n) FROM generate_series(1, $2::int) n
  RETURNING event_id, recorded_at, transaction_id, position
), k AS (
  INSERT INTO webhooks.event_ids (event_id, recorded_at, transaction_id, position) SELECT event_id, recorded_at, transaction_id, position FROM e
), p AS (
  INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id, due_at, trigger)
  SELECT l, nextval('webhooks.delivery_id'), o.event_id, clock_timestamp() + $3::float * interval '1 second', $4
    FROM unnest($1::uuid[]) l CROSS JOIN (SELECT event_id FROM e ORDER BY position) o
  RETURNING delivery_id
)
SELECT array_agg(delivery_id ORDER BY delivery_id) FROM p`

const (
	automatic  = "automatic"
	deleteOver = `DELETE FROM webhooks.pending WHERE endpoint_id = $1 AND delivery_id = $2`
	retry      = `UPDATE webhooks.pending SET due_at = clock_timestamp() + $3 * interval '1 second', started = started + 1
 WHERE endpoint_id = $1 AND delivery_id = $2`
)

// open is a gate that always allows.
type open struct{}

func (open) Allow() (lane.Permit, time.Time, bool) { return free{}, time.Time{}, true }

type free struct{}

func (free) Done(lane.Verdict) {}

// starter starts at once, from another goroutine.
type starter struct{ running sync.WaitGroup }

func (s *starter) Start(deliveries []*lane.Delivery, started func([]*lane.Delivery)) {
	s.running.Go(func() {
		for _, d := range deliveries {
			d.StartedAt = time.Now()
		}
		started(deliveries)
	})
}

type testBundle struct {
	*schematest.DB
	t      *testing.T
	source *lane.Source
	cut    context.CancelFunc // ends the attempts
	run    func()             // starts reading; once
}

// setup makes a database and a source whose polls take milliseconds; run starts it, and the test's end stops it.
func setup(t *testing.T, cfg lane.Config) *testBundle {
	t.Helper()

	return setupOn(t, schematest.New(t), cfg)
}

func setupOn(t *testing.T, db *schematest.DB, cfg lane.Config) *testBundle {
	t.Helper()

	ctx, stop := context.WithCancel(context.Background())
	attempts, cut := context.WithCancel(context.Background())
	starting := new(starter)
	if cfg.Starter == nil {
		cfg.Starter = starting
	}
	if cfg.Poll == 0 {
		cfg.Poll = 5 * time.Millisecond
	}
	if cfg.ResendAfter == 0 {
		cfg.ResendAfter = time.Millisecond
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	cfg.DB, cfg.Attempts = db.DB, attempts
	b := &testBundle{DB: db, t: t, source: lane.NewSource(cfg), cut: cut}
	var running sync.WaitGroup
	b.run = func() { running.Go(func() { _ = b.source.Run(ctx) }) } // it ends with ctx, and never otherwise
	t.Cleanup(func() {
		require.NoError(t, b.source.Close())
		cut()
		stop()
		running.Wait()
		starting.running.Wait()
	})
	return b
}

// subscribe adds a lane and opens it.
func (b *testBundle) subscribe(id uuid.UUID, o lane.Options) <-chan *message.Message {
	b.t.Helper()
	if o.Gate == nil {
		o.Gate = open{}
	}
	b.source.Add(id, o)
	out, err := b.source.Subscribe(b.t.Context(), id.String())
	require.NoError(b.t, err)
	return out
}

// pending inserts deliveries that are due at once, in order.
func (b *testBundle) pending(n int, endpoints ...uuid.UUID) []int64 {
	b.t.Helper()
	return b.insert(n, sql.NullFloat64{}, automatic, endpoints...)
}

// insert has the deliveries due so many seconds from now.
func (b *testBundle) insert(n int, due sql.NullFloat64, trigger string, endpoints ...uuid.UUID) []int64 {
	b.t.Helper()
	names := make([]string, len(endpoints))
	for i, id := range endpoints {
		names[i] = id.String()
	}
	var ids []int64
	require.NoError(b.t, b.QueryRow(insertPending, pq.Array(names), n, due, trigger).Scan(pq.Array(&ids)))
	return ids
}

func in(d time.Duration) sql.NullFloat64 { return sql.NullFloat64{Float64: d.Seconds(), Valid: true} }

func (b *testBundle) exec(query string, args ...any) {
	b.t.Helper()
	_, err := b.Owner.Exec(query, args...)
	require.NoError(b.t, err)
}

// finish does what the recorder does with a delivered event, and acks.
func (b *testBundle) finish(msg *message.Message) {
	b.t.Helper()
	d := delivery(b.t, msg)
	b.exec(deleteOver, d.EndpointID, d.ID)
	b.source.Settled(d, false)
	require.True(b.t, msg.Ack())
}

// fail does what the recorder does with a failed attempt, and acks.
func (b *testBundle) fail(msg *message.Message, after time.Duration) {
	b.t.Helper()
	d := delivery(b.t, msg)
	b.exec(retry, d.EndpointID, d.ID, after.Seconds())
	b.source.Settled(d, true)
	require.True(b.t, msg.Ack())
}

// finishAll finishes n messages and returns the ids of their deliveries in the order of arrival.
func (b *testBundle) finishAll(out <-chan *message.Message, n int) []int64 {
	b.t.Helper()
	ids := make([]int64, n)
	for i := range ids {
		msg := receive(b.t, out)
		ids[i] = delivery(b.t, msg).ID
		b.finish(msg)
	}
	return ids
}

func delivery(t *testing.T, msg *message.Message) *lane.Delivery {
	t.Helper()
	d, ok := lane.DeliveryOf(msg)
	require.True(t, ok)
	return d
}

func receive(t *testing.T, out <-chan *message.Message) *message.Message {
	t.Helper()
	select {
	case msg, isOpen := <-out:
		require.True(t, isOpen, "the channel is closed")
		return msg
	case <-time.After(patient):
		require.FailNow(t, "no message came")
		return nil
	}
}

func receiveAll(t *testing.T, out <-chan *message.Message, n int) []*message.Message {
	t.Helper()
	list := make([]*message.Message, n)
	for i := range list {
		list[i] = receive(t, out)
	}
	return list
}

// nothing requires that no message comes for a while, and that the channel stays open.
func nothing(t *testing.T, out <-chan *message.Message) {
	t.Helper()
	select {
	case msg, isOpen := <-out:
		require.True(t, isOpen, "the channel is closed")
		require.Failf(t, "a message came", "delivery %d", delivery(t, msg).ID)
	case <-time.After(quiet):
	}
}

func closed(t *testing.T, out <-chan *message.Message) {
	t.Helper()
	deadline := time.After(patient)
	for {
		select {
		case _, isOpen := <-out:
			if !isOpen {
				return
			}
		case <-deadline:
			require.FailNow(t, "the channel was not closed")
		}
	}
}

func eventually(t *testing.T, condition func() bool, why string) {
	t.Helper()
	require.Eventually(t, condition, patient, 2*time.Millisecond, why)
}
