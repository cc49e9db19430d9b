package access

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Link is a portal link without its token: it starts one session.
type Link struct {
	ID        uuid.UUID  `json:"id"`
	CompanyID *uuid.UUID `json:"company_id"` // nil: an operator's
	Role      Role       `json:"role"`
	Person    string     `json:"person"`
	Landing   string     `json:"landing"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt time.Time  `json:"expires_at"`
}

// NewLink is what a portal link needs.
type NewLink struct {
	CompanyID uuid.UUID
	Role      Role          // Owner or Viewer
	Person    string        // who it is for, for the audit trail
	Landing   string        // the page it leads to: a path here; default /
	Life      time.Duration // default 15 min, at most 24 h
}

// MintLink makes a link for a person of a company and returns its token, here and never again. Only an Operator may.
// Errors: ErrForbidden, *InvalidError.
func (s *Store) MintLink(ctx context.Context, by Caller, l NewLink) (Link, Token, error) {
	if by.Role != Operator || l.CompanyID != uuid.Nil && !by.Reaches(l.CompanyID) {
		return Link{}, Token{}, ErrForbidden
	}
	var bad faults
	if l.CompanyID == uuid.Nil {
		bad.add("company_id", "required", "name the company that the person belongs to")
	}
	if l.Role != Owner && l.Role != Viewer {
		bad.add("role", "unknown_role", "use owner or viewer")
	}
	return s.mint(ctx, by, l, bad)
}

// MintOperatorLink makes a link for one of us, who then reaches every company. It is for the command line alone: whoever
// has the database's password needs no further one, and a stolen API key must not become an operator's session.
func (s *Store) MintOperatorLink(ctx context.Context, by Caller, person string, life time.Duration) (Link, Token, error) {
	if by.Role != Operator || by.CompanyID != uuid.Nil {
		return Link{}, Token{}, ErrForbidden
	}
	return s.mint(ctx, by, NewLink{Role: Operator, Person: person, Landing: "/ops", Life: life}, nil)
}

func (s *Store) mint(ctx context.Context, by Caller, l NewLink, bad faults) (Link, Token, error) {
	l.Landing, l.Life = cmp.Or(l.Landing, "/"), cmp.Or(l.Life, defaultLinkLife)
	bad.line("person", l.Person)
	if !isPathHere(l.Landing) {
		bad.add("landing", "invalid_path", "use a path on this host, such as /endpoints")
	}
	if l.Life < time.Minute || l.Life > longestLinkLife {
		bad.add("ttl", "out_of_range", fmt.Sprintf("use 1m to %s", longestLinkLife))
	}
	if err := bad.err(); err != nil {
		return Link{}, Token{}, err
	}
	token := newToken(linkToken)
	made, err := scanLink(s.db.QueryRowContext(ctx, insertLink,
		by.told(ctx, orNull(l.CompanyID), l.Role, l.Person, l.Landing, token.hash(), l.Life.Microseconds())...))
	if err != nil {
		return Link{}, Token{}, fmt.Errorf("mint portal link: %w", err)
	}
	return made, token, nil
}

// isPathHere refuses what a browser would take for another host (//host, /\host), and what a header cannot hold.
func isPathHere(path string) bool {
	if len(path) > 500 || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") {
		return false
	}
	if strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' }) {
		return false
	}
	u, err := url.Parse(path)
	return err == nil && u.Scheme == "" && u.Host == "" && u.Fragment == "" && !strings.HasPrefix(u.Path, "//")
}

func scanLink(row scanner) (Link, error) {
	var l Link
	var company uuid.NullUUID
	if err := row.Scan(&l.ID, &company, &l.Role, &l.Person, &l.Landing, &l.CreatedAt, &l.ExpiresAt); err != nil {
		return Link{}, err
	}
	l.CompanyID, l.CreatedAt, l.ExpiresAt = orNil(company), l.CreatedAt.UTC(), l.ExpiresAt.UTC()
	return l, nil
}
