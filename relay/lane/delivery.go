package lane

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// Event is what the outbox holds of an event; shared by all its deliveries, and never changed.
type Event struct {
	ID        uuid.UUID
	Type      string
	CompanyID uuid.UUID
	CreatedAt time.Time
	Data      []byte // exactly as inserted
}

// Delivery is one event for one endpoint, due now.
type Delivery struct {
	ID             int64
	EndpointID     uuid.UUID
	Event          *Event
	Generation     int
	Completed      int // attempts of this generation that used up a retry
	Started        int // attempts ever started and over
	Trigger        fact.Trigger
	ConfigVersion  int       // of the endpoint when the delivery was born; 0: not known
	FirstAttemptAt time.Time // frozen into the body; set with the intent of the first attempt

	StartedAt time.Time // of the attempt under way; set with its intent
	Batch     int64     // of the intent; whoever commits that has set it
	Uncertain bool      // with its intent, it may not exist: the transaction that made both is not known to have held

	permit  Permit
	settled atomic.Bool
	event   uuid.UUID
}

// Attempt is the number of the attempt under way; 1 is the first ever.
func (d *Delivery) Attempt() int { return d.Started + 1 }

// Settle tells the lane's gate how the attempt ended. Only the first call counts; it may be called concurrently, since
// the end of the attempts meets handlers that are judging.
func (d *Delivery) Settle(v Verdict) {
	if d.permit != nil && d.settled.CompareAndSwap(false, true) {
		d.permit.Done(v)
	}
}

// Verdict is what an attempt says about its endpoint.
type Verdict uint8

// The verdicts. Excluded is for what is not the endpoint's fault.
const (
	Excluded Verdict = iota
	Success
	EndpointFault
)

// Permit is a gate's leave for one attempt.
type Permit interface{ Done(v Verdict) }

// Gate decides whether a lane may start an attempt now. It is asked before the delivery is claimed.
type Gate interface {
	// Allow returns a permit, or the time before which asking again is useless (the zero time: wait for a permit to be
	// given back).
	Allow() (p Permit, retryAt time.Time, ok bool)
}

// Starter commits intents, but for those of a Claim.
type Starter interface {
	// Start commits that the attempts are about to be made, sets StartedAt, FirstAttemptAt and Batch, and then calls
	// started. It does not block.
	Start(deliveries []*Delivery, started func([]*Delivery))
}

type deliveryKey struct{}

// DeliveryOf returns the delivery that a lane's message carries.
func DeliveryOf(msg *message.Message) (*Delivery, bool) {
	d, ok := msg.Context().Value(deliveryKey{}).(*Delivery)
	return d, ok
}

func (d *Delivery) message(ctx context.Context) *message.Message {
	msg := message.NewMessageWithContext(context.WithValue(ctx, deliveryKey{}, d), d.Event.ID.String(), d.Event.Data)
	return msg
}
