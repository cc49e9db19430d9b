package access

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// Session is a browser that is signed in, without its token.
type Session struct {
	ID        uuid.UUID  `json:"id"`
	CompanyID *uuid.UUID `json:"company_id"` // nil: an operator's
	Role      Role       `json:"role"`
	Person    string     `json:"person"`
	LinkID    uuid.UUID  `json:"link_id"` // what started it
	CreatedAt time.Time  `json:"created_at"`
	SeenAt    time.Time  `json:"seen_at"` // to the minute
	ExpiresAt time.Time  `json:"expires_at"`
}

// signIn uses the link up and starts a session with a token of its own; before is the token that the browser had, and
// ends: nobody can plant a session that somebody else then signs in to. It returns the page to go to. Errors: ErrRefused.
func (s *Store) signIn(ctx context.Context, link, before Token) (token Token, started Session, landing string, err error) {
	var old []byte
	if before.text != nil {
		old = before.hash()
	}
	token = newToken(sessionToken)
	client := ClientOf(ctx)
	row := s.db.QueryRowContext(ctx, useLink, ipOrNull(client), client.UserAgent, link.hash(), old, token.hash(),
		s.idle.Microseconds(), s.absolute.Microseconds())
	started, err = scanSession(row, &landing)
	if errors.Is(err, sql.ErrNoRows) {
		return Token{}, Session{}, "", ErrRefused
	}
	if err != nil {
		return Token{}, Session{}, "", fmt.Errorf("sign in: %w", err)
	}
	return token, started, landing, nil
}

// signOut ends the session, if it still runs.
func (s *Store) signOut(ctx context.Context, token Token) error {
	client := ClientOf(ctx)
	if _, err := s.db.ExecContext(ctx, endSession, ipOrNull(client), client.UserAgent, token.hash()); err != nil {
		return fmt.Errorf("sign out: %w", err)
	}
	return nil
}

// callerBySession returns who is signed in, or ErrRefused. The session then counts as used.
func (s *Store) callerBySession(ctx context.Context, token Token) (Caller, error) {
	var company uuid.NullUUID
	var c Caller
	var person string
	err := s.db.QueryRowContext(ctx, useSession, token.hash()).Scan(&company, &c.Role, &person)
	if errors.Is(err, sql.ErrNoRows) {
		return Caller{}, ErrRefused
	}
	if err != nil {
		return Caller{}, fmt.Errorf("look up session: %w", err)
	}
	c.CompanyID, c.Actor = company.UUID, "portal:"+person
	if c.Role == Operator {
		c.Actor = "operator:" + person
	}
	return c, nil
}

// lives asks one of keyLives and sessionLives, which note no use.
func (s *Store) lives(ctx context.Context, query string, token Token) (bool, error) {
	var lives bool
	err := s.db.QueryRowContext(ctx, query, token.hash()).Scan(&lives)
	return lives, err
}

// Sessions lists the live sessions that the caller reaches, and the After of the next page, uuid.Nil at the end.
func (s *Store) Sessions(ctx context.Context, by Caller, p Page) (page []Session, next uuid.UUID, err error) {
	anyCompany, company := by.bounds()
	rows, err := s.db.QueryContext(ctx, listSessions, anyCompany, company, p.After, clamp(p.Limit)+1)
	if err != nil {
		return nil, uuid.Nil, fmt.Errorf("list sessions: %w", err)
	}
	page, more, err := readPage(rows, clamp(p.Limit), func(row scanner) (Session, error) { return scanSession(row) })
	if err != nil {
		return nil, uuid.Nil, fmt.Errorf("list sessions: %w", err)
	}
	if more {
		next = page[len(page)-1].ID
	}
	return page, next, nil
}

// RevokeSession ends one session at once. Errors: ErrForbidden, *NotFoundError.
func (s *Store) RevokeSession(ctx context.Context, by Caller, id uuid.UUID) error {
	if !by.MayChange() {
		return ErrForbidden
	}
	anyCompany, company := by.bounds()
	result, err := s.db.ExecContext(ctx, revokeSession, by.told(ctx, anyCompany, company, id)...)
	if err != nil {
		return fmt.Errorf("revoke session: %w", err)
	}
	return notOne(result, "session", id)
}

// RevokeSessions ends every session that the caller reaches, and every unused link. An operator who means one company
// passes a Caller of that company. Errors: ErrForbidden.
func (s *Store) RevokeSessions(ctx context.Context, by Caller) (sessions, links int, err error) {
	if !by.MayChange() {
		return 0, 0, ErrForbidden
	}
	anyCompany, company := by.bounds()
	err = s.db.QueryRowContext(ctx, revokeSessions, by.told(ctx, anyCompany, company)...).Scan(&sessions, &links)
	if err != nil {
		return 0, 0, fmt.Errorf("revoke sessions: %w", err)
	}
	return sessions, links, nil
}

func scanSession(row scanner, more ...any) (Session, error) {
	var s Session
	var company uuid.NullUUID
	err := row.Scan(append([]any{&s.ID, &company, &s.Role, &s.Person, &s.LinkID, &s.CreatedAt, &s.SeenAt, &s.ExpiresAt}, more...)...)
	if err != nil {
		return Session{}, err
	}
	s.CompanyID, s.CreatedAt, s.SeenAt, s.ExpiresAt = orNil(company), s.CreatedAt.UTC(), s.SeenAt.UTC(), s.ExpiresAt.UTC()
	return s, nil
}
