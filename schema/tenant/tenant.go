// Package tenant begins transactions that can reach one company's rows and no others.
//
// It owns how a connection becomes a tenant: the role webhooks_tenant and the setting webhooks.company_id, both until
// the transaction ends, so that nothing is left behind on a pooled connection. PostgreSQL's row-level security does the
// rest: a statement that forgets its WHERE finds the company's own rows, and one without the setting finds none. It
// stands behind the statements' own conditions and never instead of them, and it never writes or reads a row itself.
//
// The role keeps out mistakes in our statements, not an attacker who can run statements of his own: RESET ROLE is one.
// Values therefore travel as parameters, which no statement can be made of.
package tenant

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/google/uuid"
)

// ErrNoCompany says that the nil UUID was given, which is no company.
var ErrNoCompany = errors.New("company is the nil UUID: want the tenant whose rows are meant")

// Access says what a transaction may do.
type Access bool

// The two kinds of transactions.
const (
	ReadOnly  Access = false
	ReadWrite Access = true
)

// Begin starts a transaction of company's, in one round trip more than any transaction takes. The login of db has to be
// a member of webhooks_relay, or the owner of the schema.
func Begin(ctx context.Context, db *sql.DB, company uuid.UUID, access Access) (*sql.Tx, error) {
	if company == uuid.Nil {
		return nil, ErrNoCompany
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("begin for company %s: %w", company, err)
	}
	if _, err := tx.ExecContext(ctx, become(company, access)); err != nil {
		_ = tx.Rollback() // the error that matters is the first
		return nil, fmt.Errorf("become company %s: %w", company, err)
	}
	return tx, nil
}
