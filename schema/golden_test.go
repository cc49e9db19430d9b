package schema_test

import (
	"database/sql"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/schema"
)

var update = flag.Bool("update", false, "write schema.sql again")

const golden = "schema.sql"

const goldenHeader = `-- What the migrations make, less the partitions of days. Written by "make schema", never by hand; read by people, who
-- see here what a migration changed, and by TestGoldenSchema.
`

// TestGoldenSchema compares schema.sql with a migrated database. The dump is our own, from the catalogs: pg_dump is not
// everywhere where a server is, and its text changes with its version.
func TestGoldenSchema(t *testing.T) {
	t.Parallel()

	db := empty(t)
	require.NoError(t, schema.Migrate(t.Context(), db.DB))
	got := goldenHeader + dump(t, db.DB)
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(got), 0o600))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), got, "a new migration changes the golden file: make schema")
}

// ofOurs selects the relations of the schema, less the partitions of days and what belongs to them.
const ofOurs = `c.relnamespace = 'webhooks'::regnamespace AND c.relname !~ '_[0-9]{8}(_|$)'`

const (
	dumpSequences = `SELECT format('CREATE SEQUENCE webhooks.%I AS %s START %s INCREMENT %s;', c.relname,
         format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement)
    || coalesce((SELECT format(E'\nALTER SEQUENCE webhooks.%I OWNED BY %s.%I;', c.relname, d.refobjid::regclass, a.attname)
         FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'a'), '')
  FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid WHERE ` + ofOurs + ` ORDER BY c.relname COLLATE "C"`

	// Constraints of NOT NULL are rows of their own from version 18 on; attnotnull says the same everywhere.
	dumpTables = `SELECT CASE WHEN c.relispartition
    THEN format('CREATE TABLE webhooks.%I PARTITION OF %s %s', c.relname,
           (SELECT inhparent::regclass FROM pg_inherits WHERE inhrelid = c.oid), pg_get_expr(c.relpartbound, c.oid))
    ELSE format(E'CREATE TABLE webhooks.%I (\n%s\n)', c.relname, array_to_string(ARRAY(
           SELECT format('  %I %s', a.attname, format_type(a.atttypid, a.atttypmod))
               || coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '')
               || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
             FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
            WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) || ARRAY(
           SELECT format('  CONSTRAINT %I %s', k.conname, pg_get_constraintdef(k.oid))
             FROM pg_constraint k
            WHERE k.conrelid = c.oid AND k.contype <> 'n' ORDER BY k.conname COLLATE "C"), E',\n'))
      || coalesce(' PARTITION BY ' || pg_get_partkeydef(c.oid), '')
      || coalesce(' WITH (' || array_to_string(c.reloptions, ', ') || ')', '') END || ';'
  FROM pg_class c WHERE c.relkind IN ('r', 'p') AND ` + ofOurs + ` ORDER BY c.relname COLLATE "C"`

	dumpIndexes = `SELECT pg_get_indexdef(c.oid) || ';' FROM pg_class c
 WHERE c.relkind IN ('i', 'I') AND NOT c.relispartition AND ` + ofOurs + `
   AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = c.oid AND k.conrelid <> 0 AND k.contype IN ('p', 'u', 'x'))
 ORDER BY c.relname COLLATE "C"`

	dumpFunctions = `SELECT pg_get_functiondef(p.oid) || ';' FROM pg_proc p
 WHERE p.pronamespace = 'webhooks'::regnamespace ORDER BY p.proname COLLATE "C", p.oid::regprocedure::text COLLATE "C"`

	dumpViews = `SELECT format(E'CREATE VIEW webhooks.%I (\n%s\n) AS\n%s', c.relname, array_to_string(ARRAY(
           SELECT format('  %I %s', a.attname, format_type(a.atttypid, a.atttypmod))
             FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 ORDER BY a.attnum), E',\n'),
         pg_get_viewdef(c.oid))
  FROM pg_class c WHERE c.relkind = 'v' AND ` + ofOurs + ` ORDER BY c.relname COLLATE "C"`

	dumpTriggers = `SELECT pg_get_triggerdef(g.oid) || ';' FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
 WHERE NOT g.tgisinternal AND ` + ofOurs + ` ORDER BY c.relname COLLATE "C", g.tgname COLLATE "C"`

	dumpPolicies = `SELECT format('ALTER TABLE webhooks.%I ENABLE ROW LEVEL SECURITY;', c.relname) || coalesce(E'\n' || (
         SELECT string_agg(format('CREATE POLICY %I ON webhooks.%I FOR %s TO %s', p.polname, c.relname,
                  CASE p.polcmd WHEN '*' THEN 'ALL' WHEN 'a' THEN 'INSERT' WHEN 'r' THEN 'SELECT' WHEN 'w' THEN 'UPDATE' ELSE 'DELETE' END,
                  (SELECT string_agg(r::regrole::text, ', ') FROM unnest(p.polroles) r))
                || coalesce(E'\n  USING (' || regexp_replace(pg_get_expr(p.polqual, p.polrelid), '\s+', ' ', 'g') || ')', '')
                || coalesce(E'\n  WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', '') || ';', E'\n' ORDER BY p.polname)
           FROM pg_policy p WHERE p.polrelid = c.oid), '')
  FROM pg_class c WHERE c.relrowsecurity AND ` + ofOurs + ` ORDER BY c.relname COLLATE "C"`

	// What others than the owner may do, whoever that is.
	dumpPrivileges = `SELECT format('GRANT %s ON %s TO %s;', string_agg(g.privilege, ', ' ORDER BY g.privilege), g.object,
         CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE g.grantee::regrole::text END)
  FROM (
    SELECT 0 AS kind, 'SCHEMA webhooks' AS object, n.nspowner AS owner, a.grantee, a.privilege_type AS privilege
      FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.nspname = 'webhooks'
    UNION ALL
    SELECT 1, CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END || ' webhooks.' || c.relname, c.relowner, a.grantee, a.privilege_type
      FROM pg_class c, aclexplode(c.relacl) a WHERE ` + ofOurs + `
    UNION ALL
    SELECT 1, 'TABLE webhooks.' || c.relname, c.relowner, a.grantee,
           a.privilege_type || ' (' || string_agg(t.attname, ', ' ORDER BY t.attnum) || ')'
      FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a WHERE ` + ofOurs + `
     GROUP BY c.relname, c.relowner, a.grantee, a.privilege_type
    UNION ALL
    SELECT 2, 'FUNCTION ' || p.oid::regprocedure, p.proowner, a.grantee, a.privilege_type
      FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
     WHERE p.pronamespace = 'webhooks'::regnamespace
  ) g
 WHERE g.grantee <> g.owner
 GROUP BY g.kind, g.object, g.grantee
 ORDER BY g.kind, g.object COLLATE "C", g.grantee::regrole::text`

	dumpComments = `SELECT format('COMMENT ON %s webhooks.%I IS %L;', CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, c.relname, d.description)
  FROM pg_description d JOIN pg_class c ON c.oid = d.objoid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0 AND ` + ofOurs + `
UNION ALL
SELECT format('COMMENT ON COLUMN webhooks.%I.%I IS %L;', c.relname, a.attname, d.description)
  FROM pg_description d JOIN pg_class c ON c.oid = d.objoid AND d.classoid = 'pg_class'::regclass AND ` + ofOurs + `
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid
UNION ALL
SELECT format('COMMENT ON FUNCTION %s IS %L;', p.oid::regprocedure, d.description)
  FROM pg_description d JOIN pg_proc p ON p.oid = d.objoid AND d.classoid = 'pg_proc'::regclass
 WHERE p.pronamespace = 'webhooks'::regnamespace
 ORDER BY 1`
)

// dump renders the schema as text that does not depend on the server's version (14 to 18) nor on the session.
func dump(t *testing.T, db *sql.DB) string {
	t.Helper()

	tx, err := db.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
	require.NoError(t, err)
	defer tx.Rollback()                                                //nolint:errcheck // it only reads
	_, err = tx.ExecContext(t.Context(), `SET LOCAL search_path = ''`) // so that every name is printed with its schema
	require.NoError(t, err)

	var text strings.Builder
	for _, part := range []struct{ title, query string }{
		{"Sequences", dumpSequences},
		{"Tables", dumpTables},
		{"Indexes", dumpIndexes},
		{"Functions", dumpFunctions},
		{"Triggers", dumpTriggers},
		{"Views", dumpViews},
		{"Row-level security", dumpPolicies},
		{"Privileges", dumpPrivileges},
		{"Comments", dumpComments},
	} {
		fmt.Fprintf(&text, "\n-- %s\n\n", part.title)
		between := ""
		for _, line := range lines(t, tx, part.query) {
			if part.title == "Views" {
				line = unqualified(line)
			}
			text.WriteString(between + strings.TrimRight(line, "\n ") + "\n")
			if strings.Contains(line, "\n") {
				between = "\n"
			}
		}
	}
	return text.String()
}

// unqualified drops the table's name before the columns of a view of one table: PostgreSQL 16 and later leave it out.
func unqualified(view string) string {
	head, body, _ := strings.Cut(view, " AS\n")
	if strings.Contains(body, "JOIN") {
		return view
	}
	body, from, _ := strings.Cut(body, "FROM ")
	return head + " AS\n" + regexp.MustCompile(`\b(?:[a-z]\w*)\.(\w+)`).ReplaceAllString(body, "$1") +
		"FROM " + from
}

func lines(t *testing.T, tx *sql.Tx, query string) []string {
	t.Helper()

	rows, err := tx.QueryContext(t.Context(), query)
	require.NoError(t, err)
	defer rows.Close()
	var lines []string
	for rows.Next() {
		var line string
		require.NoError(t, rows.Scan(&line))
		lines = append(lines, line)
	}
	require.NoError(t, rows.Err())
	return lines
}
