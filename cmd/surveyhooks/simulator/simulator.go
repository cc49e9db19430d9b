// Package simulator is a small survey app: respondents start conversations, answer questions, and complete.
//
// It owns nothing at rest but the events it publishes. It promises that each step is one transaction of its own, that
// now and then one is rolled back, as in any real app, and that what was rolled back is told as such, so that a person
// can see it never being sent. It never reads the log and never talks to an endpoint.
//
// # Failure handling
//
// A step that cannot be committed is told and tried again after the next pause, with the same event id: if the first
// commit did happen, the event is still sent once.
package simulator

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/outbox"
)

// Config of a Simulator. DB and Company are needed; the rest has defaults.
type Config struct {
	DB           *sql.DB
	Company      uuid.UUID
	Pause        time.Duration // between transactions; default 2 s
	Eager        int           // so many transactions come first, without a pause; default none
	Questions    int           // of a conversation; default 3
	RollbackEach int           // every so manyeth transaction is rolled back once before it is committed; default 5
	Told         func(Step)    // is told of each transaction, after its end; default: nobody
}

// Validate reports every fault of the configuration.
func (c Config) Validate() error {
	var faults []error
	if c.DB == nil {
		faults = append(faults, errors.New("simulator: DB is nil: want a migrated database"))
	}
	if c.Company == uuid.Nil {
		faults = append(faults, errors.New("simulator: Company is not set: want the company whose endpoints are to be told"))
	}
	if c.Pause < 0 || c.Eager < 0 || c.Questions < 0 || c.RollbackEach < 0 {
		faults = append(faults, errors.New("simulator: Pause, Eager, Questions and RollbackEach must not be negative"))
	}
	return errors.Join(faults...)
}

// Step is one transaction.
type Step struct {
	At         time.Time
	EventID    uuid.UUID
	Event      outbox.Type
	RolledBack bool  // on purpose: nothing will be sent of it
	Err        error // it could not be committed, or nobody knows
}

// Simulator publishes conversations.
type Simulator struct {
	cfg   Config
	taken int // transactions so far
}

// New returns a simulator, or every fault of its configuration.
func New(cfg Config) (*Simulator, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg.Pause = cmp.Or(cfg.Pause, 2*time.Second)
	cfg.Questions = cmp.Or(cfg.Questions, 3)
	cfg.RollbackEach = cmp.Or(cfg.RollbackEach, 5)
	if cfg.Told == nil {
		cfg.Told = func(Step) {}
	}
	return &Simulator{cfg: cfg}, nil
}

// Run publishes one conversation after another until ctx ends, which is no error. It is for one goroutine.
func (s *Simulator) Run(ctx context.Context) error {
	for {
		for _, event := range Conversation(Talk{Company: s.cfg.Company, Questions: s.cfg.Questions, Began: time.Now(), Pause: s.cfg.Pause}) {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // asked to end
			}
			if err := s.take(ctx, event); err != nil {
				return err
			}
		}
	}
}

// take brings one event to its commit, with what may come in between, and returns only an error that no repetition mends.
func (s *Simulator) take(ctx context.Context, event outbox.Event) error {
	for {
		if s.taken >= s.cfg.Eager && !pause(ctx, s.cfg.Pause) {
			return nil
		}
		s.taken++
		event.CreatedAt = time.Now()
		rollback := s.taken%s.cfg.RollbackEach == 0
		step := Step{EventID: event.ID, Event: event.Type, RolledBack: rollback}
		step.Err = s.transact(ctx, event, rollback)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // asked to end
		}
		step.At = time.Now()
		s.cfg.Told(step)
		if invalid, ok := errors.AsType[*outbox.InvalidError](step.Err); ok {
			return fmt.Errorf("simulate: %w", invalid)
		}
		if step.Err == nil && !rollback {
			return nil
		}
		if rollback {
			event.ID = uuid.Must(uuid.NewV7()) // the respondent does it again: another event
		}
	}
}

func (s *Simulator) transact(ctx context.Context, event outbox.Event, rollback bool) error {
	tx, err := s.cfg.DB.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after the commit it says ErrTxDone
	// Here a survey app writes the answer itself.
	if _, err := outbox.Publish(ctx, tx, event); err != nil {
		return err
	}
	if rollback {
		return nil
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// pause reports false when ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// pick is one of the choices.
func pick[T any](choices ...T) T { return choices[rand.IntN(len(choices))] }
