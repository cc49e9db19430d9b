package projections

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
)

// Missing is an event that an endpoint selects and has no delivery of.
type Missing struct {
	EventID     uuid.UUID
	EventType   string
	CreatedAt   time.Time
	FannedOutAt time.Time
	Position    int64
	Kept        bool // the outbox still has it: it can be sent
}

// MissingCount is how many events of a type an endpoint has no delivery of.
type MissingCount struct {
	EventType string     `json:"event_type"`
	Kept      int        `json:"kept"`    // that can be sent
	Expired   int        `json:"expired"` // that the outbox no longer has
	Earliest  *time.Time `json:"earliest"`
}

// Missing lists up to limit events that happened in the span, are of these types and of those that the endpoint selects
// now, and have no delivery for it, in the order in which they were fanned out, after the given one; the zero Missing is
// before all. The span needs its company, and its end.
func (r *Reader) Missing(ctx context.Context, s Span, types []string, after Missing, limit int) ([]Missing, error) {
	if limit < 1 || limit > 10000 {
		return nil, fmt.Errorf("list missing events: limit is %d: want 1 to 10000", limit)
	}
	page, err := list(ctx, r.db, all(s.CompanyID, selectMissing, s.missing(types, after, limit)...), noKey[Missing])
	return page.Items, err
}

// CountMissing counts them by type, the types by name, up to limit in all.
func (r *Reader) CountMissing(ctx context.Context, s Span, types []string, limit int) ([]MissingCount, error) {
	statement := strings.Replace(countMissing, "{missing}", selectMissing, 1)
	page, err := list(ctx, r.db, all(s.CompanyID, statement, s.missing(types, Missing{}, limit)...), noKey[MissingCount])
	return page.Items, err
}

func (s Span) missing(types []string, after Missing, limit int) []any {
	if after.FannedOutAt.Before(s.Since) { // no event is told before it happened; one may be told long after the span
		after = Missing{FannedOutAt: s.Since}
	}
	return []any{s.EndpointID, s.Since, s.Until, pq.Array(types), after.FannedOutAt, after.Position, limit}
}

func (m *Missing) fields() []any {
	return []any{&m.EventID, &m.EventType, &m.CreatedAt, &m.FannedOutAt, &m.Position, &m.Kept}
}

func (m *Missing) times() []*time.Time { return []*time.Time{&m.CreatedAt, &m.FannedOutAt} }

func (c *MissingCount) fields() []any { return []any{&c.EventType, &c.Kept, &c.Expired, &c.Earliest} }

func (c *MissingCount) times() []*time.Time { return []*time.Time{c.Earliest} }
