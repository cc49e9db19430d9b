package projections

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/chattosurvey/surveyhooks/schema/tenant"
)

// toldRows bounds a part: each row may carry 256 KiB.
const toldRows = 20

// ToldEvent is one event of a company with the bytes of its data, in the order in which events were told.
type ToldEvent struct {
	EventID     uuid.UUID
	EventType   string
	CompanyID   uuid.UUID
	CreatedAt   time.Time
	FannedOutAt time.Time
	Data        []byte // nil: its type was not asked for, or the outbox no longer has it
	Cursor      string // asks for what came after it
}

// ToldEnd is the cursor behind the latest event of a company.
func (r *Reader) ToldEnd(ctx context.Context, company uuid.UUID) (string, error) {
	end := place{Of: "told", At: &time.Time{}}
	tx, err := tenant.Begin(ctx, r.db, company, tenant.ReadOnly)
	if err != nil {
		return "", fmt.Errorf("find the latest event: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // it only read
	err = tx.QueryRowContext(ctx, selectToldEnd, company).Scan(end.At, &end.ID)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("find the latest event: %w", err)
	}
	return end.String(), nil
}

// Told returns the next few events behind the cursor, the oldest first; none at the end. Those of other types (no types:
// all are asked for) come without data, so that the cursor moves past them.
func (r *Reader) Told(ctx context.Context, company uuid.UUID, types []string, cursor string) ([]ToldEvent, error) {
	var after place
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || json.Unmarshal(text, &after) != nil || after.Of != "told" || !after.complete() {
		return nil, &BadCursorError{Cursor: cursor}
	}
	tx, err := tenant.Begin(ctx, r.db, company, tenant.ReadOnly)
	if err != nil {
		return nil, fmt.Errorf("query events: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // it only read
	rows, err := tx.QueryContext(ctx, selectTold, company, after.At.UTC(), after.ID, pq.Array(types), len(types) == 0, toldRows)
	if err != nil {
		return nil, fmt.Errorf("query events: %w", err)
	}
	defer rows.Close()
	var events []ToldEvent
	for rows.Next() {
		var e ToldEvent
		var position int64
		err := rows.Scan(&e.EventID, &e.EventType, &e.CompanyID, &e.CreatedAt, &e.FannedOutAt, &position, &e.Data)
		if err != nil {
			return nil, fmt.Errorf("scan event: %w", err)
		}
		at := e.FannedOutAt.UTC()
		e.Cursor = place{Of: "told", At: &at, ID: position}.String()
		events = append(events, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	return events, nil
}
