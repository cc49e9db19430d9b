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
