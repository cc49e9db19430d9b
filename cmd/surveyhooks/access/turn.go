package access

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Connections is how many connections to the database the web server should have. Turns hands them out.
const Connections = 8

// Of the connections a company has half at most, and one key or session half of that, so that neither one customer nor
// one script of a customer keeps all others waiting.
const (
	companyTurns = Connections / 2
	tokenTurns   = companyTurns / 2

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

// seat is whose share a turn is taken from: of a company, or of a token by its hash.
type seat struct {
	company uuid.UUID
	token   [sha256.Size]byte
}

func (s seat) turns() int {
	if s.company == uuid.Nil {
		return tokenTurns
	}
	return companyTurns
}

// turn is what a request needs: its token's seat, and its company's if it has one. The zero turn needs nothing.
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

// turns are the shares that somebody uses or waits for.
type turns struct {
	mu     sync.Mutex
	shares map[seat]*share
}

type share struct {
	free chan struct{} // full when all are taken
	here int           // with a turn, or in line
}

func newTurns() *turns { return &turns{shares: map[seat]*share{}} }

// enter waits in line until patience has a value; nil: as long as ctx lasts, and however long the line is.
func (t *turns) enter(ctx context.Context, s seat, patience <-chan time.Time) error {
	of, ok := t.join(s, patience != nil)
	if !ok {
		return ErrBusy
	}
	select {
	case of.free <- struct{}{}:
		return nil
	default:
	}
	err := ErrBusy
	select {
	case of.free <- struct{}{}:
		return nil
	case <-patience:
	case <-ctx.Done():
		err = ctx.Err()
	}
	t.forget(s)
	return err
}

func (t *turns) join(s seat, bounded bool) (*share, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := t.shares[s]
	if of == nil {
		of = &share{free: make(chan struct{}, s.turns())}
		t.shares[s] = of
	}
	if bounded && of.here >= s.turns()+mostInLine {
		return nil, false
	}
	of.here++
	return of, true
}

func (t *turns) leave(s seat) {
	t.mu.Lock()
	of := t.shares[s]
	t.mu.Unlock()
	<-of.free
	t.forget(s)
}

// forget keeps no share that nobody uses.
func (t *turns) forget(s seat) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if of := t.shares[s]; of.here > 1 {
		of.here--
		return
	}
	delete(t.shares, s)
}
