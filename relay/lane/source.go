package lane

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// Config is how a Source reads.
type Config struct {
	DB          *sql.DB
	Starter     Starter
	Concurrency int             // unacked deliveries of one lane; default 16
	MaxInFlight int             // of all lanes together, shared fairly; default 1024. A lane may always have one
	PageRows    int             // read ahead of one lane; default 256
	Poll        time.Duration   // how late a lost wake-up or a due retry may be noticed; default 1 s
	ResendAfter time.Duration   // wait before a nacked message is emitted again; default 1 s
	CacheBytes  int             // of event data kept for lanes that have not read it yet; default 16 MiB
	Attempts    context.Context //nolint:containedctx // its end cuts the messages in flight; a subscription's end does not. Default: never
	Logger      *slog.Logger
}

func (c Config) withDefaults() Config {
	c.Concurrency = cmp.Or(c.Concurrency, 16)
	c.MaxInFlight = cmp.Or(c.MaxInFlight, 1024)
	c.PageRows = cmp.Or(c.PageRows, 256)
	c.Poll = cmp.Or(c.Poll, time.Second)
	c.ResendAfter = cmp.Or(c.ResendAfter, time.Second)
	c.CacheBytes = cmp.Or(c.CacheBytes, 16<<20)
	if c.Attempts == nil {
		c.Attempts = context.Background()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Options are what a lane needs beside its endpoint's id.
type Options struct {
	Gate   Gate
	Paused bool // the endpoint is disabled: only test deliveries flow
}

// Source holds the lanes of one relay. It is a Watermill subscriber; its topics are endpoint ids, each added by Add
// before it is subscribed to. It is safe for concurrent use.
type Source struct {
	cfg   Config
	cache *cache
	busy  atomic.Int64

	mu    sync.Mutex
	lanes map[uuid.UUID]*lane
	asked map[*lane]struct{}
	wake  chan struct{}
	done  chan struct{}
	once  sync.Once
}

var _ message.Subscriber = (*Source)(nil)

// ErrClosed is returned by Subscribe after Close.
var ErrClosed = errors.New("lane source is closed")

// NewSource returns a source without lanes. Run must be running for anything to flow.
func NewSource(cfg Config) *Source {
	cfg = cfg.withDefaults()
	return &Source{
		cfg: cfg, cache: newCache(cfg.CacheBytes), lanes: make(map[uuid.UUID]*lane), asked: make(map[*lane]struct{}),
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
}

// Add makes a lane known.
func (s *Source) Add(id uuid.UUID, o Options) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lanes[id] = newLane(id, s, o)
}

// Remove ends a lane: its channel is closed, and what was not started is forgotten.
func (s *Source) Remove(id uuid.UUID) {
	s.mu.Lock()
	l := s.lanes[id]
	delete(s.lanes, id)
	delete(s.asked, l)
	s.mu.Unlock()
	if l != nil {
		l.close()
	}
}

// Busy is how many deliveries of the lane are starting or in flight.
func (s *Source) Busy(id uuid.UUID) int {
	l := s.lane(id)
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.inFlight
}

// Pause stops or resumes a lane; test deliveries flow always.
func (s *Source) Pause(id uuid.UUID, paused bool) {
	if l := s.lane(id); l != nil {
		l.pause(paused)
		s.ask(l)
	}
}

// Wake says that lanes may have new deliveries; no ids means all.
func (s *Source) Wake(ids ...uuid.UUID) {
	s.mu.Lock()
	if len(ids) == 0 {
		for _, l := range s.lanes {
			s.asked[l] = struct{}{}
		}
	}
	for _, id := range ids {
		if l := s.lanes[id]; l != nil {
			s.asked[l] = struct{}{}
		}
	}
	s.mu.Unlock()
	s.ring()
}

// Settled says that the outcome of a delivery's attempt is committed; waiting, that it will be due again.
func (s *Source) Settled(d *Delivery, waiting bool) {
	if l := s.lane(d.EndpointID); l != nil {
		l.settle(d.ID, waiting)
	}
}

// Subscribe starts the lane of an endpoint id. The channel is closed when ctx ends, or on Close.
func (s *Source) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	id, err := uuid.Parse(topic)
	if err != nil {
		return nil, fmt.Errorf("subscribe to lane %q: want an endpoint id: %w", topic, err)
	}
	l := s.lane(id)
	if l == nil {
		return nil, fmt.Errorf("subscribe to lane %s: it was not added", id)
	}
	select {
	case <-s.done:
		return nil, ErrClosed
	default:
	}
	out := l.open(ctx)
	context.AfterFunc(ctx, l.close)
	s.ask(l)
	return out, nil
}

// Close ends every lane. It may be called more than once.
func (s *Source) Close() error {
	s.once.Do(func() { close(s.done) })
	s.mu.Lock()
	lanes := make([]*lane, 0, len(s.lanes))
	for _, l := range s.lanes {
		lanes = append(lanes, l)
	}
	s.mu.Unlock()
	for _, l := range lanes {
		l.close()
	}
	return nil
}

// Run reads for the lanes until ctx ends.
func (s *Source) Run(ctx context.Context) error {
	poll := time.NewTicker(s.cfg.Poll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-poll.C:
			s.Wake()
		case <-s.wake:
			if err := s.read(ctx); err != nil && ctx.Err() == nil {
				s.cfg.Logger.Warn("lane read failed", "error", err) // the poll tries again
			}
		}
	}
}

// share is how many unacked deliveries a lane may have: its own bound, or its part of the global one.
func (s *Source) share() int {
	return max(1, min(s.cfg.Concurrency, s.cfg.MaxInFlight/max(1, int(s.busy.Load()))))
}

func (s *Source) lane(id uuid.UUID) *lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lanes[id]
}

func (s *Source) ask(l *lane) {
	s.mu.Lock()
	s.asked[l] = struct{}{}
	s.mu.Unlock()
	s.ring()
}

func (s *Source) ring() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

type ask struct {
	lane      *lane
	after     int64
	wanted    int
	onlyTests bool
}

type query struct {
	asks []ask
	held []int64
}

func (q *query) add(l *lane, after int64, wanted int, onlyTests bool) {
	q.asks = append(q.asks, ask{lane: l, after: after, wanted: wanted, onlyTests: onlyTests})
}

// read asks once for all lanes that want something.
func (s *Source) read(ctx context.Context) error {
	s.mu.Lock()
	asked := s.asked
	s.asked = make(map[*lane]struct{}, len(asked))
	s.mu.Unlock()
	q := query{held: []int64{}} // nil would be NULL, and nothing differs from NULL
	for l := range asked {
		l.wakeUp()
		l.need(&q)
	}
	if len(q.asks) == 0 {
		return nil
	}
	pages, err := s.query(ctx, q)
	if err != nil {
		for _, a := range q.asks {
			a.lane.wakeUp() // what was not read is still wanted
		}
		return err
	}
	for i, a := range q.asks {
		a.lane.take(pages[i].deliveries, pages[i].fresh, a)
	}
	return nil
}

func (l *lane) wakeUp() {
	l.mu.Lock()
	l.more = true
	l.mu.Unlock()
}

type page struct {
	deliveries []*Delivery
	fresh      []bool
}

func (s *Source) query(ctx context.Context, q query) ([]page, error) {
	ids, after := make([]string, len(q.asks)), make([]int64, len(q.asks))
	wanted, tests := make([]int64, len(q.asks)), make([]bool, len(q.asks))
	index := make(map[uuid.UUID]int, len(q.asks))
	for i, a := range q.asks {
		ids[i], after[i], wanted[i], tests[i] = a.lane.id.String(), a.after, int64(a.wanted), a.onlyTests
		index[a.lane.id] = i
	}
	rows, err := s.cfg.DB.QueryContext(ctx, selectDue,
		pq.Array(ids), pq.Array(after), pq.Array(wanted), pq.Array(tests), pq.Array(q.held))
	if err != nil {
		return nil, fmt.Errorf("read due deliveries: %w", err)
	}
	defer rows.Close()
	pages := make([]page, len(q.asks))
	missing := make(map[uuid.UUID][]*Delivery)
	for rows.Next() {
		d, fresh, err := scan(rows)
		if err != nil {
			return nil, err
		}
		if d.Event = s.cache.get(d.event); d.Event == nil {
			missing[d.event] = append(missing[d.event], d)
		}
		p := &pages[index[d.EndpointID]]
		p.deliveries, p.fresh = append(p.deliveries, d), append(p.fresh, fresh)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read due deliveries: %w", err)
	}
	return pages, s.fill(ctx, missing)
}

func scan(rows *sql.Rows) (*Delivery, bool, error) {
	d := new(Delivery)
	var fresh bool
	var trigger string
	var first sql.NullTime
	if err := rows.Scan(&d.EndpointID, &d.ID, &d.event, &d.Generation, &d.Completed, &d.Started, &trigger, &first, &fresh); err != nil {
		return nil, false, fmt.Errorf("scan due delivery: %w", err)
	}
	d.Trigger, d.FirstAttemptAt = fact.Trigger(trigger), first.Time
	return d, fresh, nil
}

// fill reads the events that the cache did not have.
func (s *Source) fill(ctx context.Context, missing map[uuid.UUID][]*Delivery) error {
	if len(missing) == 0 {
		return nil
	}
	ids := make([]string, 0, len(missing))
	for id := range missing {
		ids = append(ids, id.String())
	}
	rows, err := s.cfg.DB.QueryContext(ctx, selectEvents, pq.Array(ids))
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		e := new(Event)
		if err := rows.Scan(&e.ID, &e.Type, &e.CompanyID, &e.CreatedAt, &e.Data); err != nil {
			return fmt.Errorf("scan event: %w", err)
		}
		s.cache.put(e)
		for _, d := range missing[e.ID] {
			d.Event = e
		}
		delete(missing, e.ID)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	for id, lost := range missing { // never, unless somebody dropped a partition by hand: do not wedge the other lanes
		s.cfg.Logger.Error("event of a pending delivery is not in the outbox", "event_id", id, "delivery_id", lost[0].ID)
	}
	return nil
}

// Drained waits until nothing of a closed lane is under way and its outcomes are committed, and reports whether that
// came before ctx ended.
func (s *Source) Drained(ctx context.Context, id uuid.UUID) bool {
	l := s.lane(id)
	if l == nil {
		return true
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		l.mu.Lock()
		empty := l.closed && len(l.held) == 0
		l.mu.Unlock()
		if empty {
			return true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
}
