package outbox

import (
	"context"
	stdsql "database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
)

// maxCallBytes bounds the data of one call. Quoting may double it, and PostgreSQL takes no value of 1 GiB.
const maxCallBytes = 256 << 20

// Publish inserts the events in the caller's transaction, in the order given, with one statement however many they
// are, and returns their ids in the same order. Nothing is sent before tx commits, and nothing ever if it does not.
// No events: nothing is done.
//
// A faulty event makes Publish return an *InvalidError that names all faults of all events; tx was not touched and can
// still be used. After any other error tx must be rolled back. When ctx ends, the statement is cancelled.
//
// It is as safe for concurrent use as tx is. With the connection option binary_parameters=yes the statement is also
// one network round trip; without it lib/pq prepares first and takes two.
func Publish(ctx context.Context, tx *stdsql.Tx, events ...Event) ([]uuid.UUID, error) {
	if len(events) == 0 {
		return nil, nil
	}
	if tx == nil {
		return nil, errors.New("publish events: tx is nil: want the transaction that makes the events true")
	}
	messages, ids, err := marshal(events, time.Now())
	if err != nil {
		return nil, fmt.Errorf("publish events: %w", err)
	}
	publisher, err := sql.NewPublisher(commitlog.Executor{Tx: tx, Ctx: ctx}, sql.PublisherConfig{SchemaAdapter: outboxSchema{}}, nil)
	if err != nil {
		return nil, fmt.Errorf("publish events: %w", err)
	}
	if err := publisher.Publish(topic, messages...); err != nil {
		if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
			err = errors.Join(ended, err) // the driver says only that the statement was cancelled, not by whom
		}
		return nil, fmt.Errorf("publish %d events: %w", len(events), err)
	}
	return ids, nil
}

// marshal validates the events and makes their messages.
func marshal(events []Event, now time.Time) ([]*message.Message, []uuid.UUID, error) {
	var invalid InvalidError
	messages := make([]*message.Message, 0, len(events))
	ids := make([]uuid.UUID, 0, len(events))
	size := 0
	for i, event := range events {
		event, err := event.filled(now)
		if err != nil {
			return nil, nil, err
		}
		data, faults := event.check(i)
		invalid.Faults = append(invalid.Faults, faults...)
		messages = append(messages, event.message(data))
		ids = append(ids, event.ID)
		size += len(data)
	}
	if len(invalid.Faults) > 0 {
		return nil, nil, &invalid
	}
	return messages, ids, checkCall(len(events), size)
}

// checkCall bounds what one statement carries.
func checkCall(events, size int) error {
	if size > maxCallBytes {
		return fmt.Errorf("the data of %d events has %d bytes: want at most %d a call; call several times in one transaction", events, size, maxCallBytes)
	}
	return nil
}
