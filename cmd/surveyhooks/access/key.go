package access

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Key is an API key without its token.
type Key struct {
	ID         uuid.UUID  `json:"id"`
	CompanyID  *uuid.UUID `json:"company_id"` // nil: it reaches every company
	Role       Role       `json:"role"`
	Name       string     `json:"name"`
	CreatedBy  string     `json:"created_by"`
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at"`   // nil: only when it is revoked
	LastUsedAt *time.Time `json:"last_used_at"` // to the minute
	RevokedAt  *time.Time `json:"revoked_at"`
}

// NewKey is what a key needs.
type NewKey struct {
	Name      string
	CompanyID uuid.UUID     // nil: every company; its role is then Operator
	Role      Role          // default Operator
	Life      time.Duration // 0: until it is revoked
}

// CreateKey makes a key and returns its token, here and never again. Only an Operator may, and no further than it
// reaches itself. Errors: ErrForbidden, *InvalidError.
func (s *Store) CreateKey(ctx context.Context, by Caller, k NewKey) (Key, Token, error) {
	if by.Role != Operator || !by.Reaches(k.CompanyID) {
		return Key{}, Token{}, ErrForbidden
	}
	if k.Role == "" {
		k.Role = Operator
	}
	var bad faults
	bad.line("name", k.Name)
	switch {
	case k.Role != Viewer && k.Role != Owner && k.Role != Operator:
		bad.add("role", "unknown_role", "use viewer, owner or operator")
	case k.Role != Operator && k.CompanyID == uuid.Nil:
		bad.add("company_id", "required", "name the company: only an operator's key reaches every one")
	}
	if k.Life < 0 {
		bad.add("expires", "invalid_time", "use a time in the future, or none")
	}
	if err := bad.err(); err != nil {
		return Key{}, Token{}, err
	}
	token := newToken(keyToken)
	life := sql.NullInt64{Int64: k.Life.Microseconds(), Valid: k.Life > 0}
	made, err := scanKey(s.db.QueryRowContext(ctx, insertKey, by.told(ctx, orNull(k.CompanyID), k.Role, k.Name, token.hash(), life)...))
	if err != nil {
		return Key{}, Token{}, fmt.Errorf("create API key: %w", err)
	}
	return made, token, nil
}

// Keys lists the keys that the caller reaches, ended ones too, and the After of the next page, uuid.Nil at the end.
func (s *Store) Keys(ctx context.Context, by Caller, p Page) (page []Key, next uuid.UUID, err error) {
	anyCompany, company := by.bounds()
	rows, err := s.db.QueryContext(ctx, listKeys, anyCompany, company, p.After, clamp(p.Limit)+1)
	if err != nil {
		return nil, uuid.Nil, fmt.Errorf("list API keys: %w", err)
	}
	page, more, err := readPage(rows, clamp(p.Limit), scanKey)
	if err != nil {
		return nil, uuid.Nil, fmt.Errorf("list API keys: %w", err)
	}
	if more {
		next = page[len(page)-1].ID
	}
	return page, next, nil
}

// RevokeKey ends a key at once. Errors: ErrForbidden, *NotFoundError.
func (s *Store) RevokeKey(ctx context.Context, by Caller, id uuid.UUID) error {
	if by.Role != Operator {
		return ErrForbidden
	}
	anyCompany, company := by.bounds()
	result, err := s.db.ExecContext(ctx, revokeKey, by.told(ctx, anyCompany, company, id)...)
	if err != nil {
		return fmt.Errorf("revoke API key: %w", err)
	}
	return notOne(result, "API key", id)
}

// callerByKey returns whom a key belongs to, or ErrRefused.
func (s *Store) callerByKey(ctx context.Context, token Token) (Caller, error) {
	var company uuid.NullUUID
	var c Caller
	var name string
	err := s.db.QueryRowContext(ctx, useKey, token.hash()).Scan(&company, &c.Role, &name)
	if errors.Is(err, sql.ErrNoRows) {
		return Caller{}, ErrRefused
	}
	if err != nil {
		return Caller{}, fmt.Errorf("look up API key: %w", err)
	}
	c.CompanyID, c.Actor = company.UUID, "key:"+name
	return c, nil
}

func scanKey(row scanner) (Key, error) {
	var k Key
	var company uuid.NullUUID
	err := row.Scan(&k.ID, &company, &k.Role, &k.Name, &k.CreatedBy, &k.CreatedAt, &k.ExpiresAt, &k.LastUsedAt, &k.RevokedAt)
	if err != nil {
		return Key{}, err
	}
	k.CompanyID = orNil(company)
	k.CreatedAt = k.CreatedAt.UTC()
	for _, t := range []*time.Time{k.ExpiresAt, k.LastUsedAt, k.RevokedAt} {
		if t != nil {
			*t = t.UTC()
		}
	}
	return k, nil
}

func orNil(id uuid.NullUUID) *uuid.UUID {
	if !id.Valid {
		return nil
	}
	return &id.UUID
}
