package relay

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
	"github.com/chattosurvey/surveyhooks/relay/delivery"
	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/lane"
	"github.com/chattosurvey/surveyhooks/relay/relaytest"
	"github.com/chattosurvey/surveyhooks/relay/retry"
	"github.com/chattosurvey/surveyhooks/schema/fact"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// modelChecks bounds the sequences of commands; a failure is then shrunk without a bound.
const modelChecks = 20

// expected is what the model says of one delivery.
type expected struct {
	event                          uuid.UUID
	live                           bool
	state                          fact.State // when over
	generation, completed, started int
	due                            string // fresh, now or later
	trigger                        fact.Trigger
	last                           fact.Name // of the facts about it alone
	first                          time.Time // frozen by the first attempt
	busy                           bool      // an attempt is under way at a relay that is not fenced
}

// modelAttempt is an attempt under way.
type modelAttempt struct {
	relay *modelRelay
	lane  *lane.Delivery
}

// modelRelay is a session without its goroutines: the test calls the parts that they would call.
type modelRelay struct {
	*session
	fenced bool
}

// model is the state machine of deliveries, and the database that it is compared with.
type model struct {
	*schematest.DB
	conn     *sql.Conn
	store    *endpoint.Store
	company  uuid.UUID
	endpoint uuid.UUID
	enabled  bool

	relays     [2]*modelRelay
	deliveries map[int64]*expected
	order      []int64
	missed     []uuid.UUID // by the endpoint, since it was disabled
	attempts   []*modelAttempt
}

// TestModelOfDeliveries holds fan-out, recorder, reaper, manual retry and the endpoint's state against a model of
// twenty lines each: after every command every delivery has the row and the last fact that the model says.
func TestModelOfDeliveries(t *testing.T) {
	t.Parallel()
	db := schematest.New(t)
	conn, err := db.Conn(context.Background())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	store, err := endpoint.New(endpoint.Options{DB: db.DB, Keys: relaytest.Keys(t)})
	require.NoError(t, err)
	checks, failed := 0, false
	rapid.Check(t, func(rt *rapid.T) {
		if checks++; checks > modelChecks && !failed {
			return
		}
		sound := false
		defer func() { failed = failed || !sound }()
		m := &model{DB: db, conn: conn, store: store, company: uuid.New(), deliveries: make(map[int64]*expected)}
		m.create(rt)
		for i := range m.relays {
			m.relays[i] = m.join(rt)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"":        m.compare,
			"publish": m.publish,
			"start":   m.start,
			"end":     m.end,
			"crash":   m.crash,
			"retry":   m.retry,
			"request": m.request,
			"switch":  m.toggle,
			"delete":  m.remove,
		})
		for _, r := range m.relays {
			require.NoError(rt, r.leave())
		}
		sound = true
	})
}

func (m *model) create(t *rapid.T) {
	e, _, err := m.store.Create(context.Background(), endpoint.Create{
		CompanyID: m.company, URL: "https://example.com/" + uuid.NewString(), Actor: "ada",
	})
	require.NoError(t, err)
	m.endpoint, m.enabled = e.ID, true
}

func (m *model) join(t *rapid.T) *modelRelay {
	s := &session{
		cfg: Config{Lease: time.Hour, Retry: retry.Policy{First: time.Hour, Retries: 2}}.withDefaults(),
		db:  m.DB.DB, id: uuid.New(), clock: new(clock), logger: slog.New(slog.DiscardHandler),
	}
	s.recorder = newRecorder(s.db, s.id, s.clock, s.logger)
	s.recorder.settled = func(*lane.Delivery, bool) {}
	require.NoError(t, s.join(context.Background()))
	var err error
	s.recorder.timeline, err = timelineOf(context.Background(), s.db)
	require.NoError(t, err)
	return &modelRelay{session: s}
}

// publish commits an event and fans it out; now and then a relay claims the first attempt in the fan-out's transaction.
func (m *model) publish(t *rapid.T) {
	ctx := context.Background()
	page := commitlog.Page{AfterXID: "0", UntilXID: "9223372036854775807", UntilPosition: 1 << 62}
	require.NoError(t, m.QueryRow(`SELECT pg_current_snapshot()::text`).Scan(&page.FromSnapshot))
	var ids []uuid.UUID
	m.inTx(t, func(tx *sql.Tx) error {
		var err error
		ids, err = outbox.Publish(ctx, tx, outbox.NewSample(outbox.ConversationStartedType, m.company))
		return err
	})
	require.NoError(t, m.QueryRow(`SELECT pg_current_snapshot()::text`).Scan(&page.ToSnapshot))
	fan := newFanner(lane.NewSource(lane.Config{DB: m.DB.DB}), new(recorder), 500)
	r := m.relays[rapid.IntRange(0, 1).Draw(t, "relay")]
	var claimed []*lane.Delivery
	m.inTx(t, func(tx *sql.Tx) error {
		if err := fan.apply(ctx, tx, page); err != nil || !m.enabled || rapid.Bool().Draw(t, "nobody claims it") {
			return err
		}
		claimed = fan.born.deliveries
		return r.recorder.startWith(ctx, tx, claimed)
	})
	// Twice: a page that is applied again changes nothing.
	m.inTx(t, func(tx *sql.Tx) error { return fan.apply(ctx, tx, page) })
	var id int64
	err := m.QueryRow(`SELECT delivery_id FROM webhooks.pending WHERE event_id = $1`, ids[0]).Scan(&id)
	if !m.enabled {
		require.ErrorIs(t, err, sql.ErrNoRows, "a disabled endpoint gets no delivery")
		m.missed = append(m.missed, ids[0])
		return
	}
	require.NoError(t, err)
	m.order = append(m.order, id)
	e := &expected{event: ids[0], live: true, generation: 1, due: "fresh", trigger: fact.Automatic}
	m.deliveries[id] = e
	for _, d := range claimed {
		require.Equal(t, id, d.ID)
		e.busy, e.first = true, d.FirstAttemptAt
		m.attempts = append(m.attempts, &modelAttempt{relay: r, lane: d})
	}
}

// start commits the intents of up to three deliveries, as a lane of an enabled endpoint would.
func (m *model) start(t *rapid.T) {
	r := m.relays[rapid.IntRange(0, 1).Draw(t, "relay")]
	var batch []*lane.Delivery
	for _, id := range m.order {
		if e := m.deliveries[id]; m.enabled && e.live && !e.busy && len(batch) < 3 && rapid.Bool().Draw(t, "chosen") {
			batch = append(batch, m.load(t, id))
		}
	}
	if len(batch) == 0 {
		return
	}
	told := false
	r.recorder.Start(batch, func([]*lane.Delivery) { told = true })
	require.NoError(t, m.commit(t, r))
	require.True(t, told)
	for _, d := range batch {
		e := m.deliveries[d.ID]
		e.busy = true
		if e.first.IsZero() {
			e.first = d.FirstAttemptAt
		}
		require.WithinDuration(t, e.first, d.FirstAttemptAt, 0, "frozen: it is part of the body")
		m.attempts = append(m.attempts, &modelAttempt{relay: r, lane: d})
	}
}

// load reads a delivery as its lane would.
func (m *model) load(t *rapid.T, id int64) *lane.Delivery {
	d := &lane.Delivery{ID: id, EndpointID: m.endpoint, Event: new(lane.Event)}
	var first sql.NullTime
	err := m.QueryRow(`SELECT p.generation, p.completed, p.started, p.trigger, p.first_attempt_at, o.event_id, o.event_type, o.company_id
  FROM webhooks.pending p JOIN webhooks.outbox o USING (event_id) WHERE p.delivery_id = $1`, id).
		Scan(&d.Generation, &d.Completed, &d.Started, &d.Trigger, &first, &d.Event.ID, &d.Event.Type, &d.Event.CompanyID)
	require.NoError(t, err)
	d.FirstAttemptAt = first.Time
	return d
}

// commit commits what the recorder has; now and then its answer is lost, and it is repeated.
func (m *model) commit(t *rapid.T, r *modelRelay) error {
	g := r.recorder.gather()
	err := r.recorder.commit(m.conn, g)
	if errors.Is(err, errFenced) {
		return errors.Join(err, r.recorder.commitStale(g.outcomes))
	}
	if err == nil && rapid.Bool().Draw(t, "answer lost") {
		g.uncertain = !g.onlyIntents() // those have no transaction id to ask for, and are simply repeated
		err = r.recorder.commit(m.conn, g)
	}
	return err
}

// end lets an attempt come to its end, at a relay that may have been declared dead meanwhile.
func (m *model) end(t *rapid.T) {
	if len(m.attempts) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.attempts)-1).Draw(t, "attempt")
	a := m.attempts[i]
	m.attempts = append(m.attempts[:i:i], m.attempts[i+1:]...)
	response := rapid.SampledFrom([]egress.Response{
		{Status: 200}, {Status: 500}, {Status: 404}, {Fault: egress.FaultConnect}, {Fault: egress.FaultLocal}, {Fault: egress.FaultBlocked},
	}).Draw(t, "response")
	abandoned := rapid.IntRange(0, 5).Draw(t, "lane closed before the attempt") == 0
	if abandoned {
		a.lane.Uncertain = rapid.Bool().Draw(t, "it may not exist") // it does, or was cancelled meanwhile
		a.relay.recorder.abandon(a.lane)
	} else {
		at := &attempt{delivery: a.lane, target: &target{url: new(url.URL)}, response: response}
		a.relay.judge(context.Background(), at)
		a.relay.recorder.record(at.outcome)
	}
	err := m.commit(t, a.relay)

	e := m.deliveries[a.lane.ID]
	if a.relay.fenced {
		require.ErrorIs(t, err, errFenced)
	} else {
		require.NoError(t, err)
		e.busy = false
	}
	if a.relay.fenced || !e.live { // cancelled under way
		if !a.lane.Uncertain {
			e.last = fact.AttemptStale
		}
		return
	}
	e.started++
	switch {
	case abandoned:
		e.due, e.last = "now", fact.AttemptInterrupted
	case response.Status == 200:
		e.live, e.state, e.last = false, fact.Delivered, fact.AttemptSucceeded
	case response.Fault == egress.FaultLocal:
		e.due, e.last = "later", fact.AttemptFailed
		// Seconds away; a slow machine must not make it due.
		_, err := m.Exec(`UPDATE webhooks.pending SET due_at = due_at + interval '1 hour' WHERE delivery_id = $1`, a.lane.ID)
		require.NoError(t, err)
	default:
		e.completed++
		e.due, e.last = "later", fact.AttemptFailed
		if e.completed == 3 || response.Fault == egress.FaultBlocked {
			e.live, e.state, e.last = false, fact.Exhausted, fact.DeliveryExhausted
		}
	}
}

// crash lets a lease run out; the other relay settles its account, and a new one takes its place. What the dead one had
// under way may still come to an end: it is a zombie.
func (m *model) crash(t *rapid.T) {
	i := rapid.IntRange(0, 1).Draw(t, "relay")
	dead := m.relays[i]
	_, err := m.Exec(`UPDATE webhooks.relays SET lease_until = now() - interval '1 second' WHERE relay_id = $1`, dead.id)
	require.NoError(t, err)
	require.NoError(t, m.relays[1-i].reap(context.Background(), uuid.Nil))
	require.ErrorIs(t, dead.heartbeat(context.Background()), errFenced)
	dead.fenced = true
	m.relays[i] = m.join(t)
	for _, a := range m.attempts {
		e := m.deliveries[a.lane.ID]
		if a.relay != dead || !e.live {
			continue
		}
		e.busy, e.last = false, fact.AttemptInterrupted
		e.started++
	}
}

// retry asks for a delivery to be sent now.
func (m *model) retry(t *rapid.T) {
	if len(m.order) == 0 {
		return
	}
	id := rapid.SampledFrom(m.order).Draw(t, "delivery")
	e := m.deliveries[id]
	state := e.state
	if e.live {
		state = fact.Retrying
	}
	queue := delivery.Queue{DB: m.DB.DB}
	_, err := queue.Retry(context.Background(), delivery.Retry{
		Scope: endpoint.Company(m.company), Actor: "ada",
		Delivery: delivery.Known{
			DeliveryID: id, EndpointID: m.endpoint, EventID: e.event, CompanyID: m.company, Generation: e.generation,
			Attempts: e.started, FirstAttemptAt: e.first, State: state,
		},
	})
	switch {
	case !m.enabled && (!e.live || !e.busy):
		_, ok := errors.AsType[*delivery.HeldError](err)
		require.True(t, ok, "%v", err)
	case e.live && (e.busy || e.due != "later"):
		_, ok := errors.AsType[*delivery.AlreadyPendingError](err)
		require.True(t, ok, "%v", err)
	case e.live:
		require.NoError(t, err)
		e.due = "now"
	default:
		require.NoError(t, err)
		*e = expected{
			event: e.event, live: true, generation: e.generation + 1, started: e.started, due: "now", trigger: fact.Manual,
			last: fact.DeliveryReplayed, first: e.first,
		}
	}
}

// request asks for an event that the endpoint missed, twice: the second time finds the delivery of the first.
func (m *model) request(t *rapid.T) {
	if len(m.missed) == 0 {
		return
	}
	event := m.missed[0]
	m.missed = m.missed[1:]
	page := delivery.RequestPage{
		Scope: endpoint.Company(m.company), Actor: "ada", EndpointID: m.endpoint, Events: []uuid.UUID{event},
	}
	queue := delivery.Queue{DB: m.DB.DB}
	id, err := queue.Request(context.Background(), page)
	require.NoError(t, err)
	_, err = queue.Request(context.Background(), page)
	already, ok := errors.AsType[*delivery.AlreadyRequestedError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, id, already.DeliveryID)
	m.order = append(m.order, id)
	m.deliveries[id] = &expected{event: event, live: true, generation: 1, due: "now", trigger: fact.Manual, last: fact.DeliveryRequested}
}

// toggle disables or enables the endpoint: its deliveries stay as they are.
func (m *model) toggle(t *rapid.T) {
	ref := endpoint.Ref{Scope: endpoint.Company(m.company), ID: m.endpoint, Actor: "ada"}
	change := m.store.Enable
	if m.enabled {
		change = func(ctx context.Context, r endpoint.Ref) (endpoint.Endpoint, error) {
			return m.store.Disable(ctx, r, "", "")
		}
	}
	_, err := change(context.Background(), ref)
	require.NoError(t, err)
	m.enabled = !m.enabled
}

// remove deletes the endpoint and goes on with another one.
func (m *model) remove(t *rapid.T) {
	ref := endpoint.Ref{Scope: endpoint.Company(m.company), ID: m.endpoint, Actor: "ada"}
	require.NoError(t, m.store.Delete(context.Background(), ref))
	for _, e := range m.deliveries {
		if e.live {
			e.live, e.state, e.last = false, fact.Cancelled, fact.DeliveryCancelled
		}
	}
	m.compare(t)
	m.order, m.missed = nil, nil // attempts under way still end, as stale
	m.create(t)
}

// compare holds the database against the model.
func (m *model) compare(t *rapid.T) {
	rows, err := m.Query(`SELECT p.delivery_id, p.generation, p.completed, p.started, p.trigger, p.first_attempt_at,
       CASE WHEN p.due_at IS NULL THEN 'fresh' WHEN p.due_at <= clock_timestamp() THEN 'now' ELSE 'later' END,
       EXISTS (SELECT FROM webhooks.intents i, unnest(i.delivery_ids, i.attempts) u(delivery_id, attempt)
                WHERE u.delivery_id = p.delivery_id AND u.attempt = p.started + 1)
  FROM webhooks.pending p JOIN webhooks.endpoints e USING (endpoint_id) WHERE e.company_id = $1`, m.company)
	require.NoError(t, err)
	defer rows.Close()
	found := make(map[int64]expected)
	for rows.Next() {
		var id int64
		e := expected{live: true}
		var first sql.NullTime
		require.NoError(t, rows.Scan(&id, &e.generation, &e.completed, &e.started, &e.trigger, &first, &e.due, &e.busy))
		e.first = first.Time
		found[id] = e
	}
	require.NoError(t, rows.Err())
	facts := m.lastFacts(t)
	for id, want := range m.deliveries {
		require.Equal(t, want.last, facts[id], "last fact of delivery %d", id)
		got, live := found[id]
		require.Equal(t, want.live, live, "delivery %d is live", id)
		if !live {
			continue
		}
		if !got.first.IsZero() { // an attempt that is under way has told nobody yet
			require.WithinDuration(t, want.first, got.first, 0, "first attempt of delivery %d", id)
		}
		shape := func(e expected) string {
			return fmt.Sprintf("generation %d, completed %d, started %d, due %s, %s, busy %t",
				e.generation, e.completed, e.started, e.due, e.trigger, e.busy)
		}
		require.Equal(t, shape(*want), shape(got), "delivery %d", id)
	}
	require.Subset(t, m.known(), ids(found), "no row that the model has not")
	for _, r := range m.relays {
		batches := make(map[int64]bool)
		for _, a := range m.attempts {
			if a.relay == r {
				batches[a.lane.Batch] = true
			}
		}
		var intents int
		require.NoError(t, m.QueryRow(`SELECT count(*) FROM webhooks.intents WHERE relay_id = $1`, r.id).Scan(&intents))
		require.Len(t, batches, intents, "an intent stays as long as an attempt of its batch")
	}
}

func (m *model) known() []int64 {
	list := make([]int64, 0, len(m.deliveries))
	for id := range m.deliveries {
		list = append(list, id)
	}
	return list
}

func ids(found map[int64]expected) []int64 {
	list := make([]int64, 0, len(found))
	for id := range found {
		list = append(list, id)
	}
	return list
}

// lastFacts is the last fact about each delivery of the company, but for attempts.started, which is about many.
func (m *model) lastFacts(t *rapid.T) map[int64]fact.Name {
	rows, err := m.Query(`SELECT fact, data FROM webhooks.journal
 WHERE company_id = $1 AND fact = ANY ($2) ORDER BY transaction_id, position`, m.company, pq.Array([]fact.Name{
		fact.AttemptSucceeded, fact.AttemptFailed, fact.AttemptInterrupted, fact.AttemptStale,
		fact.DeliveryExhausted, fact.DeliveryCancelled, fact.DeliveryReplayed, fact.DeliveryRequested,
	}))
	require.NoError(t, err)
	defer rows.Close()
	last := make(map[int64]fact.Name)
	for rows.Next() {
		var name fact.Name
		var data []byte
		var about struct {
			DeliveryID int64 `json:"delivery_id"`
		}
		require.NoError(t, rows.Scan(&name, &data))
		require.NoError(t, json.Unmarshal(data, &about))
		last[about.DeliveryID] = name
	}
	require.NoError(t, rows.Err())
	return last
}

func (m *model) inTx(t *rapid.T, do func(*sql.Tx) error) {
	tx, err := m.Begin()
	require.NoError(t, err)
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	require.NoError(t, do(tx))
	require.NoError(t, tx.Commit())
}

// A relay that is frozen in its last commit holds its row; the one that declares it dead waits for that commit, and
// must then see what it left.
func TestReaperSeesTheLastCommitOfTheDead(t *testing.T) {
	t.Parallel()
	ctx, db := t.Context(), schematest.New(t)
	reaper, dead := &session{db: db.DB, id: uuid.New(), logger: slog.New(slog.DiscardHandler)}, uuid.New()
	_, err := db.Exec(`INSERT INTO webhooks.relays VALUES ($1, 'dead', now(), now() - interval '1 second')`, dead)
	require.NoError(t, err)
	frozen, err := db.BeginTx(ctx, nil)
	require.NoError(t, err)
	defer frozen.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	_, err = frozen.Exec(`SELECT FROM webhooks.relays WHERE relay_id = $1 FOR KEY SHARE`, dead)
	require.NoError(t, err)
	_, err = frozen.Exec(`INSERT INTO webhooks.intents VALUES ($1, 1, now(), ARRAY[gen_random_uuid()], '{7}', '{1}')`, dead)
	require.NoError(t, err)

	reaped := make(chan error, 1)
	go func() { reaped <- reaper.reap(ctx, uuid.Nil) }()
	require.Eventually(t, func() bool {
		var waits bool
		err := db.QueryRow(`SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')`).Scan(&waits)
		return err == nil && waits
	}, 20*time.Second, 10*time.Millisecond, "the reaper waits for the commit")
	require.NoError(t, frozen.Commit())
	require.NoError(t, <-reaped)
	var left int
	require.NoError(t, db.QueryRow(`SELECT count(*) FROM webhooks.intents`).Scan(&left))
	require.Zero(t, left)
}

// fencedRelay is a session that has committed the intent of one delivery and then its outcome, and was declared dead
// since.
func fencedRelay(t *testing.T) (*session, *sql.Conn, *group) {
	t.Helper()
	ctx, db := t.Context(), schematest.New(t)
	join := func() *session {
		s := &session{
			cfg: Config{Lease: time.Hour}.withDefaults(), db: db.DB, id: uuid.New(), clock: new(clock),
			logger: slog.New(slog.DiscardHandler),
		}
		s.recorder = newRecorder(s.db, s.id, s.clock, s.logger)
		s.recorder.settled = func(*lane.Delivery, bool) {}
		require.NoError(t, s.join(ctx))
		return s
	}
	s, other := join(), join()
	conn, err := db.Conn(ctx)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })

	d := &lane.Delivery{ID: 7, EndpointID: uuid.New(), Event: &lane.Event{ID: uuid.New(), CompanyID: uuid.New()}, Generation: 1}
	_, err = db.Exec(`INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id) VALUES ($1, 7, $2)`, d.EndpointID, d.Event.ID)
	require.NoError(t, err)
	s.recorder.Start([]*lane.Delivery{d}, func([]*lane.Delivery) {})
	require.NoError(t, s.recorder.commit(conn, s.recorder.gather()))
	a := &attempt{delivery: d, target: &target{url: new(url.URL)}, response: egress.Response{Status: 200}}
	s.judge(ctx, a)
	s.recorder.record(a.outcome)
	g := s.recorder.gather()
	require.NoError(t, s.recorder.commit(conn, g))

	_, err = db.Exec(`UPDATE webhooks.relays SET lease_until = now() - interval '1 second' WHERE relay_id = $1`, s.id)
	require.NoError(t, err)
	require.NoError(t, other.reap(ctx, uuid.Nil))
	return s, conn, g
}

// A relay whose last commit held, although the answer was lost, and which was fenced out before it could ask: the attempt
// is in the journal, once, as what it was.
func TestFencedRelayTellsNoRecordedAttemptAgain(t *testing.T) {
	t.Parallel()
	s, conn, g := fencedRelay(t)
	g.uncertain = true
	require.ErrorIs(t, s.recorder.commitUntilDone(t.Context(), &conn, g), errFenced)
	require.Equal(t, map[fact.Name]int{fact.AttemptsStarted: 1, fact.AttemptSucceeded: 1}, toldFacts(t, s.db))
}

// A server that crashed before a commit reached its log gives the transaction's number to another one, which may commit:
// that is not ours, and the intents are written before anything is sent.
func TestCommitIsNotTakenForAnothersThatGotItsNumber(t *testing.T) {
	t.Parallel()
	s, conn, g := fencedRelay(t)
	require.NoError(t, s.join(t.Context()))
	var others string
	require.NoError(t, s.db.QueryRow(`INSERT INTO webhooks.journal (fact, data) VALUES ('breaker.closed', '{}') RETURNING transaction_id::text`).Scan(&others))
	g.xid, g.uncertain = others, true
	held, err := s.recorder.settle(t.Context(), conn, g)
	require.NoError(t, err)
	require.False(t, held)
	require.False(t, g.uncertain, "it is tried again")
}

// What a commit wrote is asked for after it has ended, never by a statement that began before.
func TestCommitIsKnownTheMomentItEnds(t *testing.T) {
	t.Parallel()
	s, conn, _ := fencedRelay(t)
	require.NoError(t, s.join(t.Context()))
	for range 3000 {
		tx, err := s.db.Begin()
		require.NoError(t, err)
		g := &group{first: "{}", uncertain: true}
		require.NoError(t, tx.QueryRow(`INSERT INTO webhooks.journal (fact, data) VALUES ('breaker.closed', '{}') RETURNING transaction_id::text`).Scan(&g.xid))
		committed := make(chan error, 1)
		go func() { committed <- tx.Commit() }()
		held := false
		for !held {
			held, err = s.recorder.settle(t.Context(), conn, g)
			require.True(t, g.uncertain, "a commit that held is not tried again")
		}
		require.NoError(t, err)
		require.NoError(t, <-committed)
	}
}

// The same relay, had its commit not held: the attempt happened, and is told as stale.
func TestFencedRelayTellsWhatIsNotRecordedAsStale(t *testing.T) {
	t.Parallel()
	s, conn, g := fencedRelay(t)
	rolledBack, err := s.db.Begin()
	require.NoError(t, err)
	require.NoError(t, rolledBack.QueryRow(`SELECT pg_current_xact_id()::text`).Scan(&g.xid))
	require.NoError(t, rolledBack.Rollback())
	g.uncertain = true
	require.ErrorIs(t, s.recorder.commitUntilDone(t.Context(), &conn, g), errFenced)
	require.Equal(t, 1, toldFacts(t, s.db)[fact.AttemptStale])
}

func toldFacts(t *testing.T, db *sql.DB) map[fact.Name]int {
	t.Helper()
	rows, err := db.Query(`SELECT fact, count(*) FROM webhooks.journal GROUP BY 1`)
	require.NoError(t, err)
	defer rows.Close()
	told := map[fact.Name]int{}
	for rows.Next() {
		var name fact.Name
		var n int
		require.NoError(t, rows.Scan(&name, &n))
		told[name] = n
	}
	require.NoError(t, rows.Err())
	return told
}
