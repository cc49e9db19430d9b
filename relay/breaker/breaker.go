package breaker

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
)

// tick is gobreaker's open period: the shortest there is, because a gate of
// our own does the waiting (see Breaker).
const tick = time.Nanosecond

// Breaker is one endpoint's circuit breaker, safe for concurrent use. Make it
// with [New].
//
// gobreaker can neither be seeded with a deadline nor asked for the one it
// holds, and it reads time.Now itself. So it does not keep the time at all:
// its own open period is one nanosecond, and Allow asks it only once openUntil
// has passed, at which moment it half-opens. A live breaker and a restored one
// thus run the same path, and the deadline that is persisted is the one that is
// enforced. Restoring is tripping a fresh gobreaker and setting openUntil.
type Breaker struct {
	cfg Config
	gb  *gobreaker.TwoStepCircuitBreaker[struct{}]

	// mu is held around every call of gb, so that OnStateChange, which runs
	// under gobreaker's mutex, may write the fields below. Only the hook is
	// called without it.
	mu        sync.Mutex
	state     State
	openUntil time.Time // Zero while closed.
	restoring bool      // In New: one fault is enough, and nobody is told.
	changes   []change  // Not yet handed to OnChange, oldest first.
	telling   bool      // A goroutine is handing them over.
}

type change struct {
	from, to State
	snap     Snapshot
}

// New makes a breaker that goes on where restored left off; the zero Snapshot
// is a new, closed one. Restored as open, it stays open until OpenUntil and
// then half-opens. Restored as half-open, it is owed a probe, whose outcome is
// lost, and sends another at once.
func New(cfg Config, restored Snapshot) *Breaker {
	b := &Breaker{cfg: cfg.withDefaults()}
	b.gb = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests: 1,
		Timeout:     tick,
		ReadyToTrip: func(c gobreaker.Counts) bool {
			return b.restoring || c.ConsecutiveFailures >= b.cfg.Failures
		},
		OnStateChange: b.onStateChange,
		IsSuccessful:  func(err error) bool { return err == nil },
		IsExcluded:    func(err error) bool { return errors.Is(err, errExcluded) },
	})
	if restored.State == Open || restored.State == HalfOpen {
		b.restore(restored.OpenUntil)
	}
	return b
}

func (b *Breaker) restore(until time.Time) {
	b.restoring = true
	if done, err := b.gb.Allow(); err == nil { // Always: it is fresh and closed.
		done(errFault)
	}
	b.restoring = false
	b.openUntil = until
	if !b.cfg.Now().Before(until) {
		// The gate is open already, so gobreaker's nanosecond has to pass
		// here. It compares strictly: one more.
		time.Sleep(2 * tick)
	}
}

// Permit is the leave to make one attempt. It must be given back with Done.
type Permit struct {
	b    *Breaker
	done func(error)
	used atomic.Bool
}

// Allow asks to make an attempt. It returns a Permit, or an [*OpenError] with
// the time to wait for, or [ErrProbing]. Asking after OpenUntil is what turns
// an open breaker half-open. The caller defers Done(Excluded) at once.
func (b *Breaker) Allow() (*Permit, error) {
	permit, err := b.ask()
	told := false
	defer func() {
		if !told && permit != nil { // The hook panicked, and the caller never gets the permit.
			permit.settle(Excluded)
		}
	}()
	b.tell()
	told = true
	return permit, err
}

func (b *Breaker) ask() (*Permit, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == Open && b.cfg.Now().Before(b.openUntil) {
		return nil, &OpenError{Until: b.openUntil.Round(0)}
	}
	done, err := b.gb.Allow()
	switch {
	case err == nil:
		return &Permit{b: b, done: done}, nil
	case errors.Is(err, gobreaker.ErrTooManyRequests):
		return nil, ErrProbing
	default:
		// The gate opened within gobreaker's nanosecond, as when Config.Now
		// runs ahead of time.Now: open for that instant more.
		return nil, &OpenError{Until: b.cfg.Now().Add(2 * tick).Round(0)}
	}
}

// Done gives the permit back with what the attempt said about the endpoint.
// Only the first call counts, and a nil Permit is ignored. The verdict of an
// attempt that began before the breaker last changed its state is dropped.
func (p *Permit) Done(v Verdict) {
	if p == nil || p.used.Swap(true) {
		return
	}
	p.settle(v)
	p.b.tell()
}

func (p *Permit) settle(v Verdict) {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	p.done(v.err())
}

// State is where the breaker stands now. An open breaker whose time has passed
// is half-open: it would let a probe through. Reading changes nothing.
func (b *Breaker) State() State { return b.Snapshot().State }

// Snapshot is what to persist so that [New] goes on from here.
func (b *Breaker) Snapshot() Snapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	snap := b.snapshot()
	if snap.State == Open && !b.cfg.Now().Before(b.openUntil) {
		snap.State = HalfOpen
	}
	return snap
}

// ReadyAt is the time before which asking is in vain; zero means now. While a
// probe is under way it is zero too, since no time is known: wait for that
// permit instead.
func (b *Breaker) ReadyAt() time.Time {
	if snap := b.Snapshot(); snap.State == Open {
		return snap.OpenUntil
	}
	return time.Time{}
}

// snapshot needs mu. Round strips the monotonic reading, which is of no use in
// another process.
func (b *Breaker) snapshot() Snapshot {
	return Snapshot{State: b.state, OpenUntil: b.openUntil.Round(0)}
}

// onStateChange runs under gobreaker's mutex and ours: it takes note, and tell
// hands over once both are free. Calling gobreaker here would deadlock.
func (b *Breaker) onStateChange(_ string, from, to gobreaker.State) {
	b.state = fromGobreaker(to)
	switch b.state {
	case Open:
		b.openUntil = b.cfg.Now().Add(b.cfg.Open)
	case Closed:
		b.openUntil = time.Time{}
	case HalfOpen: // Keeps the time that has passed, for the record.
	}
	if !b.restoring && b.cfg.OnChange != nil {
		b.changes = append(b.changes, change{fromGobreaker(from), b.state, b.snapshot()})
	}
}

// tell hands the noted changes to OnChange. One goroutine at a time does so and
// takes what others add meanwhile, which keeps their order.
func (b *Breaker) tell() {
	for b.tellOne() {
	}
}

func (b *Breaker) tellOne() bool {
	b.mu.Lock()
	if b.telling || len(b.changes) == 0 {
		b.mu.Unlock()
		return false
	}
	next := b.changes[0]
	b.changes = b.changes[1:]
	b.telling = true
	b.mu.Unlock()
	defer func() { // Even if the hook panics: the next one must be told.
		b.mu.Lock()
		b.telling = false
		b.mu.Unlock()
	}()
	b.cfg.OnChange(next.from, next.to, next.snap)
	return true
}
