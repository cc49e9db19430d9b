package fleet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Notice is what is notified on the channel of the lanes when an order was given or taken back.
const Notice = "fleet"

// maxReason is in characters: it stands in a line of a log and of a page.
const maxReason = 200

// Querier is a database, or a transaction of it.
type Querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// Pause is that all sending is paused.
type Pause struct {
	ID     uuid.UUID `json:"pause_id"`
	By     string    `json:"paused_by"`
	Since  time.Time `json:"paused_at"`
	Reason string    `json:"reason"`
}

// PausedError refuses what is of use only when it is sent at once. Who paused is for operators alone.
type PausedError struct{ Pause Pause }

// Error tells all of it.
func (e *PausedError) Error() string {
	return fmt.Sprintf("sending is paused by %s since %s: %s", e.Pause.By, e.Pause.Since.Format(time.RFC3339), e.Pause.Reason)
}

// InvalidError says what is wrong with an order.
type InvalidError struct{ Field, Message string }

// Error names the field.
func (e *InvalidError) Error() string { return e.Field + ": " + e.Message }

// Paused returns the pause, nil while sending goes on.
func Paused(ctx context.Context, q Querier) (*Pause, error) {
	p, err := scanPause(q.QueryRowContext(ctx, selectPause))
	if err != nil {
		return nil, fmt.Errorf("read pause: %w", err)
	}
	return p, nil
}

// MustSend is a *PausedError while sending is paused.
func MustSend(ctx context.Context, q Querier) error {
	p, err := Paused(ctx, q)
	if err == nil && p != nil {
		err = &PausedError{*p}
	}
	return err
}

// PauseSending pauses all sending, once tx is committed. When it is paused already, that pause is returned and stays as
// it is; changed is false then. Errors: *InvalidError.
func PauseSending(ctx context.Context, tx *sql.Tx, by, reason string) (p Pause, changed bool, err error) {
	if reason, err = checkReason(reason); err != nil {
		return p, false, err
	}
	made, err := scanPause(tx.QueryRowContext(ctx, insertPause, by, reason))
	if err != nil {
		return p, false, fmt.Errorf("pause sending: %w", err)
	}
	if made != nil {
		return *made, true, notify(ctx, tx)
	}
	known, err := Paused(ctx, tx)
	if err == nil && known == nil {
		err = errors.New("pause sending: it was resumed at this moment: try again")
	}
	if err != nil {
		return p, false, err
	}
	return *known, false, nil
}

// ResumeSending ends the pause, once tx is committed, and returns what it was; nil: there was none.
func ResumeSending(ctx context.Context, tx *sql.Tx) (*Pause, error) {
	was, err := scanPause(tx.QueryRowContext(ctx, deletePause))
	if err != nil {
		return nil, fmt.Errorf("resume sending: %w", err)
	}
	if was == nil {
		return nil, nil //nolint:nilnil // there was nothing to end, which is no fault
	}
	return was, notify(ctx, tx)
}

func checkReason(text string) (string, error) {
	text = strings.TrimSpace(text)
	switch {
	case text == "":
		return "", &InvalidError{"reason", "it is empty: want why, in a few words"}
	case !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "", &InvalidError{"reason", "it has characters that cannot be shown: want a line of text"}
	case utf8.RuneCountInString(text) > maxReason:
		return "", &InvalidError{"reason", fmt.Sprintf("it has %d characters: want at most %d", utf8.RuneCountInString(text), maxReason)}
	}
	return text, nil
}

func scanPause(row *sql.Row) (*Pause, error) {
	var p Pause
	err := row.Scan(&p.ID, &p.By, &p.Since, &p.Reason)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // no pause is no fault
	}
	p.Since = p.Since.UTC()
	return &p, err
}

// notify reaches the relays when tx commits.
func notify(ctx context.Context, tx *sql.Tx) error {
	if _, err := tx.ExecContext(ctx, notifyRelays, Notice); err != nil {
		return fmt.Errorf("notify relays: %w", err)
	}
	return nil
}
