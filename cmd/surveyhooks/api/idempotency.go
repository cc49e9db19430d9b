package api

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
)

// settleWithin bounds what is done after a request whose own time is over.
const settleWithin = 5 * time.Second

// idempotencyKey is whose key it is, and what was asked with it.
type idempotencyKey struct {
	company uuid.UUID
	actor   string
	key     string
	hash    []byte
	claim   uuid.UUID
}

// once does the request if its key is new, and else answers as the first time. No transaction is open while the request
// is done: the claim is a row that others see, and ends by itself.
func (s *server) once(r *request, rt route) (answer, error) {
	k, err := r.idempotencyKey()
	if err != nil {
		return answer{}, err
	}
	claimed, err := s.claim(r.Context(), &k)
	if err != nil {
		return answer{}, err
	}
	if !claimed {
		return s.again(r.Context(), k)
	}
	r.claim = k.claim
	done, err := rt.handle(s, r)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), settleWithin)
	defer cancel()
	if settled := s.settle(ctx, k, done, err); settled != nil {
		// The request is done and must be answered so; its claim ends by itself.
		s.logger.Error("idempotency key was not settled", "request_id", r.id, "error", settled)
	}
	return done, err
}

func (r *request) idempotencyKey() (idempotencyKey, error) {
	values := r.Header.Values("Idempotency-Key")
	unfit := func(c rune) bool { return c < '!' || c > '~' }
	if len(values) != 1 || values[0] == "" || len(values[0]) > 255 || strings.ContainsFunc(values[0], unfit) {
		return idempotencyKey{}, refusal(http.StatusBadRequest, "invalid_idempotency_key",
			"give one Idempotency-Key of 1 to 255 visible ASCII characters, such as a UUID")
	}
	hash := sha256.New()
	fmt.Fprintf(hash, "%s %s\n", r.Method, r.URL.RequestURI())
	hash.Write(r.body)
	claim, err := uuid.NewV7()
	if err != nil {
		return idempotencyKey{}, fmt.Errorf("mint claim: %w", err)
	}
	return idempotencyKey{
		company: r.caller.CompanyID, actor: r.caller.Actor, key: values[0], hash: hash.Sum(nil), claim: claim,
	}, nil
}

// claim reports whether the request is this one's to do.
func (s *server) claim(ctx context.Context, k *idempotencyKey) (bool, error) {
	if _, err := s.db.ExecContext(ctx, forgetKeys); err != nil {
		return false, fmt.Errorf("forget old idempotency keys: %w", err)
	}
	err := s.db.QueryRowContext(ctx, claimKey, k.company, k.actor, k.key, k.hash, k.claim).Scan(&k.claim)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("claim idempotency key: %w", err)
	}
	return true, nil
}

// again answers what the first request was answered.
func (s *server) again(ctx context.Context, k idempotencyKey) (answer, error) {
	var same bool
	var status sql.NullInt16
	var first answer
	var body []byte
	err := s.db.QueryRowContext(ctx, readKey, k.company, k.actor, k.key, k.hash).Scan(&same, &status, &first.location, &body)
	switch {
	case errors.Is(err, sql.ErrNoRows) || err == nil && same && !status.Valid: // the former: it has just failed
		return first, refusal(http.StatusConflict, "request_in_progress",
			"a request with this Idempotency-Key is under way: ask again in a moment").after(time.Second)
	case err != nil:
		return first, fmt.Errorf("read idempotency key: %w", err)
	case !same:
		return first, refusal(http.StatusUnprocessableEntity, "idempotency_key_reused",
			"this Idempotency-Key was used for another request: use a new one")
	}
	first.status, first.replayed = int(status.Int16), true
	if body != nil {
		first.body = json.RawMessage(body)
	}
	return first, nil
}

// settle keeps the answer of what was done, and frees the key of what was not.
func (s *server) settle(ctx context.Context, k idempotencyKey, done answer, failed error) error {
	statement, args := keepAnswer, []any{k.company, k.actor, k.key, k.claim}
	switch {
	case failed == nil:
		kept := done.kept
		if kept == nil {
			kept = done.body
		}
		body, err := json.Marshal(kept)
		if err != nil {
			return fmt.Errorf("encode answer: %w", err)
		}
		args = append(args, done.status, done.location, string(body))
	case problemOf(failed).Status < http.StatusInternalServerError:
		statement = dropClaim
	default:
		statement = endClaim
	}
	if _, err := s.db.ExecContext(ctx, statement, args...); err != nil {
		return fmt.Errorf("settle idempotency key: %w", err)
	}
	return nil
}
