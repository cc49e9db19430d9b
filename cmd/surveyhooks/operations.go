package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/dashboard"
	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/operator"
	"github.com/chattosurvey/surveyhooks/relay/fleet"
)

// operations reads and changes the state of the whole installation for the operator's page.
type operations struct {
	db      *sql.DB
	service *operator.Service
}

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
	if err := o.ordered(ctx, &state); err != nil {
		return state, err
	}
	err = o.db.QueryRowContext(ctx, operationCounts).Scan(&state.Pending, &state.Due, &state.InFlight, &state.Quarantine)
	if err != nil {
		return state, fmt.Errorf("read operations: %w", err)
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

// ordered reads what operators have ordered, and of whom.
func (o operations) ordered(ctx context.Context, state *dashboard.Operation) error {
	pause, err := o.service.Paused(ctx)
	if err != nil {
		return err
	}
	if pause != nil {
		state.Pause = &dashboard.Pause{By: pause.By, Since: pause.Since, Reason: pause.Reason}
	}
	relays, err := o.service.Relays(ctx)
	if err != nil {
		return err
	}
	for _, r := range relays {
		state.Relays = append(state.Relays, dashboard.RelayLease{
			ID: r.ID, Host: r.Host, StartedAt: r.StartedAt, LeaseUntil: r.LeaseUntil, Lanes: r.Lanes,
			DrainedBy: r.DrainedBy, DrainedAt: r.DrainedAt,
		})
	}
	rebuild, err := o.service.Latest(ctx)
	if err != nil || rebuild == nil {
		return err
	}
	state.Rebuild = &dashboard.Rebuild{
		VerifyOnly: rebuild.VerifyOnly, Actor: rebuild.Actor, State: string(rebuild.State), Fault: rebuild.Fault, Facts: rebuild.Facts,
		Report: rebuild.Report, StartedAt: rebuild.StartedAt, EndedAt: rebuild.EndedAt,
	}
	return nil
}

// Order is the pages' door to what the command line does, too.
func (o operations) Order(ctx context.Context, by access.Caller, order dashboard.Order) (err error) {
	switch order.Kind {
	case dashboard.PauseSending:
		_, err = o.service.Pause(ctx, by, order.Reason)
	case dashboard.ResumeSending:
		_, err = o.service.Resume(ctx, by)
	case dashboard.DrainRelay:
		_, err = o.service.Drain(ctx, by, order.Relay)
	case dashboard.UndrainRelay:
		_, err = o.service.Undrain(ctx, by, order.Relay)
	case dashboard.VerifyHistory, dashboard.RebuildIt:
		_, err = o.service.Start(ctx, by, order.Kind == dashboard.VerifyHistory)
	default:
		err = dashboard.ErrNotFound
	}
	var missing *fleet.NotFoundError
	var invalid *fleet.InvalidError
	var running *operator.RunningError
	switch {
	case errors.As(err, &missing):
		return dashboard.ErrNotFound
	case errors.As(err, &invalid):
		return &dashboard.InvalidError{Fields: []dashboard.FieldError{{Field: invalid.Field, Message: invalid.Message}}}
	case errors.As(err, &running):
		return &dashboard.RefusedError{Words: "The history is being compared already, for " + running.Actor + ": wait for its end."}
	default:
		return err
	}
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
