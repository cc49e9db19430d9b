package lane

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/chattosurvey/surveyhooks/schema/fact"
)

type ask struct {
	lane      *lane
	after     int64
	wanted    int
	onlyTests bool
}

type query struct {
	began int64 // a moment of the source
	asks  []ask
	held  []int64
}

func (q *query) add(l *lane, after int64, wanted int, onlyTests bool) {
	q.asks = append(q.asks, ask{lane: l, after: after, wanted: wanted, onlyTests: onlyTests})
}

// read asks once for all lanes that want something.
func (s *Source) read(ctx context.Context) error {
	s.mu.Lock()
	asked := s.asked
	s.asked = make(map[*lane]struct{}, len(asked))
	s.mu.Unlock()
	q := query{began: s.moment.Add(1), held: []int64{}} // nil would be NULL, and nothing differs from NULL
	for l := range asked {
		l.wakeUp()
		l.need(&q, s.page(len(asked)))
	}
	if len(q.asks) == 0 {
		return nil
	}
	pages, err := s.query(ctx, q)
	if err != nil {
		for _, a := range q.asks {
			a.lane.missed()
		}
		return err
	}
	ended := s.moment.Add(1)
	for i, a := range q.asks {
		a.lane.take(pages[i], a, ended)
	}
	lanes := make([]*lane, len(q.asks))
	for i, a := range q.asks {
		lanes[i] = a.lane
	}
	s.start(lanes...)
	return nil
}

// missed says that a page did not come: what was not read is still wanted.
func (l *lane) missed() {
	l.mu.Lock()
	l.more, l.reading = true, false
	l.mu.Unlock()
}

func (l *lane) wakeUp() {
	l.mu.Lock()
	l.more = true
	l.mu.Unlock()
}

type page struct {
	deliveries []*Delivery
	fresh      []bool
}

func (s *Source) query(ctx context.Context, q query) ([]page, error) {
	ids, after := make([]string, len(q.asks)), make([]int64, len(q.asks))
	wanted, tests := make([]int64, len(q.asks)), make([]bool, len(q.asks))
	index := make(map[uuid.UUID]int, len(q.asks))
	for i, a := range q.asks {
		ids[i], after[i], wanted[i], tests[i] = a.lane.id.String(), a.after, int64(a.wanted), a.onlyTests
		index[a.lane.id] = i
	}
	rows, err := s.cfg.DB.QueryContext(ctx, selectDue,
		pq.Array(ids), pq.Array(after), pq.Array(wanted), pq.Array(tests), pq.Array(q.held))
	if err != nil {
		return nil, fmt.Errorf("read due deliveries: %w", err)
	}
	defer rows.Close()
	pages := make([]page, len(q.asks))
	missing := make(map[uuid.UUID][]*Delivery)
	for rows.Next() {
		d, fresh, err := scan(rows)
		if err != nil {
			return nil, err
		}
		if d.Event = s.cache.get(d.event); d.Event == nil {
			missing[d.event] = append(missing[d.event], d)
		}
		p := &pages[index[d.EndpointID]]
		p.deliveries, p.fresh = append(p.deliveries, d), append(p.fresh, fresh)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read due deliveries: %w", err)
	}
	return pages, s.fill(ctx, missing)
}

func scan(rows *sql.Rows) (*Delivery, bool, error) {
	d := new(Delivery)
	var fresh bool
	var trigger string
	var first sql.NullTime
	var version sql.NullInt64
	if err := rows.Scan(&d.EndpointID, &d.ID, &d.event, &d.Generation, &d.Completed, &d.Started, &trigger, &first, &version, &fresh); err != nil {
		return nil, false, fmt.Errorf("scan due delivery: %w", err)
	}
	d.Trigger, d.FirstAttemptAt, d.ConfigVersion = fact.Trigger(trigger), first.Time, int(version.Int64)
	return d, fresh, nil
}

// fill reads the events that the cache did not have.
func (s *Source) fill(ctx context.Context, missing map[uuid.UUID][]*Delivery) error {
	if len(missing) == 0 {
		return nil
	}
	ids := make([]string, 0, len(missing))
	for id := range missing {
		ids = append(ids, id.String())
	}
	rows, err := s.cfg.DB.QueryContext(ctx, selectEvents, pq.Array(ids))
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		e := new(Event)
		if err := rows.Scan(&e.ID, &e.Type, &e.CompanyID, &e.CreatedAt, &e.Data); err != nil {
			return fmt.Errorf("scan event: %w", err)
		}
		s.cache.put(e)
		for _, d := range missing[e.ID] {
			d.Event = e
		}
		delete(missing, e.ID)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	for id, lost := range missing { // never, unless somebody dropped a partition by hand: do not wedge the other lanes
		s.cfg.Logger.Error("event of a pending delivery is not in the outbox", "event_id", id, "delivery_id", lost[0].ID)
	}
	return nil
}
