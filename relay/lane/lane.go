package lane

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// lane is one endpoint's queue in memory.
type lane struct {
	id     uuid.UUID
	source *Source
	gate   Gate

	mu       sync.Mutex
	ctx      context.Context //nolint:containedctx // the subscription's: messages carry it
	out      chan *message.Message
	buffer   []*Delivery
	tests    int            // of the buffer
	held     map[int64]bool // deliveries in memory; true: the cursor alone keeps them from being read again
	inFlight int            // starting, or emitted and not acked
	starting int            // claimed, and not emitted yet
	pace     pace
	cursor   int64   // the highest fresh delivery read
	lost     []int64 // of held: their events are not in the outbox, so nobody settles them
	more     bool    // the table may hold more than was read
	reading  bool    // a page is on its way
	began    int64   // the last read that it was part of, in the source's moments
	ended    int64   // the last read that brought it a page
	disabled bool    // the endpoint is disabled: only tests flow
	shut     bool    // nothing can be sent: not even tests flow
	closed   bool
	waits    bool        // for its pace or its gate: the timer says how long
	counted  load        // in the source's
	timer    *time.Timer // asks pace and gate again
}

// load is what a lane is counted as.
type load struct{ busy, waiting bool }

func newLane(id uuid.UUID, s *Source, o Options) *lane {
	l := &lane{id: id, source: s, gate: o.Gate, disabled: o.Disabled, shut: o.Shut, held: make(map[int64]bool), more: true, closed: true}
	l.pace.set(o.Rate, time.Now())
	return l
}

// open starts emitting to a new channel, from the beginning of what is pending. It is false when the lane is open: a
// second channel would strand the reader of the first.
func (l *lane) open(ctx context.Context) (<-chan *message.Message, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		return nil, false
	}
	// The subscription's values, and not its end: closing a lane lets what is in flight come to its end.
	l.ctx, l.closed = context.WithoutCancel(ctx), false
	// Room for everything that may be unacked: a send under the lock never blocks.
	l.out = make(chan *message.Message, l.source.cfg.Concurrency)
	l.resetLocked()
	return l.out, true
}

func (l *lane) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	if l.timer != nil {
		l.timer.Stop()
	}
	close(l.out)
	for _, d := range l.buffer {
		delete(l.held, d.ID)
	}
	for _, id := range l.lost {
		delete(l.held, id)
	}
	l.buffer, l.tests, l.lost = nil, 0, nil
	l.countLocked()
}

// resetLocked forgets what was read ahead. What is under way stays held, and must be named to the next reads, since
// the cursor no longer excludes it.
func (l *lane) resetLocked() {
	for _, d := range l.buffer {
		delete(l.held, d.ID)
	}
	for id := range l.held {
		l.held[id] = false
	}
	l.buffer, l.tests, l.cursor, l.more, l.waits = nil, 0, 0, true, false
	l.countLocked()
}

func (l *lane) setDisabled(disabled bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.disabled != disabled {
		l.disabled = disabled
		l.resetLocked()
	}
}

func (l *lane) setShut(shut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shut != shut {
		l.shut = shut
		l.resetLocked()
	}
}

// limit changes the pace at once: what waits is asked again.
func (l *lane) limit(perSecond int) {
	l.mu.Lock()
	same := l.pace.perSecond == perSecond
	if !same {
		l.pace.set(perSecond, time.Now())
	}
	l.mu.Unlock()
	if !same {
		l.pump()
	}
}

// countLocked keeps the source's counts of lanes that have work, and of those among them that have nothing in flight and
// wait: the fair share of the global bound is for the others. It is called after every change that may matter, and counts
// a lane at most once, whatever the order of the changes.
func (l *lane) countLocked() {
	now := load{busy: !l.closed && (l.inFlight > 0 || len(l.buffer) > 0)}
	now.waiting = now.busy && l.waits && l.inFlight == 0
	if now == l.counted {
		return
	}
	l.source.busy.Add(change(l.counted.busy, now.busy))
	l.source.waiting.Add(change(l.counted.waiting, now.waiting))
	l.counted = now
}

func change(before, now bool) int64 {
	switch {
	case now && !before:
		return 1
	case before && !now:
		return -1
	default:
		return 0
	}
}

// need adds what the lane wants to read to q, of a page at most.
func (l *lane) need(q *query, page int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	room := page - len(l.buffer)
	if l.closed || l.shut || l.source.paused.Load() || !l.more || room < page/2 || room < 1 {
		return
	}
	onlyTests := l.disabled
	q.add(l, l.cursor, room, onlyTests)
	l.reading, l.began = true, q.began
	for id, byCursor := range l.held {
		if !byCursor {
			q.held = append(q.held, id)
		}
	}
	l.more = false // until a full page or a wake-up says otherwise
}

// take puts a read page into the buffer. A page that was read before the lane was disabled or enabled is dropped: the reset asked for
// another. It starts nothing: the share of each lane is known only when all pages of a read are taken.
func (l *lane) take(p page, asked ask, ended int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reading, l.ended = false, ended
	if !l.closed && !l.shut && asked.after == l.cursor && asked.onlyTests == l.disabled {
		for i, d := range p.deliveries {
			if _, ok := l.held[d.ID]; ok {
				continue
			}
			l.held[d.ID] = p.fresh[i] && !asked.onlyTests
			if p.fresh[i] && !asked.onlyTests {
				l.cursor = max(l.cursor, d.ID)
			}
			if d.Event == nil {
				l.lost = append(l.lost, d.ID)
				continue
			}
			l.addLocked(d)
		}
		if len(p.deliveries) >= asked.wanted {
			l.more = true
		}
	}
	l.countLocked()
}

func (l *lane) addLocked(d *Delivery) {
	l.buffer = append(l.buffer, d)
	if isTest(d) {
		l.tests++
	}
}

func isTest(d *Delivery) bool { return d.Trigger == fact.Test }

// pump starts as many deliveries as slots, pace and gate allow.
func (l *lane) pump() {
	if batch := l.claim(); len(batch) > 0 {
		l.source.cfg.Starter.Start(batch, l.started)
	}
}

// claim takes those deliveries out of the buffer.
func (l *lane) claim() []*Delivery {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.shut || l.source.paused.Load() || l.source.ended.Load() {
		return nil
	}
	if l.waits { // it may be over: the lane counts for its own share
		l.waits = false
		l.countLocked()
	}
	limit := l.source.share()
	var batch []*Delivery
	for l.inFlight < limit && len(l.buffer) > 0 {
		d := l.nextLocked()
		if d == nil {
			break
		}
		batch = append(batch, d)
	}
	if l.waits {
		l.countLocked()
	}
	if l.more && len(l.buffer) < l.source.page(0)/2 {
		l.source.ask(l)
	}
	return batch
}

// nextLocked claims the next delivery that may start. Tests pass the gate: they are asked for by somebody who watches. The
// pace binds them too, and is asked first, since a gate's permit has to be used.
func (l *lane) nextLocked() *Delivery {
	if at, ok := l.pace.ready(l.starting); !ok {
		l.retryLocked(at)
		return nil
	}
	if l.tests > 0 {
		i := slices.IndexFunc(l.buffer, isTest)
		d := l.buffer[i]
		l.buffer = append(l.buffer[:i:i], l.buffer[i+1:]...)
		l.tests--
		l.inFlight++
		l.starting++
		return d
	}
	permit, retryAt, ok := l.gate.Allow()
	if !ok {
		l.retryLocked(retryAt)
		return nil
	}
	d := l.buffer[0]
	d.permit = permit
	l.buffer[0] = nil
	l.buffer = l.buffer[1:]
	l.inFlight++
	l.starting++
	return d
}

func (l *lane) retryLocked(at time.Time) {
	if at.IsZero() {
		return // the permit that is out wakes the lane when it comes back
	}
	l.waits = true
	if l.timer != nil {
		l.timer.Stop()
	}
	l.timer = time.AfterFunc(time.Until(at), l.pump)
}

func (l *lane) emitLocked(d *Delivery) {
	if l.closed {
		l.abandonLocked(d)
		return
	}
	ctx, cancel := context.WithCancel(l.ctx)
	msg := d.message(ctx)
	l.pace.emitted()
	l.out <- msg
	go func() {
		// One after the other, and not one within the other: all of it then fits in the 2 KB of a fresh stack.
		if l.await(msg, d, cancel) {
			l.pump()
		}
	}()
}

// await follows a message to its end, and reports whether the lane may start another. The end of the attempts is the
// message's, too: told here, so that no context of ours has to have the values of one and the end of another.
func (l *lane) await(msg *message.Message, d *Delivery, done context.CancelFunc) bool {
	defer done()
	select {
	case <-msg.Acked():
		d.Settle(Excluded) // a handler that judged has settled before
		l.over()
		return true
	case <-msg.Nacked():
		timer := time.NewTimer(l.source.cfg.ResendAfter)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-l.source.cfg.Attempts.Done():
		}
		l.mu.Lock()
		l.emitLocked(d)
		l.mu.Unlock()
		return false
	case <-l.source.cfg.Attempts.Done():
		d.Settle(Excluded)
		l.over()
		return false
	}
}

func (l *lane) over() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight--
	l.countLocked()
}

// emitting tells that a message is emitted and not acked.
func (l *lane) emitting() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.inFlight > l.starting
}

// settle forgets a delivery whose outcome is committed; waiting says that it stays in the table.
func (l *lane) settle(id int64, waiting bool) {
	l.mu.Lock()
	delete(l.held, id)
	l.more = l.more || waiting
	l.mu.Unlock()
}
