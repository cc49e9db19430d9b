package recovery

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/relay/delivery"
)

// State is where a recovery stands.
type State string

// The states. Only Running moves.
const (
	Running   State = "running"
	Done      State = "done"
	Cancelled State = "cancelled"
	Failed    State = "failed" // the endpoint was deleted
)

// Kind is what a recovery sends.
type Kind string

// The kinds.
const (
	Failures Kind = "failed"  // deliveries that failed for good are sent again
	Missing  Kind = "missing" // events that the endpoint selects and was never sent are sent
)

// Config says how to recover. DB is needed; the rest has defaults.
type Config struct {
	DB      *sql.DB
	Rate    int           // deliveries a second to one endpoint; default 50
	Cap     int           // deliveries of one recovery; default 100 000
	Backlog int           // live deliveries due at the endpoint that make it wait; default 200
	Poll    time.Duration // how long Run looks away when nothing is due, and the wait for a backlog; default 1 s
	Logger  *slog.Logger  // default: silent
}

// Service starts, shows and runs recoveries. It is safe for concurrent use, and in many processes at once.
type Service struct {
	cfg    Config
	reader *projections.Reader
}

// New returns a service.
func New(cfg Config) *Service {
	cfg.Rate, cfg.Cap, cfg.Backlog = cmp.Or(max(cfg.Rate, 0), 50), cmp.Or(max(cfg.Cap, 0), 100_000), cmp.Or(max(cfg.Backlog, 0), 200)
	cfg.Poll = cmp.Or(cfg.Poll, time.Second)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Service{cfg: cfg, reader: projections.NewReader(cfg.DB)}
}

// Request asks for a recovery: everything that failed for good at the endpoint from Since on, or every event that
// happened from then on and that it selects and has no delivery of. Test events are never among them.
type Request struct {
	CompanyID  uuid.UUID // zero is for the operator alone
	EndpointID uuid.UUID
	Kind       Kind      // zero: Failures
	Types      []string  // Missing: of these event types alone; none: of all that the endpoint selects
	Since      time.Time // inclusive; required
	Until      time.Time // exclusive; zero means now
	Actor      string    // who asks, for the audit trail; required by Start
	Reason     string    // in the actor's words
	Key        string    // the same key starts one recovery, however often it is sent; empty: each call starts one
}

// Recovery is a job and how far it has come. Of Total, Replayed and Skipped are over; they are all of it when it is done.
type Recovery struct {
	ID         uuid.UUID  `json:"id"`
	CompanyID  uuid.UUID  `json:"company_id"`
	EndpointID uuid.UUID  `json:"endpoint_id"`
	Kind       Kind       `json:"kind"`
	Types      []string   `json:"event_types"` // null: all that the endpoint selects
	Since      time.Time  `json:"since"`
	Until      time.Time  `json:"until"`
	Actor      string     `json:"actor"`
	Reason     string     `json:"reason"`
	State      State      `json:"state"`
	Total      int        `json:"total"`     // counted when it started
	Replayed   int        `json:"replayed"`  // queued: again as a new generation, or, of what was missing, for the first time
	Skipped    int        `json:"skipped"`   // retried or requested by somebody else, or the event is no longer kept
	WaitsFor   string     `json:"waits_for"` // enabled, breaker or backlog; empty while it goes on
	CreatedAt  time.Time  `json:"created_at"`
	EndedAt    *time.Time `json:"ended_at"`
	EndedBy    string     `json:"ended_by"` // who cancelled it; relay when it ended by itself
}

// Found is what a request is about. Together they are at most one more than the cap.
type Found struct {
	Deliveries int         `json:"deliveries"`            // that would be sent
	Expired    int         `json:"expired"`               // Missing: events that are no longer kept, and cannot be sent
	Earliest   *time.Time  `json:"earliest,omitempty"`    // Missing: when the first of them happened
	Types      []TypeCount `json:"event_types,omitempty"` // Missing: what they are, by name
}

// TypeCount is how many events of a type would be sent.
type TypeCount struct {
	EventType  string `json:"event_type"`
	Deliveries int    `json:"deliveries"`
}

func (f Found) total() int { return f.Deliveries + f.Expired }

// Count tells what the request is about. Errors: *NotFoundError, *InvalidError.
func (s *Service) Count(ctx context.Context, r Request) (Found, error) {
	_, found, err := s.count(ctx, r)
	return found, err
}

// count also returns the request as it will be kept.
func (s *Service) count(ctx context.Context, r Request) (Request, Found, error) {
	var now time.Time
	var selected pq.StringArray
	err := s.cfg.DB.QueryRowContext(ctx, findEndpoint, r.EndpointID, orNull(r.CompanyID)).Scan(&r.CompanyID, &selected, &now)
	if errors.Is(err, sql.ErrNoRows) {
		return r, Found{}, &NotFoundError{"endpoint", r.EndpointID}
	}
	if err != nil {
		return r, Found{}, fmt.Errorf("find endpoint: %w", err)
	}
	r.Kind = cmp.Or(r.Kind, Failures)
	if len(r.Types) == 0 {
		r.Types = nil
	}
	now = now.UTC()
	if r.Until.IsZero() || r.Until.After(now) {
		r.Until = now
	}
	if err := r.checkSpan(selected); err != nil {
		return r, Found{}, err
	}
	if r.Kind == Missing {
		found, err := s.countMissing(ctx, r)
		return r, found, err
	}
	n, err := s.reader.CountFailed(ctx, r.span(), s.cfg.Cap+1)
	if err != nil {
		return r, Found{}, fmt.Errorf("count failed deliveries: %w", err)
	}
	return r, Found{Deliveries: n}, nil
}

func (s *Service) countMissing(ctx context.Context, r Request) (found Found, err error) {
	counts, err := s.reader.CountMissing(ctx, r.span(), r.types(), s.cfg.Cap+1)
	if err != nil {
		return found, fmt.Errorf("count missing events: %w", err)
	}
	for _, c := range counts {
		found.Deliveries, found.Expired = found.Deliveries+c.Kept, found.Expired+c.Expired
		if c.Kept > 0 {
			found.Types = append(found.Types, TypeCount{c.EventType, c.Kept})
		}
		if found.Earliest == nil || c.Earliest.Before(*found.Earliest) {
			found.Earliest = c.Earliest
		}
	}
	return found, nil
}

func (r Request) span() projections.Span {
	return projections.Span{CompanyID: r.CompanyID, EndpointID: r.EndpointID, Since: r.Since, Until: r.Until}
}

// types are those that are looked for among what the endpoint selects.
func (r Request) types() []string {
	if r.Types != nil {
		return r.Types
	}
	return delivery.Sendable()
}

// Start counts, and starts a recovery that a running service works on. A request with a key that has started one
// returns that one. Errors: *NotFoundError, *InvalidError, *NothingError, *TooManyError, *RunningError, *KeyError.
func (s *Service) Start(ctx context.Context, r Request) (Recovery, error) {
	if fault := r.check(); fault != nil {
		return Recovery{}, fault
	}
	asked := r.Since
	key := cmp.Or(r.Key, uuid.NewString())
	r, found, err := s.count(ctx, r)
	if err != nil {
		return Recovery{}, err
	}
	if known, err := s.known(ctx, r, key, asked); err == nil || !errors.Is(err, sql.ErrNoRows) {
		return known, err
	}
	switch {
	case found.Deliveries == 0:
		return Recovery{}, &NothingError{r.Kind, r.Since, r.Until, found.Expired}
	case found.total() > s.cfg.Cap:
		return Recovery{}, &TooManyError{r.Kind, s.cfg.Cap}
	}
	started, err := scan(s.cfg.DB.QueryRowContext(ctx, insert, r.CompanyID, r.EndpointID, key, r.Since.UTC(), r.Until, r.Actor, r.Reason,
		found.total(), r.Kind, pq.Array(r.Types)))
	if !errors.Is(err, sql.ErrNoRows) {
		if err != nil {
			return Recovery{}, fmt.Errorf("start recovery: %w", err)
		}
		return started, nil
	}
	// A double click, or another recovery of the endpoint.
	known, err := s.known(ctx, r, key, asked)
	if err == nil || !errors.Is(err, sql.ErrNoRows) {
		return known, err
	}
	other, err := scan(s.cfg.DB.QueryRowContext(ctx, selectRunning, r.CompanyID, r.EndpointID))
	if err != nil {
		return Recovery{}, fmt.Errorf("start recovery: another one has just ended: %w", err)
	}
	return Recovery{}, &RunningError{other.ID}
}

// known is the recovery that the key has started, or sql.ErrNoRows.
func (s *Service) known(ctx context.Context, r Request, key string, since time.Time) (Recovery, error) {
	known, err := scan(s.cfg.DB.QueryRowContext(ctx, selectByKey, r.CompanyID, key))
	if err != nil {
		return Recovery{}, err
	}
	if known.EndpointID != r.EndpointID || known.Kind != r.Kind || !slices.Equal(known.Types, r.Types) ||
		!known.Since.Equal(since.Round(time.Microsecond)) {
		return Recovery{}, &KeyError{key}
	}
	return known, nil
}

func (r Request) check() error {
	switch {
	case strings.TrimSpace(r.Actor) == "":
		return &InvalidError{"actor", "it is empty: want who asks"}
	case len(r.Reason) > 500 || strings.ContainsRune(r.Reason, 0):
		return &InvalidError{"reason", "want at most 500 bytes of text"}
	case len(r.Key) > 200 || strings.ContainsRune(r.Key, 0):
		return &InvalidError{"key", "want at most 200 bytes of text"}
	default:
		return nil
	}
}

// checkSpan checks what a count needs, too. An endpoint that has selected none selects all.
func (r Request) checkSpan(selected []string) error {
	switch {
	case r.Kind != Failures && r.Kind != Missing:
		return &InvalidError{"kind", fmt.Sprintf("it is %.80q: want failed or missing", r.Kind)}
	case r.Since.IsZero() && r.Kind == Missing:
		return &InvalidError{"since", "it is missing: want the time from which on events happened"}
	case r.Since.IsZero():
		return &InvalidError{"since", "it is missing: want the time from which on deliveries failed"}
	case !r.Since.Before(r.Until):
		return &InvalidError{"since", fmt.Sprintf("%s is not before the end %s", stamp(r.Since), stamp(r.Until))}
	case r.Types == nil:
		return nil
	case r.Kind != Missing:
		return &InvalidError{"event_types", "they are given: want none, since only missing events are chosen by type"}
	}
	for _, name := range r.Types {
		switch {
		case !slices.Contains(delivery.Sendable(), name):
			return &InvalidError{"event_types", fmt.Sprintf("%.80q is none of %s", name, strings.Join(delivery.Sendable(), ", "))}
		case selected != nil && !slices.Contains(selected, name):
			return &InvalidError{"event_types", fmt.Sprintf("the endpoint does not select %s: select it first", name)}
		}
	}
	return nil
}

// Get returns a recovery of the company (zero is for the operator), or a *NotFoundError.
func (s *Service) Get(ctx context.Context, company, id uuid.UUID) (Recovery, error) {
	r, err := scan(s.cfg.DB.QueryRowContext(ctx, selectOne, orNull(company), id))
	if errors.Is(err, sql.ErrNoRows) {
		return Recovery{}, &NotFoundError{"recovery", id}
	}
	if err != nil {
		return Recovery{}, fmt.Errorf("read recovery: %w", err)
	}
	return r, nil
}

// List returns the latest recoveries of an endpoint of the company, the newest first; limit is clamped to 1..500. A zero
// endpoint is any.
func (s *Service) List(ctx context.Context, company, endpoint uuid.UUID, limit int) ([]Recovery, error) {
	rows, err := s.cfg.DB.QueryContext(ctx, selectList, orNull(company), orNull(endpoint), min(max(limit, 1), 500))
	if err != nil {
		return nil, fmt.Errorf("list recoveries: %w", err)
	}
	defer rows.Close()
	list := []Recovery{}
	for rows.Next() {
		r, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("list recoveries: %w", err)
		}
		list = append(list, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list recoveries: %w", err)
	}
	return list, nil
}

// Cancel ends a recovery where it stands; what it has queued is sent. One that has ended is returned as it is.
func (s *Service) Cancel(ctx context.Context, company, id uuid.UUID, actor string) (Recovery, error) {
	if strings.TrimSpace(actor) == "" {
		return Recovery{}, &InvalidError{"actor", "it is empty: want who asks"}
	}
	r, err := scan(s.cfg.DB.QueryRowContext(ctx, cancel, orNull(company), id, actor))
	if errors.Is(err, sql.ErrNoRows) {
		return s.Get(ctx, company, id)
	}
	if err != nil {
		return Recovery{}, fmt.Errorf("cancel recovery: %w", err)
	}
	return r, nil
}

type row interface{ Scan(dest ...any) error }

// scan reads the columns, and what a statement has after them.
func scan(from row, rest ...any) (Recovery, error) {
	var r Recovery
	err := from.Scan(append([]any{
		&r.ID, &r.CompanyID, &r.EndpointID, &r.Kind, (*pq.StringArray)(&r.Types), &r.Since, &r.Until, &r.Actor, &r.Reason, &r.State, &r.Total, &r.Replayed, &r.Skipped,
		&r.WaitsFor, &r.CreatedAt, &r.EndedAt, &r.EndedBy,
	}, rest...)...)
	r.Since, r.Until, r.CreatedAt = r.Since.UTC(), r.Until.UTC(), r.CreatedAt.UTC()
	if r.EndedAt != nil {
		*r.EndedAt = r.EndedAt.UTC()
	}
	return r, err
}

func orNull(id uuid.UUID) any {
	if id == uuid.Nil {
		return nil
	}
	return id
}
