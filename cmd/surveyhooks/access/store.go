package access

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// The limits of a portal link's life.
const (
	defaultLinkLife = 15 * time.Minute
	longestLinkLife = 24 * time.Hour
)

// Options configure a Store.
type Options struct {
	DB       *sql.DB       // required
	Idle     time.Duration // a session ends so long after its last request; default 30 min
	Absolute time.Duration // and so long after its start at the latest; default 12 h
}

// Validate joins everything that is wrong with the options.
func (o Options) Validate() error {
	var errs []error
	if o.DB == nil {
		errs = append(errs, errors.New("DB is nil: want a database with the schema webhooks"))
	}
	if o.Idle < 0 || o.Idle > 0 && o.Idle < 2*time.Minute {
		// Use is noted to the minute.
		errs = append(errs, fmt.Errorf("idle is %s: want at least 2m, or 0 for 30m", o.Idle))
	}
	if o.Absolute < 0 {
		errs = append(errs, fmt.Errorf("absolute is %s: want a positive duration, or 0 for 12h", o.Absolute))
	}
	return errors.Join(errs...)
}

// Store keeps keys, links, sessions and their trail. Every time is the database's, so that replicas agree on what has
// expired. It is safe for concurrent use.
type Store struct {
	db             *sql.DB
	idle, absolute time.Duration
}

// NewStore returns a store.
func NewStore(o Options) (*Store, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("make access store: %w", err)
	}
	return &Store{db: o.DB, idle: cmp.Or(o.Idle, 30*time.Minute), absolute: cmp.Or(o.Absolute, 12*time.Hour)}, nil
}

// Page chooses rows in the order of their creation.
type Page struct {
	After uuid.UUID // the last id of the page before; nil: the first page
	Limit int       // default 50, at most 500
}

func clamp(limit int) int { return min(cmp.Or(max(limit, 0), 50), 500) }

// bounds are the caller's reach for a statement: ($any OR company_id = $company).
func (c Caller) bounds() (anyCompany bool, company uuid.UUID) {
	return c.Role == Operator && c.CompanyID == uuid.Nil, c.CompanyID
}

// told are the parameters of every change: who, and from where.
func (c Caller) told(ctx context.Context, more ...any) []any {
	client := ClientOf(ctx)
	return append([]any{c.Actor, ipOrNull(client), client.UserAgent}, more...)
}

func ipOrNull(c Client) any {
	if !c.IP.IsValid() {
		return nil
	}
	return c.IP.String()
}

// orNull keeps the nil UUID out of the database, where it would be a company.
func orNull(id uuid.UUID) uuid.NullUUID { return uuid.NullUUID{UUID: id, Valid: id != uuid.Nil} }

// readPage collects rows, one more than the limit, which tells whether there is a next page.
func readPage[T any](rows *sql.Rows, limit int, scan func(scanner) (T, error)) (page []T, more bool, err error) {
	defer func() { _ = rows.Close() }()
	page = []T{}
	for rows.Next() {
		row, err := scan(rows)
		if err != nil {
			return nil, false, err
		}
		page = append(page, row)
	}
	if err := rows.Err(); err != nil {
		return nil, false, err
	}
	if len(page) > limit {
		return page[:limit], true, nil
	}
	return page, false, nil
}

type scanner interface{ Scan(dest ...any) error }

// notOne makes a change of no row an error.
func notOne(result sql.Result, what string, id uuid.UUID) error {
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		return &NotFoundError{What: what, ID: id}
	}
	return err
}
