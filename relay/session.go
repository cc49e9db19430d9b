package relay

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/fleet"
	"github.com/chattosurvey/surveyhooks/relay/lane"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// session is a relay under one lease.
type session struct {
	cfg     Config
	metrics *metrics
	beat    func() // the loop that keeps the lanes comes round
	db      *sql.DB
	id      uuid.UUID
	logger  *slog.Logger

	timeline string // of the database when it joined
	clock    *clock
	client   *egress.Client
	source   *lane.Source
	recorder *recorder
	router   *message.Router
	stages   []stage

	configuring sync.Mutex

	mu        sync.Mutex
	members   map[uuid.UUID]*member
	leaving   map[uuid.UUID]struct{} // lanes that are being released
	releasing sync.WaitGroup

	obeying sync.Mutex
	orders  fleet.Orders  // of obeying
	drained *atomic.Bool  // the relay's
	reshare chan struct{} // a share of the lanes may have changed
}

// runSession joins, works until ctx ends or something is lost, and leaves.
// The pool is its own: a connection that is the trouble must not outlive it.
func (r *Relay) runSession(ctx context.Context, db *sql.DB) error {
	s := &session{
		cfg: r.cfg, metrics: r.metrics, beat: r.comeRound, db: db, id: uuid.New(), clock: new(clock),
		members: make(map[uuid.UUID]*member), leaving: make(map[uuid.UUID]struct{}),
		drained: &r.drained, reshare: make(chan struct{}, 1),
	}
	s.logger = r.cfg.Logger.With("relay_id", s.id)
	// Attempts under way outlive ctx: they are given Drain to end, and then are cut.
	attempts, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	s.recorder = newRecorder(db, s.id, s.clock, s.logger)
	s.source = lane.NewSource(lane.Config{
		DB: db, Starter: s.recorder, Concurrency: r.cfg.Concurrency, MaxInFlight: r.cfg.MaxInFlight,
		Poll: r.cfg.Poll, Attempts: attempts, Abandoned: s.recorder.abandon, Logger: s.logger,
	})
	s.recorder.settled = s.source.Settled
	s.stages = s.pipeline()
	var err error
	s.router, err = message.NewRouter(message.RouterConfig{CloseTimeout: r.cfg.Drain}, quiet{watermill.NewSlogLoggerWithLevelMapping(
		s.logger, map[slog.Level]slog.Level{slog.LevelInfo: slog.LevelDebug})})
	if err != nil {
		return fmt.Errorf("make router: %w", err)
	}
	// The Router closes itself when its last handler stops; this one stops last.
	s.router.AddConsumerHandler("keep-open", "keep-open", idle{}, func(*message.Message) error { return nil })
	s.client = egress.NewClient(r.cfg.Egress)
	defer s.client.Close()
	if err := s.join(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // stopped before it began
		}
		return err
	}
	if err := s.settleIn(ctx); err != nil {
		if ctx.Err() != nil {
			err = nil // stopped before it began
		}
		return errors.Join(err, s.leave())
	}
	defer s.drained.Store(false) // the order ends with the row
	return s.run(ctx, attempts, cut)
}

// settleIn learns what a session that has joined must know before there is a lane that could send.
func (s *session) settleIn(ctx context.Context) (err error) {
	if s.timeline, err = timelineOf(ctx, s.db); err != nil {
		return err
	}
	s.recorder.timeline = s.timeline
	return s.obey(ctx)
}

// run starts what a session consists of, from the last stage of an event's way to the first, and stops it the other
// way round.
func (s *session) run(ctx, attempts context.Context, cut context.CancelFunc) error {
	bell, err := commitlog.NewDoorbell(ctx, s.db, s.cfg.DSN, commitlog.Outbox, s.logger)
	if err != nil && ctx.Err() != nil {
		return s.leave() // stopped before it began
	}
	if err != nil {
		return fmt.Errorf("open doorbell: %w", err)
	}
	defer bell.Close()
	fan := newFanner(s.source, s.recorder, s.cfg.PageRows)

	// The lease and the recorder outlive what makes work for them.
	draining, endDraining := context.WithCancel(context.WithoutCancel(ctx))
	defer endDraining()

	group, working := errgroup.WithContext(ctx)
	recorded, held := make(chan error, 1), make(chan error, 1)
	go func() { recorded <- s.recorder.run(draining) }()
	go func() { held <- s.hold(draining) }()
	routed := make(chan error, 1)
	go func() { routed <- s.router.Run(attempts) }()
	<-s.router.Running()

	group.Go(func() error { return s.source.Run(working) })
	group.Go(func() error { return s.share(working, attempts) })
	group.Go(func() error { return s.bury(working) })
	group.Go(func() error { return s.listen(working) })
	group.Go(func() error { return s.keepTidy(working) })
	group.Go(func() error {
		return commitlog.Run(working, commitlog.Config{
			DB: s.db, Topic: commitlog.Outbox, Group: fanOutGroup, PageRows: s.cfg.PageRows,
			Apply: fan.apply, Committed: fan.committed, Failed: fan.failed, Wake: bell, Logger: s.logger,
		})
	})
	group.Go(func() error {
		select {
		case err := <-recorded: // only ever early when it was fenced
			recorded <- nil
			return err
		case err := <-held: // or could not keep the lease
			held <- nil
			return err
		case <-working.Done():
			return nil
		}
	})
	err = group.Wait()
	s.releasing.Wait()

	// Nothing new starts now. Requests under way end, or are cut; then their outcomes are committed.
	stop := time.AfterFunc(s.cfg.Drain, cut)
	if closeErr := s.router.Close(); closeErr != nil {
		s.logger.Warn("requests under way were cut", "error", closeErr)
	}
	s.source.Ended(attempts)
	stop.Stop()
	cut()
	err = errors.Join(err, <-routed)
	endDraining()
	err = errors.Join(err, <-recorded, <-held)
	if errors.Is(err, errFenced) {
		err = errors.Join(err, s.recorder.commitStale(nil)) // of those that were under way
	}
	if leaveErr := s.leave(); leaveErr != nil && !errors.Is(err, errFenced) {
		err = errors.Join(err, leaveErr)
	}
	return err
}

// handle is the Watermill handler of every endpoint. It acks whatever happens: an outcome is a due time, not a nack.
func (s *session) handle(m *member) message.NoPublishHandlerFunc {
	return func(msg *message.Message) error {
		_ = growStack(len(msg.Payload))
		d, ok := lane.DeliveryOf(msg)
		if !ok {
			return nil // never: lanes emit nothing else
		}
		began := time.Now()
		s.metrics.inFlight.Inc()
		defer s.metrics.inFlight.Dec()
		a := &attempt{delivery: d, target: m.target.Load()}
		if d.ConfigVersion > a.target.version { // the delivery overtook the notice of the change that it follows
			s.reconfigure(msg.Context(), []uuid.UUID{m.id})
			a.target = m.target.Load()
		}
		s.attempt(msg.Context(), a)
		m.judged(a.outcome, s)
		if a.outcome.disable != "" {
			s.source.Disable(m.id, true) // at once; the notification of the change comes after its commit
		}
		if a.outcome.attempt.Reason == fact.Local {
			s.source.Rest(m.id, localDelay) // the next ones would only fail the same way
		}
		s.recorder.record(a.outcome)
		s.metrics.attempted(a.outcome, time.Since(began), s.clock.now())
		s.log(a)
		return nil
	}
}

// growStack makes the goroutine's stack at once as large as a request needs. The Router starts a goroutine for each message,
// with 2 KB; growing where sending needs more, with all its frames to copy, takes some 3 % of the relay's CPU.
//
//go:noinline
func growStack(i int) byte {
	var room [5 << 10]byte
	return room[i%len(room)]
}

// attempt runs the pipeline. A panic in it is a fault of ours: the delivery is due again, and the process lives.
func (s *session) attempt(ctx context.Context, a *attempt) {
	defer func() {
		if fault := recover(); fault != nil {
			s.logger.Error("pipeline panicked", "delivery_id", a.delivery.ID, "panic", fmt.Sprint(fault))
			a.response = egress.Response{Fault: egress.FaultLocal, Detail: "a fault in the relay"}
			s.judge(ctx, a)
		}
	}()
	if a.delivery.ConfigVersion > a.target.version { // and the newer one cannot be read now
		a.response = egress.Response{Fault: egress.FaultLocal, Detail: "the endpoint's new configuration cannot be taken over yet"}
		s.judge(ctx, a)
		return
	}
	for _, stage := range s.stages {
		stage(ctx, a)
	}
}

// log writes the canonical line of an attempt.
func (s *session) log(a *attempt) {
	level := slog.LevelInfo
	switch a.outcome.attempt.Reason {
	case fact.OK:
		level = slog.LevelDebug // thousands a second
	case fact.BlockedDestination:
		level = slog.LevelWarn // somebody may be trying doors
	default:
	}
	if !s.logger.Enabled(context.Background(), level) {
		return
	}
	f := &a.outcome.attempt
	attrs := []slog.Attr{
		slog.String("event_id", f.EventID.String()), slog.Int64("delivery_id", f.DeliveryID),
		slog.String("endpoint_id", f.EndpointID.String()), slog.Int("attempt", f.Attempt),
		slog.String("reason", string(f.Reason)), slog.Int("status", f.Status), slog.String("state", string(f.State)),
		slog.Int64("total_us", f.Total), slog.String("detail", f.Detail),
	}
	// Only where the operator has to act: the cause can name an address that the customer must not learn.
	if err := a.response.Err; err != nil && (f.Reason == fact.BlockedDestination || f.Reason == fact.Local) {
		attrs = append(attrs, slog.String("cause", err.Error()))
	}
	s.logger.LogAttrs(context.Background(), level, "delivery.attempted", attrs...)
}

// quiet drops what the Router says of every single message before anything is allocated for it.
type quiet struct{ watermill.LoggerAdapter }

// Trace does nothing.
func (quiet) Trace(string, watermill.LogFields) {}

// With keeps it quiet.
func (q quiet) With(fields watermill.LogFields) watermill.LoggerAdapter {
	return quiet{q.LoggerAdapter.With(fields)}
}

// idle is a subscriber of nothing.
type idle struct{}

var _ message.Subscriber = idle{}

// Subscribe returns a channel that is closed when ctx ends.
func (idle) Subscribe(ctx context.Context, _ string) (<-chan *message.Message, error) {
	out := make(chan *message.Message)
	context.AfterFunc(ctx, func() { close(out) })
	return out, nil
}

// Close does nothing: the context ends the subscription.
func (idle) Close() error { return nil }
