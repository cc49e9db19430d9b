package projections

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/schema/fact"
	"github.com/chattosurvey/surveyhooks/schema/tenant"
)

// ErrNotFound says that there is no such row, or that it is another company's.
var ErrNotFound = errors.New("not found")

// BadCursorError says that a cursor is not one that a query of this kind returned as Next.
type BadCursorError struct{ Cursor string }

// Error says what would be right.
func (e *BadCursorError) Error() string {
	return fmt.Sprintf("cursor is %.40q: want the next of the page before", e.Cursor)
}

// Page is a part of a list, the newest first (endpoints by id). Next asks for the part after it and is empty at the end.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next"`
}

// Filter narrows a list; a zero field does not. A field that the list does not have is passed over.
type Filter struct {
	CompanyID   uuid.UUID // zero is for the operator alone: it reads every company's rows
	EndpointID  uuid.UUID
	EventID     uuid.UUID // events, deliveries, attempts
	DeliveryID  int64     // deliveries, attempts
	EventType   string    // events, deliveries, attempts
	State       string    // deliveries: the state; attempts: the outcome; endpoints: the state; changes: the fact
	States      []string  // deliveries: any of these states
	Status      int       // deliveries (the last one), attempts
	StatusClass string    // deliveries: of the last attempt: 2xx, 3xx, 4xx, 5xx, or none when there was no answer
	Reason      string    // deliveries (the last one), attempts, changes
	Trigger     string    // deliveries
	Search      string    // deliveries: the id of a delivery or of an event, as somebody typed it
	Text        string    // overview: part of URL, description or id, in any case
	From        time.Time // inclusive; of creation, start or recording
	Until       time.Time // exclusive
	Cursor      string    // Next of the page before
	Limit       int       // clamped to 1..500; zero means 50
}

// Reader answers questions about the history. It is safe for concurrent use.
type Reader struct{ db *sql.DB }

// NewReader returns a reader of db.
func NewReader(db *sql.DB) *Reader { return &Reader{db: db} }

// place is where a page ended: the key of its last row.
type place struct {
	Of string     `json:"of"` // the list that it belongs to
	ID int64      `json:"id,omitempty"`
	At *time.Time `json:"at,omitempty"`
	N  int        `json:"n,omitempty"`
	U  *uuid.UUID `json:"u,omitempty"`
}

func (p place) String() string {
	text, _ := json.Marshal(p) //nolint:errchkjson // a time that came from a row can be encoded
	return base64.RawURLEncoding.EncodeToString(text)
}

// Validate refuses what no row can match: a typing error must not look like an empty history. Every list begins with it.
func (f Filter) Validate() error {
	switch {
	case f.Reason != "" && !fact.Reason(f.Reason).Known():
		return &BadFilterError{"reason", f.Reason, "one that attempts and endpoints have, such as timeout or status_5xx"}
	case f.Status != 0 && (f.Status < 100 || f.Status > 599):
		return &BadFilterError{"status", strconv.Itoa(f.Status), "an HTTP status of 100 to 599"}
	case !f.From.IsZero() && !f.Until.IsZero() && !f.From.Before(f.Until):
		return &BadFilterError{"until", f.Until.Format(time.RFC3339), "a time after from"}
	default:
		return nil
	}
}

func (f Filter) place(list string) (place, error) {
	if err := f.Validate(); err != nil {
		return place{}, err
	}
	if f.Cursor == "" {
		return place{}, nil
	}
	var p place
	text, err := base64.RawURLEncoding.DecodeString(f.Cursor)
	if err != nil || json.Unmarshal(text, &p) != nil || p.Of != list || !p.complete() {
		return place{}, &BadCursorError{Cursor: f.Cursor}
	}
	return p, nil
}

func (p place) complete() bool {
	switch p.Of {
	case "attempts":
		return p.At != nil && p.ID != 0 && p.N > 0 && p.N <= math.MaxInt16 // a smallint
	case "told":
		return p.At != nil
	case "health", "overview":
		return p.U != nil
	case "deliveries":
		return p.At != nil && p.ID != 0
	default:
		return p.ID != 0
	}
}

func (f Filter) limit() int {
	if f.Limit == 0 {
		return 50
	}
	return min(max(f.Limit, 1), 500)
}

// some is NULL for a zero value.
func some[T comparable](v T) any {
	var zero T
	if v == zero {
		return nil
	}
	return v
}

func someTime(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}

// scope is the first six arguments of events, deliveries and attempts.
func (f Filter) scope() []any {
	return []any{some(f.CompanyID), some(f.EndpointID), some(f.EventID), some(f.EventType), someTime(f.From), someTime(f.Until)}
}

// Events lists events, the latest of the outbox first.
func (r *Reader) Events(ctx context.Context, f Filter) (Page[Event], error) {
	p, err := f.place("events")
	if err != nil {
		return Page[Event]{}, err
	}
	return list(ctx, r.db, query{f.CompanyID, selectEvents, append(f.scope(), some(p.ID), f.limit()+1), f.limit()},
		func(e *Event) place { return place{Of: "events", ID: e.Position} })
}

// Event returns one event of a company, or ErrNotFound.
func (r *Reader) Event(ctx context.Context, company, event uuid.UUID) (Event, error) {
	page, err := r.Events(ctx, Filter{CompanyID: company, EventID: event, Limit: 1})
	return only(page, err, event != uuid.Nil)
}

// Delivery returns one delivery of a company with its last 500 attempts, or ErrNotFound.
func (r *Reader) Delivery(ctx context.Context, company uuid.UUID, delivery int64) (DeliveryDetail, error) {
	page, err := r.Deliveries(ctx, Filter{CompanyID: company, DeliveryID: delivery, Limit: 1})
	row, err := only(page, err, delivery != 0)
	if err != nil {
		return DeliveryDetail{}, err
	}
	attempts, err := r.Attempts(ctx, Filter{CompanyID: company, EndpointID: row.EndpointID, DeliveryID: delivery, Limit: 500})
	if err != nil {
		return DeliveryDetail{}, err
	}
	return DeliveryDetail{Delivery: row, AttemptRows: attempts.Items}, nil
}

// Attempts lists attempts, the latest start first.
func (r *Reader) Attempts(ctx context.Context, f Filter) (Page[Attempt], error) {
	p, err := f.place("attempts")
	if err != nil {
		return Page[Attempt]{}, err
	}
	args := append(f.scope(), p.At, f.limit()+1, some(f.State), some(f.Status), some(f.Reason), some(f.DeliveryID), p.ID, p.N)
	return list(ctx, r.db, query{f.CompanyID, cmp.Or(f.byCompany(selectAttemptsOfCompany), selectAttempts), args, f.limit()},
		func(a *Attempt) place { return place{Of: "attempts", At: &a.StartedAt, ID: a.DeliveryID, N: a.Attempt} })
}

// byCompany is the statement if the rows are best found through their endpoints: those of one event or one delivery are
// found by key, and every company's in the order of theirs.
func (f Filter) byCompany(statement string) string {
	if f.EventID != uuid.Nil || f.DeliveryID != 0 || f.CompanyID == uuid.Nil && f.EndpointID == uuid.Nil {
		return ""
	}
	return statement
}

// Health lists endpoints that are not deleted, by id.
func (r *Reader) Health(ctx context.Context, f Filter) (Page[EndpointHealth], error) {
	p, err := f.place("health")
	if err != nil {
		return Page[EndpointHealth]{}, err
	}
	args := []any{some(f.CompanyID), some(f.EndpointID), some(f.State), p.U, f.limit() + 1}
	return list(ctx, r.db, query{f.CompanyID, selectHealth, args, f.limit()},
		func(h *EndpointHealth) place { return place{Of: "health", U: &h.EndpointID} })
}

// EndpointChanges lists changes of endpoints, the latest first.
func (r *Reader) EndpointChanges(ctx context.Context, f Filter) (Page[EndpointChange], error) {
	p, err := f.place("changes")
	if err != nil {
		return Page[EndpointChange]{}, err
	}
	args := []any{
		some(f.CompanyID), some(f.EndpointID), some(f.State), some(f.Reason), someTime(f.From), someTime(f.Until),
		some(p.ID), f.limit() + 1,
	}
	return list(ctx, r.db, query{f.CompanyID, selectChanges, args, f.limit()},
		func(c *EndpointChange) place { return place{Of: "changes", ID: c.Position} })
}

// row is a pointer to a T that can be scanned.
type row[T any] interface {
	*T
	fields() []any
	times() []*time.Time
}

// query is asked for one company, behind row-level security, or by the operator, when company is zero.
type query struct {
	company uuid.UUID
	text    string
	args    []any
	limit   int
}

// querier is a database, or a transaction on it.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// asking is who the history answers: every company for the operator, else one alone, behind row-level security. Every
// query of a Reader goes through it. The returned function ends the question.
func asking(ctx context.Context, db *sql.DB, company uuid.UUID) (querier, func(), error) {
	if company == uuid.Nil {
		return db, func() {}, nil
	}
	tx, err := tenant.Begin(ctx, db, company, tenant.ReadOnly)
	if err != nil {
		return nil, nil, fmt.Errorf("query history: %w", err)
	}
	return tx, func() { _ = tx.Rollback() }, nil // it only read
}

// all asks for every row: there are few. The company is the statement's first argument, too.
func all(company uuid.UUID, text string, args ...any) query {
	return query{company, text, append([]any{some(company)}, args...), math.MaxInt}
}

// noKey is for lists that have no next page; there it only marks that there is more.
func noKey[T any](*T) place { return place{Of: "more"} }

// list reads one row more than the limit, to know whether there is a next page.
func list[T any, R row[T]](ctx context.Context, db *sql.DB, q query, key func(*T) place) (Page[T], error) {
	from, end, err := asking(ctx, db, q.company)
	if err != nil {
		return Page[T]{}, err
	}
	defer end()
	rows, err := from.QueryContext(ctx, q.text, q.args...)
	if err != nil {
		return Page[T]{}, fmt.Errorf("query history: %w", err)
	}
	defer rows.Close()
	page := Page[T]{Items: []T{}}
	for rows.Next() {
		if len(page.Items) == q.limit {
			page.Next = key(&page.Items[q.limit-1]).String()
			break
		}
		var item T
		if err := rows.Scan(R(&item).fields()...); err != nil {
			return Page[T]{}, fmt.Errorf("scan history: %w", err)
		}
		for _, at := range R(&item).times() {
			if at != nil {
				*at = at.UTC()
			}
		}
		page.Items = append(page.Items, item)
	}
	if err := rows.Err(); err != nil {
		return Page[T]{}, fmt.Errorf("read history: %w", err)
	}
	return page, nil
}

func only[T any](page Page[T], err error, asked bool) (T, error) {
	var none T
	if err != nil {
		return none, err
	}
	if !asked || len(page.Items) == 0 {
		return none, ErrNotFound
	}
	return page.Items[0], nil
}
