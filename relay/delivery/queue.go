package delivery

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/schema/fact"
	"github.com/chattosurvey/surveyhooks/schema/tenant"
)

// Queue sends deliveries again. It is safe for concurrent use.
type Queue struct {
	DB *sql.DB // required
}

// Retry asks for a delivery to be sent now.
type Retry struct {
	Scope    endpoint.Scope // whose deliveries may be reached
	Actor    string         // who asks, for the audit trail; required
	Delivery Known
}

// Known is what the history knows of a delivery.
type Known struct {
	DeliveryID int64
	EndpointID uuid.UUID
	EventID    uuid.UUID
	CompanyID  uuid.UUID
	// Generation is the latest one; 1 is the first.
	Generation int
	// Attempts counts all attempts ever started, over all generations.
	Attempts int
	// FirstAttemptAt is when the first of them started; zero when there was none.
	FirstAttemptAt time.Time
	State          fact.State
}

// Retry makes the delivery due now. A live one keeps its generation and its trigger; one that is over gets a new
// generation, with all its retries, and a delivery.replayed fact. While the endpoint is disabled it is held like any
// other. Errors: *NotFoundError, *AlreadyPendingError, *CancelledError, *EndpointDeletedError, *EventExpiredError,
// *BehindError.
func (q *Queue) Retry(ctx context.Context, r Retry) error {
	if strings.TrimSpace(r.Actor) == "" {
		return errors.New("retry delivery: Actor is empty: want who asks")
	}
	for try := 1; ; try++ {
		err := q.retry(ctx, r)
		if err == nil {
			return nil
		}
		// The recorder locks a delivery before its endpoint, we the other way round.
		if fault, ok := errors.AsType[*pq.Error](err); ok && fault.Code == "40P01" && try < 5 {
			continue
		}
		return fmt.Errorf("retry delivery: %w", err)
	}
}

func (q *Queue) retry(ctx context.Context, r Retry) error {
	tx, err := r.Scope.Begin(ctx, q.DB, tenant.ReadWrite)
	if errors.Is(err, tenant.ErrNoCompany) {
		return &NotFoundError{DeliveryID: r.Delivery.DeliveryID}
	}
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit there is nothing to roll back
	d := r.Delivery
	if err := reach(ctx, tx, r.Scope, d); err != nil {
		return err
	}
	var busy bool
	err = tx.QueryRowContext(ctx, lockPending, d.EndpointID, d.DeliveryID).Scan(&busy)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		err = replay(ctx, tx, d, r.Actor)
	case err != nil:
		err = fmt.Errorf("lock delivery: %w", err)
	case busy:
		err = &AlreadyPendingError{DeliveryID: d.DeliveryID}
	default:
		_, err = tx.ExecContext(ctx, pullForward, d.EndpointID, d.DeliveryID)
	}
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, notify, d.EndpointID.String()); err != nil {
		return fmt.Errorf("notify relays: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// reach holds the endpoint until the transaction ends, if the scope reaches it.
func reach(ctx context.Context, tx *sql.Tx, scope endpoint.Scope, d Known) error {
	anyCompany, company := scope.Bounds()
	var owner uuid.UUID
	var deleted bool
	err := tx.QueryRowContext(ctx, lockEndpoint, d.EndpointID, anyCompany, company).Scan(&owner, &deleted)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return &NotFoundError{DeliveryID: d.DeliveryID}
	case err != nil:
		return fmt.Errorf("lock endpoint: %w", err)
	case owner != d.CompanyID:
		return &NotFoundError{DeliveryID: d.DeliveryID}
	case d.State == fact.Cancelled && !deleted:
		return &CancelledError{DeliveryID: d.DeliveryID}
	case deleted:
		return &EndpointDeletedError{DeliveryID: d.DeliveryID, EndpointID: d.EndpointID}
	default:
		return nil
	}
}

// count takes the next generation's number. A history that has not heard of a replay, which may be over by now, would
// have it given twice.
func count(ctx context.Context, tx *sql.Tx, d Known) error {
	res, err := tx.ExecContext(ctx, countGeneration, d.EndpointID, d.DeliveryID, d.Generation+1)
	if err != nil {
		return fmt.Errorf("count generation %d: %w", d.Generation+1, err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, &BehindError{DeliveryID: d.DeliveryID})
	}
	return nil
}

// replay starts a new generation of a delivery that is over.
func replay(ctx context.Context, tx *sql.Tx, d Known, actor string) error {
	if d.State != fact.Delivered && d.State != fact.Exhausted {
		return &BehindError{DeliveryID: d.DeliveryID}
	}
	// In a statement of its own: the next one's snapshot has to show what a prune that we waited for has done.
	if _, err := tx.ExecContext(ctx, holdEvents); err != nil {
		return fmt.Errorf("hold the outbox: %w", err)
	}
	var kept bool
	if err := tx.QueryRowContext(ctx, eventIsKept, d.EventID, d.CompanyID).Scan(&kept); err != nil {
		return fmt.Errorf("look for the event: %w", err)
	}
	if !kept {
		return &EventExpiredError{DeliveryID: d.DeliveryID, EventID: d.EventID}
	}
	first := sql.NullTime{Time: d.FirstAttemptAt.UTC(), Valid: !d.FirstAttemptAt.IsZero()}
	res, err := tx.ExecContext(ctx, insertGeneration, d.EndpointID, d.DeliveryID, d.EventID, first, d.Generation+1,
		d.Attempts, fact.Manual)
	if err != nil {
		return fmt.Errorf("insert generation %d: %w", d.Generation+1, err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 { // a second click won
		return errors.Join(err, &AlreadyPendingError{DeliveryID: d.DeliveryID})
	}
	if err := count(ctx, tx, d); err != nil {
		return err
	}
	return commitlog.Append(ctx, tx, fact.Fact{Name: fact.DeliveryReplayed, CompanyID: d.CompanyID, Body: fact.Delivery{
		DeliveryID: d.DeliveryID, EndpointID: d.EndpointID, EventID: d.EventID, Generation: d.Generation + 1,
		State: fact.Pending, Actor: actor, Reason: fact.ByRequest,
	}})
}
