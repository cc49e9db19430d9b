package access

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Connections is how many connections to the database the web server should have. Turns hands them out.
const Connections = 8

// A company may have one more while it has fewer than are free, and one key or session at most a quarter of all. So a
// company that is alone has half of them, two that flood have three each and leave two, and however many flood, the next one
// that is free is for a company that has none. Operators count as a company.
const (
	tokenTurns = Connections / 4

	turnWithin = 2 * time.Second // who has not got one then is refused
	mostInLine = 256             // and so is who would have to wait behind so many
)

// ErrBusy says that the requests before this one, of its company or of its key or session, are too many or too slow.
var ErrBusy = errors.New("others of the same company, key or session are under way: try again in a moment")

// Turn waits for the request's turn to use the database. end gives it back, as often as it is called: before an answer
// is written, since a client may read slowly. Whoever has a turn waits for no other one. Errors: ErrBusy, and that of
// ctx. Where no Gate let the request in, everybody has a turn.
func Turn(ctx context.Context) (end func(), err error) { return turnOf(ctx).take(ctx, turnWithin) }

// NextTurn is Turn for an answer that has begun, such as a stream: it waits as long as the request lasts.
func NextTurn(ctx context.Context) (end func(), err error) { return turnOf(ctx).take(ctx, 0) }

type turnKey struct{}

func turnOf(ctx context.Context) turn {
	t, _ := ctx.Value(turnKey{}).(turn)
	return t
}

// seat is whose share a turn is taken from: of a token by its hash, or else of a company (Nil: of the operators).
type seat struct {
	company uuid.UUID
	token   [sha256.Size]byte
}

func (s seat) ofToken() bool { return s.token != [sha256.Size]byte{} }

// turn is what a request needs: its token's seat, and its company's unless it only asks whose the token is. The zero turn
// needs nothing.
type turn struct {
	of    *turns
	seats []seat
}

// take takes the seats in their order, the narrower share first: who waits for its company's blocks its own token alone.
func (t turn) take(ctx context.Context, within time.Duration) (end func(), err error) {
	var patience <-chan time.Time
	if within > 0 {
		timer := time.NewTimer(within)
		defer timer.Stop()
		patience = timer.C
	}
	var taken []seat
	giveBack := func() {
		for _, s := range taken {
			t.of.leave(s)
		}
	}
	for _, s := range t.seats {
		if err := t.of.enter(ctx, s, patience); err != nil {
			giveBack()
			return nil, err
		}
		taken = append(taken, s)
	}
	return sync.OnceFunc(giveBack), nil
}

// turns are the shares that somebody uses or waits for, and the line of all who wait. Nobody in it may go: whoever gives
// something back lets those go who may now, and first who has least; of equals, who has waited longest since its last.
type turns struct {
	mu     sync.Mutex
	free   int // connections that no company has
	count  int // of all seats that were ever taken
	shares map[seat]*share
	line   []*waiter
}

type share struct {
	taken, waiting int
	last           int // the count when one was taken last
}

func (s *share) before(other *share) bool {
	return cmp.Or(cmp.Compare(s.taken, other.taken), cmp.Compare(s.last, other.last)) < 0
}

type waiter struct {
	seat seat
	goes chan struct{} // closed when the seat is taken for it
}

func newTurns() *turns { return &turns{free: Connections, shares: map[seat]*share{}} }

// enter waits in line until patience has a value; nil: as long as ctx lasts, and however long the line is.
func (t *turns) enter(ctx context.Context, s seat, patience <-chan time.Time) error {
	w, err := t.join(s, patience != nil)
	if err != nil {
		return err
	}
	select {
	case <-w.goes:
		return nil
	default:
	}
	err = ErrBusy
	select {
	case <-w.goes:
		return nil
	case <-patience:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return t.quit(w, err)
}

// join takes the seat, or waits for it.
func (t *turns) join(s seat, bounded bool) (*waiter, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := t.shares[s]
	if of == nil {
		of = &share{}
		t.shares[s] = of
	}
	w := &waiter{seat: s, goes: make(chan struct{})}
	switch {
	case t.may(s):
		t.take(w)
	case bounded && of.waiting >= mostInLine:
		return nil, ErrBusy
	default:
		of.waiting++
		t.line = append(t.line, w)
	}
	return w, nil
}

// quit is for who waits no longer: nil if the seat was taken for it all the same, and the error else.
func (t *turns) quit(w *waiter, err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(t.line, w)
	if i < 0 {
		return nil
	}
	t.line = slices.Delete(t.line, i, i+1)
	t.shares[w.seat].waiting--
	t.forget(w.seat)
	return err
}

func (t *turns) may(s seat) bool {
	if s.ofToken() {
		return t.shares[s].taken < tokenTurns
	}
	return t.shares[s].taken < t.free
}

func (t *turns) take(w *waiter) {
	t.count++
	of := t.shares[w.seat]
	of.taken, of.last = of.taken+1, t.count
	if !w.seat.ofToken() {
		t.free--
	}
	close(w.goes)
}

func (t *turns) leave(s seat) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shares[s].taken--
	if !s.ofToken() {
		t.free++
	}
	for i := t.next(); i >= 0; i = t.next() {
		w := t.line[i]
		t.line = slices.Delete(t.line, i, i+1)
		t.shares[w.seat].waiting--
		t.take(w)
	}
	t.forget(s)
}

// next is who goes next of those in line; -1: nobody may.
func (t *turns) next() int {
	next := -1
	for i, w := range t.line {
		if t.may(w.seat) && (next < 0 || t.shares[w.seat].before(t.shares[t.line[next].seat])) {
			next = i
		}
	}
	return next
}

// forget keeps no share that nobody uses.
func (t *turns) forget(s seat) {
	if of := t.shares[s]; of.taken == 0 && of.waiting == 0 {
		delete(t.shares, s)
	}
}
