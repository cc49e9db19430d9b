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
// generation, with all its retries, and a delivery.replayed fact. An open breaker still lets nothing pass: heldUntil is
// when it tries the endpoint again, and zero without one; asking again meanwhile changes nothing and is no error. The trail
// of the company is told. Errors: *NotFoundError, *AlreadyPendingError, *HeldError, *CancelledError,
// *EndpointDeletedError, *EventExpiredError, *BehindError.
func (q *Queue) Retry(ctx context.Context, r Retry) (heldUntil time.Time, err error) {
	if strings.TrimSpace(r.Actor) == "" {
		return time.Time{}, errors.New("retry delivery: Actor is empty: want who asks")
	}
	for try := 1; ; try++ {
		heldUntil, err = q.retry(ctx, r)
		if err == nil {
			return heldUntil, nil
		}
		// The recorder locks a delivery before its endpoint, we the other way round.
		if fault, ok := errors.AsType[*pq.Error](err); ok && fault.Code == "40P01" && try < 5 {
			continue
		}
		return time.Time{}, fmt.Errorf("retry delivery: %w", err)
	}
}

func (q *Queue) retry(ctx context.Context, r Retry) (heldUntil time.Time, err error) {
	d := r.Delivery
	tx, err := r.Scope.Begin(ctx, q.DB, tenant.ReadWrite)
	if errors.Is(err, tenant.ErrNoCompany) {
		return heldUntil, &NotFoundError{DeliveryID: d.DeliveryID}
	}
	if err != nil {
		return heldUntil, fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit there is nothing to roll back
	disabled, err := reach(ctx, tx, r.Scope, d)
	if err != nil {
		return heldUntil, err
	}
	err = tx.QueryRowContext(ctx, breakerUntil, d.EndpointID, d.DeliveryID).Scan(&heldUntil)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return heldUntil, fmt.Errorf("look at the breaker: %w", err)
	}
	generation, err := r.apply(ctx, tx, disabled)
	if already, ok := errors.AsType[*AlreadyPendingError](err); ok && !already.UnderWay && !heldUntil.IsZero() {
		return heldUntil.UTC(), nil // pulled forward before
	}
	if err != nil {
		return heldUntil, err
	}
	if _, err := tx.ExecContext(ctx, notify, d.EndpointID.String()); err != nil {
		return heldUntil, fmt.Errorf("notify relays: %w", err)
	}
	detail := fmt.Sprintf(`{"delivery_id": %d, "event_id": %q, "generation": %d}`, d.DeliveryID, d.EventID, generation)
	if _, err := tx.ExecContext(ctx, tellTrail, "delivery.retried", d.EndpointID, r.Actor, detail); err != nil {
		return heldUntil, fmt.Errorf("tell the trail: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return heldUntil, fmt.Errorf("commit: %w", err)
	}
	if heldUntil.IsZero() {
		return heldUntil, nil
	}
	return heldUntil.UTC(), nil
}

// apply pulls the delivery forward, or replays it, and returns the generation that is sent.
func (r Retry) apply(ctx context.Context, tx *sql.Tx, disabled bool) (generation int, err error) {
	d := r.Delivery
	var due, underWay bool
	var trigger fact.Trigger
	err = tx.QueryRowContext(ctx, lockPending, d.EndpointID, d.DeliveryID).Scan(&due, &trigger, &generation, &underWay)
	live := err == nil
	switch {
	case err != nil && !errors.Is(err, sql.ErrNoRows):
		return 0, fmt.Errorf("lock delivery: %w", err)
	case underWay:
		return 0, &AlreadyPendingError{DeliveryID: d.DeliveryID, UnderWay: true}
	case disabled && trigger != fact.Test: // tests flow all the same; one that is over does not begin again as a test
		return 0, &HeldError{DeliveryID: d.DeliveryID, EndpointID: d.EndpointID, Waits: live}
	case !live:
		return d.Generation + 1, replay(ctx, tx, d, r.Actor)
	case due:
		return 0, &AlreadyPendingError{DeliveryID: d.DeliveryID}
	}
	if _, err := tx.ExecContext(ctx, pullForward, d.EndpointID, d.DeliveryID); err != nil {
		return 0, fmt.Errorf("pull forward: %w", err)
	}
	if _, err := tx.ExecContext(ctx, nameAsker, d.EndpointID, d.DeliveryID, generation, r.Actor); err != nil {
		return 0, fmt.Errorf("keep who asked: %w", err)
	}
	return generation, nil
}

// reach holds the endpoint until the transaction ends, if the scope reaches it, and reports whether it is disabled.
func reach(ctx context.Context, tx *sql.Tx, scope endpoint.Scope, d Known) (disabled bool, err error) {
	anyCompany, company := scope.Bounds()
	var owner uuid.UUID
	var deleted bool
	err = tx.QueryRowContext(ctx, lockEndpoint, d.EndpointID, anyCompany, company).Scan(&owner, &deleted, &disabled)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return false, &NotFoundError{DeliveryID: d.DeliveryID}
	case err != nil:
		return false, fmt.Errorf("lock endpoint: %w", err)
	case owner != d.CompanyID:
		return false, &NotFoundError{DeliveryID: d.DeliveryID}
	case d.State == fact.Cancelled && !deleted:
		return false, &CancelledError{DeliveryID: d.DeliveryID}
	case deleted:
		return false, &EndpointDeletedError{DeliveryID: d.DeliveryID, EndpointID: d.EndpointID}
	default:
		return disabled, nil
	}
}

// count takes the next generation's number. A history that has not heard of a replay, which may be over by now, would
// have it given twice.
func count(ctx context.Context, tx *sql.Tx, d Known, actor string) error {
	res, err := tx.ExecContext(ctx, countGeneration, d.EndpointID, d.DeliveryID, d.Generation+1, actor)
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
	if err := count(ctx, tx, d, actor); err != nil {
		return err
	}
	return commitlog.Append(ctx, tx, fact.Fact{Name: fact.DeliveryReplayed, CompanyID: d.CompanyID, Body: fact.Delivery{
		DeliveryID: d.DeliveryID, EndpointID: d.EndpointID, EventID: d.EventID, Generation: d.Generation + 1,
		State: fact.Pending, Actor: actor, Reason: fact.ByRequest,
	}})
}
