package lane

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
)

// Config is how a Source reads.
type Config struct {
	DB          *sql.DB
	Starter     Starter
	Concurrency int             // unacked deliveries of one lane; default 16
	MaxInFlight int             // of all lanes together, shared fairly; default 1024. A lane may always have one
	PageRows    int             // read ahead of one lane; default 256
	ReadAhead   int             // of all lanes together, shared fairly; default 16384. A lane may always have 16
	Poll        time.Duration   // how late a lost wake-up or a due retry may be noticed; default 1 s
	ResendAfter time.Duration   // wait before a nacked message is emitted again; default 1 s
	CacheBytes  int             // of event data kept for lanes that have not read it yet; default 8 MiB
	Attempts    context.Context //nolint:containedctx // its end cuts the messages in flight; a subscription's end does not. Default: never
	// Abandoned, if set, is told of a delivery whose lane was closed while its intent was being committed, or whose claim
	// failed: it will not be sent, its intent is open (if it is there at all: see Delivery.Uncertain), and Settled is expected
	// for it. It is called under a lock and must not block.
	Abandoned func(*Delivery)
	Logger    *slog.Logger
}

func (c Config) withDefaults() Config {
	c.Concurrency = cmp.Or(c.Concurrency, 16)
	c.MaxInFlight = cmp.Or(c.MaxInFlight, 1024)
	c.PageRows = cmp.Or(c.PageRows, 256)
	c.ReadAhead = cmp.Or(c.ReadAhead, 16<<10)
	c.Poll = cmp.Or(c.Poll, time.Second)
	c.ResendAfter = cmp.Or(c.ResendAfter, time.Second)
	c.CacheBytes = cmp.Or(c.CacheBytes, 8<<20)
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
	Gate     Gate
	Rate     int  // attempts per second at most, of whatever trigger; 0: no limit
	Disabled bool // the endpoint is disabled: only test deliveries flow
	Shut     bool // nothing can be sent: not even test deliveries flow
}

// Source holds the lanes of one relay. It is a Watermill subscriber; its topics are endpoint ids, each added by Add
// before it is subscribed to. It is safe for concurrent use.
type Source struct {
	cfg     Config
	cache   *cache
	busy    atomic.Int64 // lanes that have work
	waiting atomic.Int64 // those of them that have nothing in flight and may not start anything yet
	paused  atomic.Bool  // nothing starts, in no lane
	ended   atomic.Bool  // Run has ended: nothing starts any more
	moment  atomic.Int64 // passes with each beginning and each end of a read

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

// Disable stops a lane, as its endpoint is disabled, or lets it go on; test deliveries flow always.
func (s *Source) Disable(id uuid.UUID, disabled bool) {
	if l := s.lane(id); l != nil {
		l.setDisabled(disabled)
		s.ask(l)
	}
}

// Shut stops a lane altogether, or opens it again. What was started goes on.
func (s *Source) Shut(id uuid.UUID, shut bool) {
	if l := s.lane(id); l != nil {
		l.setShut(shut)
		s.ask(l)
	}
}

// Limit changes how many attempts per second a lane may start at most, at once; 0 is no limit.
func (s *Source) Limit(id uuid.UUID, perSecond int) {
	if l := s.lane(id); l != nil {
		l.limit(perSecond)
	}
}

// Rest keeps a lane from starting anything for as long as d: what was tried last failed by a fault of ours, and the backlog
// behind it is not to be spent on the same. What was started goes on.
func (s *Source) Rest(id uuid.UUID, d time.Duration) {
	if l := s.lane(id); l != nil {
		l.mu.Lock()
		l.pace.rest = time.Now().Add(d)
		l.mu.Unlock()
	}
}

// Pause keeps every lane from starting anything, tests included, or lets them go on from where they are. What was started
// goes on; no gate is asked meanwhile.
func (s *Source) Pause(paused bool) {
	if s.paused.Swap(paused) == paused || paused {
		return
	}
	s.Wake() // what came meanwhile is still to be read
	for _, l := range s.all() {
		l.pump() // what was read before needs no reading
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
	out, opened := l.open(ctx)
	if !opened {
		return nil, fmt.Errorf("subscribe to lane %s: it has a subscriber", id)
	}
	context.AfterFunc(ctx, l.close)
	select {
	case <-s.done: // Close may have passed by before the lane was open
		l.close()
	default:
	}
	s.ask(l)
	return out, nil
}

// Close ends every lane. It may be called more than once.
func (s *Source) Close() error {
	s.once.Do(func() { close(s.done) })
	for _, l := range s.all() {
		l.close()
	}
	return nil
}

// Run reads for the lanes until ctx ends. Then nothing starts any more, of what was read before either.
func (s *Source) Run(ctx context.Context) error {
	poll := time.NewTicker(s.cfg.Poll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			s.ended.Store(true)
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

// share is how many unacked deliveries a lane may have: its own bound, or its part of the global one. Lanes that wait have
// no part in it: however many customers want to be called slowly, the others are not.
func (s *Source) share() int {
	return max(1, min(s.cfg.Concurrency, s.cfg.MaxInFlight/max(1, int(s.busy.Load()-s.waiting.Load()))))
}

// page is how many deliveries a lane may read ahead, when so many ask at once. A thousand lanes with a backlog send few at
// a time each: to have a whole page of each in memory would cost 50 MB and help nobody.
func (s *Source) page(asking int) int {
	return min(s.cfg.PageRows, max(16, s.cfg.ReadAhead/max(1, asking, int(s.busy.Load()))))
}

func (s *Source) lane(id uuid.UUID) *lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lanes[id]
}

func (s *Source) all() []*lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.lanes))
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

// Ended waits until all that was emitted is acked, or ctx ends. It is for after Close: the Router, which takes messages
// until a lane is closed, does not wait for one that it takes while it waits for others.
func (s *Source) Ended(ctx context.Context) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for slices.ContainsFunc(s.all(), (*lane).emitting) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
