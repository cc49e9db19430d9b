package delivery

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/schema/fact"
	"github.com/chattosurvey/surveyhooks/schema/tenant"
)

// Sendable lists the event types of which an endpoint can be sent what it missed: the whole catalogue but the test.
func Sendable() []string {
	var names []string
	for _, t := range outbox.Types() {
		if t != outbox.TestWebhookType {
			names = append(names, string(t))
		}
	}
	return names
}

// RequestPage asks for events to be sent to an endpoint that the fan-out has not sent them to.
type RequestPage struct {
	Scope      endpoint.Scope // whose endpoints and events may be reached
	Actor      string         // who asks, for the audit trail; required
	EndpointID uuid.UUID
	Events     []uuid.UUID // fanned out, as the history knows, without a delivery for this endpoint
}

// Apply gives birth to a delivery of each event, in one transaction that the caller ends, and returns their ids in the
// order of the events. An event gets none that was requested before, whoever asks at the same moment, that is no longer
// kept, is for one endpoint alone (a test), or is not of the endpoint's company. The fan-out decides about an event once,
// and the history tells what it decided only when that is committed: so the two never make a delivery each. While the
// endpoint is disabled the deliveries are held like any other. The commit wakes the relays.
//
// Errors: *endpoint.NotFoundError, *EndpointDeletedError.
func (p RequestPage) Apply(ctx context.Context, tx *sql.Tx) ([]int64, error) {
	owner, err := hold(ctx, tx, p.Scope, p.EndpointID, p.Actor)
	if err != nil {
		return nil, fmt.Errorf("request deliveries: %w", err)
	}
	events := make([]string, len(p.Events))
	for i, id := range p.Events {
		events[i] = id.String()
	}
	var ids []int64
	err = tx.QueryRowContext(ctx, insertRequested, p.EndpointID, pq.Array(events), owner, pq.Array(Sendable()), fact.Manual,
		fact.DeliveryRequested, fact.DeliveryRequested.Version(), p.Actor, fact.ByRequest).Scan(pq.Array(&ids))
	if err != nil {
		return nil, fmt.Errorf("request %d deliveries: %w", len(events), err)
	}
	if _, err := tx.ExecContext(ctx, notify, p.EndpointID.String()); err != nil {
		return nil, fmt.Errorf("notify relays: %w", err)
	}
	return ids, nil
}

// hold keeps the endpoint, and the days of the outbox, until the transaction ends, if the scope reaches it; it returns
// whose it is.
func hold(ctx context.Context, tx *sql.Tx, scope endpoint.Scope, id uuid.UUID, actor string) (owner uuid.UUID, err error) {
	if strings.TrimSpace(actor) == "" {
		return owner, errors.New("the field Actor is empty: want who asks")
	}
	anyCompany, company := scope.Bounds()
	var deleted bool
	err = tx.QueryRowContext(ctx, lockEndpoint, id, anyCompany, company).Scan(&owner, &deleted, new(bool))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return owner, &endpoint.NotFoundError{ID: id}
	case err != nil:
		return owner, fmt.Errorf("lock endpoint: %w", err)
	case deleted:
		return owner, &EndpointDeletedError{EndpointID: id}
	}
	// In a statement of its own: the next one's snapshot has to show what a prune that we waited for has done.
	if _, err := tx.ExecContext(ctx, holdEvents); err != nil {
		return owner, fmt.Errorf("hold the outbox: %w", err)
	}
	return owner, nil
}

// Request asks for one event to be sent to an endpoint that the fan-out has not sent it to, as RequestPage does, and
// returns the delivery. The trail of the company is told. Its Events has that one event. Errors: *endpoint.NotFoundError, *EndpointDeletedError,
// *AlreadyRequestedError, *EventExpiredError.
func (q *Queue) Request(ctx context.Context, p RequestPage) (int64, error) {
	if len(p.Events) != 1 {
		return 0, fmt.Errorf("request delivery: %d events are given: want one", len(p.Events))
	}
	tx, err := p.Scope.Begin(ctx, q.DB, tenant.ReadWrite)
	if errors.Is(err, tenant.ErrNoCompany) {
		return 0, &endpoint.NotFoundError{ID: p.EndpointID}
	}
	if err != nil {
		return 0, fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit there is nothing to roll back
	ids, err := p.Apply(ctx, tx)
	if err != nil {
		return 0, err
	}
	if len(ids) == 0 {
		var id int64
		err := tx.QueryRowContext(ctx, selectRequested, p.Events[0], p.EndpointID).Scan(&id)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return 0, &EventExpiredError{EventID: p.Events[0]}
		case err != nil:
			return 0, fmt.Errorf("look for the delivery: %w", err)
		default:
			return 0, &AlreadyRequestedError{DeliveryID: id}
		}
	}
	detail := fmt.Sprintf(`{"delivery_id": %d, "event_id": %q}`, ids[0], p.Events[0])
	if _, err := tx.ExecContext(ctx, tellTrail, "delivery.requested", p.EndpointID, p.Actor, detail); err != nil {
		return 0, fmt.Errorf("tell the trail: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return 0, fmt.Errorf("commit: %w", err)
	}
	return ids[0], nil
}
