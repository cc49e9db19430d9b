package schema_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/chattosurvey/surveyhooks/schema"
	"github.com/chattosurvey/surveyhooks/schema/cluster"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// refused requires that PostgreSQL refuses the statement, for want of a privilege or by row-level security.
func refused(t *testing.T, db *sql.DB, statement string, args ...any) {
	t.Helper()

	_, err := db.ExecContext(t.Context(), statement, args...)
	fault, ok := errors.AsType[*pq.Error](err)
	require.True(t, ok, "%s: %v", statement, err)
	require.EqualValues(t, "42501", fault.Code, "%s: %v", statement, err)
}

// TestNobodyMayMore holds for what later migrations make, too: each query finds what breaks its rule.
func TestNobodyMayMore(t *testing.T) {
	t.Parallel()

	db := database(t)
	for rule, query := range map[string]string{
		"PublicMayNothing: REVOKE ALL ON … FROM PUBLIC in the migration that makes it": `
SELECT 'table ' || c.oid::regclass FROM pg_class c, aclexplode(c.relacl) a WHERE c.relnamespace = 'webhooks'::regnamespace AND a.grantee = 0
UNION ALL
SELECT 'schema webhooks' FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.nspname = 'webhooks' AND a.grantee = 0
UNION ALL
SELECT 'function ' || p.oid::regprocedure FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
 WHERE p.pronamespace = 'webhooks'::regnamespace AND a.grantee = 0`,
		"DefinersPinTheirSearchPath: SET search_path = ''": `
SELECT p.oid::regprocedure::text FROM pg_proc p
 WHERE p.pronamespace = 'webhooks'::regnamespace AND p.prosecdef AND NOT coalesce('search_path=""' = ANY (p.proconfig), false)`,
		"TenantsAreIsolated: SELECT webhooks.isolate('…') before a GRANT to webhooks_tenant, and never a view": `
SELECT c.oid::regclass::text FROM pg_class c
 WHERE c.relnamespace = 'webhooks'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
   AND has_any_column_privilege('webhooks_tenant', c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
   AND c.relname <> 'cursors' -- which holds nothing of any company
   AND NOT (c.relrowsecurity AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'tenant_sees_its_own'))`,
		"PartitionsAreReachedThroughTheirLogAlone": `
SELECT c.oid::regclass::text FROM pg_class c
 WHERE c.relnamespace = 'webhooks'::regnamespace AND c.relispartition AND c.relname !~ '_default$' AND c.relacl IS NOT NULL
   AND EXISTS (SELECT FROM aclexplode(c.relacl) a WHERE a.grantee <> c.relowner)`,
		"RelaysReadAndWriteEveryTable": `
SELECT c.oid::regclass::text FROM pg_class c
 WHERE c.relnamespace = 'webhooks'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
   AND NOT (has_table_privilege('webhooks_relay', c.oid, 'SELECT') AND has_any_column_privilege('webhooks_relay', c.oid, 'INSERT, UPDATE'))`,
		"NoRoleMayMakeOrDropAnything": `
SELECT r.rolname::text FROM pg_roles r WHERE r.rolname IN ('webhooks_app', 'webhooks_relay', 'webhooks_tenant')
   AND (r.rolsuper OR r.rolcreaterole OR r.rolcreatedb OR r.rolcanlogin OR r.rolbypassrls
     OR has_schema_privilege(r.oid, 'webhooks', 'CREATE') OR has_database_privilege(r.oid, current_database(), 'CREATE'))`,
	} {
		require.Empty(t, offenders(t, db.DB, query), rule)
	}
}

func offenders(t *testing.T, db *sql.DB, query string) (names []string) {
	t.Helper()

	rows, err := db.QueryContext(t.Context(), query)
	require.NoError(t, err, query)
	defer rows.Close()
	for rows.Next() {
		var name string
		require.NoError(t, rows.Scan(&name))
		names = append(names, name)
	}
	require.NoError(t, rows.Err())
	return names
}

func TestAppPublishesAndReadsItsViewsAlone(t *testing.T) {
	t.Parallel()

	db := schematest.New(t)
	company := uuid.New()
	exec := func(statement string, args ...any) {
		_, err := db.App.ExecContext(t.Context(), statement, args...)
		require.NoError(t, err, statement)
	}
	exec(`SELECT webhooks.publish('made.up', $1, '{}')`, company)
	exec(`INSERT INTO webhooks.outbox (event_id, event_type, company_id, data, created_at) VALUES (gen_random_uuid(), 'a', $1, '{}', now())`, company)
	for _, view := range []string{"event_history", "delivery_history", "attempt_history", "endpoint_health"} {
		exec(`SELECT FROM webhooks.` + view)
	}

	for _, table := range []string{
		"outbox", "journal", "cursors", "quarantine", "endpoints", "endpoint_secrets", "lanes", "relays", "event_ids", "pending",
		"intents", "events", "deliveries", "attempts", "endpoint_slots", "endpoint_changes", "retention", "replays", "requested_deliveries", "delivery_feed",
		"api_keys", "portal_links", "sessions", "access_trail", "recoveries", "idempotency_keys", "test_quota", "pause", "rebuilds",
	} {
		refused(t, db.App, `SELECT FROM webhooks.`+table)
		refused(t, db.App, `DELETE FROM webhooks.`+table)
		refused(t, db.App, `TRUNCATE webhooks.`+table)
	}
	refused(t, db.App, `UPDATE webhooks.outbox SET data = '{}'`)
	refused(t, db.App, `INSERT INTO webhooks.endpoints (company_id, url, state_actor) VALUES ($1, 'https://x', 'x')`, company)
	refused(t, db.App, `INSERT INTO webhooks.journal (fact, data) VALUES ('event.fanned_out', '{}')`)
	for column, value := range map[string]string{"position": "1", "transaction_id": "'1'", "recorded_at": "now()"} {
		refused(t, db.App, fmt.Sprintf(`INSERT INTO webhooks.outbox (event_type, company_id, data, %s) VALUES ('a', $1, '{}', %s)`, column, value), company)
	}
	for _, statement := range []string{
		`SELECT webhooks.ensure_partitions()`, `SELECT webhooks.prune_partition('outbox', '2020-01-01', '30 days')`,
		`SELECT webhooks.make_partition('outbox', '2020-01-01')`, `SELECT FROM webhooks.outbox_page('fan-out', 1)`,
		`SELECT webhooks.prune_access_trail()`,
		`SET ROLE webhooks_relay`, `SET ROLE webhooks_tenant`, `CREATE TABLE webhooks.mine (n int)`,
	} {
		refused(t, db.App, statement)
	}
}

func TestRelayCannotRewriteTheLogsNorMakeTables(t *testing.T) {
	t.Parallel()

	db := schematest.New(t)
	for _, statement := range []string{
		`DELETE FROM webhooks.outbox`, `UPDATE webhooks.outbox SET data = '{}'`, `TRUNCATE webhooks.outbox`,
		`DELETE FROM webhooks.journal`, `UPDATE webhooks.journal SET data = '{}'`, `DROP TABLE webhooks.outbox_default`,
		`UPDATE webhooks.retention SET pruned_until = now()`, `INSERT INTO webhooks.retention VALUES ('outbox', now(), true)`,
		`CREATE TABLE webhooks.mine (n int)`, `CREATE SCHEMA mine`, `ALTER TABLE webhooks.endpoints DISABLE ROW LEVEL SECURITY`,
		`SELECT webhooks.make_partition('outbox', '2020-01-01')`, `SELECT webhooks.isolate('webhooks.relays')`,
	} {
		refused(t, db.DB, statement)
	}
	_, err := db.ExecContext(t.Context(), `SELECT webhooks.ensure_partitions(10)`)
	require.NoError(t, err, "partitions are made for it")
	_, err = db.ExecContext(t.Context(), `SELECT webhooks.prune_partition('outbox', '2020-01-01', '1 hour')`)
	require.ErrorContains(t, err, "at least a day")
}

// TestRawInsertsObeyTheRulesOfPublish is B36 to B43 of bad input at the SQL door.
func TestRawInsertsObeyTheRulesOfPublish(t *testing.T) {
	t.Parallel()

	db := schematest.New(t)
	large := func(bytes int) string { return `{"a":"` + strings.Repeat("x", bytes-8) + `"}` }
	for name, tt := range map[string]struct{ id, typ, data, want string }{
		"B36_NoJSON":            {data: `{`, want: "invalid input syntax for type json"},
		"B36_NoUTF8":            {data: "{\"a\":\"\xff\"}", want: "invalid byte sequence"},
		"B38_Scalar":            {data: `1`, want: "data_is_an_object"},
		"B38_Array":             {data: `[{}]`, want: "data_is_an_object"},
		"B38_NullLiteral":       {data: `null`, want: "data_is_an_object"},
		"B39_EventTypeInData":   {data: `{"event_type":null}`, want: "data_leaves_event_type_and_metadata_to_the_relay"},
		"B39_MetadataInData":    {data: `{"a":1,"metadata":{"attempt":1}}`, want: "data_leaves_event_type_and_metadata_to_the_relay"},
		"B39_EscapedKey":        {data: `{"meta\u0064ata":1,"b":"\u0000"}`, want: "data_leaves_event_type_and_metadata_to_the_relay"},
		"B40_NoUUID":            {id: "a.b", data: `{}`, want: "invalid input syntax for type uuid"},
		"B42_WrongCase":         {typ: "Conversation.Started", data: `{}`, want: "event_type_is_a_name"},
		"B42_Empty":             {typ: " ", data: `{}`, want: "event_type_is_a_name"},
		"B42_TenKilobytes":      {typ: strings.Repeat("a", 10_000), data: `{}`, want: "event_type_is_a_name"},
		"B42_HeaderInjection":   {typ: "a\r\nX-Evil: 1", data: `{}`, want: "event_type_is_a_name"},
		"B43_AByteTooMuch":      {data: large(256<<10 + 1), want: "data_has_at_most_256_kib"},
		"B43_AsMuchAsMayBe":     {data: large(256 << 10)},
		"B36_EscapesOfAllKinds": {data: `{"a":"\u0000 \ud800 \\u0000 \\\u0000 é","metadatum":{"metadata":1}}`},
		"B42_UnknownType":       {typ: "some.thing_9", data: `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id, typ := uuid.NewString(), "conversation.started"
			if tt.id != "" {
				id = tt.id
			}
			if tt.typ != "" {
				typ = tt.typ
			}
			_, err := db.App.ExecContext(t.Context(),
				`INSERT INTO webhooks.outbox (event_id, event_type, company_id, data) VALUES ($1, $2, $3, $4)`, id, typ, uuid.New(), tt.data)
			var stored int
			if tt.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tt.want)
				if tt.id != "" {
					return // it names no row
				}
			}
			require.NoError(t, db.QueryRowContext(t.Context(), `SELECT count(*) FROM webhooks.outbox WHERE event_id = $1 AND data::text = $2`,
				id, strings.ToValidUTF8(tt.data, "")).Scan(&stored))
			require.Equal(t, tt.want == "", stored == 1)
		})
	}
}

// TestRolesAreMadeOnceForACluster has a cluster of its own, since roles belong to clusters.
func TestRolesAreMadeOnceForACluster(t *testing.T) {
	t.Parallel()

	dir, err := os.MkdirTemp("", "roles") //nolint:usetesting // the user that stands in for root cannot reach t.TempDir
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	server, err := cluster.Start(t.Context(), cluster.Config{Dir: filepath.Join(dir, "pg"), Unsafe: true, Logf: t.Logf})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	open := func(dsn string) *sql.DB {
		db, err := sql.Open("postgres", dsn)
		require.NoError(t, err)
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	admin := open(server.DSN(""))
	exec := func(statement string) {
		_, err := admin.ExecContext(t.Context(), statement)
		require.NoError(t, err, statement)
	}
	exec(`CREATE ROLE plain LOGIN`)
	for _, name := range []string{"owned", "one", "two", "three"} {
		exec(`CREATE DATABASE ` + name)
	}
	exec(`ALTER DATABASE owned OWNER TO plain`)
	_, err = open(server.DSN("owned")+" user=postgres").ExecContext(t.Context(), `SELECT 1`)
	require.Error(t, err, "the superuser has another name")
	_, err = open(server.DSN("owned")).ExecContext(t.Context(), `GRANT CREATE ON SCHEMA public TO plain`)
	require.NoError(t, err)

	// An owner who may not make roles is told what an administrator has to run, and that suffices.
	owner := open(server.DSN("owned") + " user=plain")
	err = schema.Migrate(t.Context(), owner)
	require.ErrorContains(t, err, "plain may not create roles")
	require.ErrorContains(t, err, "and migrate again")
	_, advice, _ := strings.Cut(err.Error(), "run ")
	advice, _, _ = strings.Cut(advice, "and migrate again")
	exec(advice)
	require.NoError(t, schema.Migrate(t.Context(), owner), "with the roles there, owning the database is enough")
	exec(`CREATE ROLE sender LOGIN IN ROLE webhooks_relay`)
	relay := open(server.DSN("owned") + " user=sender")
	_, err = relay.ExecContext(t.Context(), `SELECT webhooks.ensure_partitions(5)`)
	require.NoError(t, err)

	// Several databases at once, first of all without any role.
	_, err = owner.ExecContext(t.Context(), `DROP SCHEMA webhooks CASCADE; DROP TABLE public.webhooks_migrations`)
	require.NoError(t, err)
	exec(`DROP ROLE sender, webhooks_app, webhooks_relay, webhooks_tenant`)
	var group errgroup.Group
	for _, name := range []string{"one", "two", "three"} {
		db := open(server.DSN(name))
		group.Go(func() error { return schema.Migrate(context.WithoutCancel(t.Context()), db) })
	}
	require.NoError(t, group.Wait())
}
