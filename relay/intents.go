package relay

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/lib/pq"

	"github.com/chattosurvey/surveyhooks/relay/lane"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

const (
	lateCommit = 100 * time.Millisecond // a commit that takes longer is in trouble
	lateFor    = 10 * time.Minute       // longer than a transaction lasts whose client is gone: see settings
)

// lateBatch is what a claim that failed may have left.
type lateBatch struct {
	batch int64
	since time.Time
}

// Start queues an intent.
func (r *recorder) Start(deliveries []*lane.Delivery, started func([]*lane.Delivery)) {
	r.mu.Lock()
	r.intents = append(r.intents, intent{deliveries, started})
	r.mu.Unlock()
	r.ring()
}

// openLocked gives the intents of a group their number and their time.
func (r *recorder) openLocked(g *group) {
	if len(g.deliveries) == 0 {
		return
	}
	r.batch++
	g.batch, g.startedAt = r.batch, r.clock.now().Truncate(time.Microsecond)
	r.open[g.batch] = len(g.deliveries)
	for _, d := range g.deliveries {
		d.Batch, d.StartedAt = g.batch, g.startedAt
		if d.FirstAttemptAt.IsZero() {
			d.FirstAttemptAt = g.startedAt
		}
	}
}

// startWith has the intents of deliveries committed by the transaction that makes them. They must not be sent before it has
// committed.
func (r *recorder) startWith(ctx context.Context, tx *sql.Tx, deliveries []*lane.Delivery) error {
	g := &group{deliveries: deliveries}
	r.mu.Lock()
	r.openLocked(g)
	r.mu.Unlock()
	args, err := r.intentArgs(g)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, beginWithCommit, append(args, r.timeline)...); err != nil {
		return fmt.Errorf("write intents: %v", err) //nolint:errorlint // whatever its code, it is not the fault of a row of the page
	}
	return nil
}

// keepsUp reports whether what ends is recorded soon. While it is not, nothing should start: what a crash then takes is sent again.
func (r *recorder) keepsUp() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.committing.IsZero() || time.Since(r.committing) < lateCommit
}

// closedLocked are the batches that end with a group of outcomes. Those of claims that failed are named again for a while: their
// transaction may still have been under way, and have left its intents later.
func (r *recorder) closedLocked(outcomes []*outcome) (over []int64) {
	for _, late := range r.late {
		over = append(over, late.batch)
	}
	for _, o := range outcomes {
		b := o.delivery.Batch
		if r.open[b]--; r.open[b] > 0 {
			continue
		}
		delete(r.open, b)
		over = append(over, b)
		if o.delivery.Uncertain {
			r.late = append(r.late, lateBatch{b, time.Now()})
		}
	}
	r.late = slices.DeleteFunc(r.late, func(l lateBatch) bool { return time.Since(l.since) > lateFor })
	return over
}

func (r *recorder) intentArgs(g *group) ([]any, error) {
	opened, told := g.opened(), g.started(r.relayID)
	body, err := told.MarshalBody()
	if err != nil {
		return nil, err
	}
	return []any{
		r.relayID, g.batch, timestamp(g.startedAt), pq.Array(opened.endpoints), pq.Array(opened.deliveries), pq.Array(opened.attempts),
		string(told.Name), told.Name.Version(), string(body),
	}, nil
}

// begin writes a group of intents alone.
func (r *recorder) begin(ctx context.Context, conn *sql.Conn, g *group) error {
	args, err := r.intentArgs(g)
	if err != nil {
		return err
	}
	var alive int
	if err := conn.QueryRowContext(ctx, begin, args...).Scan(&alive); err != nil {
		return fmt.Errorf("commit intents: %w", err)
	}
	if alive == 0 {
		return errFenced
	}
	r.tell(g)
	return nil
}

// abandon ends an attempt whose lane was closed while its intent was being committed, or whose claim failed. Left open, the
// intent would be settled as interrupted when this relay ends, under the feet of the lane's next holder.
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
