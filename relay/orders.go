package relay

import (
	"context"
	"time"

	"github.com/chattosurvey/surveyhooks/relay/fleet"
)

// obey learns what operators want of this relay, and does it: at the start, on each notice, and as often as it renews its
// lease. One at a time: an older answer must not come after a newer one.
func (s *session) obey(ctx context.Context) error {
	s.obeying.Lock()
	defer s.obeying.Unlock()
	orders, err := fleet.OrdersOf(ctx, s.db, s.id)
	if err != nil {
		return err
	}
	was := s.orders
	s.orders = orders
	s.obeyPause(was.Pause, orders.Pause)
	if was.Drained != orders.Drained {
		s.drained.Store(orders.Drained)
		s.logger.Info("relay's order changed", "drained", orders.Drained)
	}
	select {
	case s.reshare <- struct{}{}: // another relay's order changes this one's share, too
	default:
	}
	return nil
}

func (s *session) obeyPause(was, now *fleet.Pause) {
	s.source.Pause(now != nil)
	paused := 0.0
	if now != nil {
		paused = 1
	}
	s.metrics.paused.Set(paused)
	switch {
	case now != nil && (was == nil || was.ID != now.ID):
		s.logger.Warn("sending is paused", "paused_by", now.By, "paused_at", now.Since, "reason", now.Reason)
	case now == nil && was != nil:
		s.spare(s.clock.now().Sub(was.Since))
		s.logger.Warn("sending is resumed", "paused_by", was.By, "paused_at", was.Since)
	}
}

// spare takes a pause out of the time for which endpoints have only failed: they had no chance to do better.
func (s *session) spare(paused time.Duration) {
	for _, m := range s.some(s.count()) {
		m.mu.Lock()
		if !m.failingSince.IsZero() {
			m.failingSince = m.failingSince.Add(paused)
			s.recorder.saveLane(m.laneStateLocked(nil))
		}
		m.mu.Unlock()
	}
}
