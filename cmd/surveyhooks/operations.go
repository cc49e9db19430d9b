package main

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/dashboard"
)

// operations reads the state of the whole installation for the operator's page.
type operations struct{ db *sql.DB }

var _ dashboard.Operations = operations{}

// Operations reads each part by a statement of its own: a page that is looked at needs no snapshot of all of it.
func (o operations) Operations(ctx context.Context) (dashboard.Operation, error) {
	var state dashboard.Operation
	lags, err := readLags(ctx, o.db)
	if err != nil {
		return state, err
	}
	for _, l := range lags {
		state.Logs = append(state.Logs, dashboard.LogLag{
			Topic: l.Topic, Group: l.Group, Rows: l.Rows, OldestAge: time.Duration(l.OldestAge * float64(time.Second)),
		})
	}
	err = o.db.QueryRowContext(ctx, operationCounts).Scan(&state.Pending, &state.Due, &state.InFlight, &state.Quarantine)
	if err != nil {
		return state, fmt.Errorf("read operations: %w", err)
	}
	state.Relays, err = readAll(ctx, o.db, operationRelays, func(r *dashboard.RelayLease) []any {
		return []any{&r.ID, &r.Host, &r.StartedAt, &r.LeaseUntil, &r.Lanes}
	})
	if err != nil {
		return state, err
	}
	state.Endpoints, err = readAll(ctx, o.db, endpointGauges, func(c *dashboard.EndpointCount) []any {
		return []any{&c.State, &c.Breaker, &c.Count}
	})
	if err != nil {
		return state, err
	}
	state.Worst, err = readAll(ctx, o.db, operationWorst, func(w *dashboard.WorstEndpoint) []any {
		return []any{&w.ID, &w.CompanyID, &w.URL, &w.Breaker, &w.Waiting, &w.FailingSince}
	})
	if err != nil {
		return state, err
	}
	state.Partitions, err = readAll(ctx, o.db, operationPartitions, func(p *dashboard.Partition) []any {
		return []any{&p.Table, &p.Count, &p.First, &p.Last}
	})
	return state, err
}

// readAll scans every row of a statement.
func readAll[T any](ctx context.Context, db *sql.DB, statement string, fields func(*T) []any) ([]T, error) {
	rows, err := db.QueryContext(ctx, statement)
	if err != nil {
		return nil, fmt.Errorf("read operations: %w", err)
	}
	defer rows.Close()
	var list []T
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
