package lane

import (
	"slices"

	"github.com/google/uuid"
)

// together is how many deliveries of several lanes are started together, and few more.
const together = 256

// Claim is a number of deliveries that their lanes are about to start. Whoever commits their intents sets StartedAt,
// FirstAttemptAt and Batch of each, and ends the claim by one call of Started or Failed.
type Claim struct{ parts []part }

type part struct {
	lane  *lane
	batch []*Delivery
}

// Deliveries are all of them.
func (c *Claim) Deliveries() []*Delivery {
	var all []*Delivery
	for _, p := range c.parts {
		all = append(all, p.batch...)
	}
	return all
}

// Started emits them: their intents are committed.
func (c *Claim) Started() {
	for _, p := range c.parts {
		p.lane.started(p.batch)
	}
}

// Failed gives them up: the transaction that would have made them and their intents failed, or its answer was lost. Abandoned
// is told of each, and the lanes read again whatever there is.
func (c *Claim) Failed() {
	for _, p := range c.parts {
		p.lane.failed(p.batch)
	}
}

func (c *Claim) add(l *lane, batch ...*Delivery) {
	if n := len(c.parts); n > 0 && c.parts[n-1].lane == l {
		c.parts[n-1].batch = append(c.parts[n-1].batch, batch...)
		return
	}
	c.parts = append(c.parts, part{l, batch})
}

// Mark is a moment among the reads, for Offer.
func (s *Source) Mark() int64 { return s.moment.Load() }

// Offer hands over fresh deliveries in the order of their ids, so that lanes need not read them. Both marks are the
// caller's promise: what was committed before these deliveries and not offered was committed before since, and these were
// committed after mark. So a lane whose last read began after since, and found no more, has nothing older left; and one
// whose last read had ended by mark cannot have seen these already. Other lanes are woken.
func (s *Source) Offer(since, mark int64, deliveries []*Delivery) {
	var took []*lane
	for _, d := range deliveries {
		s.cache.put(d.Event)
		l := s.lane(d.EndpointID)
		switch {
		case l == nil:
		case !l.offer(since, mark, d):
			s.ask(l)
		case !slices.Contains(took, l):
			took = append(took, l)
		}
	}
	s.start(took...)
}

// Claim is an Offer before its time: of deliveries that the caller is about to commit it claims those that their lanes would
// start at once, so that the caller can commit their intents together with them. The caller offers the rest after its
// commit, with the same marks, and after the claim has ended.
func (s *Source) Claim(since, mark int64, deliveries []*Delivery) (claimed *Claim, rest []*Delivery) {
	claimed = new(Claim)
	refused := make(map[uuid.UUID]bool) // lanes whose order a later delivery would break
	for i, d := range deliveries {
		l := s.lane(d.EndpointID)
		if l == nil || refused[d.EndpointID] || i-len(rest) >= together || !l.claimOffered(since, mark, d) {
			refused[d.EndpointID] = true
			rest = append(rest, d)
			continue
		}
		s.cache.put(d.Event)
		claimed.add(l, d)
	}
	return claimed, rest
}

// start claims what the lanes may start, and has its intents committed together: a commit for each lane would have most
// of an event's endpoints wait for the second one.
func (s *Source) start(lanes ...*lane) {
	for len(lanes) > 0 {
		claimed, n := new(Claim), 0
		for len(lanes) > 0 && n < together {
			l := lanes[0]
			lanes = lanes[1:]
			if batch := l.claim(); len(batch) > 0 {
				claimed.add(l, batch...)
				n += len(batch)
			}
		}
		if n == 0 {
			return
		}
		s.cfg.Starter.Start(claimed.Deliveries(), func([]*Delivery) { claimed.Started() })
	}
}

// nextIsOfferedLocked reports whether a fresh delivery is the next one that the lane has to take; see Source.Offer.
func (l *lane) nextIsOfferedLocked(since, mark int64) bool {
	upToDate := !l.more && !l.reading && since < l.began && l.ended <= mark
	return upToDate && !l.closed && !l.shut && !l.disabled
}

// offer takes a fresh delivery as if it had just been read. Where it does not, the next read does, and until then nothing
// else is taken: the cursor must not pass by what it leaves.
func (l *lane) offer(since, mark int64, d *Delivery) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.nextIsOfferedLocked(since, mark) || len(l.buffer) >= l.source.page(0) {
		l.more = true
		return false
	}
	l.takeOfferedLocked(d)
	l.countLocked()
	return true
}

func (l *lane) takeOfferedLocked(d *Delivery) {
	l.held[d.ID], l.cursor = true, d.ID
	l.addLocked(d)
}

// claimOffered claims a delivery that is not committed yet. It must not wait in the buffer, from where others claim.
func (l *lane) claimOffered(since, mark int64, d *Delivery) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.source.paused.Load() || l.source.ended.Load() || !l.nextIsOfferedLocked(since, mark) ||
		len(l.buffer) > 0 || l.inFlight >= l.source.share() {
		return false
	}
	cursor := l.cursor
	l.takeOfferedLocked(d)
	claimed := l.nextLocked() != nil
	if !claimed { // pace or gate have it wait
		delete(l.held, d.ID)
		l.buffer, l.tests, l.cursor = nil, 0, cursor
	}
	l.countLocked()
	return claimed
}

// started emits deliveries whose intents are committed.
func (l *lane) started(batch []*Delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.starting -= len(batch)
	for _, d := range batch {
		l.emitLocked(d)
	}
}

// failed gives up deliveries that may not exist. If they do, nobody knows from when on, so that the cursor cannot stay.
func (l *lane) failed(batch []*Delivery) {
	l.mu.Lock()
	l.starting -= len(batch)
	for _, d := range batch {
		d.Uncertain = true
		l.abandonLocked(d)
	}
	l.resetLocked()
	l.mu.Unlock()
	l.source.ask(l)
}

// abandonLocked ends what was claimed and is not sent. It stays held until its end is committed: the next holder must find
// neither its intent nor its number of attempts.
func (l *lane) abandonLocked(d *Delivery) {
	d.Settle(Excluded)
	l.inFlight--
	if l.source.cfg.Abandoned == nil {
		delete(l.held, d.ID)
		return
	}
	l.source.cfg.Abandoned(d)
}
