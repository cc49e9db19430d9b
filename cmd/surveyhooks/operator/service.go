package operator

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/relay/fleet"
)

// Config says what operators act on. DB is needed.
type Config struct {
	DB     *sql.DB
	Logger *slog.Logger // default: silent
}

// Service does what operators ask for. It is safe for concurrent use, and in many processes at once.
type Service struct {
	db     *sql.DB
	logger *slog.Logger
	jobs   chan Rebuild
}

// New returns a service.
func New(cfg Config) *Service {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Service{db: cfg.DB, logger: cfg.Logger, jobs: make(chan Rebuild, 1)}
}

// Paused returns the pause of all sending, nil while it goes on.
func (s *Service) Paused(ctx context.Context) (*fleet.Pause, error) { return fleet.Paused(ctx, s.db) }

// Pause pauses all sending. Errors: *fleet.InvalidError.
func (s *Service) Pause(ctx context.Context, by access.Caller, reason string) (p fleet.Pause, err error) {
	err = s.act(ctx, by, func(tx *sql.Tx) (*access.Deed, error) {
		var changed bool
		if p, changed, err = fleet.PauseSending(ctx, tx, by.Actor, reason); !changed {
			return nil, err
		}
		return &access.Deed{Action: "sending.paused", Subject: p.ID, Detail: map[string]any{"reason": p.Reason}}, err
	})
	return p, err
}

// Resume ends the pause and returns it; nil: there was none.
func (s *Service) Resume(ctx context.Context, by access.Caller) (was *fleet.Pause, err error) {
	err = s.act(ctx, by, func(tx *sql.Tx) (*access.Deed, error) {
		if was, err = fleet.ResumeSending(ctx, tx); was == nil {
			return nil, err
		}
		return &access.Deed{Action: "sending.resumed", Subject: was.ID, Detail: map[string]any{"paused_by": was.By, "paused_at": was.Since}}, err
	})
	return was, err
}

// Relays lists the running relays.
func (s *Service) Relays(ctx context.Context) ([]fleet.Relay, error) { return fleet.Relays(ctx, s.db) }

// AloneError refuses to drain the last relay that has its share of the lanes by mistake: nothing would be sent.
type AloneError struct{ ID uuid.UUID }

// Error says why.
func (e *AloneError) Error() string {
	return fmt.Sprintf("no other relay is there to take the endpoints of relay %s, so nothing would be sent: start one first", e.ID)
}

// Drain has a relay hand its lanes over; the last one only when that is meant. Errors: *fleet.NotFoundError, *AloneError.
func (s *Service) Drain(ctx context.Context, by access.Caller, relay uuid.UUID, evenAlone bool) (r fleet.Relay, err error) {
	err = s.act(ctx, by, func(tx *sql.Tx) (*access.Deed, error) {
		var changed bool
		if r, changed, err = fleet.Drain(ctx, tx, relay, by.Actor); err == nil && changed && !evenAlone {
			err = refuseAlone(ctx, tx, relay)
		}
		return ofRelay("relay.drained", r, changed), err
	})
	return r, err
}

// refuseAlone is for one order at a time: of two that are under way each would see the other relay at work.
func refuseAlone(ctx context.Context, tx *sql.Tx, relay uuid.UUID) error {
	if _, err := tx.ExecContext(ctx, lockDrains); err != nil {
		return fmt.Errorf("wait for other orders: %w", err)
	}
	relays, err := fleet.Relays(ctx, tx)
	if err == nil && fleet.Alone(relays, relay) {
		err = &AloneError{relay}
	}
	return err
}

// Undrain gives a relay its share of the lanes again. Errors: *fleet.NotFoundError.
func (s *Service) Undrain(ctx context.Context, by access.Caller, relay uuid.UUID) (r fleet.Relay, err error) {
	err = s.act(ctx, by, func(tx *sql.Tx) (*access.Deed, error) {
		var changed bool
		r, changed, err = fleet.Undrain(ctx, tx, relay)
		return ofRelay("relay.undrained", r, changed), err
	})
	return r, err
}

func ofRelay(action string, r fleet.Relay, changed bool) *access.Deed {
	if !changed {
		return nil
	}
	return &access.Deed{Action: action, Subject: r.ID, Detail: map[string]any{"host": r.Host}}
}

// act does something and tells the trail of it, in one transaction. No deed: nothing was changed.
func (s *Service) act(ctx context.Context, by access.Caller, do func(*sql.Tx) (*access.Deed, error)) error {
	if by.Role != access.Operator || by.CompanyID != uuid.Nil {
		return errors.New("act as operator: the caller is none") // a door of ours was left open
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("act as operator: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit there is nothing to roll back
	deed, err := do(tx)
	if err != nil || deed == nil {
		return err
	}
	if err := access.Tell(ctx, tx, by, *deed); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("act as operator: %w", err)
	}
	return nil
}
