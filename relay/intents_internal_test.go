package relay

import (
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

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
