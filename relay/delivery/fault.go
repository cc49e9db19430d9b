package delivery

import (
	"fmt"

	"github.com/google/uuid"
)

// NotFoundError says that the scope holds no such delivery.
type NotFoundError struct{ DeliveryID int64 }

// Error names the delivery.
func (e *NotFoundError) Error() string { return fmt.Sprintf("delivery %d is not known", e.DeliveryID) }

// AlreadyPendingError says that the delivery is due, or being sent, already.
type AlreadyPendingError struct {
	DeliveryID int64
	UnderWay   bool // a request is under way
}

// Error says that there is nothing to do.
func (e *AlreadyPendingError) Error() string {
	if e.UnderWay {
		return fmt.Sprintf("delivery %d is being sent now: wait for its outcome", e.DeliveryID)
	}
	return fmt.Sprintf("delivery %d is due already: it is sent as soon as its endpoint's queue comes to it", e.DeliveryID)
}

// HeldError says that the delivery's endpoint is disabled, so that nothing of it would be sent.
type HeldError struct {
	DeliveryID int64
	EndpointID uuid.UUID
	Waits      bool // it is open: once the endpoint is enabled, it goes on without a retry
}

// Error says what to do instead.
func (e *HeldError) Error() string {
	if e.Waits {
		return fmt.Sprintf("delivery %d is held, since endpoint %s is disabled: enable the endpoint, and it is sent", e.DeliveryID, e.EndpointID)
	}
	return fmt.Sprintf("endpoint %s of delivery %d is disabled: enable the endpoint, then retry", e.EndpointID, e.DeliveryID)
}

// AlreadyRequestedError says that the event was sent to the endpoint on an earlier request.
type AlreadyRequestedError struct{ DeliveryID int64 }

// Error names the delivery, which can be retried.
func (e *AlreadyRequestedError) Error() string {
	return fmt.Sprintf("delivery %d was made for this event and endpoint already: look at it, or retry it", e.DeliveryID)
}

// CancelledError says that the delivery was cancelled, which is final.
type CancelledError struct{ DeliveryID int64 }

// Error says that it is final.
func (e *CancelledError) Error() string {
	return fmt.Sprintf("delivery %d was cancelled: it cannot be sent again", e.DeliveryID)
}

// EndpointDeletedError says that the delivery's endpoint is no more.
type EndpointDeletedError struct {
	DeliveryID int64 // 0: a page of them, or none yet
	EndpointID uuid.UUID
}

// Error names the endpoint.
func (e *EndpointDeletedError) Error() string {
	if e.DeliveryID == 0 {
		return fmt.Sprintf("endpoint %s was deleted: there is nowhere to send its deliveries", e.EndpointID)
	}
	return fmt.Sprintf("endpoint %s of delivery %d was deleted: there is nowhere to send it", e.EndpointID, e.DeliveryID)
}

// EventExpiredError says that the event's bytes are no longer kept.
type EventExpiredError struct {
	DeliveryID int64 // 0: it never had one
	EventID    uuid.UUID
}

// Error names the event.
func (e *EventExpiredError) Error() string {
	if e.DeliveryID == 0 {
		return fmt.Sprintf("event %s is no longer kept in the outbox, or is a test: publish it anew", e.EventID)
	}
	return fmt.Sprintf("event %s of delivery %d is no longer kept in the outbox: publish it anew", e.EventID, e.DeliveryID)
}

// BehindError says that the delivery ended so recently that the history does not show how.
type BehindError struct{ DeliveryID int64 }

// Error asks for patience.
func (e *BehindError) Error() string {
	return fmt.Sprintf("delivery %d has just ended: look at its outcome, then retry", e.DeliveryID)
}
