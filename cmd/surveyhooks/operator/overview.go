package operator

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/outbox/wire"
	"github.com/chattosurvey/surveyhooks/relay/fleet"
)

// Overview is the state of the whole installation, as pages, API and command line show it.
type Overview struct {
	Pause   *fleet.Pause  `json:"pause"`   // nil: sending goes on
	Rebuild *Rebuild      `json:"rebuild"` // the latest; nil: there was none
	Readers []Lag         `json:"readers"`
	Relays  []fleet.Relay `json:"relays"`
	Work

	Endpoints  []EndpointCount `json:"endpoints"`
	Worst      []WorstEndpoint `json:"worst_endpoints"` // at most ten
	Partitions []Partition     `json:"partitions"`
}

// Lag is what a consumer group of a log has not read yet.
type Lag struct {
	Topic     string  `json:"topic"`
	Group     string  `json:"group"`
	Rows      int64   `json:"rows"` // counted up to 100 000 a part
	OldestAge float64 `json:"oldest_age_seconds"`
}

// Age is the oldest row's age in words.
func (l Lag) Age() string {
	if l.Rows == 0 {
		return "-"
	}
	return time.Duration(l.OldestAge * float64(time.Second)).Round(time.Millisecond).String()
}

// Work is what there is to do.
type Work struct {
	Pending int64 `json:"deliveries_pending"` // that are not over, up to 1 000 000
	Due     int64 `json:"deliveries_due"`     // those of them that wait for no time to come, and that nothing holds back
	// HeldBack are those that wait for no time to come either, but all sending is paused, or their endpoint is disabled, has
	// a rate limit, or a breaker that is not closed.
	HeldBack    int64 `json:"deliveries_held_back"`
	InFlight    int64 `json:"attempts_in_flight"`
	Quarantined int64 `json:"quarantined_rows"` // of the logs, that could not be handled
	// OldestDueAge is how long the oldest of those that are due has been so.
	OldestDueAge float64 `json:"oldest_due_age_seconds"`
}

// EndpointCount is how many endpoints are in a state, with their breaker in another.
type EndpointCount struct {
	State   string `json:"state"`
	Breaker string `json:"breaker"`
	Count   int64  `json:"count"`
}

// WorstEndpoint is one where deliveries wait, or whose breaker is not closed.
type WorstEndpoint struct {
	ID           uuid.UUID  `json:"endpoint_id"`
	CompanyID    uuid.UUID  `json:"company_id"`
	URL          string     `json:"url"` // without the values of its query
	Breaker      string     `json:"breaker"`
	Waiting      int64      `json:"waiting"` // deliveries, up to 10 000
	FailingSince *time.Time `json:"failing_since"`
}

// Partition is how far a log's daily partitions reach.
type Partition struct {
	Log   string `json:"log"`
	Days  int64  `json:"days"`
	First string `json:"first"` // UTC, as 2026-03-04
	Last  string `json:"last"`
}

// ReadOverview reads each part by a statement of its own: what is looked at needs no snapshot of all of it.
func ReadOverview(ctx context.Context, db *sql.DB) (o Overview, err error) {
	if o.Pause, err = fleet.Paused(ctx, db); err != nil {
		return o, err
	}
	if o.Rebuild, err = latest(ctx, db); err != nil {
		return o, err
	}
	if o.Readers, err = ReadLags(ctx, db); err != nil {
		return o, err
	}
	if o.Relays, err = fleet.Relays(ctx, db); err != nil {
		return o, err
	}
	if o.Work, err = ReadWork(ctx, db); err != nil {
		return o, err
	}
	if o.Endpoints, err = CountEndpoints(ctx, db); err != nil {
		return o, err
	}
	o.Worst, err = readAll(ctx, db, selectWorst, func(w *WorstEndpoint) []any {
		return []any{&w.ID, &w.CompanyID, &w.URL, &w.Breaker, &w.Waiting, &w.FailingSince}
	})
	if err != nil {
		return o, err
	}
	for i := range o.Worst {
		w := &o.Worst[i]
		w.URL = wire.MaskQuery(w.URL)
		if w.FailingSince != nil {
			*w.FailingSince = w.FailingSince.UTC()
		}
	}
	o.Partitions, err = readAll(ctx, db, selectPartitions, func(p *Partition) []any {
		return []any{&p.Log, &p.Days, &p.First, &p.Last}
	})
	return o, err
}

// ReadLags returns the lag of every group that ever subscribed.
func ReadLags(ctx context.Context, db *sql.DB) ([]Lag, error) {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("read lag: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // it has only read
	// The functions' estimates are high, and compiling the statement would take seconds where running it takes none.
	if _, err := tx.ExecContext(ctx, withoutJIT); err != nil {
		return nil, fmt.Errorf("read lag: %w", err)
	}
	return readAll(ctx, tx, selectLags, func(l *Lag) []any { return []any{&l.Topic, &l.Group, &l.Rows, &l.OldestAge} })
}

// Later are the pending deliveries that wait for a time to come.
func (w Work) Later() int64 { return w.Pending - w.Due - w.HeldBack }

// ReadWork counts what there is to do.
func ReadWork(ctx context.Context, db *sql.DB) (w Work, err error) {
	if err := db.QueryRowContext(ctx, countWork).Scan(&w.Pending, &w.Due, &w.HeldBack, &w.InFlight, &w.Quarantined, &w.OldestDueAge); err != nil {
		return w, fmt.Errorf("count work: %w", err)
	}
	return w, nil
}

// CountEndpoints leaves out the states that no endpoint is in.
func CountEndpoints(ctx context.Context, db *sql.DB) ([]EndpointCount, error) {
	return readAll(ctx, db, countEndpoints, func(c *EndpointCount) []any { return []any{&c.State, &c.Breaker, &c.Count} })
}

// readAll scans every row of a statement.
func readAll[T any](ctx context.Context, q fleet.Querier, statement string, fields func(*T) []any) ([]T, error) {
	rows, err := q.QueryContext(ctx, statement)
	if err != nil {
		return nil, fmt.Errorf("read operations: %w", err)
	}
	defer rows.Close()
	list := []T{}
	for rows.Next() {
		var item T
		if err := rows.Scan(fields(&item)...); err != nil {
			return nil, fmt.Errorf("read operations: %w", err)
		}
		list = append(list, item)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read operations: %w", err)
	}
	return list, nil
}
