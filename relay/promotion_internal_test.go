package relay

import (
	"net/url"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/lane"
	"github.com/chattosurvey/surveyhooks/schema/fact"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// An attempt is under way while another server takes over, which lacks its delivery and has given its number to another one.
// Its outcome is told as a stale one and moves nothing.
func TestF28_OutcomeOfTheOldServerMovesNothingOnTheNewOne(t *testing.T) {
	t.Parallel()
	db := schematest.New(t)
	s, r := newClaimant(t, db)
	s.timeline = r.timeline
	require.Regexp(t, "^[0-9]+/[0-9A-F]{8}$", s.timeline)
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	end := func(id int64) *group {
		d := &lane.Delivery{ID: id, EndpointID: uuid.MustParse("00000000-0000-0000-0000-000000000001"), Event: &lane.Event{ID: uuid.New()}, Generation: 1}
		_, err := db.Exec(`INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id) VALUES ($1, $2, $3)`, d.EndpointID, id, uuid.New())
		require.NoError(t, err)
		a := &attempt{delivery: d, target: &target{url: new(url.URL)}, response: egress.Response{Status: 200}}
		s.judge(t.Context(), a)
		r.record(a.outcome)
		return r.gather()
	}
	require.NoError(t, r.commit(conn, end(1)))
	answerLost := end(2)
	require.NoError(t, r.commit(conn, answerLost))
	answerLost.uncertain = true

	r.timeline, r.doubt = "000000FF", true // the connection is a new one, and leads to another server
	require.NoError(t, r.commit(conn, answerLost), "what did come to the new server is not told again")
	reused := end(3)
	err = r.commitUntilDone(t.Context(), &conn, reused)
	require.ErrorIs(t, err, errPromoted)
	require.ErrorIs(t, err, errFenced, "the session ends as if it were dead")
	require.Equal(t, 2, toldFacts(t, db.DB)[fact.AttemptSucceeded])
	require.Equal(t, 1, toldFacts(t, db.DB)[fact.AttemptStale])
	var left int
	require.NoError(t, db.QueryRow(`SELECT count(*) FROM webhooks.pending WHERE delivery_id = 3`).Scan(&left))
	require.Equal(t, 1, left)

	require.NoError(t, s.heartbeat(t.Context()))
	s.timeline = "000000FF"
	require.ErrorIs(t, s.heartbeat(t.Context()), errPromoted, "a session that records nothing notices, too")
}

// Where the server does not tell its timeline, relays work all the same.
func TestServerThatDoesNotTellItsTimelineIsTakenAsItIs(t *testing.T) {
	t.Parallel()
	db := schematest.New(t)
	_, err := db.Owner.Exec(`REVOKE EXECUTE ON FUNCTION pg_catalog.pg_walfile_name(pg_lsn) FROM PUBLIC`)
	require.NoError(t, err)
	s := &session{cfg: Config{Lease: time.Hour}.withDefaults(), db: db.DB, id: uuid.New(), clock: new(clock)}
	require.NoError(t, s.join(t.Context()))
	s.timeline, err = timelineOf(t.Context(), s.db)
	require.NoError(t, err)
	require.Empty(t, s.timeline)
	s.timeline = "00000001"
	require.NoError(t, s.heartbeat(t.Context()))
}
