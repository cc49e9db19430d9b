package endpoint

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/chattosurvey/surveyhooks/relay/header"
	"github.com/chattosurvey/surveyhooks/relay/seal"
	"github.com/chattosurvey/surveyhooks/relay/sign"
	"github.com/chattosurvey/surveyhooks/schema/tenant"
)

// Get returns an endpoint, or a *NotFoundError.
func (s *Store) Get(ctx context.Context, scope Scope, id uuid.UUID) (Endpoint, error) {
	tx, err := scope.Begin(ctx, s.db, tenant.ReadOnly)
	if err != nil {
		return Endpoint{}, fmt.Errorf("get endpoint: %w", orNotFound(err, id))
	}
	defer func() { _ = tx.Rollback() }() // it only reads
	e, err := find(ctx, tx, selectEndpoint, Ref{Scope: scope, ID: id})
	if err != nil {
		return Endpoint{}, fmt.Errorf("get endpoint: %w", err)
	}
	return e, nil
}

// Filter chooses endpoints for List.
type Filter struct {
	Scope Scope
	State State     // "": any
	Text  string    // part of URL, description or id, in any case; "": any
	After uuid.UUID // the last id of the page before; nil: the first page
	Limit int       // default 50, at most 500
}

// List returns a page of endpoints in the order of their creation, and the After of the next one, uuid.Nil at the end.
func (s *Store) List(ctx context.Context, f Filter) (page []Endpoint, next uuid.UUID, err error) {
	limit := min(cmp.Or(max(f.Limit, 0), 50), 500)
	anyCompany, company := f.Scope.Bounds()
	tx, err := f.Scope.Begin(ctx, s.db, tenant.ReadOnly)
	if errors.Is(err, tenant.ErrNoCompany) {
		return []Endpoint{}, uuid.Nil, nil
	}
	if err != nil {
		return nil, uuid.Nil, fmt.Errorf("list endpoints: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // it only reads
	// One more than asked for tells whether there is a next page.
	rows, err := tx.QueryContext(ctx, listEndpoints, anyCompany, company, f.After, f.State, f.Text, limit+1)
	if err != nil {
		return nil, uuid.Nil, fmt.Errorf("list endpoints: %w", err)
	}
	defer func() { _ = rows.Close() }()
	page = []Endpoint{}
	for rows.Next() {
		e, err := scan(rows)
		if err != nil {
			return nil, uuid.Nil, fmt.Errorf("list endpoints: %w", err)
		}
		page = append(page, e)
	}
	if err := rows.Err(); err != nil {
		return nil, uuid.Nil, fmt.Errorf("list endpoints: %w", err)
	}
	if len(page) > limit {
		page = page[:limit]
		next = page[limit-1].ID
	}
	return page, next, nil
}

// Config is what a relay needs to serve an endpoint. It prints without its secrets.
type Config struct {
	EndpointID uuid.UUID
	CompanyID  uuid.UUID
	URL        string
	State      State
	Version    int
	RateLimit  int           // attempts a second at most; 0: no limit
	Secrets    []sign.Secret // newest first; those that have expired are left out
	// SecretsUntil is when the first of them expires and the configuration must be loaded again; zero: never.
	SecretsUntil time.Time
	Headers      []header.Header
	// Sealed says why a secret or a header cannot be opened: one of the errors of package seal. Nothing can be sent then:
	// half of the signatures, or a request without its credential, would be refused and charged to the endpoint.
	Sealed error
}

// Load returns the configurations of many endpoints by one query, in any order, opened with the keys. Deleted and
// unknown ones are left out. What cannot be opened is that endpoint's matter alone: see Config.
func Load(ctx context.Context, db *sql.DB, keys *seal.Ring, ids []uuid.UUID) ([]Config, error) {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = id.String()
	}
	rows, err := db.QueryContext(ctx, loadConfigs, pq.Array(texts))
	if err != nil {
		return nil, fmt.Errorf("load endpoints: %w", err)
	}
	defer func() { _ = rows.Close() }()
	configs := make([]Config, 0, len(ids))
	for rows.Next() {
		var c Config
		var secrets, headers column
		var names pq.StringArray
		var until sql.NullTime
		err := rows.Scan(&c.EndpointID, &c.CompanyID, &c.URL, &c.State, &c.Version, &c.RateLimit, &secrets.versions, &secrets.keyIDs,
			&secrets.sealed, &until, &names, &headers.versions, &headers.keyIDs, &headers.sealed)
		if err != nil {
			return nil, fmt.Errorf("load endpoints: %w", err)
		}
		c.SecretsUntil = until.Time
		c.Sealed = errors.Join(c.openSecrets(keys, secrets), c.openHeaders(keys, names, headers))
		configs = append(configs, c)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("load endpoints: %w", err)
	}
	return configs, nil
}

// column is some sealed values of one endpoint.
type column struct {
	versions pq.Int64Array
	keyIDs   pq.StringArray
	sealed   pq.ByteaArray
}

func (c *Config) openSecrets(keys *seal.Ring, stored column) error {
	for i, sealed := range stored.sealed {
		v := sealedValue{company: c.CompanyID, endpoint: c.EndpointID, version: int(stored.versions[i]), keyID: stored.keyIDs[i], sealed: sealed}
		text, err := v.open(keys)
		if err != nil {
			return err
		}
		secret, err := sign.ParseSecret(string(text))
		if err != nil {
			return fmt.Errorf("read secret %d of endpoint %s: %w", v.version, c.EndpointID, err)
		}
		c.Secrets = append(c.Secrets, secret)
	}
	return nil
}

func (c *Config) openHeaders(keys *seal.Ring, names []string, stored column) error {
	for i, name := range names {
		v := sealedValue{
			company: c.CompanyID, endpoint: c.EndpointID, version: int(stored.versions[i]), name: name,
			keyID: stored.keyIDs[i], sealed: stored.sealed[i],
		}
		value, err := v.open(keys)
		if err != nil {
			return err
		}
		c.Headers = append(c.Headers, header.New(name, string(value)))
	}
	return nil
}

type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func find(ctx context.Context, db querier, query string, ref Ref) (Endpoint, error) {
	anyCompany, company := ref.Scope.Bounds()
	e, err := scan(db.QueryRowContext(ctx, query, ref.ID, anyCompany, company))
	if errors.Is(err, sql.ErrNoRows) {
		return Endpoint{}, &NotFoundError{ID: ref.ID}
	}
	if err != nil {
		return Endpoint{}, fmt.Errorf("read endpoint: %w", err)
	}
	return e, nil
}

// orNotFound says of a scope that reaches nothing what it says of one that does not reach id.
func orNotFound(err error, id uuid.UUID) error {
	if errors.Is(err, tenant.ErrNoCompany) {
		return &NotFoundError{ID: id}
	}
	return err
}

// inTx runs do in a transaction of the scope's, and again when it deadlocked with another one: the recorder locks deliveries before
// endpoints, because it must, and we the other way round.
func inTx(ctx context.Context, db *sql.DB, scope Scope, do func(*sql.Tx) error) error {
	for try := 1; ; try++ {
		err := once(ctx, db, scope, do)
		if fault, ok := errors.AsType[*pq.Error](err); ok && fault.Code == "40P01" && try < 5 {
			continue
		}
		return err
	}
}

func once(ctx context.Context, db *sql.DB, scope Scope, do func(*sql.Tx) error) error {
	tx, err := scope.Begin(ctx, db, tenant.ReadWrite)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit there is nothing to roll back
	if err := do(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}
