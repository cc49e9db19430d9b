package endpoint

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// Enable makes events go out again: held deliveries go on, its breaker is closed, and it counts as not failing.
// Enabling an enabled endpoint changes nothing.
func (s *Store) Enable(ctx context.Context, ref Ref) (Endpoint, error) {
	return s.setState(ctx, ref, Enabled, why{fact.ByRequest, ""})
}

// Disable holds the endpoint's deliveries; new events make none for it. An empty reason is fact.ByRequest; the note is a
// line of at most 200 characters, or "", for whoever asks later why. Disabling a disabled endpoint changes nothing.
func (s *Store) Disable(ctx context.Context, ref Ref, reason fact.Reason, note string) (Endpoint, error) {
	note = strings.TrimSpace(note)
	var bad faults
	bad.line("note", note, maxNote)
	if err := bad.err(); err != nil {
		return Endpoint{}, err
	}
	return s.setState(ctx, ref, Disabled, why{cmp.Or(reason, fact.ByRequest), note})
}

// why a state is changed: a code for programs, and words for persons.
type why struct {
	reason fact.Reason
	note   string
}

func (s *Store) setState(ctx context.Context, ref Ref, state State, because why) (Endpoint, error) {
	act, name := "enable", fact.EndpointEnabled
	if state == Disabled {
		act, name = "disable", fact.EndpointDisabled
	}
	return s.change(ctx, act, ref, func(tx *sql.Tx, old Endpoint) (Endpoint, error) {
		if old.State == state {
			return old, nil
		}
		now, err := scan(tx.QueryRowContext(ctx, setState, old.ID, old.CompanyID, state, because.reason, because.note, ref.Actor))
		if err != nil {
			return old, err
		}
		if state == Enabled {
			if _, err := tx.ExecContext(ctx, resetLane, old.ID); err != nil {
				return old, fmt.Errorf("reset lane: %w", err)
			}
		}
		return now, tell(ctx, tx, old.ID, because.of(changed(name, ref, &old, &now)))
	})
}

// DisableByRelay disables an endpoint in the recorder's transaction, for 410 Gone or failing persistently, if it still has
// the version of the configuration that the attempt was made with. It reports false for one that was changed since, or is
// disabled or deleted: what a person chose is left alone. The relay, which holds the lane meanwhile, is told in any case.
func DisableByRelay(ctx context.Context, tx *sql.Tx, id uuid.UUID, version int, reason fact.Reason) (bool, error) {
	now, err := scan(tx.QueryRowContext(ctx, disableByRelay, id, reason, version))
	if errors.Is(err, sql.ErrNoRows) {
		return false, tell(ctx, tx, id)
	}
	if err != nil {
		return false, fmt.Errorf("disable endpoint %s: %w", id, err)
	}
	old := now
	old.State = Enabled
	f := why{reason: reason}.of(changed(fact.EndpointDisabled, Ref{Actor: "relay"}, &old, &now))
	if err := tell(ctx, tx, id, f); err != nil {
		return false, fmt.Errorf("disable endpoint %s: %w", id, err)
	}
	return true, nil
}

// Delete ends an endpoint for good: its pending deliveries are cancelled with a fact each, its secrets and headers erased. An
// attempt that is under way ends as stale.
func (s *Store) Delete(ctx context.Context, ref Ref) error {
	_, err := s.change(ctx, "delete", ref, func(tx *sql.Tx, old Endpoint) (Endpoint, error) {
		now, err := scan(tx.QueryRowContext(ctx, deleteEndpoint, old.ID, old.CompanyID))
		if err != nil {
			return old, err
		}
		f := changed(fact.EndpointDeleted, ref, &old, nil)
		body, _ := f.Body.(fact.Endpoint) // made so by changed
		body.Version = now.Version
		f.Body = body
		if err := tell(ctx, tx, old.ID, f); err != nil {
			return old, err
		}
		_, err = tx.ExecContext(ctx, cancelPending, fact.DeliveryCancelled, fact.DeliveryCancelled.Version(), fact.Cancelled, ref.Actor,
			fact.EndpointGoneForGood, old.ID)
		if err != nil {
			return old, fmt.Errorf("cancel deliveries: %w", err)
		}
		if _, err := tx.ExecContext(ctx, deleteSecrets, old.ID); err != nil {
			return old, fmt.Errorf("erase secrets: %w", err)
		}
		if _, err := tx.ExecContext(ctx, deleteHeaders, old.ID); err != nil {
			return old, fmt.Errorf("erase headers: %w", err)
		}
		return now, nil
	})
	return err
}

// CancelStranded cancels what a fan-out committed for endpoints while they were being deleted, and returns how many
// deliveries that were. The relay calls it now and then: without it they would be pending for ever.
func CancelStranded(ctx context.Context, db *sql.DB) (int64, error) {
	var n int64
	err := inTx(ctx, db, AnyCompany(), func(tx *sql.Tx) error {
		res, err := tx.ExecContext(ctx, cancelStranded, fact.DeliveryCancelled, fact.DeliveryCancelled.Version(), fact.Cancelled, "relay",
			fact.EndpointGoneForGood)
		if err != nil {
			return err
		}
		n, err = res.RowsAffected()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("cancel deliveries of deleted endpoints: %w", err)
	}
	return n, nil
}

// of says in the fact of a change why it was made.
func (w why) of(f fact.Fact) fact.Fact {
	body, _ := f.Body.(fact.Endpoint) // made so by changed
	body.Reason, body.Note = w.reason, w.note
	f.Body = body
	return f
}
