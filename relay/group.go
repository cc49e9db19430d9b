package relay

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/relay/lane"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// outcome is how one attempt ended, ready to be recorded.
type outcome struct {
	delivery *lane.Delivery
	name     fact.Name
	attempt  fact.Attempt
	body     json.RawMessage // attempt, encoded where it was made, since the recorder is one goroutine
	over     bool            // the delivery leaves the table
	disable  fact.Reason     // set: the endpoint is disabled with it
}

// laneState is what is kept of a lane between relays.
type laneState struct {
	endpointID   uuid.UUID
	breaker      string
	notBefore    time.Time
	failingSince time.Time
	fact         *fact.Fact
}

type intent struct {
	deliveries []*lane.Delivery
	started    func([]*lane.Delivery)
}

// group is one commit.
type group struct {
	intents  []intent
	outcomes []*outcome
	lanes    []laneState

	deliveries []*lane.Delivery // of the intents
	batch      int64
	startedAt  time.Time
	over       []int64 // batches that end with these outcomes

	xid       string // of the transaction that was last tried
	first     string // the body of its first fact, by which it is known in the journal
	uncertain bool   // its commit was sent and the answer was lost
}

func (g *group) empty() bool { return g.size() == 0 && len(g.lanes) == 0 }
func (g *group) onlyIntents() bool {
	return len(g.deliveries) > 0 && len(g.outcomes) == 0 && len(g.lanes) == 0
}
func (g *group) size() int { return len(g.deliveries) + len(g.outcomes) }

// columns are arrays for unnest.
type columns struct {
	endpoints                                []string
	deliveries, started, completed, attempts []int64
	due, first                               []string
}

func (c *columns) add(d *lane.Delivery) {
	c.endpoints = append(c.endpoints, d.EndpointID.String())
	c.deliveries = append(c.deliveries, d.ID)
	c.started = append(c.started, int64(d.Started))
}

// opened are the intents.
func (g *group) opened() (c columns) {
	for _, d := range g.deliveries {
		c.add(d)
		c.attempts = append(c.attempts, int64(d.Attempt()))
	}
	return c
}

// facts tells the group to the journal. An outcome whose row was not there to be moved (the endpoint was deleted, or
// another relay went on) is stale: it happened, and it changes nothing.
func (g *group) facts(relayID uuid.UUID, moved map[int64]bool) []fact.Fact {
	facts := make([]fact.Fact, 0, len(g.outcomes)+2)
	for _, o := range g.outcomes {
		if !moved[o.delivery.ID] {
			if o.delivery.Uncertain { // it never was, nor was the attempt; or its endpoint was deleted since
				continue
			}
			facts = append(facts, o.stale())
			continue
		}
		facts = append(facts, fact.Fact{Name: o.name, CompanyID: o.delivery.Event.CompanyID, Body: o.body})
		if o.attempt.State == fact.Exhausted {
			facts = append(facts, fact.Fact{Name: fact.DeliveryExhausted, CompanyID: o.delivery.Event.CompanyID, Body: fact.Delivery{
				DeliveryID: o.delivery.ID, EndpointID: o.delivery.EndpointID, EventID: o.delivery.Event.ID,
				Generation: o.delivery.Generation, State: fact.Exhausted, Actor: "relay", Reason: fact.RetriesUsedUp,
			}})
		}
	}
	if len(g.deliveries) == 0 {
		return facts
	}
	return append(facts, g.started(relayID))
}

// started tells of the group's intents.
func (g *group) started(relayID uuid.UUID) fact.Fact {
	started := fact.Started{RelayID: relayID, Batch: g.batch, StartedAt: g.startedAt}
	started.Attempts = make([]fact.AttemptID, len(g.deliveries))
	for i, d := range g.deliveries {
		started.Attempts[i] = fact.AttemptID{DeliveryID: d.ID, Attempt: d.Attempt()}
	}
	return fact.Fact{Name: fact.AttemptsStarted, Body: started}
}

func (o *outcome) stale() fact.Fact {
	a := o.attempt
	a.Reason, a.NextAttemptAt = fact.Stale, nil
	return fact.Fact{Name: fact.AttemptStale, CompanyID: o.delivery.Event.CompanyID, Body: a}
}

// dueAt is when the delivery's next attempt is due.
func dueAt(o *outcome) string {
	return timestamp(*o.attempt.NextAttemptAt)
}

func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.999999Z07:00") }

func nullTime(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return timestamp(t)
}
