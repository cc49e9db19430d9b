package relay

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/relay/breaker"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/lane"
	"github.com/chattosurvey/surveyhooks/relay/seal"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// member is an endpoint whose lane this session holds.
type member struct {
	id, companyID uuid.UUID
	target        atomic.Pointer[target]
	breaker       atomic.Pointer[breaker.Breaker]
	handler       *message.Handler

	mu           sync.Mutex
	failingSince time.Time
	gaveUp       bool
	fault        error     // why its configuration cannot be taken over; nil: it was
	waits        bool      // nothing can be sent to it meanwhile
	retryAt      time.Time // when that is tried again
}

// The causes for which an endpoint waits, as the metric has them.
const (
	causeSealed = "sealed"
	causeConfig = "config"

	// waitRetry is how soon an endpoint flows again after its key is there.
	waitRetry = 5 * time.Second
)

// outdated tells for what cause the member waits, and whether its configuration has to be loaded again.
func (m *member) outdated(now time.Time) (cause string, due bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault == nil {
		until := m.target.Load().secretsUntil
		return "", !until.IsZero() && now.After(until)
	}
	switch {
	case !m.waits:
	case seal.IsFault(m.fault):
		cause = causeSealed
	default:
		cause = causeConfig
	}
	return cause, !now.Before(m.retryAt)
}

// gate lets the member's breaker decide for the lane.
type gate struct {
	*member

	clock *clock
}

var _ lane.Gate = gate{}

// Allow asks the breaker for leave.
func (g gate) Allow() (lane.Permit, time.Time, bool) {
	b := g.breaker.Load()
	p, err := b.Allow()
	if err != nil {
		readyAt := b.ReadyAt()
		if !readyAt.IsZero() {
			readyAt = g.clock.here(readyAt)
		}
		return nil, readyAt, false
	}
	return permit{p}, time.Time{}, true
}

type permit struct{ *breaker.Permit }

// Done hands the verdict to the breaker.
func (p permit) Done(v lane.Verdict) {
	switch v {
	case lane.Success:
		p.Permit.Done(breaker.Success)
	case lane.EndpointFault:
		p.Permit.Done(breaker.EndpointFault)
	case lane.Excluded:
		p.Permit.Done(breaker.Excluded)
	}
}

// judged settles the breaker, and keeps since when the endpoint only fails.
func (m *member) judged(o *outcome, s *session) {
	v := verdict(o.attempt.Reason)
	o.delivery.Settle(v)
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case v == lane.Success && !m.failingSince.IsZero():
		m.failingSince, m.gaveUp = time.Time{}, false
		s.recorder.saveLane(m.laneStateLocked(nil))
	case v != lane.EndpointFault || isTest(o): // a test that fails decides nothing about the endpoint
	case m.failingSince.IsZero():
		m.failingSince = s.clock.now()
		s.recorder.saveLane(m.laneStateLocked(nil))
	case !m.gaveUp && o.attempt.ConfigVersion == m.target.Load().version && s.clock.now().Sub(m.failingSince) > s.cfg.GiveUp:
		m.gaveUp = true
		o.disable = fact.FailingPersistently
	}
}

func isTest(o *outcome) bool { return o.delivery.Trigger == fact.Test }

func (m *member) laneStateLocked(f *fact.Fact) laneState {
	snap := m.breaker.Load().Snapshot()
	return laneState{
		endpointID: m.id, breaker: snap.State.String(), notBefore: snap.OpenUntil,
		failingSince: m.failingSince, fact: f,
	}
}

// breakerChanged records a change of the breaker; called outside the breaker's own lock.
func (s *session) breakerChanged(m *member, to breaker.State, snap breaker.Snapshot) {
	names := map[breaker.State]fact.Name{
		breaker.Open: fact.BreakerOpened, breaker.HalfOpen: fact.BreakerHalfOpened, breaker.Closed: fact.BreakerClosed,
	}
	body := fact.Breaker{EndpointID: m.id}
	if !snap.OpenUntil.IsZero() {
		until := snap.OpenUntil.UTC()
		body.NotBefore = &until
	}
	s.metrics.breakers.WithLabelValues(to.String()).Inc()
	s.logger.Info("breaker changed", "endpoint_id", m.id, "state", to.String())
	m.mu.Lock()
	defer m.mu.Unlock()
	state := m.laneStateLocked(&fact.Fact{Name: names[to], CompanyID: m.companyID, Body: body})
	state.breaker, state.notBefore = snap.State.String(), snap.OpenUntil
	s.recorder.saveLane(state)
}

// configure gives the member a new configuration; attempts under way keep the old one. It is false when the endpoint
// cannot be served with it, and has to wait: a missing key, above all, is no fault of the endpoint's.
func (s *session) configure(m *member, c endpoint.Config) bool {
	t, err := newTarget(c, s.cfg.Egress.Policy)
	if err != nil {
		// Sealed anew, with a key that this relay lacks, and else the same: what was opened before still holds.
		have := m.target.Load()
		waits := have == nil || have.version != c.Version || !seal.IsFault(err)
		if m.troubled(err, waits, s.clock.now().Add(waitRetry)) {
			s.logger.Error("endpoint's configuration cannot be taken over", "endpoint_id", m.id, "waits", waits, "error", err)
		}
		return !waits
	}
	old := m.target.Swap(t)
	if m.troubled(nil, false, time.Time{}) {
		s.logger.Info("endpoint's configuration is taken over again", "endpoint_id", m.id)
	}
	if old != nil && old.version != t.version {
		m.mu.Lock()
		m.gaveUp = false // of an older configuration: that may have been refused
		m.mu.Unlock()
	}
	if old != nil && !old.enabled && t.enabled {
		// Whoever enables it says that it works now: what was before does not count against it.
		m.mu.Lock()
		m.failingSince = time.Time{}
		m.mu.Unlock()
		s.fitBreaker(m, breaker.Snapshot{})
	}
	return true
}

// troubled keeps why the configuration cannot be taken over, nil that it was, and reports whether that is news.
func (m *member) troubled(why error, waits bool, retryAt time.Time) (news bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	news = waits != m.waits || (why == nil) != (m.fault == nil) || why != nil && why.Error() != m.fault.Error()
	m.fault, m.waits, m.retryAt = why, waits, retryAt
	return news
}

// unread keeps that the configuration may have changed and could not be read, so that it is outdated from retryAt on. What
// else is known to be wrong with it stays.
func (m *member) unread(why error, retryAt time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fault == nil {
		m.fault, m.retryAt = why, retryAt
	}
}

// fitBreaker gives the member a breaker in the state that was kept of it. Its clock is the database's, since another relay,
// with a clock of its own, may go on with it.
func (s *session) fitBreaker(m *member, restored breaker.Snapshot) {
	cfg := s.cfg.Breaker
	cfg.Now = s.clock.now
	cfg.OnChange = func(_, to breaker.State, snap breaker.Snapshot) { s.breakerChanged(m, to, snap) }
	m.breaker.Store(breaker.New(cfg, restored))
}
