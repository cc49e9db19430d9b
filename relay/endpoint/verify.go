package endpoint

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/relay/sign"
)

// SignedBy says which of an endpoint's secrets a request was signed with.
type SignedBy struct {
	Previous bool      // the one before the current secret
	Until    time.Time // when the previous one ends; zero without one
}

// CheckSignature checks a request with the stored secrets of an endpoint, which nobody is shown by it. What fits none of
// them is a *sign.RefusedError, the current secret's. Other errors: *NotFoundError, those of package seal.
func (s *Store) CheckSignature(ctx context.Context, ref Ref, h sign.Headers, body []byte) (SignedBy, error) {
	if _, err := s.Get(ctx, ref.Scope, ref.ID); err != nil { // whose it is, before a secret is opened
		return SignedBy{}, err
	}
	configs, err := Load(ctx, s.db, s.keys, []uuid.UUID{ref.ID})
	if err != nil {
		return SignedBy{}, err
	}
	if len(configs) == 0 {
		return SignedBy{}, &NotFoundError{ID: ref.ID} // deleted meanwhile
	}
	c := configs[0]
	if len(c.Secrets) == 0 {
		return SignedBy{}, fmt.Errorf("check signature: %w", c.Sealed)
	}
	now := time.Now()
	first := sign.Diagnose(c.Secrets[0], h, body, now)
	for i, secret := range c.Secrets {
		err := sign.Diagnose(secret, h, body, now)
		if refusal, refused := errors.AsType[*sign.RefusedError](err); !refused || refusal.Signed {
			return SignedBy{Previous: i > 0, Until: c.SecretsUntil}, err
		}
	}
	return SignedBy{Until: c.SecretsUntil}, first
}
