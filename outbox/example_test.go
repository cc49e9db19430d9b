package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/outbox"
)

// The survey app publishes in the transaction that makes the event true.
func ExamplePublish() { //nolint:testableexamples // needs a database; TestPublish runs the same
	complete := func(ctx context.Context, db *sql.DB, done outbox.ConversationCompleted) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		// … here the conversation's own row is updated in tx …
		if _, err := outbox.Publish(ctx, tx, outbox.Event{CompanyID: done.Survey.CompanyID, Data: done}); err != nil {
			return err
		}
		return tx.Commit()
	}
	_ = complete
}

// A faulty event is refused before it reaches the database, with all of its faults at once.
func ExamplePublish_invalid() {
	company := uuid.MustParse("11111111-1111-4111-8111-111111111111")
	_, err := outbox.Publish(context.Background(), new(sql.Tx),
		outbox.Event{Type: "conversation.started", CompanyID: company, Data: outbox.Raw(`{"survey":{}, "respondent":"Ada"}`)},
		outbox.Event{
			Type: "Conversation Started", CompanyID: company, Data: outbox.Raw(`{"metadata":{}}`),
			CreatedAt: time.Date(2024, 3, 6, 12, 0, 0, 0, time.UTC),
		},
	)
	if invalid, ok := errors.AsType[*outbox.InvalidError](err); ok {
		for _, fault := range invalid.Faults {
			fmt.Println(fault)
		}
	}
	// Output:
	// event 0: data.survey.id is missing: want a UUID
	// event 0: data.survey.name is missing: want a text, "" when it is not known
	// event 0: data.survey.company_id is missing: want a UUID
	// event 0: data.respondent is not what it should be: want an object
	// event 0: data.conversation is missing: want an object
	// event 1: type is "Conversation Started": want 1 to 64 of a-z 0-9 _ . such as conversation.started
	// event 1: data.metadata is given: want no such key: the relay adds it when it sends
}
