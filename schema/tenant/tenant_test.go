package tenant_test

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/chattosurvey/surveyhooks/schema/schematest"
	"github.com/chattosurvey/surveyhooks/schema/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture gives a company one row in every table that tenants can reach.
var fixture = []string{
	`INSERT INTO webhooks.endpoints (endpoint_id, company_id, url, state_actor) VALUES ($1, $2, 'https://example.com', 'test')`,
	`INSERT INTO webhooks.endpoint_headers (endpoint_id, name, version, sealed, key_id) SELECT $1, 'X-Own', 1, '\x00', 'k' WHERE $2::uuid IS NOT NULL`,
	`INSERT INTO webhooks.endpoint_secrets (endpoint_id, version, sealed) SELECT $1, 1, '\x00' WHERE $2::uuid IS NOT NULL`,
	`INSERT INTO webhooks.lanes (endpoint_id) SELECT $1 WHERE $2::uuid IS NOT NULL`,
	`INSERT INTO webhooks.outbox (event_id, event_type, company_id, data) VALUES ($1, 'a', $2, '{}')`,
	`INSERT INTO webhooks.event_ids SELECT event_id, recorded_at, transaction_id, position FROM webhooks.outbox WHERE event_id = $1 AND company_id = $2`,
	`INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id) SELECT $1, nextval('webhooks.delivery_id'), $1 WHERE $2::uuid IS NOT NULL`,
	`INSERT INTO webhooks.journal (fact, company_id, data) SELECT 'x', $2, json_build_object('e', $1::uuid)`,
	`INSERT INTO webhooks.events (event_id, company_id, event_type, created_at, position, fanned_out_at, decisions)
	 VALUES ($1, $2, 'a', now(), 1, now(), '[]')`,
	`INSERT INTO webhooks.deliveries (delivery_id, endpoint_id, event_id, company_id, event_type, state, trigger, created_at)
	 VALUES (nextval('webhooks.delivery_id'), $1, $1, $2, 'a', 'pending', 'automatic', now())`,
	`INSERT INTO webhooks.attempts (delivery_id, attempt, started_at, endpoint_id, company_id, event_id, event_type, generation, trigger,
	   outcome, reason, detail, config_version, url, request_signature, request_bytes, response_body, response_truncated, remote_addr,
	   dns_us, connect_us, tls_us, first_byte_us, total_us)
	 VALUES (nextval('webhooks.delivery_id'), 1, now(), $1, $2, $1, 'a', 1, 'automatic', 'succeeded', 'ok', '', 1, '', '', 0, '', false, '', 0, 0, 0, 0, 0)`,
	`INSERT INTO webhooks.endpoint_slots SELECT $1, now(), 'a', 'ok', 200, $2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5`,
	`INSERT INTO webhooks.replays SELECT $1, 1, 2 WHERE $2::uuid IS NOT NULL`,
	`INSERT INTO webhooks.requested_deliveries SELECT $1, $1, 1 WHERE $2::uuid IS NOT NULL`,
	`INSERT INTO webhooks.endpoint_changes VALUES (1, now(), $1, $2, 'endpoint.created', 1, 'test', '', NULL, NULL)`,
}

type testBundle struct {
	*schematest.DB

	mine, theirs         uuid.UUID
	myPoint, theirsPoint uuid.UUID
}

func setup(t *testing.T) testBundle {
	t.Helper()

	b := testBundle{DB: schematest.New(t), mine: uuid.New(), theirs: uuid.New(), myPoint: uuid.New(), theirsPoint: uuid.New()}
	for company, endpoint := range map[uuid.UUID]uuid.UUID{b.mine: b.myPoint, b.theirs: b.theirsPoint} {
		for _, statement := range fixture {
			_, err := b.Owner.ExecContext(t.Context(), statement, endpoint, company)
			require.NoError(t, err, statement)
		}
	}
	return b
}

func (b testBundle) begin(t *testing.T, access tenant.Access) *sql.Tx {
	t.Helper()

	tx, err := tenant.Begin(t.Context(), b.DB.DB, b.mine, access)
	require.NoError(t, err)
	t.Cleanup(func() { _ = tx.Rollback() })
	return tx
}

// isolated is every table that tenants have a privilege on, as the catalog knows it, so that none is forgotten here.
func (b testBundle) isolated(t *testing.T, privilege string) (tables []string) {
	t.Helper()

	rows, err := b.QueryContext(t.Context(), `SELECT c.relname FROM pg_class c
 WHERE c.relnamespace = 'webhooks'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT c.relispartition
   AND (has_table_privilege('webhooks_tenant', c.oid, $1) OR $1 <> 'DELETE' AND has_any_column_privilege('webhooks_tenant', c.oid, $1))
 ORDER BY 1`, privilege)
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var name string
		require.NoError(t, rows.Scan(&name))
		tables = append(tables, name)
	}
	require.NoError(t, rows.Err())
	require.NotEmpty(t, tables)
	return tables
}

func TestForgottenConditionShowsOnesOwnRowsAlone(t *testing.T) {
	t.Parallel()

	b := setup(t)
	tx := b.begin(t, tenant.ReadOnly)
	for _, table := range b.isolated(t, "SELECT") {
		if table == "cursors" {
			continue // nothing of any company
		}
		column := "company_id"
		if slices.Contains([]string{"endpoint_secrets", "endpoint_headers", "lanes", "pending", "replays", "requested_deliveries"}, table) {
			column = "endpoint_id"
		} else if table == "event_ids" {
			column = "event_id"
		}
		var all, mine int
		require.NoError(t, tx.QueryRowContext(t.Context(), fmt.Sprintf(
			`SELECT count(*), count(*) FILTER (WHERE %s IN ($1, $2)) FROM webhooks.%s`, column, table), b.mine, b.myPoint).Scan(&all, &mine), table)
		require.Equal(t, 1, all, table)
		require.Equal(t, 1, mine, table)
	}
}

func TestForgottenSettingShowsNothing(t *testing.T) {
	t.Parallel()

	b := setup(t)
	for _, setting := range []string{`SELECT 1`, `SET LOCAL webhooks.company_id = ''`} {
		tx, err := b.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		for _, statement := range []string{`SET LOCAL ROLE webhooks_tenant`, setting} {
			_, err := tx.ExecContext(t.Context(), statement)
			require.NoError(t, err)
		}
		for _, table := range b.isolated(t, "SELECT") {
			var n int
			require.NoError(t, tx.QueryRowContext(t.Context(), `SELECT count(*) FROM webhooks.`+table).Scan(&n), table)
			require.Zero(t, n, table)
		}
		require.NoError(t, tx.Rollback())
	}
}

func TestNothingOfAnotherCompanyIsChanged(t *testing.T) {
	t.Parallel()

	b := setup(t)
	tx := b.begin(t, tenant.ReadWrite)
	for statement, want := range map[string]int64{
		`UPDATE webhooks.endpoints SET url = 'https://changed.example'`: 1,
		`UPDATE webhooks.lanes SET breaker = 'closed'`:                  1,
		`UPDATE webhooks.endpoint_secrets SET expires_at = now()`:       1,
		`UPDATE webhooks.pending SET due_at = now()`:                    1,
	} {
		result, err := tx.ExecContext(t.Context(), statement)
		require.NoError(t, err, statement)
		n, err := result.RowsAffected()
		require.NoError(t, err)
		require.Equal(t, want, n, statement)
	}
	for _, table := range b.isolated(t, "DELETE") {
		result, err := tx.ExecContext(t.Context(), `DELETE FROM webhooks.`+table)
		require.NoError(t, err, table)
		n, err := result.RowsAffected()
		require.NoError(t, err)
		require.EqualValues(t, 1, n, table)
	}
	require.NoError(t, tx.Commit())
	var left int
	require.NoError(t, b.QueryRowContext(t.Context(), `SELECT (SELECT count(*) FROM webhooks.pending WHERE endpoint_id = $1)
	     + (SELECT count(*) FROM webhooks.endpoint_secrets WHERE endpoint_id = $1 AND expires_at IS NULL)
	     + (SELECT count(*) FROM webhooks.endpoints WHERE endpoint_id = $1 AND url = 'https://example.com')`, b.theirsPoint).Scan(&left))
	require.Equal(t, 3, left)
}

func TestNothingIsPutUnderAnotherCompany(t *testing.T) {
	t.Parallel()

	b := setup(t)
	for _, statement := range []string{
		`INSERT INTO webhooks.endpoints (company_id, url, state_actor) SELECT $2, 'https://x', 'x' WHERE $1::uuid IS NOT NULL`,
		`UPDATE webhooks.endpoints SET company_id = $2 WHERE endpoint_id <> $1`,
		`INSERT INTO webhooks.endpoint_secrets (endpoint_id, version, sealed) SELECT $1, 2, '\x00' WHERE $2::uuid IS NOT NULL`,
		`INSERT INTO webhooks.pending (endpoint_id, delivery_id, event_id) VALUES ($1, 99, $2)`,
		`INSERT INTO webhooks.outbox (event_type, company_id, data, endpoint_id) VALUES ('a', $2, '{}', $1)`,
		`INSERT INTO webhooks.journal (fact, company_id, data) VALUES ('x', $2, json_build_object('e', $1::uuid))`,
	} {
		tx := b.begin(t, tenant.ReadWrite)
		_, err := tx.ExecContext(t.Context(), statement, b.theirsPoint, b.theirs)
		fault, ok := errors.AsType[*pq.Error](err)
		require.True(t, ok, "%s: %v", statement, err)
		require.EqualValues(t, "42501", fault.Code, "%s: %v", statement, err)
		require.NoError(t, tx.Rollback())
	}
}

func TestWhatTenantsMayNot(t *testing.T) {
	t.Parallel()

	b := setup(t)
	for _, statement := range []string{
		`SELECT sealed FROM webhooks.endpoint_secrets`, `SELECT FROM webhooks.journal`, `SELECT FROM webhooks.intents`,
		`SELECT FROM webhooks.relays`, `SELECT system_identifier FROM webhooks.cursors`, `SELECT FROM webhooks.delivery_feed`,
		`SELECT FROM webhooks.api_keys`, `SELECT FROM webhooks.sessions`, `SELECT FROM webhooks.access_trail`, `SELECT FROM webhooks.quarantine`,
		`SELECT FROM webhooks.event_history`, `SELECT FROM webhooks.delivery_history`, `SELECT FROM webhooks.attempt_history`,
		`SELECT FROM webhooks.endpoint_health`, `UPDATE webhooks.deliveries SET state = 'delivered'`, `DELETE FROM webhooks.endpoints`,
		`SELECT FROM webhooks.outbox_default`, `SELECT webhooks.prune_partition('outbox', '2020-01-01', '30 days')`,
		`CREATE TABLE webhooks.mine (n int)`,
	} {
		tx := b.begin(t, tenant.ReadWrite)
		_, err := tx.ExecContext(t.Context(), statement)
		fault, ok := errors.AsType[*pq.Error](err)
		require.True(t, ok, "%s: %v", statement, err)
		require.EqualValues(t, "42501", fault.Code, "%s: %v", statement, err)
		require.NoError(t, tx.Rollback())
	}
	tx := b.begin(t, tenant.ReadOnly)
	_, err := tx.ExecContext(t.Context(), `UPDATE webhooks.endpoints SET url = ''`)
	require.ErrorContains(t, err, "read-only transaction")
}

func TestNobodyIsRefused(t *testing.T) {
	t.Parallel()

	db := schematest.New(t)
	_, err := tenant.Begin(t.Context(), db.DB, uuid.Nil, tenant.ReadOnly)
	require.ErrorIs(t, err, tenant.ErrNoCompany)
	_, err = tenant.Begin(t.Context(), db.App, uuid.New(), tenant.ReadOnly)
	require.ErrorContains(t, err, "become company", "the survey app's login cannot become a tenant")
}

func TestConnectionsComeBackAsTheyWere(t *testing.T) {
	t.Parallel()

	b := setup(t)
	b.SetMaxOpenConns(1)
	for _, end := range []func(*sql.Tx) error{(*sql.Tx).Rollback, (*sql.Tx).Commit} {
		tx := b.begin(t, tenant.ReadOnly)
		var role, company string
		require.NoError(t, tx.QueryRowContext(t.Context(), `SELECT current_user, current_setting('webhooks.company_id')`).Scan(&role, &company))
		require.Equal(t, "webhooks_tenant", role)
		require.Equal(t, b.mine.String(), company)
		require.NoError(t, end(tx))
		var same bool
		require.NoError(t, b.QueryRowContext(t.Context(), `SELECT current_user = session_user
			AND coalesce(current_setting('webhooks.company_id', true), '') = '' AND current_setting('transaction_read_only') = 'off'`).Scan(&same))
		require.True(t, same)
	}
}

// TestParametersAreNoStatements holds for every statement of ours that has any: the values are bound, not inserted.
func TestParametersAreNoStatements(t *testing.T) {
	t.Parallel()

	b := setup(t)
	tx := b.begin(t, tenant.ReadOnly)
	for _, evil := range []string{`'; RESET ROLE; --`, `x'; SET LOCAL webhooks.company_id = '` + b.theirs.String() + `'; SELECT '`, `$1); RESET ROLE; SELECT (1`} {
		var n int
		require.NoError(t, tx.QueryRowContext(t.Context(), `SELECT count(*) FROM webhooks.endpoints WHERE url = $1 OR description = $1`, evil).Scan(&n))
		require.Zero(t, n)
		_, err := tx.ExecContext(t.Context(), `SELECT $1::text; RESET ROLE`, evil)
		require.ErrorContains(t, err, "cannot insert multiple commands", "a statement with parameters is one statement")
		require.NoError(t, tx.Rollback())
		tx = b.begin(t, tenant.ReadOnly)
	}
	var role string
	require.NoError(t, tx.QueryRowContext(t.Context(), `SELECT current_user`).Scan(&role))
	require.Equal(t, "webhooks_tenant", role)
}
