package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
)

// Key is an API key without its token.
type Key struct {
	ID         uuid.UUID   `json:"id"`
	CompanyID  *uuid.UUID  `json:"company_id"` // null: it reaches every company
	Role       access.Role `json:"role"`
	Name       string      `json:"name"`
	CreatedBy  string      `json:"created_by"`
	CreatedAt  time.Time   `json:"created_at"`
	ExpiresAt  *time.Time  `json:"expires_at"`
	LastUsedAt *time.Time  `json:"last_used_at"`
	RevokedAt  *time.Time  `json:"revoked_at"`
}

// NewKey asks for an API key.
type NewKey struct {
	Name      string
	CompanyID uuid.UUID     // zero: every company
	Role      access.Role   // empty: an operator's
	Life      time.Duration // zero: until it is revoked
}

// InvalidError is what Links and Keys return for a request that cannot be meant.
type InvalidError struct{ Fields []endpoint.FieldError }

// Error counts the faults.
func (e *InvalidError) Error() string { return "the request is invalid" }

// ErrNoKey is what Keys return for a key that is not there, or has ended.
var ErrNoKey = errors.New("no such key")

// Keys make, list and end API keys. The token of a new one is a secret.
type Keys interface {
	Create(ctx context.Context, by access.Caller, key NewKey) (made Key, token string, err error)
	List(ctx context.Context, after uuid.UUID, limit int) (page []Key, next uuid.UUID, err error)
	Revoke(ctx context.Context, by access.Caller, id uuid.UUID) error
}

// wantedKey is the body that makes a key.
type wantedKey struct {
	Name       string  `json:"name"`
	CompanyID  *string `json:"company_id"`
	Role       string  `json:"role"`
	TTLSeconds int64   `json:"ttl_seconds"`
}

// madeKey is the answer. A replay of it has no token: it is not kept.
type madeKey struct {
	Key

	Token    *string `json:"token"`
	Withheld bool    `json:"withheld"` // it was shown in the first answer
}

func (s *server) listKeys(r *request) (answer, error) {
	p := r.params()
	limit := p.limit()
	if err := p.err(); err != nil {
		return answer{}, err
	}
	after, err := p.cursor()
	if err != nil {
		return answer{}, err
	}
	keys, next, err := s.keys.List(r.Context(), after, limit)
	if err != nil {
		return answer{}, err
	}
	return page(keys, idCursor(next))
}

func (s *server) createKey(r *request) (answer, error) {
	body, err := decode[wantedKey](r)
	if err != nil {
		return answer{}, err
	}
	wanted := NewKey{Name: body.Name, Role: access.Role(body.Role)}
	if body.CompanyID != nil {
		var valid bool
		if wanted.CompanyID, valid = parseUUID(*body.CompanyID); !valid {
			return answer{}, unprocessable(field{Field: "company_id", Code: "invalid", Message: "want the UUID of a company, or none for every company"})
		}
	}
	if wanted.Life, err = seconds("ttl_seconds", body.TTLSeconds); err != nil {
		return answer{}, err
	}
	made, token, err := s.keys.Create(r.Context(), r.caller, wanted)
	if err != nil {
		return answer{}, err
	}
	return answer{
		status: http.StatusCreated, body: madeKey{Key: made, Token: &token}, kept: madeKey{Key: made, Withheld: true},
	}, nil
}

func (s *server) revokeKey(r *request) (answer, error) {
	id, there := pathUUID(r.Request, "key_id")
	if !there {
		return answer{}, notFound()
	}
	err := s.keys.Revoke(r.Context(), r.caller, id)
	if errors.Is(err, ErrNoKey) {
		return answer{}, notFound()
	}
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, nil
}
