package lane

import "github.com/google/uuid"

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

// Feed gives the lane fresh deliveries as a read would, without a table.
func (s *Source) Feed(id uuid.UUID, deliveries ...*Delivery) {
	l := s.lane(id)
	l.mu.Lock()
	asked := ask{lane: l, after: l.cursor, wanted: len(deliveries) + 1, onlyTests: l.disabled}
	l.mu.Unlock()
	fresh := make([]bool, len(deliveries))
	for i := range fresh {
		fresh[i] = true
	}
	l.take(page{deliveries, fresh}, asked, s.moment.Add(1))
	l.pump()
}
