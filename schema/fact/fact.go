// Package fact is the vocabulary of the journal: what can happen to events, endpoints, deliveries and attempts, in the
// past tense, each with a stable name and a version.
//
// It promises that the JSON of a name and version never changes (each has a golden file; files are added, never
// edited). It knows no table and does no I/O; relay writes facts and projections read them, and they meet nowhere else.
package fact

import (
	"encoding/json"
	"fmt"

	"github.com/google/uuid"
)

// Name is the stable name of a kind of fact.
type Name string

// The closed vocabulary.
const (
	EndpointCreated       Name = "endpoint.created"
	EndpointUpdated       Name = "endpoint.updated"
	EndpointEnabled       Name = "endpoint.enabled"
	EndpointDisabled      Name = "endpoint.disabled"
	EndpointDeleted       Name = "endpoint.deleted"
	EndpointSecretRotated Name = "endpoint.secret_rotated"
	EventFannedOut        Name = "event.fanned_out"
	DeliveryRequested     Name = "delivery.requested"
	AttemptsStarted       Name = "attempts.started"
	AttemptSucceeded      Name = "attempt.succeeded"
	AttemptFailed         Name = "attempt.failed"
	AttemptInterrupted    Name = "attempt.interrupted"
	AttemptStale          Name = "attempt.stale"
	DeliveryExhausted     Name = "delivery.exhausted"
	DeliveryCancelled     Name = "delivery.cancelled"
	DeliveryReplayed      Name = "delivery.replayed"
	BreakerOpened         Name = "breaker.opened"
	BreakerHalfOpened     Name = "breaker.half_opened"
	BreakerClosed         Name = "breaker.closed"
)

// Names lists the vocabulary in the order of a delivery's life.
func Names() []Name {
	return []Name{
		EndpointCreated, EndpointUpdated, EndpointEnabled, EndpointDisabled, EndpointDeleted, EndpointSecretRotated,
		EventFannedOut, DeliveryRequested, AttemptsStarted, AttemptSucceeded, AttemptFailed, AttemptInterrupted, AttemptStale,
		DeliveryExhausted, DeliveryCancelled, DeliveryReplayed, BreakerOpened, BreakerHalfOpened, BreakerClosed,
	}
}

// Fact is one thing that happened, ready for the journal.
type Fact struct {
	Name      Name
	CompanyID uuid.UUID // uuid.Nil when it concerns no company
	Body      any       // the struct that belongs to Name: Endpoint, FannedOut, Requested, Started, Attempt, Delivery or Breaker; or its json.RawMessage
}

// Version is the version of the body that this build writes. Bodies of earlier versions are in journals for ever, and
// the projections read them too: attempts were nested in version 1, and each of them was parsed four times.
func (n Name) Version() int {
	switch n {
	case AttemptSucceeded, AttemptFailed, AttemptInterrupted, AttemptStale:
		return 2
	default:
		return 1
	}
}

// MarshalBody returns the JSON of the body as the journal keeps it.
func (f Fact) MarshalBody() ([]byte, error) {
	if raw, ok := f.Body.(json.RawMessage); ok {
		return raw, nil // encoded where it was made
	}
	body, err := json.Marshal(f.Body)
	if err != nil {
		return nil, fmt.Errorf("encode fact %s: %w", f.Name, err)
	}
	return body, nil
}

// Decision says why an endpoint was or was not chosen for an event.
type Decision string

// The closed set of decisions. Of the fan-out, only Chosen makes a delivery.
const (
	Chosen             Decision = "chosen"
	TypeNotSelected    Decision = "type_not_selected"
	EndpointIsDisabled Decision = "endpoint_disabled"
	CreatedAfterEvent  Decision = "created_after_event"
	AddressedElsewhere Decision = "addressed_elsewhere"
)

// State is where a delivery stands after a fact.
type State string

// The states of a delivery. Delivered, Exhausted and Cancelled are terminal: only a manual replay leaves them.
const (
	Pending   State = "pending"
	Retrying  State = "retrying"
	Delivered State = "delivered"
	Exhausted State = "exhausted"
	Held      State = "held"
	Cancelled State = "cancelled"
)

// Trigger says what asked for a delivery's attempts.
type Trigger string

// The triggers.
const (
	Automatic Trigger = "automatic"
	Manual    Trigger = "manual"
	Test      Trigger = "test"
)
