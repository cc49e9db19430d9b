package api

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/operator"
	"github.com/chattosurvey/surveyhooks/relay/fleet"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// order is a POST by an operator.
func (b *testBundle) order(path, body string) reply {
	b.Helper()
	return b.do(call{line: "POST " + path, as: "operator", body: body})
}

func (b *testBundle) overview() operator.Overview {
	b.Helper()
	return decodeAs[operator.Overview](b.do(call{line: "GET /v1/operations", as: "operator"}).requireStatus(200))
}

// relayRow is a relay as others see it: its row.
func (b *testBundle) relayRow(host string) uuid.UUID {
	b.Helper()
	id := uuid.New()
	_, err := b.db.ExecContext(b.Context(), `INSERT INTO webhooks.relays (relay_id, host, lease_until) VALUES ($1, $2, now() + interval '10 minutes')`, id, host)
	require.NoError(b, err)
	return id
}

// trail is what was done, the newest first.
func (b *testBundle) trail() []access.Entry {
	b.Helper()
	entries, _, err := b.config(nil).Access.Trail(b.Context(), access.Caller{Role: access.Operator}, access.TrailPage{})
	require.NoError(b, err)
	return entries
}

// TestTheOverviewIsWhatThePageShows: each number, and no value of a URL's query.
func TestTheOverviewIsWhatThePageShows(t *testing.T) {
	t.Parallel()

	b := setup(t)
	bare := b.overview()
	require.Nil(t, bare.Pause)
	require.Nil(t, bare.Rebuild)
	require.Empty(t, bare.Relays)
	require.Len(t, bare.Partitions, 3)

	w := b.told(b.mine, 1, fact.Response{}, fact.Exhausted)
	relay := b.relayRow("relay-1.internal")
	for _, statement := range []string{
		`UPDATE webhooks.endpoints SET url = url || '?token=hidden'`,
		`UPDATE webhooks.lanes SET breaker = 'open', failing_since = now(), holder = '` + relay.String() + `'`,
		`INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id) SELECT endpoint_id, 7, gen_random_uuid() FROM webhooks.endpoints`,
		`INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id, due_at) SELECT endpoint_id, 8, gen_random_uuid(), now() + interval '1 hour' FROM webhooks.endpoints`,
		`INSERT INTO webhooks.quarantine SELECT 'journal', 'history', '1', 1, 'test', '{}'`,
	} {
		_, err := b.db.ExecContext(t.Context(), statement)
		require.NoError(t, err, statement)
	}
	seen := b.overview()
	require.Equal(t, operator.Work{Pending: 2, HeldBack: 1, Quarantined: 1}, seen.Work)
	require.Equal(t, []operator.EndpointCount{{State: "enabled", Breaker: "open", Count: 1}}, seen.Endpoints)
	require.Len(t, seen.Worst, 1)
	require.Equal(t, w.endpoint.ID, seen.Worst[0].ID)
	require.Equal(t, w.endpoint.URL+"?token=***", seen.Worst[0].URL)
	require.EqualValues(t, 2, seen.Worst[0].Waiting)
	require.Len(t, seen.Relays, 1)
	require.EqualValues(t, 1, seen.Relays[0].Lanes)
	require.Len(t, seen.Readers, 1)
	require.Zero(t, seen.Readers[0].Rows)
	require.Equal(t, time.Now().UTC().AddDate(0, 0, 3).Format(time.DateOnly), seen.Partitions[0].Last)

	_, err := b.db.ExecContext(t.Context(), `UPDATE webhooks.lanes SET breaker = 'closed'`)
	require.NoError(t, err)
	require.Equal(t, operator.Work{Pending: 2, Due: 1, Quarantined: 1}, b.overview().Work, "what the breaker held back")
}

// TestOrdersByAPIAreDoneOnceAndToldOf with the name of the key.
func TestOrdersByAPIAreDoneOnceAndToldOf(t *testing.T) {
	t.Parallel()

	b := setup(t)
	b.order("/v1/operations/pause", `{"reason":" "}`).requireProblem(422, "invalid_fields", "reason")
	b.order("/v1/operations/pause", `{}`).requireProblem(422, "invalid_fields", "reason")
	b.order("/v1/operations/pause", ``).requireProblem(400, "invalid_json")
	first := decodeAs[fleet.Pause](b.order("/v1/operations/pause", `{"reason":"wrong prices"}`).requireStatus(200))
	require.Equal(t, "key:operator", first.By)
	require.Equal(t, first, decodeAs[fleet.Pause](b.order("/v1/operations/pause", `{"reason":"me too"}`).requireStatus(200)), "that pause stays")
	require.Equal(t, first, *b.overview().Pause)
	require.Equal(t, first, *decodeAs[resumed](b.order("/v1/operations/resume", ``).requireStatus(200)).Was)
	require.Nil(t, decodeAs[resumed](b.order("/v1/operations/resume", `{}`).requireStatus(200)).Was)

	one := b.relayRow("relay-1.internal")
	path := "/v1/relays/" + one.String()
	b.order(path+"/drain", ``).requireProblem(409, "last_relay")
	require.Nil(t, b.overview().Relays[0].DrainedAt)
	drained := decodeAs[fleet.Relay](b.order(path+"/drain", `{"even_alone":true}`).requireStatus(200))
	require.Equal(t, "key:operator", drained.DrainedBy)
	require.Equal(t, drained, decodeAs[fleet.Relay](b.order(path+"/drain", ``).requireStatus(200)), "it drains already")
	require.Nil(t, decodeAs[fleet.Relay](b.order(path+"/undrain", ``).requireStatus(200)).DrainedAt)
	b.relayRow("relay-2.internal")
	b.order(path+"/drain", ``).requireStatus(200)
	for _, nobody := range []string{"x", uuid.NewString()} {
		b.order("/v1/relays/"+nobody+"/drain", ``).requireProblem(404, "not_found")
		b.order("/v1/relays/"+nobody+"/undrain", ``).requireProblem(404, "not_found")
	}

	var told []string
	for _, e := range b.trail() {
		require.Equal(t, "key:operator", e.Actor)
		told = append(told, e.Action)
	}
	require.Equal(t, []string{"relay.drained", "relay.undrained", "relay.drained", "sending.resumed", "sending.paused"}, told)
}

// TestARebuildIsAskedForAndFollowed to its stored end; one that is sent again with its key begins none.
func TestARebuildIsAskedForAndFollowed(t *testing.T) {
	t.Parallel()

	b := setup(t)
	b.told(b.mine, 1, fact.Response{}, fact.Exhausted)
	first := b.keyed("/v1/rebuilds", `{"verify_only":true}`, "k", "operator").requireStatus(202)
	job := decodeAs[operator.Rebuild](first)
	path := first.header.Get("Location")
	require.Equal(t, "/v1/rebuilds/"+job.ID.String(), path)
	require.Equal(t, job.ID, decodeAs[operator.Rebuild](b.keyed("/v1/rebuilds", `{"verify_only":true}`, "k", "operator").requireStatus(202)).ID)
	b.order("/v1/rebuilds", ``).requireProblem(409, "rebuild_running") // nobody runs it yet
	read := func() operator.Rebuild {
		return decodeAs[operator.Rebuild](b.do(call{line: "GET " + path, as: "operator"}).requireStatus(200))
	}
	require.Equal(t, operator.Running, read().State)

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.operator.Run(ctx) }()
	t.Cleanup(func() { stop(); require.NoError(t, <-ended) })
	require.Eventually(t, func() bool { return read().State != operator.Running }, within, 20*time.Millisecond)
	done := read()
	require.Equal(t, operator.Done, done.State)
	require.True(t, done.VerifyOnly)
	require.True(t, done.Report.Equal)
	require.Equal(t, &done, b.overview().Rebuild)
	require.Equal(t, "key:operator", b.trail()[0].Actor)
	for _, nobody := range []string{"x", uuid.NewString()} {
		b.do(call{line: "GET /v1/rebuilds/" + nobody, as: "operator"}).requireProblem(404, "not_found")
	}
}
