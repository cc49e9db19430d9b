package schema_test

import (
	"context"
	"database/sql"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/chattosurvey/surveyhooks/schema"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// migrator is what Migrate uses, for the ways that Migrate does not go.
func migrator(t *testing.T, db *sql.DB) *goose.Provider {
	t.Helper()

	provider, err := goose.NewProvider(goose.DialectPostgres, db, os.DirFS("migrations"), goose.WithTableName("webhooks_migrations"))
	require.NoError(t, err)
	return provider
}

// database is a migrated one for its owner, who migrates; the migrations' own table needs a search_path, which schematest
// takes away.
func database(t *testing.T) *schematest.DB {
	t.Helper()

	db := schematest.New(t)
	pool, err := sql.Open("postgres", db.OwnerDSN)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	db.DB = pool
	return db
}

// empty is a database without our schema.
func empty(t *testing.T) *schematest.DB {
	t.Helper()

	db := database(t)
	_, err := db.ExecContext(t.Context(), `DROP SCHEMA IF EXISTS webhooks CASCADE; DROP TABLE IF EXISTS webhooks_migrations`)
	require.NoError(t, err)
	return db
}

// versions are the numbers of the migrations, in their order.
func versions(t *testing.T) (numbers []int64) {
	t.Helper()

	files, err := fs.Glob(os.DirFS("migrations"), "*.sql")
	require.NoError(t, err)
	for _, file := range files {
		number, err := goose.NumericComponent(file)
		require.NoError(t, err)
		numbers = append(numbers, number)
	}
	return numbers
}

func TestMigrateIsSafeFromManyProcessesAtOnce(t *testing.T) {
	t.Parallel()

	db := empty(t)
	var processes errgroup.Group
	for range 4 {
		own, err := sql.Open("postgres", db.OwnerDSN)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, own.Close()) })
		processes.Go(func() error { return schema.Migrate(t.Context(), own) })
	}
	require.NoError(t, processes.Wait())

	var applied, distinct int
	require.NoError(t, db.QueryRowContext(t.Context(),
		`SELECT count(*), count(DISTINCT version_id) FROM webhooks_migrations WHERE version_id > 0`).Scan(&applied, &distinct))
	require.Len(t, versions(t), applied)
	require.Len(t, versions(t), distinct)
}

// Whoever wants a table waits behind a migration that waits for it: as long as a backup lasts, nothing would be sent.
func TestMigrateDoesNotWaitForLongTransactions(t *testing.T) {
	t.Parallel()

	for before, table := range map[int64]string{19: "endpoints", 20: "access_trail"} {
		t.Run(table, func(t *testing.T) {
			t.Parallel()
			db := empty(t)
			_, err := migrator(t, db.DB).UpTo(t.Context(), before)
			require.NoError(t, err)
			backup, err := db.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			defer backup.Rollback() //nolint:errcheck // a test that failed
			_, err = backup.ExecContext(t.Context(), `SELECT FROM webhooks.`+table)
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			require.ErrorContains(t, schema.Migrate(ctx, db.DB), "migrate again when it has ended")
			require.NoError(t, backup.Rollback())
			require.NoError(t, schema.Migrate(t.Context(), db.DB))
		})
	}
}

func TestMigrateTwiceChangesNothing(t *testing.T) {
	t.Parallel()

	db := empty(t)
	require.NoError(t, schema.Migrate(t.Context(), db.DB))
	before := dump(t, db.DB)
	require.NoError(t, schema.Migrate(t.Context(), db.DB))
	require.Equal(t, before, dump(t, db.DB))
}

func TestEveryMigrationGoesDownAndUpAgain(t *testing.T) {
	t.Parallel()

	db := empty(t)
	require.NoError(t, schema.Migrate(t.Context(), db.DB))
	whole := dump(t, db.DB)

	provider := migrator(t, db.DB)
	for _, version := range slices.Backward(versions(t)) {
		_, err := provider.DownTo(t.Context(), version-1)
		require.NoError(t, err, "down from %d", version)
		if version > 1 {
			// One step up and down again: a step that leaves something behind fails here.
			_, err = provider.UpTo(t.Context(), version)
			require.NoError(t, err, "up to %d", version)
			_, err = provider.DownTo(t.Context(), version-1)
			require.NoError(t, err, "down from %d", version)
		}
	}
	var left bool
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT to_regnamespace('webhooks') IS NOT NULL`).Scan(&left))
	require.False(t, left, "nothing is left")

	require.NoError(t, schema.Migrate(t.Context(), db.DB))
	require.Equal(t, whole, dump(t, db.DB))
}

func TestEveryConstraintIsNamedForItsRule(t *testing.T) {
	t.Parallel()

	db := schematest.New(t)
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer tx.Rollback() //nolint:errcheck // it only reads
	names := lines(t, tx, `SELECT DISTINCT k.conname::text FROM pg_constraint k
		  JOIN pg_class c ON c.oid = k.conrelid
		 WHERE c.relnamespace = 'webhooks'::regnamespace AND NOT c.relispartition AND k.contype <> 'n' ORDER BY 1`)
	require.NotEmpty(t, names)
	automatic := regexp.MustCompile(`_(?:pkey|fkey|key|check|excl)\d*$`)
	for _, name := range names {
		require.NotRegexp(t, automatic, name, "a broken rule is read in a log: name the constraint for it")
	}
}

func TestListSaysWhatIsApplied(t *testing.T) {
	t.Parallel()

	db := empty(t)
	list, err := schema.List(t.Context(), db.DB)
	require.NoError(t, err)
	require.Len(t, list, len(versions(t)))
	for i, status := range list {
		require.Equal(t, versions(t)[i], status.Version, "in the order of their numbers, which may have gaps")
		require.False(t, status.Applied)
		require.Zero(t, status.AppliedAt)
		require.FileExists(t, filepath.Join("migrations", filepath.Base(status.Name)))
	}

	_, err = migrator(t, db.DB).UpTo(t.Context(), 2)
	require.NoError(t, err)
	list, err = schema.List(t.Context(), db.DB)
	require.NoError(t, err)
	for _, status := range list {
		require.Equal(t, status.Version <= 2, status.Applied, "%d", status.Version)
		require.Equal(t, status.Applied, !status.AppliedAt.IsZero())
	}

	require.NoError(t, schema.Migrate(t.Context(), db.DB))
	list, err = schema.List(t.Context(), db.DB)
	require.NoError(t, err)
	for _, status := range list {
		require.True(t, status.Applied)
	}
}

// Every probe of readiness lists: it must not wait for a migration that runs, nor for another probe.
func TestListWaitsForNobody(t *testing.T) {
	t.Parallel()

	db := empty(t)
	migrating, err := db.Conn(t.Context())
	require.NoError(t, err)
	defer migrating.Close()
	locker, err := lock.NewPostgresSessionLocker()
	require.NoError(t, err)
	require.NoError(t, locker.SessionLock(t.Context(), migrating))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // the lock is given back after it: who needs it never ends
	defer cancel()
	_, err = schema.List(ctx, db.DB)
	require.NoError(t, err)
	require.NoError(t, locker.SessionUnlock(t.Context(), migrating))
}

func TestFingerprintIsShort(t *testing.T) {
	t.Parallel()

	require.Regexp(t, `^[0-9a-f]{12}$`, schema.Fingerprint())
}

func TestServerThatIsTooOldIsRefused(t *testing.T) {
	t.Parallel()

	for number, want := range map[int]string{
		90624:  "PostgreSQL 9 is too old: upgrade the server to 14 or later",
		130023: "PostgreSQL 13 is too old: upgrade the server to 14 or later",
		140000: "", 180004: "",
	} {
		err := schema.CheckServer(number)
		if want == "" {
			require.NoError(t, err, number)
		} else {
			require.EqualError(t, err, want)
		}
	}
}

func TestMigrateSaysWhatItCouldNotDo(t *testing.T) {
	t.Parallel()

	db, err := sql.Open("postgres", "host=/nonexistent dbname=none sslmode=disable")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	require.ErrorContains(t, schema.Migrate(t.Context(), db), "migrate schema webhooks")
	_, err = schema.List(t.Context(), db)
	require.ErrorContains(t, err, "read migrations")
}

// TestEveryColumnOfTheViewsSaysWhatItIs to whoever asks psql with \\d+.
func TestEveryColumnOfTheViewsSaysWhatItIs(t *testing.T) {
	t.Parallel()

	db := empty(t)
	require.NoError(t, schema.Migrate(t.Context(), db.DB))
	var columns int
	var silent string
	require.NoError(t, db.QueryRowContext(t.Context(), `
		SELECT count(*), coalesce(string_agg(c.relname || '.' || a.attname, ', ') FILTER (WHERE col_description(c.oid, a.attnum) IS NULL), '')
		  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		 WHERE c.relnamespace = 'webhooks'::regnamespace AND c.relkind = 'v'`).Scan(&columns, &silent))
	require.GreaterOrEqual(t, columns, 65)
	require.Empty(t, silent)
}
