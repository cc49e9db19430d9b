package main

import (
	"context"
	"database/sql"
	"errors"
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

// Operations reads all of it.
func (o operations) Operations(ctx context.Context) (dashboard.Operation, error) {
	seen, err := operator.ReadOverview(ctx, o.db)
	if err != nil {
		return dashboard.Operation{}, err
	}
	state := dashboard.Operation{
		Later: seen.Later(), Due: seen.Due, HeldBack: seen.HeldBack, InFlight: seen.InFlight, Quarantine: seen.Quarantined,
		OldestDue: time.Duration(seen.OldestDueAge * float64(time.Second)),
	}
	if p := seen.Pause; p != nil {
		state.Pause = &dashboard.Pause{By: p.By, Since: p.Since, Reason: p.Reason}
	}
	if r := seen.Rebuild; r != nil {
		state.Rebuild = &dashboard.Rebuild{
			VerifyOnly: r.VerifyOnly, Actor: r.Actor, State: string(r.State), Fault: r.Fault, Facts: r.Facts,
			Report: r.Report, StartedAt: r.StartedAt, EndedAt: r.EndedAt,
		}
	}
	for _, l := range seen.Readers {
		state.Logs = append(state.Logs, dashboard.LogLag{
			Topic: l.Topic, Group: l.Group, Rows: l.Rows, OldestAge: time.Duration(l.OldestAge * float64(time.Second)),
		})
	}
	for _, r := range seen.Relays {
		state.Relays = append(state.Relays, dashboard.RelayLease{
			ID: r.ID, Host: r.Host, StartedAt: r.StartedAt, LeaseUntil: r.LeaseUntil, Lanes: r.Lanes,
			DrainedBy: r.DrainedBy, DrainedAt: r.DrainedAt,
		})
	}
	for _, c := range seen.Endpoints {
		state.Endpoints = append(state.Endpoints, dashboard.EndpointCount(c))
	}
	for _, w := range seen.Worst {
		state.Worst = append(state.Worst, dashboard.WorstEndpoint(w))
	}
	for _, p := range seen.Partitions {
		state.Partitions = append(state.Partitions, dashboard.Partition{Table: p.Log, Days: p.Days, First: p.First, Last: p.Last})
	}
	return state, nil
}

// Order is the pages' door to what the command line does, too.
func (o operations) Order(ctx context.Context, by access.Caller, order dashboard.Order) (err error) {
	switch order.Kind {
	case dashboard.PauseSending:
		_, err = o.service.Pause(ctx, by, order.Reason)
	case dashboard.ResumeSending:
		_, err = o.service.Resume(ctx, by)
	case dashboard.DrainRelay:
		_, err = o.service.Drain(ctx, by, order.Relay, true) // the page before has warned
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
