package relay

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/lane"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// errFenced says that another relay has declared this one dead and took its lanes.
var errFenced = errors.New("this relay lost its lease: another one took its lanes")

// errPromoted says that another server took over, which may lack what was committed last: it gives out the same numbers again.
var errPromoted = fmt.Errorf("another database server took over: lanes are taken anew: %w", errFenced)

const (
	maxCommit   = 512                  // outcomes and intents of one commit
	busyCommit  = 48                   // a commit of this size says that waiting a little gathers more
	commitDelay = 2 * time.Millisecond // that little
)

// recorder commits intents and outcomes in groups: whatever gathered while the last commit was under way is the next.
// It is the only writer of the live deliveries of its relay's lanes.
type recorder struct {
	db      *sql.DB
	relayID uuid.UUID
	clock   *clock
	settled func(d *lane.Delivery, waiting bool)
	logger  *slog.Logger

	mu       sync.Mutex
	intents  []intent
	outcomes []*outcome
	lanes    []laneState
	wake     chan struct{}

	timeline string // of the database when the relay joined; empty where the server does not tell
	doubt    bool   // the connection is a new one, and may lead to another server
	promoted bool   // it does: nothing of this session may be recorded there but as stale

	batch int64         // number of the last intent batch
	open  map[int64]int // attempts of each batch that are not over
	late  []lateBatch   // of claims that failed not long ago

	committing time.Time // since when the commit under way is tried; zero when there is none
}

var _ lane.Starter = (*recorder)(nil)

func newRecorder(db *sql.DB, relayID uuid.UUID, clock *clock, logger *slog.Logger) *recorder {
	return &recorder{
		db: db, relayID: relayID, clock: clock, logger: logger,
		wake: make(chan struct{}, 1), doubt: true, open: make(map[int64]int),
	}
}

func (r *recorder) record(o *outcome) {
	r.mu.Lock()
	r.outcomes = append(r.outcomes, o)
	r.mu.Unlock()
	r.ring()
}

func (r *recorder) saveLane(s laneState) {
	r.mu.Lock()
	r.lanes = append(r.lanes, s)
	r.mu.Unlock()
	r.ring()
}

func (r *recorder) ring() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run commits until ctx ends and everything that was queued is committed, or the relay is fenced out.
func (r *recorder) run(ctx context.Context) error {
	conn, err := r.db.Conn(context.WithoutCancel(ctx))
	if err != nil {
		return fmt.Errorf("connect recorder: %w", err)
	}
	defer func() { _ = conn.Close() }() // it may be another one by then
	for {
		select {
		case <-r.wake:
		case <-ctx.Done():
		}
		for {
			g := r.gather()
			if g.empty() {
				break
			}
			if err := r.commitUntilDone(ctx, &conn, g); err != nil {
				return err
			}
			if g.size() >= busyCommit {
				time.Sleep(commitDelay)
			}
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

// commitUntilDone repeats a commit until it holds: its outcomes exist nowhere else. After a lost connection it cannot
// know whether the commit took place; the repetition asks, see settle.
func (r *recorder) commitUntilDone(ctx context.Context, conn **sql.Conn, g *group) error {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := r.commit(*conn, g)
		if err == nil {
			return nil
		}
		if errors.Is(err, errFenced) {
			return errors.Join(err, r.commitStale(g.outcomes))
		}
		r.logger.Warn("outcomes not recorded yet", "outcomes", len(g.outcomes), "retry_in", wait, "error", err)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			if g.onlyIntents() { // nothing starts any more; and outcomes may wait behind them
				timer.Stop()
				return nil
			}
			if wait >= 2*time.Second {
				timer.Stop()
				return fmt.Errorf("record %d outcomes before stopping: %w", len(g.outcomes), err)
			}
			<-timer.C
		}
		if fresh, err := r.db.Conn(context.WithoutCancel(ctx)); err == nil {
			_ = (*conn).Close()
			*conn, r.doubt = fresh, true
		}
	}
}

// gather takes what is queued, and decides once what the commit will say, however often it is tried.
func (r *recorder) gather() *group {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := &group{lanes: r.lanes}
	r.lanes = nil
	n := min(len(r.outcomes), maxCommit)
	g.outcomes = r.outcomes[:n:n]
	r.outcomes = r.outcomes[n:]
	n = 0
	for n < len(r.intents) && len(g.deliveries) < maxCommit {
		g.deliveries = append(g.deliveries, r.intents[n].deliveries...)
		n++
	}
	g.intents = r.intents[:n:n]
	r.intents = r.intents[n:]
	if len(g.outcomes) > 0 {
		g.over = r.closedLocked(g.outcomes)
	}
	r.openLocked(g)
	r.committing = time.Time{}
	if !g.empty() {
		r.committing = time.Now()
	}
	return g
}

// commit writes the group, and on success tells the lanes.
func (r *recorder) commit(conn *sql.Conn, g *group) error {
	// Not the caller's context: a shutdown must not cut a commit that is under way.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if r.doubt {
		now, err := timelineOf(ctx, conn)
		if err != nil {
			return err
		}
		r.doubt, r.promoted = false, r.promoted || isPromoted(r.timeline, now)
	}
	if g.uncertain {
		if held, err := r.settle(ctx, conn, g); err != nil || held {
			return err
		}
	}
	if r.promoted {
		return errPromoted
	}
	if g.onlyIntents() {
		return r.begin(ctx, conn, g)
	}
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin commit: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	moved, err := r.move(ctx, tx, g)
	if err != nil {
		return err
	}
	facts := g.facts(r.relayID, moved)
	for i := range g.lanes {
		if err := r.keepLane(ctx, tx, &g.lanes[i]); err != nil {
			return err
		}
		if f := g.lanes[i].fact; f != nil {
			facts = append(facts, *f)
		}
	}
	if g.first, err = firstBody(facts); err != nil {
		return err
	}
	if err := commitlog.Append(ctx, tx, facts...); err != nil {
		return err
	}
	for _, o := range g.outcomes {
		if o.disable == "" {
			continue
		}
		if _, err := endpoint.DisableByRelay(ctx, tx, o.delivery.EndpointID, o.attempt.ConfigVersion, o.disable); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		g.uncertain = true
		return fmt.Errorf("commit outcomes: %w", err)
	}
	r.tell(g)
	return nil
}

// settle asks PostgreSQL what became of a commit whose answer was lost. If it held, the journal knows of its attempts:
// they must not be told again, and not as stale ones either if this relay was fenced out since.
func (r *recorder) settle(ctx context.Context, conn *sql.Conn, g *group) (held bool, err error) {
	var status string
	var alive, ours bool
	if err = conn.QueryRowContext(ctx, commitStatus, g.xid).Scan(&status); err == nil && status == "committed" {
		err = conn.QueryRowContext(ctx, commitIsOurs, g.xid, r.relayID, g.first).Scan(&alive, &ours)
	}
	switch fault, ok := errors.AsType[*pq.Error](err); {
	case ok && fault.Code == "22023": // an id of the future: the server that took over never heard of it
		g.uncertain = false
		return false, nil
	case err != nil:
		return false, fmt.Errorf("ask for the last commit: %w", err)
	case status == "in progress":
		return false, errors.New("the last commit is still under way")
	case !ours:
		g.uncertain = false
		return false, nil
	case !alive:
		g.outcomes = nil
		return false, errFenced
	default:
		r.tell(g)
		return true, nil
	}
}

// firstBody is what a group is known by in the journal. A group without facts holds states of lanes, or the ends
// of claims that left nothing, and is as well written twice.
func firstBody(facts []fact.Fact) (string, error) {
	if len(facts) == 0 {
		return "", nil
	}
	body, err := facts[0].MarshalBody()
	return string(body), err
}

// tell lets the lanes know that the group is committed.
func (r *recorder) tell(g *group) {
	for _, o := range g.outcomes {
		r.settled(o.delivery, !o.over)
	}
	for _, i := range g.intents {
		i.started(i.deliveries)
	}
}

func (r *recorder) keepLane(ctx context.Context, tx *sql.Tx, s *laneState) error {
	_, err := tx.ExecContext(ctx, saveLane, r.relayID, s.endpointID, s.breaker, nullTime(s.notBefore), nullTime(s.failingSince))
	if err != nil {
		return fmt.Errorf("save lane %s: %w", s.endpointID, err)
	}
	return nil
}

// move advances the pending rows, and returns which deliveries really were this relay's to move.
func (r *recorder) move(ctx context.Context, tx *sql.Tx, g *group) (map[int64]bool, error) {
	var done, again columns
	for _, o := range g.outcomes {
		if o.over {
			done.add(o.delivery)
			continue
		}
		again.add(o.delivery)
		again.completed = append(again.completed, int64(o.attempt.Completed))
		again.due = append(again.due, dueAt(o))
		again.first = append(again.first, timestamp(o.delivery.FirstAttemptAt))
	}
	opened := g.opened()
	var alive int
	var ids []int64
	err := tx.QueryRowContext(ctx, record, r.relayID,
		pq.Array(done.endpoints), pq.Array(done.deliveries), pq.Array(done.started),
		pq.Array(again.endpoints), pq.Array(again.deliveries), pq.Array(again.started),
		pq.Array(again.completed), pq.Array(again.due), pq.Array(again.first),
		g.batch, timestamp(g.startedAt), pq.Array(opened.endpoints), pq.Array(opened.deliveries), pq.Array(opened.attempts),
		pq.Array(g.over),
	).Scan(&alive, &g.xid, pq.Array(&ids))
	if err != nil {
		return nil, fmt.Errorf("record outcomes: %w", err)
	}
	if alive == 0 {
		return nil, errFenced
	}
	moved := make(map[int64]bool, len(ids))
	for _, id := range ids {
		moved[id] = true
	}
	return moved, nil
}

// commitStale keeps the history of attempts that a fenced relay made: they happened.
func (r *recorder) commitStale(outcomes []*outcome) error {
	r.mu.Lock()
	outcomes = slices.Concat(outcomes, r.outcomes)
	r.outcomes = nil
	r.mu.Unlock()
	// If what was claimed is there at all, whoever declared this relay dead has settled it.
	outcomes = slices.DeleteFunc(outcomes, func(o *outcome) bool { return o.delivery.Uncertain })
	if len(outcomes) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("record stale attempts: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	facts := make([]fact.Fact, len(outcomes))
	for i, o := range outcomes {
		facts[i] = o.stale()
	}
	if err := commitlog.Append(ctx, tx, facts...); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("record stale attempts: %w", err)
	}
	return nil
}
