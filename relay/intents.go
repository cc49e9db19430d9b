package relay

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/lib/pq"

	"github.com/chattosurvey/surveyhooks/relay/lane"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// Start queues an intent.
func (r *recorder) Start(deliveries []*lane.Delivery, started func([]*lane.Delivery)) {
	r.mu.Lock()
	r.intents = append(r.intents, intent{deliveries, started})
	r.mu.Unlock()
	r.ring()
}

// begin writes a group of intents alone.
func (r *recorder) begin(ctx context.Context, conn *sql.Conn, g *group) error {
	opened, told := g.opened(), g.started(r.relayID)
	body, err := told.MarshalBody()
	if err != nil {
		return err
	}
	var alive int
	err = conn.QueryRowContext(ctx, begin, r.relayID, g.batch, timestamp(g.startedAt), pq.Array(opened.endpoints),
		pq.Array(opened.deliveries), pq.Array(opened.attempts), string(told.Name), told.Name.Version(), string(body)).Scan(&alive)
	if err != nil {
		return fmt.Errorf("commit intents: %w", err)
	}
	if alive == 0 {
		return errFenced
	}
	r.tell(g)
	return nil
}

// abandon ends an attempt whose lane was closed while its intent was being committed. Left open, the intent would be
// settled as interrupted when this relay ends, under the feet of the lane's next holder.
func (r *recorder) abandon(d *lane.Delivery) {
	o := &outcome{delivery: d, name: fact.AttemptInterrupted, attempt: fact.Attempt{
		AttemptID:  fact.AttemptID{DeliveryID: d.ID, Attempt: d.Attempt()},
		EndpointID: d.EndpointID, EventID: d.Event.ID, EventType: d.Event.Type, Generation: d.Generation, Trigger: d.Trigger,
		StartedAt: d.StartedAt, FirstAttemptAt: firstOf(d), Reason: fact.Interrupted, Completed: d.Completed,
	}}
	o.again(r.clock.now())
	o.body = o.attempt.AppendJSON(nil)
	r.record(o)
}
