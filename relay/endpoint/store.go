package endpoint

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/fleet"
	"github.com/chattosurvey/surveyhooks/relay/header"
	"github.com/chattosurvey/surveyhooks/relay/seal"
	"github.com/chattosurvey/surveyhooks/relay/sign"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// Options configure a Store.
type Options struct {
	DB              *sql.DB       // required
	Policy          egress.Policy // which URLs are allowed; zero: production's
	Keys            *seal.Ring    // seals secrets and header values; nil or empty: a call that has one to keep fails with seal.ErrNoKeys
	RotationOverlap time.Duration // how long a rotated secret signs beside the new one; default 24 h
}

// Validate joins everything that is wrong with the options.
func (o Options) Validate() error {
	var errs []error
	if o.DB == nil {
		errs = append(errs, errors.New("DB is nil: want a database with the schema webhooks"))
	}
	if o.RotationOverlap < 0 {
		errs = append(errs, fmt.Errorf("RotationOverlap is %s: want a positive duration, or 0 for 24h", o.RotationOverlap))
	}
	return errors.Join(errs...)
}

// Store changes and reads endpoints. It is safe for concurrent use.
type Store struct {
	db      *sql.DB
	policy  egress.Policy
	keys    *seal.Ring
	overlap time.Duration
}

// New returns a store.
func New(o Options) (*Store, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("make endpoint store: %w", err)
	}
	return &Store{db: o.DB, policy: o.Policy, keys: o.Keys, overlap: cmp.Or(o.RotationOverlap, 24*time.Hour)}, nil
}

// Create is what a new endpoint needs.
type Create struct {
	ID          uuid.UUID // zero: a new one is made
	CompanyID   uuid.UUID
	URL         string
	Description string          // at most 500 characters
	EventTypes  []string        // of outbox.Types; none, or "all" alone: all
	Headers     []header.Header // sent with every request; see package header for what is allowed
	RateLimit   *int            // attempts a second at most, 1 to 1000; nil: no limit
	Secret      sign.Secret     // zero: a new one is made
	Actor       string
}

// Create makes an enabled endpoint, its first secret and its lane. It is told of events that are published after it.
// The secret is returned here and never again. Errors: *InvalidError, with code url_taken when the company has an
// endpoint with this URL already (two would deliver everything twice, unnoticed); seal.ErrNoKeys.
func (s *Store) Create(ctx context.Context, c Create) (Endpoint, sign.Secret, error) {
	var bad faults
	bad.company(c.CompanyID)
	canonical := bad.url(s.policy, c.URL)
	bad.text("description", c.Description, maxDescription)
	wanted := Endpoint{Events: bad.events(c.EventTypes)}
	bad.headers(c.Headers)
	bad.headerTotal(nil, c.Headers)
	bad.rateLimit(c.RateLimit)
	bad.actor(c.Actor)
	if err := bad.err(); err != nil {
		return Endpoint{}, sign.Secret{}, err
	}
	secret := c.Secret
	if secret.IsZero() {
		secret = sign.NewSecret()
	}
	var e Endpoint
	err := inTx(ctx, s.db, Company(c.CompanyID), func(tx *sql.Tx) error {
		if err := claimURL(ctx, tx, c.CompanyID, uuid.Nil, canonical); err != nil {
			return err
		}
		if err := room(ctx, tx, c.CompanyID); err != nil {
			return err
		}
		var err error
		e, err = scan(tx.QueryRowContext(ctx, insertEndpoint, c.CompanyID, canonical, c.Description,
			pq.StringArray(wanted.eventTypes()), c.RateLimit, c.Actor, uuid.NullUUID{UUID: c.ID, Valid: c.ID != uuid.Nil}))
		if err != nil {
			return fmt.Errorf("insert endpoint: %w", err)
		}
		if err := s.keepSecret(ctx, tx, e, 1, secret); err != nil {
			return err
		}
		if err := s.keepHeaders(ctx, tx, &e, e.Version, c.Headers); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, insertLane, e.ID); err != nil {
			return fmt.Errorf("insert lane: %w", err)
		}
		return tell(ctx, tx, e.ID, changed(fact.EndpointCreated, Ref{Actor: c.Actor}, nil, &e))
	})
	if err != nil {
		return Endpoint{}, sign.Secret{}, fmt.Errorf("create endpoint: %w", err)
	}
	return e, secret, nil
}

// Update is a change of an endpoint's configuration. Nil fields stay as they are.
type Update struct {
	Ref
	URL             *string
	Description     *string
	EventTypes      []string        // nil: as they are; empty, or "all" alone: all
	Headers         []header.Header // set, or set anew where there is one of the name; the others stay
	RemoveHeaders   []string        // names, in any case
	RateLimit       *int            // as in Create
	RemoveRateLimit bool            // no limit any more, unless RateLimit gives one
}

// Update changes the configuration; attempts that are under way keep the old one. A change that changes nothing makes
// no version and no fact; setting a header always is a change, since nobody compares values. Errors: *NotFoundError,
// *InvalidError, *ConflictError, and seal.ErrNoKeys when there are headers to keep.
func (s *Store) Update(ctx context.Context, u Update) (Endpoint, error) {
	var bad faults
	bad.actor(u.Actor)
	var canonical string
	if u.URL != nil {
		canonical = bad.url(s.policy, *u.URL)
	}
	if u.Description != nil {
		bad.text("description", *u.Description, maxDescription)
	}
	events := bad.events(u.EventTypes)
	bad.headers(u.Headers)
	bad.removals(u.Headers, u.RemoveHeaders)
	bad.rateLimit(u.RateLimit)
	if err := bad.err(); err != nil {
		return Endpoint{}, err
	}
	return s.change(ctx, "update", u.Ref, func(tx *sql.Tx, old Endpoint) (Endpoint, error) {
		now := old
		if u.Description != nil {
			now.Description = *u.Description
		}
		if u.EventTypes != nil {
			now.Events = events
		}
		if u.RateLimit != nil || u.RemoveRateLimit {
			now.RateLimit = u.RateLimit
		}
		if u.URL != nil && canonical != old.URL {
			now.URL = canonical
			if err := claimURL(ctx, tx, old.CompanyID, old.ID, canonical); err != nil {
				return old, err
			}
		}
		if same(old, now) && len(u.Headers)+len(u.RemoveHeaders) == 0 {
			return old, nil
		}
		if err := s.changeHeaders(ctx, tx, old, u); err != nil {
			return old, err
		}
		now, err := scan(tx.QueryRowContext(ctx, updateEndpoint, old.ID, old.CompanyID, now.URL, now.Description,
			pq.StringArray(now.eventTypes()), now.RateLimit))
		if err != nil {
			return old, err
		}
		return now, tell(ctx, tx, old.ID, changed(fact.EndpointUpdated, u.Ref, &old, &now))
	})
}

// RotateSecret makes a new secret (zero: at random) and returns it, here and never again. The old one signs beside it
// for the overlap. One that was still on its way out from an earlier rotation ends at once: rotating twice gets rid of
// a leaked secret now. Errors: *NotFoundError, *ConflictError, seal.ErrNoKeys.
func (s *Store) RotateSecret(ctx context.Context, ref Ref, secret sign.Secret) (Endpoint, sign.Secret, error) {
	if secret.IsZero() {
		secret = sign.NewSecret()
	}
	e, err := s.change(ctx, "rotate secret of", ref, func(tx *sql.Tx, old Endpoint) (Endpoint, error) {
		var last int
		if err := tx.QueryRowContext(ctx, lastSecret, old.ID).Scan(&last); err != nil {
			return old, fmt.Errorf("find last secret: %w", err)
		}
		if _, err := tx.ExecContext(ctx, expireSecrets, old.ID, s.overlap.Microseconds()); err != nil {
			return old, fmt.Errorf("expire secrets: %w", err)
		}
		if _, err := tx.ExecContext(ctx, eraseExpired, old.ID); err != nil {
			return old, fmt.Errorf("erase expired secrets: %w", err)
		}
		if err := s.keepSecret(ctx, tx, old, last+1, secret); err != nil {
			return old, err
		}
		now, err := scan(tx.QueryRowContext(ctx, bumpVersion, old.ID, old.CompanyID))
		if err != nil {
			return old, err
		}
		return now, tell(ctx, tx, old.ID, changed(fact.EndpointSecretRotated, ref, &old, &now))
	})
	if err != nil {
		return Endpoint{}, sign.Secret{}, err
	}
	return e, secret, nil
}

// Test publishes a test.webhook event for this endpoint alone and returns the event's id. It is sent even while the
// endpoint is disabled, but not while all sending is paused: then it is a *fleet.PausedError. Nothing about
// the endpoint changes, so there is no fact but the event's own.
func (s *Store) Test(ctx context.Context, ref Ref) (uuid.UUID, error) {
	return s.Example(ctx, ref, outbox.TestWebhookType)
}

// Example is a Test with an invented event of another type of the catalogue. The trail of the company is told of both.
func (s *Store) Example(ctx context.Context, ref Ref, kind outbox.Type) (uuid.UUID, error) {
	var bad faults
	bad.actor(ref.Actor)
	if err := bad.err(); err != nil {
		return uuid.Nil, err
	}
	if err := fleet.MustSend(ctx, s.db); err != nil {
		return uuid.Nil, fmt.Errorf("test endpoint %s: %w", ref.ID, err)
	}
	var id uuid.UUID
	err := inTx(ctx, s.db, ref.Scope, func(tx *sql.Tx) error {
		e, err := find(ctx, tx, lockEndpoint, ref)
		if err != nil {
			return err
		}
		event := outbox.NewSample(kind, e.CompanyID)
		event.EndpointID = &e.ID
		ids, err := outbox.Publish(ctx, tx, event)
		if err != nil {
			return err
		}
		id = ids[0]
		detail := fmt.Sprintf(`{"event_id": %q, "event_type": %q}`, id, kind)
		if _, err := tx.ExecContext(ctx, tellTrail, "test.sent", e.ID, ref.Actor, detail); err != nil {
			return fmt.Errorf("tell the trail: %w", err)
		}
		return nil
	})
	if err != nil {
		return uuid.Nil, fmt.Errorf("test endpoint %s: %w", ref.ID, orNotFound(err, ref.ID))
	}
	return id, nil
}

// change locks the endpoint and makes one change of it in one transaction, if it is at the version that is expected.
func (s *Store) change(ctx context.Context, act string, ref Ref, do func(*sql.Tx, Endpoint) (Endpoint, error)) (Endpoint, error) {
	var bad faults
	bad.actor(ref.Actor)
	if err := bad.err(); err != nil {
		return Endpoint{}, err
	}
	var now Endpoint
	err := inTx(ctx, s.db, ref.Scope, func(tx *sql.Tx) error {
		old, err := find(ctx, tx, lockEndpoint, ref)
		if err != nil {
			return err
		}
		if ref.ExpectedVersion != 0 && ref.ExpectedVersion != old.Version {
			return &ConflictError{ID: old.ID, Expected: ref.ExpectedVersion, Actual: old.Version}
		}
		now, err = do(tx, old)
		return err
	})
	if err != nil {
		return Endpoint{}, fmt.Errorf("%s endpoint %s: %w", act, ref.ID, orNotFound(err, ref.ID))
	}
	return now, nil
}

// tell appends the facts and notifies the relays, both with the commit.
func tell(ctx context.Context, tx *sql.Tx, id uuid.UUID, facts ...fact.Fact) error {
	if err := commitlog.Append(ctx, tx, facts...); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, notify, id.String()); err != nil {
		return fmt.Errorf("notify relays: %w", err)
	}
	return nil
}

func same(a, b Endpoint) bool {
	limit := func(e Endpoint) int { return *cmp.Or(e.RateLimit, new(int)) } // 0 is none
	return a.URL == b.URL && a.Description == b.Description && slices.Equal(a.Events, b.Events) && limit(a) == limit(b)
}

// room refuses one endpoint too many: each event of the company is decided about for every one of them, in the
// transaction that all companies' events wait for. The company's URLs are locked.
func room(ctx context.Context, tx *sql.Tx, company uuid.UUID) error {
	var n int
	if err := tx.QueryRowContext(ctx, countEndpoints, company).Scan(&n); err != nil {
		return fmt.Errorf("count endpoints: %w", err)
	}
	if n < maxEndpoints {
		return nil
	}
	var bad faults
	bad.add("url", "too_many_endpoints", fmt.Sprintf("a company has at most %d endpoints: delete one that is not needed", maxEndpoints))
	return bad.err()
}

// claimURL refuses a URL that another endpoint of the company has.
func claimURL(ctx context.Context, tx *sql.Tx, company, id uuid.UUID, canonical string) error {
	if _, err := tx.ExecContext(ctx, lockURLs, company); err != nil {
		return fmt.Errorf("lock URLs: %w", err)
	}
	var taken bool
	if err := tx.QueryRowContext(ctx, urlTaken, company, canonical, id).Scan(&taken); err != nil {
		return fmt.Errorf("look for the same URL: %w", err)
	}
	if !taken {
		return nil
	}
	var bad faults
	bad.add("url", "url_taken", "another endpoint has this URL and would get everything twice; change that one instead")
	return bad.err()
}
