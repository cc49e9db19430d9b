package projections

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
)

// feedPages is how many pages of changes are kept: see apply.sql. The projector makes at most twenty a second.
const feedPages = 256

// Now is the point before the first call of DeliveriesSince. It is not 0, which is the end of a history without changes.
const Now = -1

// Changes is what has changed since a point.
type Changes struct {
	Deliveries []Delivery `json:"deliveries"` // as they are now, each once, the newest first
	Next       int64      `json:"next"`       // the point to ask from the next time
	Reset      bool       `json:"reset"`      // the point is too old, or too much has changed: load the list again
}

// DeliveriesSince returns the deliveries of the filter's company and endpoint that have changed since a point, which is
// the Next of the call before; Now only returns a first Next. Where nothing has changed at all it costs one look at an
// index. Changes that are told are in the history already; one may be told twice.
func (r *Reader) DeliveriesSince(ctx context.Context, f Filter, since int64) (Changes, error) {
	page, err := list(ctx, r.db, query{
		uuid.Nil, selectFeed, []any{some(f.CompanyID), some(f.EndpointID), since, f.limit() + 1}, 1,
	}, noKey[feed])
	last, err := only(page, err, true)
	if err != nil {
		return Changes{}, err
	}
	changes := Changes{Deliveries: []Delivery{}, Next: last.page}
	switch {
	case since == Now || since == last.page:
		return changes, nil
	case since > last.page || last.page-since >= feedPages: // after a crash the feed is empty
		changes.Reset = true
		return changes, nil
	}
	if len(last.changed) == 0 {
		return changes, nil
	}
	changed, err := list(ctx, r.db, query{
		f.CompanyID, present(selectChanged, "page.delivery_id DESC", ""), []any{some(f.CompanyID), last.changed}, f.limit(),
	}, noKey[Delivery])
	if err != nil {
		return Changes{}, err
	}
	changes.Deliveries, changes.Reset = changed.Items, changed.Next != ""
	return changes, nil
}

type feed struct {
	page    int64
	changed pq.Int64Array
}

func (f *feed) fields() []any       { return []any{&f.page, &f.changed} }
func (f *feed) times() []*time.Time { return nil }

// Upcoming is a retry that waits for its time.
type Upcoming struct {
	DeliveryID int64     `json:"delivery_id"`
	EventID    uuid.UUID `json:"event_id"`
	EventType  string    `json:"event_type"`
	Trigger    string    `json:"trigger"`
	Generation int       `json:"generation"`
	Attempt    int       `json:"attempt"` // the number of the attempt in its generation; 1 is the first
	DueAt      time.Time `json:"due_at"`
	At         time.Time `json:"at"`   // DueAt, or when the breaker tries the endpoint again, if that is later
	Held       bool      `json:"held"` // the endpoint is disabled: it waits for that, too
}

// Upcoming lists the next retries of an endpoint of the company, the earliest first; limit is as in Filter. Deliveries
// that wait for their first attempt are not among them.
func (r *Reader) Upcoming(ctx context.Context, company, endpoint uuid.UUID, limit int) ([]Upcoming, error) {
	n := Filter{Limit: limit}.limit()
	page, err := list(ctx, r.db, query{company, selectUpcoming, []any{some(company), endpoint, n}, n}, noKey[Upcoming])
	return page.Items, err
}

func (u *Upcoming) fields() []any {
	return []any{&u.DeliveryID, &u.EventID, &u.EventType, &u.Trigger, &u.Generation, &u.Attempt, &u.DueAt, &u.At, &u.Held}
}

func (u *Upcoming) times() []*time.Time { return []*time.Time{&u.DueAt, &u.At} }

// Span is a stretch of time in which deliveries failed for good, or were exhausted. Test events do not count.
type Span struct {
	CompanyID  uuid.UUID // zero is for the operator alone
	EndpointID uuid.UUID
	Since      time.Time // inclusive
	Until      time.Time // exclusive; zero: to the end
}

// CountFailed counts the deliveries of a span that are exhausted, up to limit.
func (r *Reader) CountFailed(ctx context.Context, s Span, limit int) (int, error) {
	page, err := list(ctx, r.db, all(s.CompanyID, countExhausted, s.EndpointID, s.Since, someTime(s.Until), limit), noKey[count])
	n, err := only(page, err, true)
	return n.n, err
}

type count struct{ n int }

func (c *count) fields() []any       { return []any{&c.n} }
func (c *count) times() []*time.Time { return nil }

// Failed is a delivery that is exhausted, with what a replay has to know of it.
type Failed struct {
	DeliveryID     int64
	EventID        uuid.UUID
	EndpointID     uuid.UUID
	CompanyID      uuid.UUID
	Generation     int
	Attempts       int // ever made, over all generations
	FirstAttemptAt *time.Time
	ExhaustedAt    time.Time
}

// Failed lists up to limit exhausted deliveries of a span in the order in which they failed, after the given one; the
// zero Failed is before all.
func (r *Reader) Failed(ctx context.Context, s Span, after Failed, limit int) ([]Failed, error) {
	if limit < 1 || limit > 10000 {
		return nil, fmt.Errorf("list failed deliveries: limit is %d: want 1 to 10000", limit)
	}
	args := []any{s.EndpointID, s.Since, someTime(s.Until), after.ExhaustedAt, after.DeliveryID, limit}
	page, err := list(ctx, r.db, all(s.CompanyID, selectExhausted, args...), noKey[Failed])
	return page.Items, err
}

func (f *Failed) fields() []any {
	return []any{
		&f.DeliveryID, &f.EventID, &f.EndpointID, &f.CompanyID, &f.Generation, &f.FirstAttemptAt, &f.ExhaustedAt, &f.Attempts,
	}
}

func (f *Failed) times() []*time.Time { return []*time.Time{f.FirstAttemptAt, &f.ExhaustedAt} }
