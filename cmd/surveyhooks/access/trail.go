package access

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Entry is one line of the trail.
type Entry struct {
	Position   int64           `json:"position"`
	CompanyID  *uuid.UUID      `json:"company_id"` // nil: it concerns every company
	HappenedAt time.Time       `json:"happened_at"`
	Action     string          `json:"action"`     // such as session.started; schema.sql lists them
	SubjectID  uuid.UUID       `json:"subject_id"` // the key, link, session, pause, relay or rebuild
	Actor      string          `json:"actor"`
	Detail     json.RawMessage `json:"detail"`
	IP         string          `json:"ip"` // "" for the command line
	UserAgent  string          `json:"user_agent"`
}

// Deed is what an operator did to the installation.
type Deed struct {
	Action  string // schema.sql lists them
	Subject uuid.UUID
	Detail  any // as JSON
}

// Tell writes the deed into the trail, in the transaction that does it.
func Tell(ctx context.Context, tx *sql.Tx, by Caller, d Deed) error {
	detail, err := json.Marshal(d.Detail)
	if err != nil {
		return fmt.Errorf("encode detail of %s: %w", d.Action, err)
	}
	if _, err := tx.ExecContext(ctx, tellDeed, by.told(ctx, d.Action, d.Subject, string(detail))...); err != nil {
		return fmt.Errorf("tell the trail of %s: %w", d.Action, err)
	}
	return nil
}

// TrailPage chooses entries, newest first.
type TrailPage struct {
	Before int64 // the last position of the page before; 0: the newest
	Limit  int   // default 50, at most 500
}

// Trail lists the entries that the caller reaches, newest first, and the Before of the next page, 0 at the end.
func (s *Store) Trail(ctx context.Context, by Caller, p TrailPage) (page []Entry, next int64, err error) {
	anyCompany, company := by.bounds()
	rows, err := s.db.QueryContext(ctx, listTrail, anyCompany, company, max(p.Before, 0), clamp(p.Limit)+1)
	if err != nil {
		return nil, 0, fmt.Errorf("list access trail: %w", err)
	}
	page, more, err := readPage(rows, clamp(p.Limit), scanEntry)
	if err != nil {
		return nil, 0, fmt.Errorf("list access trail: %w", err)
	}
	if more {
		next = page[len(page)-1].Position
	}
	return page, next, nil
}

func scanEntry(row scanner) (Entry, error) {
	var e Entry
	var company uuid.NullUUID
	err := row.Scan(&e.Position, &company, &e.HappenedAt, &e.Action, &e.SubjectID, &e.Actor, &e.Detail, &e.IP, &e.UserAgent)
	if err != nil {
		return Entry{}, err
	}
	e.CompanyID, e.HappenedAt = orNil(company), e.HappenedAt.UTC()
	return e, nil
}
