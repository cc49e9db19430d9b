package relay

import (
	"context"
	"log/slog"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/lane"
	"github.com/chattosurvey/surveyhooks/schema/fact"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// TestIntentsAreCommittedOnceHoweverOftenItIsTried tells intents alone, whose answer is lost: what repeats them cannot know.
func TestIntentsAreCommittedOnceHoweverOftenItIsTried(t *testing.T) {
	t.Parallel()
	db := schematest.New(t)
	s := &session{
		cfg: Config{Lease: time.Hour}.withDefaults(), db: db.DB, id: uuid.New(), clock: new(clock),
		logger: slog.New(slog.DiscardHandler),
	}
	require.NoError(t, s.join(t.Context()))
	r := newRecorder(s.db, s.id, s.clock, s.logger)
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()

	d := &lane.Delivery{ID: 7, EndpointID: uuid.New(), Event: &lane.Event{ID: uuid.New()}, Generation: 1}
	told := 0
	r.Start([]*lane.Delivery{d}, func([]*lane.Delivery) { told++ })
	g := r.gather()
	for range 2 {
		require.NoError(t, r.commit(conn, g))
	}
	require.Equal(t, 2, told)
	require.Equal(t, 1, toldFacts(t, db.DB)[fact.AttemptsStarted])
	var started time.Time
	require.NoError(t, db.QueryRow(`SELECT started_at FROM webhooks.intents WHERE relay_id = $1 AND delivery_ids = '{7}' AND attempts = '{1}'`,
		s.id).Scan(&started))
	require.WithinDuration(t, d.FirstAttemptAt, started, 0, "a crash finds the time that is in the body")

	require.NoError(t, s.reap(t.Context(), s.id))
	require.ErrorIs(t, r.commit(conn, g), errFenced, "and nothing is sent for a relay that was declared dead")
	require.Equal(t, 2, told)
}

// A server that takes no writes refuses intents, which are a statement, for as long as it does so; the transaction of an
// outcome says that it writes. When the session ends, an outcome that waits behind such intents is recorded: the request was
// answered, and would else be sent again.
func TestF28_IntentsHoldUpNoOutcomeWhenASessionEnds(t *testing.T) {
	t.Parallel()
	db := schematest.New(t)
	refused := make(chan struct{})
	s := &session{
		cfg: Config{Lease: time.Hour}.withDefaults(), db: db.DB, id: uuid.New(), clock: new(clock),
		logger: slog.New(firstWarning{slog.DiscardHandler, sync.OnceFunc(func() { close(refused) })}),
	}
	require.NoError(t, s.join(t.Context()))
	_, err := db.Owner.Exec(`ALTER DATABASE ` + pq.QuoteIdentifier(db.Name) + ` SET default_transaction_read_only = on`)
	require.NoError(t, err)
	pool, err := commitlog.Open(db.DSN, "surveyhooks-relay", 2, settings())
	require.NoError(t, err)
	defer pool.Close()
	r := newRecorder(pool, s.id, s.clock, s.logger)
	r.settled = func(*lane.Delivery, bool) {}
	d := &lane.Delivery{ID: 7, EndpointID: uuid.New(), Event: &lane.Event{ID: uuid.New()}, Generation: 1}
	_, err = db.Owner.Exec(`SET default_transaction_read_only = off; INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id)
		VALUES ('` + d.EndpointID.String() + `', 7, '` + d.Event.ID.String() + `')`)
	require.NoError(t, err)

	r.Start([]*lane.Delivery{{ID: 8, EndpointID: uuid.New(), Event: d.Event}}, func([]*lane.Delivery) { t.Error("it started") })
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.run(ctx) }()
	<-refused
	a := &attempt{delivery: d, target: &target{url: new(url.URL)}, response: egress.Response{Status: 200}}
	s.judge(t.Context(), a)
	r.record(a.outcome)
	end()
	require.NoError(t, <-ended)
	require.Equal(t, 1, toldFacts(t, db.DB)[fact.AttemptSucceeded])
}

// firstWarning tells of a warning.
type firstWarning struct {
	slog.Handler

	told func()
}

func (h firstWarning) Enabled(context.Context, slog.Level) bool { return true }

func (h firstWarning) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		h.told()
	}
	return nil
}
