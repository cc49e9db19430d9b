package fleet

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Relay is a running relay, or one that has just died.
type Relay struct {
	ID         uuid.UUID  `json:"relay_id"`
	Host       string     `json:"host"`
	StartedAt  time.Time  `json:"started_at"`
	LeaseUntil time.Time  `json:"lease_until"`
	Alive      bool       `json:"alive"` // its lease has not ended
	Lanes      int64      `json:"lanes"` // endpoints that it serves
	DrainedBy  string     `json:"drained_by"`
	DrainedAt  *time.Time `json:"drained_at"` // nil: it has its share of the lanes
}

// NotFoundError says that no relay has the id: it ended, or never was.
type NotFoundError struct{ ID uuid.UUID }

// Error names the relay.
func (e *NotFoundError) Error() string { return fmt.Sprintf("there is no relay %s", e.ID) }

// Relays lists at most a hundred, in the order of their start.
func Relays(ctx context.Context, q Querier) ([]Relay, error) {
	rows, err := q.QueryContext(ctx, selectRelays)
	if err != nil {
		return nil, fmt.Errorf("list relays: %w", err)
	}
	defer rows.Close()
	list := []Relay{}
	for rows.Next() {
		r, err := scanRelay(rows)
		if err != nil {
			return nil, fmt.Errorf("list relays: %w", err)
		}
		list = append(list, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list relays: %w", err)
	}
	return list, nil
}

// Alone reports whether nobody could take the lanes of the relay: no other one is alive and has its share.
func Alone(list []Relay, id uuid.UUID) bool {
	for _, r := range list {
		if r.ID != id && r.Alive && r.DrainedAt == nil {
			return false
		}
	}
	return true
}

// Drain orders a relay to hand its lanes over, once tx is committed. When it drains already, nothing changes. Errors:
// *NotFoundError.
func Drain(ctx context.Context, tx *sql.Tx, id uuid.UUID, by string) (r Relay, changed bool, err error) {
	return order(ctx, tx, id, by)
}

// Undrain gives a relay its share of the lanes again, once tx is committed. Errors: *NotFoundError.
func Undrain(ctx context.Context, tx *sql.Tx, id uuid.UUID) (r Relay, changed bool, err error) {
	return order(ctx, tx, id, "")
}

// order drains a relay by somebody, or by nobody any longer.
func order(ctx context.Context, tx *sql.Tx, id uuid.UUID, by string) (Relay, bool, error) {
	r, err := findRelay(ctx, tx, id)
	if err != nil || (by != "") == (r.DrainedAt != nil) {
		return r, false, err
	}
	if _, err := tx.ExecContext(ctx, setDrained, id, by); err != nil {
		return r, false, fmt.Errorf("order relay %s: %w", id, err)
	}
	if r, err = findRelay(ctx, tx, id); err != nil {
		return r, false, err
	}
	return r, true, notify(ctx, tx)
}

func findRelay(ctx context.Context, tx *sql.Tx, id uuid.UUID) (Relay, error) {
	r, err := scanRelay(tx.QueryRowContext(ctx, selectRelay, id))
	if errors.Is(err, sql.ErrNoRows) {
		return r, &NotFoundError{id}
	}
	if err != nil {
		return r, fmt.Errorf("find relay %s: %w", id, err)
	}
	return r, nil
}

func scanRelay(row interface{ Scan(dest ...any) error }) (Relay, error) {
	var r Relay
	err := row.Scan(&r.ID, &r.Host, &r.StartedAt, &r.LeaseUntil, &r.Alive, &r.Lanes, &r.DrainedBy, &r.DrainedAt)
	r.StartedAt, r.LeaseUntil = r.StartedAt.UTC(), r.LeaseUntil.UTC()
	if r.DrainedAt != nil {
		*r.DrainedAt = r.DrainedAt.UTC()
	}
	return r, err
}

// Orders are what one relay is to obey.
type Orders struct {
	Pause   *Pause // nil: send
	Drained bool
}

// OrdersOf reads a relay's orders. Without its row it has none but the pause.
func OrdersOf(ctx context.Context, q Querier, relay uuid.UUID) (Orders, error) {
	var o Orders
	var drained, since sql.NullTime
	var id uuid.NullUUID
	var by, reason sql.NullString
	if err := q.QueryRowContext(ctx, selectOrders, relay).Scan(&drained, &id, &by, &since, &reason); err != nil {
		return o, fmt.Errorf("read orders: %w", err)
	}
	o.Drained = drained.Valid
	if id.Valid {
		o.Pause = &Pause{ID: id.UUID, By: by.String, Since: since.Time.UTC(), Reason: reason.String}
	}
	return o, nil
}
