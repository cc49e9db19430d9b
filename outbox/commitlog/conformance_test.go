package commitlog_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"

	wsql "github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// TestWatermillsConformanceSuite runs Watermill's own suite over the outbox with pages of one row. The suite wants many
// topics and the log is one, so a topic is an event type, a subscription to it a consumer group of its own, and rows of
// other types are acked in silence. One database serves each test.
func TestWatermillsConformanceSuite(t *testing.T) {
	t.Parallel()

	features := tests.Features{
		ConsumerGroups:  true,
		GuaranteedOrder: true,
		Persistent:      true,
		ForceShort:      true, // pages of one row are for this suite alone, and 5000 of them for ten groups prove no more

		// A message is acked in memory and its cursor moved by a commit after that: closed in between, it is read again.
		ExactlyOnceDelivery: false,
		// A group that has read a row is past it; "old messages" are for new groups, which ConsumerGroups covers.
		NewSubscriberReceivesOldMessages: false,
		// Restarting the server would end it for every package's tests; the chaos test kills connections instead.
		RestartServiceCommand: nil,
		// A row crosses a database, and a context does not.
		ContextPreserved: false,
	}
	databases := &databasePerTest{}
	withGroup := func(t *testing.T, consumerGroup string) (message.Publisher, message.Subscriber) {
		t.Helper()

		db := databases.of(t)
		sub := &rowSubscriber{db: db, group: consumerGroup}
		t.Cleanup(func() { require.NoError(t, sub.Close()) }) // the suite forgets some
		return rowPublisher{db}, sub
	}
	tests.TestPubSub(t, features, func(t *testing.T) (message.Publisher, message.Subscriber) {
		t.Helper()
		return withGroup(t, "default")
	}, withGroup)
}

// databasePerTest gives all publishers and subscribers of one test the same database.
type databasePerTest struct {
	mu   sync.Mutex
	made map[string]*schematest.DB
}

func (d *databasePerTest) of(t *testing.T) *schematest.DB {
	t.Helper()

	d.mu.Lock()
	defer d.mu.Unlock()
	if db, ok := d.made[t.Name()]; ok {
		return db
	}
	if d.made == nil {
		d.made = map[string]*schematest.DB{}
	}
	db := schematest.New(t)
	db.SetMaxOpenConns(40)
	d.made[t.Name()] = db
	return db
}

// envelope is a message as the data of an event.
type envelope struct {
	UUID     string            `json:"uuid"`
	Metadata map[string]string `json:"message_metadata"` // "metadata" is the relay's to add
	Payload  []byte            `json:"payload"`
}

// typeOf is the event type of the suite's topics, whose names have dashes.
func typeOf(topic string) string { return strings.ReplaceAll(topic, "-", ".") }

// rowPublisher inserts messages as events, all of one call in one transaction.
type rowPublisher struct{ db *schematest.DB }

// Publish commits the messages in their order.
func (p rowPublisher) Publish(topic string, messages ...*message.Message) error {
	tx, err := p.db.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	for _, msg := range messages {
		data, err := json.Marshal(envelope{UUID: msg.UUID, Metadata: msg.Metadata, Payload: msg.Payload})
		if err != nil {
			return err
		}
		if _, err := tx.Exec(`INSERT INTO webhooks.outbox (event_type, company_id, data) VALUES ($1, $2, $3)`,
			typeOf(topic), uuid.Nil, string(data)); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// Close has nothing to close.
func (rowPublisher) Close() error { return nil }

// rowSubscriber turns pages of one row into the messages that were published.
type rowSubscriber struct {
	db    *schematest.DB
	group string

	mu      sync.Mutex
	closed  bool
	readers []message.Subscriber
	running sync.WaitGroup
}

// Subscribe reads the log as a group of its own for the topic.
func (s *rowSubscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, wsql.ErrSubscriberClosed
	}
	reader, err := commitlog.NewReader(commitlog.Config{
		Topic: commitlog.Outbox, Group: s.group + "/" + topic, PageRows: 1,
	}).Subscriber(s.db.DB)
	if err != nil {
		return nil, err
	}
	pages, err := reader.Subscribe(ctx, string(commitlog.Outbox))
	if err != nil {
		return nil, err
	}
	s.readers = append(s.readers, reader)
	out := make(chan *message.Message)
	s.running.Go(func() { //nolint:contextcheck // each page carries its own
		defer close(out)
		for page := range pages {
			if err := deliver(page, topic, out); err != nil {
				page.Nack()
			}
		}
	})
	return out, nil
}

// deliver hands the message of a page on and carries its ack or nack back.
func deliver(pageMsg *message.Message, topic string, out chan<- *message.Message) error {
	page, err := commitlog.PageOf(pageMsg)
	if err != nil {
		return err
	}
	ctx := pageMsg.Context()
	tx, _ := wsql.TxFromContext(ctx)
	var eventType string
	var data []byte
	if err := tx.QueryRowContext(ctx, `SELECT event_type, data FROM webhooks.outbox_rows($1, $2, $3, $4, $5, $6, $7, $8)`,
		page.Args()...).Scan(&eventType, &data); err != nil {
		return err
	}
	if eventType != typeOf(topic) {
		pageMsg.Ack()
		return nil
	}
	var content envelope
	if err := json.Unmarshal(data, &content); err != nil {
		return err
	}
	msg := message.NewMessage(content.UUID, content.Payload)
	msg.Metadata = content.Metadata
	msgCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	msg.SetContext(msgCtx)
	select {
	case out <- msg:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-msg.Acked():
		pageMsg.Ack()
	case <-msg.Nacked():
		pageMsg.Nack()
	case <-ctx.Done():
	}
	return nil
}

// Close ends every subscription.
func (s *rowSubscriber) Close() error {
	s.mu.Lock()
	s.closed = true
	readers := s.readers
	s.readers = nil
	s.mu.Unlock()
	for _, reader := range readers {
		if err := reader.Close(); err != nil {
			return err
		}
	}
	s.running.Wait()
	return nil
}

var (
	_ message.Publisher  = rowPublisher{}
	_ message.Subscriber = (*rowSubscriber)(nil)
)
