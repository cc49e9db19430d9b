package lane_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/lane"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// TestWatermillsConformanceSuite runs Watermill's own suite over lanes. A topic's name is hashed to an endpoint id; a
// message is the data of an event; and what the recorder does in production, the subscriber of this test does: an ack
// deletes the pending row.
func TestWatermillsConformanceSuite(t *testing.T) {
	t.Parallel()

	features := tests.Features{
		// Deliveries wait in a table until they are over, whoever reads.
		Persistent: true,
		// A lane is held by one relay, and an endpoint has one handler: the lease sees to it, not this package.
		RequireSingleInstance: true,
		ForceShort:            true, // each publish and each ack commits alone here, and thousands of them prove no more

		// A delivery goes to one endpoint, once: there is nobody to share it with.
		ConsumerGroups: false,
		// A delivery that is over is gone from the table; history is the journal's.
		NewSubscriberReceivesOldMessages: false,
		// Acked in memory, deleted by a commit: dead in between, it is sent again.
		ExactlyOnceDelivery: false,
		// Restarting the server would end it for every package's tests; a failing read has a test of its own.
		RestartServiceCommand: nil,
		// An event crosses a database, and a context does not.
		ContextPreserved: false,
	}
	for name, concurrency := range map[string]int{"OneAtATime": 1, "Concurrently": 8} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			features := features
			features.GuaranteedOrder = concurrency == 1 // else what started in order ends in any order
			db := schematest.New(t)
			db.SetMaxOpenConns(20)
			tests.TestPubSub(t, features, func(t *testing.T) (message.Publisher, message.Subscriber) {
				t.Helper()
				b := setupOn(t, db, lane.Config{Concurrency: concurrency})
				b.run()
				sub := &rowSubscriber{testBundle: b, done: make(chan struct{})}
				t.Cleanup(func() { require.NoError(t, sub.Close()) }) // the suite forgets some
				return rowPublisher{b}, sub
			}, nil)
		})
	}
}

const insertMessage = `WITH e AS (
  INSERT INTO webhooks.outbox (event_type, company_id, data) VALUES ('test.webhook', $1, $2)
  RETURNING event_id, recorded_at, transaction_id, position
), k AS (
  INSERT INTO webhooks.event_ids (event_id, recorded_at, transaction_id, position) SELECT event_id, recorded_at, transaction_id, position FROM e
)
INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id) SELECT $1, nextval('webhooks.delivery_id'), event_id FROM e`

// lockFanOut has publishers commit in the order of their delivery ids, as the one reader that fans out does.
const lockFanOut = `SELECT pg_advisory_xact_lock(1)`

func endpointOf(topic string) uuid.UUID { return uuid.NewSHA1(uuid.Nil, []byte(topic)) }

// envelope is a message as the data of an event.
type envelope struct {
	UUID     string            `json:"uuid"`
	Metadata map[string]string `json:"message_metadata"` // "metadata" is the relay's to add
	Payload  []byte            `json:"payload"`
}

// rowPublisher inserts messages as pending deliveries, all of one call in one transaction.
type rowPublisher struct{ *testBundle }

// Publish commits the messages in their order.
func (p rowPublisher) Publish(topic string, messages ...*message.Message) error {
	tx, err := p.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	if _, err := tx.Exec(lockFanOut); err != nil {
		return err
	}
	for _, msg := range messages {
		data, err := json.Marshal(envelope{UUID: msg.UUID, Metadata: msg.Metadata, Payload: msg.Payload})
		if err != nil {
			return err
		}
		if _, err := tx.Exec(insertMessage, endpointOf(topic), string(data)); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// Close has nothing to close.
func (rowPublisher) Close() error { return nil }

// rowSubscriber turns deliveries into the messages that were published.
type rowSubscriber struct {
	*testBundle

	once    sync.Once
	done    chan struct{}
	running sync.WaitGroup
}

// Subscribe opens the topic's lane.
func (s *rowSubscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	id := endpointOf(topic)
	if s.source.Busy(id) == 0 { // or a lane that was closed is opened again, with what it has under way
		s.source.Add(id, lane.Options{Gate: open{}})
	}
	in, err := s.source.Subscribe(ctx, id.String())
	if err != nil {
		return nil, err
	}
	out := make(chan *message.Message)
	s.running.Go(func() {
		var waiting sync.WaitGroup
		defer close(out)
		defer waiting.Wait()
		for delivered := range in {
			msg, err := unwrap(delivered)
			if err != nil {
				s.t.Error(err)
				return
			}
			select {
			case out <- msg:
				waiting.Go(func() { s.await(delivered, msg) })
			case <-ctx.Done():
				delivered.Nack()
			case <-s.done:
				return
			}
		}
	})
	return out, nil
}

func unwrap(delivered *message.Message) (*message.Message, error) {
	var e envelope
	if err := json.Unmarshal(delivered.Payload, &e); err != nil {
		return nil, err
	}
	msg := message.NewMessageWithContext(delivered.Context(), e.UUID, e.Payload)
	msg.Metadata = e.Metadata
	return msg, nil
}

// await does for a message what the recorder does for an attempt.
func (s *rowSubscriber) await(delivered, msg *message.Message) {
	select {
	case <-msg.Acked():
		d, _ := lane.DeliveryOf(delivered)
		if _, err := s.Exec(deleteOver, d.EndpointID, d.ID); err != nil {
			s.t.Error(err)
		}
		s.source.Settled(d, false)
		delivered.Ack()
	case <-msg.Nacked():
		delivered.Nack()
	case <-s.done:
	}
}

// Close ends the lanes and what is under way, as the end of a relay does.
func (s *rowSubscriber) Close() error {
	s.once.Do(func() { close(s.done) })
	err := s.source.Close()
	s.cut()
	s.running.Wait()
	return err
}
