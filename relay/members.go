package relay

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
	"github.com/chattosurvey/surveyhooks/relay/breaker"
	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/fleet"
	"github.com/chattosurvey/surveyhooks/relay/header"
	"github.com/chattosurvey/surveyhooks/relay/lane"
	"github.com/chattosurvey/surveyhooks/relay/sign"
)

// workPrefix marks the notifications that tell of new deliveries. The others tell of a changed endpoint.
const workPrefix = "work:"

// openLanes starts a handler for each lane that was taken. A change of an endpoint waits for it: heard between the load of
// its configuration and the membership, it would be lost.
func (s *session) openLanes(ctx, attempts context.Context, taken []laneState) error {
	s.configuring.Lock()
	defer s.configuring.Unlock()
	ids := make([]uuid.UUID, len(taken))
	for i, l := range taken {
		ids[i] = l.endpointID
	}
	configs, err := endpoint.Load(ctx, s.db, s.cfg.Keys, ids)
	if err != nil {
		return fmt.Errorf("load endpoints: %w", err)
	}
	byID := make(map[uuid.UUID]endpoint.Config, len(configs))
	for _, c := range configs {
		byID[c.EndpointID] = c
	}
	for _, l := range taken {
		c, ok := byID[l.endpointID]
		if !ok {
			continue // deleted meanwhile
		}
		m := &member{id: l.endpointID, companyID: c.CompanyID, failingSince: l.failingSince}
		s.fitBreaker(m, restored(l))
		servable := s.configure(m, c)
		s.source.Add(m.id, lane.Options{
			Gate: gate{m, s.clock}, Rate: c.RateLimit, Disabled: c.State != endpoint.Enabled, Shut: !servable,
		})
		m.handler = s.router.AddConsumerHandler(m.id.String(), m.id.String(), s.source, s.handle(m))
		s.mu.Lock()
		s.members[m.id] = m
		s.mu.Unlock()
	}
	if err := s.router.RunHandlers(attempts); err != nil {
		return fmt.Errorf("run handlers: %w", err)
	}
	return nil
}

// restored is the breaker as its lane kept it; the table admits no state that it cannot read.
func restored(l laneState) breaker.Snapshot {
	state, err := breaker.ParseState(l.breaker)
	if err != nil {
		state = breaker.Closed
	}
	return breaker.Snapshot{State: state, OpenUntil: l.notBefore}
}

// closeLane stops a lane from starting anything. It is false when that was done before.
func (s *session) closeLane(m *member) bool {
	s.mu.Lock()
	mine := s.members[m.id] == m
	if mine {
		delete(s.members, m.id)
		s.leaving[m.id] = struct{}{}
	}
	s.mu.Unlock()
	if mine {
		m.handler.Stop()
	}
	return mine
}

// heldLanes are the lanes that the table should give to this relay.
func (s *session) heldLanes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := make([]string, 0, len(s.members)+len(s.leaving))
	for id := range s.members {
		held = append(held, id.String())
	}
	for id := range s.leaving {
		held = append(held, id.String())
	}
	return held
}

func (s *session) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.members)
}

func (s *session) member(id uuid.UUID) *member {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.members[id]
}

func (s *session) some(n int) []*member {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*member, 0, n)
	for _, m := range s.members {
		if len(list) == n {
			break
		}
		list = append(list, m)
	}
	return list
}

// listen hears of new deliveries that another relay fanned out, and of changed endpoints.
func (s *session) listen(ctx context.Context) error {
	listener, err := commitlog.Listen(ctx, s.cfg.DSN, "webhooks_lanes", nil)
	if err != nil {
		if ctx.Err() != nil {
			return nil // stopped before it began
		}
		return fmt.Errorf("listen for lanes: %w", err)
	}
	defer listener.Close()
	obeying := trouble{what: "orders not read after a notice", logger: s.logger} // they are read again soon
	catchUp := func() {                                                          // with what was told while nobody listened
		obeying.note(ctx, s.obey(ctx))
		s.refresh(ctx, s.all())
		s.source.Wake()
	}
	catchUp()
	for {
		select {
		case <-ctx.Done():
			return nil
		case n := <-listener.Notify:
			if n == nil { // reconnected
				catchUp()
				continue
			}
			if n.Extra == fleet.Notice {
				obeying.note(ctx, s.obey(ctx))
				continue
			}
			s.heard(ctx, n.Extra)
		}
	}
}

func (s *session) heard(ctx context.Context, payload string) {
	work, isWork := strings.CutPrefix(payload, workPrefix)
	if !isWork {
		work = payload
	}
	var ids []uuid.UUID
	for field := range strings.FieldsSeq(work) {
		if id, err := uuid.Parse(field); err == nil {
			ids = append(ids, id)
		}
	}
	if !isWork {
		s.refresh(ctx, ids)
	}
	if isWork || len(ids) > 0 {
		s.source.Wake(ids...)
	}
}

func (s *session) all() []uuid.UUID {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]uuid.UUID, 0, len(s.members))
	for id := range s.members {
		ids = append(ids, id)
	}
	return ids
}

// outdated are the members with a secret whose overlap has ended, and those that wait and are to be tried again. It
// counts those that wait on the way.
func (s *session) outdated() []uuid.UUID {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.now()
	var ids []uuid.UUID
	waiting := map[string]int{causeSealed: 0, causeConfig: 0}
	for id, m := range s.members {
		cause, due := m.outdated(now)
		if cause != "" {
			waiting[cause]++
		}
		if due {
			ids = append(ids, id)
		}
	}
	for cause, n := range waiting {
		s.metrics.waiting.WithLabelValues(cause).Set(float64(n))
	}
	return ids
}

// refresh takes over the endpoints' configuration as it is now.
func (s *session) refresh(ctx context.Context, ids []uuid.UUID) {
	if len(ids) == 0 {
		return
	}
	for id := range s.reconfigure(ctx, ids) {
		if m := s.member(id); m != nil {
			s.release(ctx, m)
		}
	}
}

// reconfigure returns those that are deleted. One at a time: an older configuration must not come after a newer one.
func (s *session) reconfigure(ctx context.Context, ids []uuid.UUID) (gone map[uuid.UUID]bool) {
	s.configuring.Lock()
	defer s.configuring.Unlock()
	configs, err := endpoint.Load(ctx, s.db, s.cfg.Keys, ids)
	if err != nil {
		s.logger.Warn("endpoints not refreshed yet", "error", err)
		for _, id := range ids { // the notice that says so does not come again
			if m := s.member(id); m != nil {
				m.unread(err, s.clock.now().Add(waitRetry))
			}
		}
		return nil
	}
	gone = make(map[uuid.UUID]bool, len(ids))
	for _, id := range ids {
		gone[id] = true
	}
	for _, c := range configs {
		delete(gone, c.EndpointID)
		m := s.member(c.EndpointID)
		if m == nil {
			continue
		}
		s.source.Limit(m.id, c.RateLimit)
		s.source.Shut(m.id, !s.configure(m, c))
		s.source.Disable(m.id, c.State != endpoint.Enabled)
	}
	return gone
}

func newTarget(c endpoint.Config, policy egress.Policy) (*target, error) {
	if c.Sealed != nil {
		return nil, c.Sealed
	}
	u, err := policy.ParseURL(c.URL)
	if refused := (*egress.URLError)(nil); errors.As(err, &refused) {
		// It was stored under another policy. The client refuses it too, and so each delivery ends with
		// that reason in its history, which a lane that never starts would not say.
		u, err = url.Parse(c.URL)
	}
	if err != nil {
		return nil, fmt.Errorf("parse URL of endpoint %s", c.EndpointID) // err would show the query
	}
	signer, err := sign.NewSigner(c.Secrets...)
	if err != nil {
		return nil, fmt.Errorf("read secrets of endpoint %s: %w", c.EndpointID, err)
	}
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	t := &target{
		url: u, shownURL: shown.String(), version: c.Version, signer: signer, secretsUntil: c.SecretsUntil,
		enabled: c.State == endpoint.Enabled,
	}
	for _, h := range c.Headers {
		if t.masked == nil {
			t.masked = make(map[string]string, len(c.Headers))
		}
		t.headers = append(t.headers, egress.Field{Name: h.Name, Value: h.Value.Reveal()})
		t.masked[h.Name] = header.Mask
	}
	return t, nil
}
