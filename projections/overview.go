package projections

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
)

// EndpointOverview is one endpoint in a list of endpoints: what it is, how it stands, and its last 24 hours.
type EndpointOverview struct {
	EndpointID   uuid.UUID  `json:"endpoint_id"`
	CompanyID    uuid.UUID  `json:"company_id"`
	URL          string     `json:"url"`
	Description  string     `json:"description"`
	EventTypes   []string   `json:"event_types"` // null means all
	State        string     `json:"state"`       // enabled or disabled
	StateReason  string     `json:"state_reason"`
	StateNote    string     `json:"state_note"`  // why it was disabled, in the words of who did it
	StateActor   string     `json:"state_actor"` // relay: it was disabled by itself
	StateSince   time.Time  `json:"state_since"`
	Version      int        `json:"version"`
	CreatedAt    time.Time  `json:"created_at"`
	Breaker      string     `json:"breaker"`    // closed, open or half_open
	NotBefore    *time.Time `json:"not_before"` // open: when it is tried again
	FailingSince *time.Time `json:"failing_since"`

	Bars        []Bar         `json:"bars"`         // 24, one an hour, the oldest first
	SuccessRate *float64      `json:"success_rate"` // of attempts that succeeded or failed; null without any
	Latency     Latency       `json:"latency"`
	Last        *LastDelivery `json:"last_delivery"` // null: there was none
}

// LastDelivery is the newest delivery of an endpoint.
type LastDelivery struct {
	DeliveryID int64     `json:"delivery_id"`
	State      string    `json:"state"`
	At         time.Time `json:"at"` // of its last attempt; of the delivery, before there was one
}

// Overview lists endpoints that are not deleted, by id. Of the filter it takes CompanyID, EndpointID, State, Text,
// Until (zero means now), Cursor and Limit.
func (r *Reader) Overview(ctx context.Context, f Filter) (Page[EndpointOverview], error) {
	p, err := f.place("overview")
	if err != nil {
		return Page[EndpointOverview]{}, err
	}
	from, _ := Window{Bars: 24, Width: time.Hour, Until: f.Until}.bounds()
	args := []any{some(f.CompanyID), some(f.EndpointID), some(f.State), p.U, from, f.limit() + 1, some(f.Text)}
	page, err := list(ctx, r.db, query{f.CompanyID, selectOverview, args, f.limit()},
		func(o *overview) place { return place{Of: "overview", U: &o.EndpointID} })
	if err != nil {
		return Page[EndpointOverview]{}, err
	}
	out := Page[EndpointOverview]{Items: make([]EndpointOverview, len(page.Items)), Next: page.Next}
	for i := range page.Items {
		out.Items[i] = page.Items[i].whole(from)
	}
	return out, nil
}

// overview is a row: the endpoint, its bars without the empty ones, and the sums over them.
type overview struct {
	EndpointOverview

	bars, succeeded, failed, interrupted pq.Int64Array

	sum       tally
	lastID    *int64
	lastState *string
	lastAt    *time.Time
}

func (o *overview) fields() []any {
	return []any{
		&o.EndpointID, &o.CompanyID, &o.URL, &o.Description, (*pq.StringArray)(&o.EventTypes), &o.State, &o.StateReason, &o.StateNote, &o.StateActor,
		&o.StateSince, &o.Version, &o.CreatedAt, &o.Breaker, &o.NotBefore, &o.FailingSince,
		&o.bars, &o.succeeded, &o.failed, &o.interrupted, &o.sum.totalUs, &o.sum.maxUs, &o.sum.took,
		&o.lastID, &o.lastState, &o.lastAt,
	}
}

func (o *overview) times() []*time.Time {
	return []*time.Time{&o.StateSince, &o.CreatedAt, o.NotBefore, o.FailingSince, o.lastAt}
}

func (o *overview) whole(from time.Time) EndpointOverview {
	e := o.EndpointOverview
	e.Bars = make([]Bar, 24)
	for i := range e.Bars {
		e.Bars[i].From = from.Add(time.Duration(i) * time.Hour)
	}
	for i, n := range o.bars {
		b := &e.Bars[n]
		b.Succeeded, b.Failed, b.Interrupted = o.succeeded[i], o.failed[i], o.interrupted[i]
		o.sum.succeeded += b.Succeeded
		o.sum.failed += b.Failed
	}
	e.SuccessRate, e.Latency = share(o.sum.succeeded, o.sum.succeeded+o.sum.failed), o.sum.latency()
	if o.lastID != nil {
		e.Last = &LastDelivery{DeliveryID: *o.lastID, State: *o.lastState, At: *o.lastAt}
	}
	return e
}
