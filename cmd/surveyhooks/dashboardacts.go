package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/api"
	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/dashboard"
	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/operator"
	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/recovery"
	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/relay/delivery"
	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/fleet"
	"github.com/chattosurvey/surveyhooks/relay/seal"
	"github.com/chattosurvey/surveyhooks/relay/sign"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// rotationOverlap is how long a rotated secret signs beside the new one.
const rotationOverlap = 24 * time.Hour

// pagesOptions are what the pages need.
type pagesOptions struct {
	db       *sql.DB
	keys     *seal.Ring // of the endpoints
	policy   egress.Policy
	contract dashboard.Contract
	recovery *recovery.Service
	operator *operator.Service // run by serve
	logger   *slog.Logger
	stopping <-chan struct{} // closed when the server stops
	signOut  string
	resolve  egress.Resolve   // nil: the system's resolver
	now      func() time.Time // nil: the real clock

	lease, retention time.Duration // told to operators; 0: not told
}

// newPages makes the handler of the pages, which finds an access.Caller in its requests' contexts.
func newPages(o pagesOptions) (*dashboard.Pages, error) {
	store, err := endpoint.New(endpoint.Options{DB: o.db, Policy: o.policy, Keys: o.keys, RotationOverlap: rotationOverlap})
	if err != nil {
		return nil, err
	}
	trail, err := access.NewStore(access.Options{DB: o.db})
	if err != nil {
		return nil, err
	}
	acts := &dashboardActs{db: o.db, store: store, queue: delivery.Queue{DB: o.db}}
	return dashboard.New(dashboard.Config{
		History: projections.NewReader(o.db), Registry: acts, Switch: acts, Keys: acts, Sender: acts,
		Recovery: recoveryActs{o.recovery}, Tests: testQuota{o.db}, Trail: trail, MaxRate: endpoint.MaxRateLimit,
		Looker: egress.NewClient(egress.Config{Policy: o.policy, Resolve: o.resolve}), Operations: operations{o.db, o.operator},
		URLs: o.policy, Contract: o.contract, Stopping: o.stopping, SignOut: o.signOut, Now: o.now, Logger: o.logger,
		Lease: o.lease, Retention: o.retention,
	})
}

// dashboardActs lets the pages act on the relay's tables, whose packages they do not see.
type dashboardActs struct {
	db    *sql.DB
	store *endpoint.Store
	queue delivery.Queue
}

var (
	_ dashboard.Registry = (*dashboardActs)(nil)
	_ dashboard.Switch   = (*dashboardActs)(nil)
	_ dashboard.Keys     = (*dashboardActs)(nil)
	_ dashboard.Sender   = (*dashboardActs)(nil)
)

// scopeOf is the one place where a caller becomes a scope: only an operator without a company reaches every company's.
func scopeOf(c access.Caller) endpoint.Scope {
	if c.Role == access.Operator && c.CompanyID == uuid.Nil {
		return endpoint.AnyCompany()
	}
	return endpoint.Company(c.CompanyID)
}

func refOf(r dashboard.Ref) endpoint.Ref {
	return endpoint.Ref{Scope: scopeOf(r.Caller), ID: r.ID, Actor: r.Caller.Actor}
}

// Endpoint reads one.
func (d *dashboardActs) Endpoint(ctx context.Context, r dashboard.Ref) (dashboard.Endpoint, error) {
	e, err := d.store.Get(ctx, scopeOf(r.Caller), r.ID)
	return shownEndpoint(e), pageFault(err)
}

// Create makes one for the company of the draft, if that is the caller's to act for.
func (d *dashboardActs) Create(ctx context.Context, by access.Caller, draft dashboard.Draft) (dashboard.Endpoint, string, error) {
	if !by.Reaches(draft.CompanyID) {
		return dashboard.Endpoint{}, "", dashboard.ErrNotFound
	}
	e, secret, err := d.store.Create(ctx, endpoint.Create{
		CompanyID: draft.CompanyID, URL: draft.URL, Description: draft.Description, EventTypes: draft.Events,
		Headers: draft.Headers, RateLimit: draft.RateLimit, Actor: by.Actor,
	})
	if err != nil {
		return dashboard.Endpoint{}, "", pageFault(err)
	}
	return shownEndpoint(e), secret.Reveal(), nil
}

// Update changes what the form has.
func (d *dashboardActs) Update(ctx context.Context, r dashboard.Ref, version int, draft dashboard.Draft) (dashboard.Endpoint, error) {
	events := draft.Events
	if events == nil {
		events = []string{}
	}
	ref := refOf(r)
	ref.ExpectedVersion = version
	e, err := d.store.Update(ctx, endpoint.Update{
		Ref: ref, URL: &draft.URL, Description: &draft.Description, EventTypes: events,
		Headers: draft.Headers, RemoveHeaders: draft.RemoveHeaders, RateLimit: draft.RateLimit, RemoveRateLimit: draft.RateLimit == nil,
	})
	return shownEndpoint(e), pageFault(err)
}

// Enable lets events go out again.
func (d *dashboardActs) Enable(ctx context.Context, r dashboard.Ref) error {
	_, err := d.store.Enable(ctx, refOf(r))
	return pageFault(err)
}

// Disable holds them.
func (d *dashboardActs) Disable(ctx context.Context, r dashboard.Ref, note string) error {
	_, err := d.store.Disable(ctx, refOf(r), fact.ByRequest, note)
	return pageFault(err)
}

// Delete ends an endpoint.
func (d *dashboardActs) Delete(ctx context.Context, r dashboard.Ref) error {
	return pageFault(d.store.Delete(ctx, refOf(r)))
}

// Rotate makes a new secret.
func (d *dashboardActs) Rotate(ctx context.Context, r dashboard.Ref) (string, time.Duration, error) {
	_, secret, err := d.store.RotateSecret(ctx, refOf(r), sign.Secret{})
	if err != nil {
		return "", 0, pageFault(err)
	}
	return secret.Reveal(), rotationOverlap, nil
}

// CheckSignature opens the secrets, and gives none of them on.
func (d *dashboardActs) CheckSignature(ctx context.Context, r dashboard.Ref, h sign.Headers, body []byte) (dashboard.SignedBy, error) {
	by, err := d.store.CheckSignature(ctx, refOf(r), h, body)
	return dashboard.SignedBy{Previous: by.Previous, Until: by.Until}, pageFault(err)
}

// Example publishes an event for the endpoint alone.
func (d *dashboardActs) Example(ctx context.Context, r dashboard.Ref, eventType string) (uuid.UUID, error) {
	id, err := d.store.Example(ctx, refOf(r), outbox.Type(eventType))
	return id, pageFault(err)
}

// PausedSince asks the database, since another process may have been told.
func (d *dashboardActs) PausedSince(ctx context.Context) (*time.Time, error) {
	pause, err := fleet.Paused(ctx, d.db)
	if err != nil || pause == nil {
		return nil, err
	}
	return &pause.Since, nil
}

// Retry makes a delivery due now.
func (d *dashboardActs) Retry(ctx context.Context, by access.Caller, known projections.Delivery, attempts int) (time.Time, error) {
	heldUntil, err := d.queue.Retry(ctx, delivery.Retry{Scope: scopeOf(by), Actor: by.Actor, Delivery: delivery.Known{
		DeliveryID: known.DeliveryID, EndpointID: known.EndpointID, EventID: known.EventID, CompanyID: known.CompanyID,
		Generation: known.Generation, Attempts: attempts, FirstAttemptAt: zeroOr(known.FirstAttemptAt), State: fact.State(known.State),
	}})
	var missing *delivery.NotFoundError
	var pending *delivery.AlreadyPendingError
	var cancelled *delivery.CancelledError
	var deleted *delivery.EndpointDeletedError
	var expired *delivery.EventExpiredError
	var behind *delivery.BehindError
	var held *delivery.HeldError
	refused := func(words string) (time.Time, error) { return time.Time{}, &dashboard.RefusedError{Words: words} }
	switch {
	case errors.As(err, &missing):
		return time.Time{}, dashboard.ErrNotFound
	case errors.As(err, &pending) && pending.UnderWay:
		return refused("It is being sent now: wait for its outcome.")
	case errors.As(err, &pending):
		return refused("It is due already, and is sent as soon as the endpoint's queue comes to it.")
	case errors.As(err, &held) && held.Waits:
		return refused("It is held, since its endpoint is disabled. Enable the endpoint: then it is sent.")
	case errors.As(err, &held):
		return refused("Its endpoint is disabled. Enable the endpoint, then send it again.")
	case errors.As(err, &cancelled):
		return refused("It was cancelled, which is final.")
	case errors.As(err, &deleted):
		return refused("Its endpoint was deleted: there is nowhere to send it.")
	case errors.As(err, &expired):
		return refused("Its event is no longer kept, so it cannot be sent again.")
	case errors.As(err, &behind):
		return refused("It has just ended: look at its outcome, then decide.")
	default:
		return heldUntil, err
	}
}

// Request makes the delivery that the fan-out has not made.
func (d *dashboardActs) Request(ctx context.Context, r dashboard.Ref, event uuid.UUID) (int64, error) {
	id, err := d.queue.Request(ctx, delivery.RequestPage{
		Scope: scopeOf(r.Caller), Actor: r.Caller.Actor, EndpointID: r.ID, Events: []uuid.UUID{event},
	})
	var deleted *delivery.EndpointDeletedError
	var already *delivery.AlreadyRequestedError
	var expired *delivery.EventExpiredError
	switch {
	case errors.As(err, &deleted):
		return 0, &dashboard.RefusedError{Words: "The endpoint was deleted: there is nowhere to send it."}
	case errors.As(err, &already):
		return already.DeliveryID, nil // a second click sees what the first one did
	case errors.As(err, &expired):
		return 0, &dashboard.RefusedError{Words: "The event is no longer kept, so it cannot be sent."}
	default:
		return id, pageFault(err)
	}
}

// testQuota is the one that the API counts in, too.
type testQuota struct{ db *sql.DB }

var _ dashboard.Quota = testQuota{}

// Take counts in the database, so that every process counts the same.
func (q testQuota) Take(ctx context.Context, company uuid.UUID) (time.Duration, error) {
	return api.TakeTest(ctx, q.db, company)
}

func shownEndpoint(e endpoint.Endpoint) dashboard.Endpoint {
	return dashboard.Endpoint{
		ID: e.ID, CompanyID: e.CompanyID, URL: e.URL, Description: e.Description, Events: e.Events,
		Enabled: e.State == endpoint.Enabled, StateNote: e.StateNote, StateSince: e.StateSince, StateActor: e.StateActor,
		HeaderNames: e.HeaderNames, RateLimit: e.RateLimit, Version: e.Version, CreatedAt: e.CreatedAt, UpdatedAt: e.UpdatedAt,
	}
}

// pageFault says the store's errors in the pages' words; any other is ours.
func pageFault(err error) error {
	var missing *endpoint.NotFoundError
	var invalid *endpoint.InvalidError
	var conflict *endpoint.ConflictError
	var paused *fleet.PausedError
	switch {
	case errors.As(err, &paused):
		return &dashboard.RefusedError{Words: "Sending is paused for everybody, so no test is sent. Send it once the pause is over."}
	case errors.As(err, &missing):
		return dashboard.ErrNotFound
	case errors.As(err, &conflict):
		return &dashboard.ConflictError{Actual: conflict.Actual}
	case errors.As(err, &invalid):
		told := &dashboard.InvalidError{}
		for _, f := range invalid.Fields {
			told.Fields = append(told.Fields, dashboard.FieldError{Field: strings.TrimSuffix(f.Field, "_id"), Message: f.Message})
		}
		return told
	default:
		return err
	}
}

// recoveryActs lets the pages start and follow recoveries.
type recoveryActs struct{ service *recovery.Service }

var _ dashboard.Recovery = recoveryActs{}

func recoveryOf(r dashboard.Ref, what dashboard.RecoveryAsk) recovery.Request {
	kind := recovery.Failures
	if what.Missing {
		kind = recovery.Missing
	}
	return recovery.Request{CompanyID: r.Caller.CompanyID, EndpointID: r.ID, Kind: kind, Since: what.Since, Actor: r.Caller.Actor}
}

// Count before anything is done.
func (a recoveryActs) Count(ctx context.Context, r dashboard.Ref, what dashboard.RecoveryAsk) (dashboard.RecoveryCount, error) {
	found, err := a.service.Count(ctx, recoveryOf(r, what))
	count := dashboard.RecoveryCount{Deliveries: int64(found.Deliveries), Expired: int64(found.Expired), Earliest: found.Earliest}
	for _, t := range found.Types {
		count.Types = append(count.Types, dashboard.RecoveryType{Name: t.EventType, Count: int64(t.Deliveries)})
	}
	return count, recoveryFault(err)
}

// Start starts one for each key.
func (a recoveryActs) Start(ctx context.Context, r dashboard.Ref, what dashboard.RecoveryAsk, key string) (uuid.UUID, error) {
	request := recoveryOf(r, what)
	request.Key = key
	started, err := a.service.Start(ctx, request)
	return started.ID, recoveryFault(err)
}

// Progress finds a recovery of the endpoint alone.
func (a recoveryActs) Progress(ctx context.Context, r dashboard.Ref, id uuid.UUID) (dashboard.RecoveryProgress, error) {
	job, err := a.service.Get(ctx, r.Caller.CompanyID, id)
	if err == nil && job.EndpointID != r.ID {
		err = dashboard.ErrNotFound
	}
	return dashboard.RecoveryProgress{
		ID: job.ID, Missing: job.Kind == recovery.Missing, Since: job.Since, Actor: job.Actor, StartedAt: job.CreatedAt, EndedAt: job.EndedAt, EndedBy: job.EndedBy,
		State: string(job.State), WaitsFor: job.WaitsFor,
		Total: int64(job.Total), Retried: int64(job.Replayed), Skipped: int64(job.Skipped),
	}, recoveryFault(err)
}

// Cancel leaves what is queued.
func (a recoveryActs) Cancel(ctx context.Context, r dashboard.Ref, id uuid.UUID) error {
	if _, err := a.Progress(ctx, r, id); err != nil {
		return err
	}
	_, err := a.service.Cancel(ctx, r.Caller.CompanyID, id, r.Caller.Actor)
	return recoveryFault(err)
}

func recoveryFault(err error) error {
	var missing *recovery.NotFoundError
	var invalid *recovery.InvalidError
	var nothing *recovery.NothingError
	var many *recovery.TooManyError
	var running *recovery.RunningError
	var key *recovery.KeyError
	switch {
	case errors.As(err, &missing):
		return dashboard.ErrNotFound
	case errors.As(err, &invalid):
		return &dashboard.RefusedError{Words: "It cannot be recovered since then: " + invalid.Message + "."}
	case errors.As(err, &nothing) && nothing.Kind == recovery.Missing:
		return &dashboard.RefusedError{Words: "Nothing is missing that could be sent, so there is nothing to do."}
	case errors.As(err, &nothing):
		return &dashboard.RefusedError{Words: "Nothing has failed for good since then, so there is nothing to recover."}
	case errors.As(err, &many) && many.Kind == recovery.Missing:
		return &dashboard.RefusedError{Words: fmt.Sprintf("More than %d events are missing since then. Send those of a shorter time first.", many.Cap)}
	case errors.As(err, &many):
		return &dashboard.RefusedError{Words: fmt.Sprintf("More than %d deliveries failed since then. Recover a shorter time first.", many.Cap)}
	case errors.As(err, &running):
		return &dashboard.RefusedError{Words: "Another recovery of this endpoint is running: wait for its end, or cancel it."}
	case errors.As(err, &key):
		return &dashboard.RefusedError{Words: "This form was sent before with another time. Load the page again."}
	default:
		return err
	}
}
