package schematest

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/chattosurvey/surveyhooks/schema/cluster"
)

// TestMain ends the shared private server, and does nothing else, when it is called with -halt.
func TestMain(m *testing.M) {
	halt := flag.Bool("halt", false, "end the private PostgreSQL that tests share")
	flag.Parse()
	if !*halt {
		goleak.VerifyTestMain(m)
	}
	if err := Halt(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func TestDatabaseIsMigratedAndOnesOwn(t *testing.T) {
	t.Parallel()
	a, b := New(t), New(t)
	require.NotEqual(t, a.Name, b.Name)

	var migrated bool
	require.NoError(t, a.QueryRowContext(t.Context(), `SELECT to_regclass('webhooks.outbox') IS NOT NULL`).Scan(&migrated))
	require.True(t, migrated)
	_, err := a.Owner.ExecContext(t.Context(), `CREATE TABLE webhooks.mine (n int)`)
	require.NoError(t, err)
	var seen bool
	require.NoError(t, b.QueryRowContext(t.Context(), `SELECT to_regclass('webhooks.mine') IS NOT NULL`).Scan(&seen))
	require.False(t, seen)
}

func TestServerOfOtherProgramsIsAnotherOne(t *testing.T) { //nolint:paralleltest // it sets the environment
	folders := map[string]bool{}
	for _, bindir := range []string{"", "/opt/postgres/16/bin", "/opt/postgres/17/bin"} {
		t.Setenv(cluster.BindirVariable, bindir)
		config, err := clusterConfig()
		require.NoError(t, err)
		folders[config.Dir] = true
	}
	require.Len(t, folders, 3)
}

func TestPoolsHaveAnEmptySearchPath(t *testing.T) {
	t.Parallel()
	db := New(t)
	for _, pool := range []*sql.DB{db.DB, db.Open(t)} {
		var path, name string
		require.NoError(t, pool.QueryRowContext(t.Context(), `SELECT current_setting('search_path'), current_database()`).Scan(&path, &name))
		require.Contains(t, []string{"", `""`}, path)
		require.Equal(t, db.Name, name)
	}
}

func TestDSNReachesTheDatabase(t *testing.T) {
	t.Parallel()
	db := New(t)
	plain, err := sql.Open("postgres", db.DSN)
	require.NoError(t, err)
	defer plain.Close()
	var name string
	require.NoError(t, plain.QueryRowContext(t.Context(), `SELECT current_database()`).Scan(&name))
	require.Equal(t, db.Name, name)
}

func TestDatabaseIsDroppedUnderItsUsers(t *testing.T) { //nolint:tparallel // the subtest's end is what the test waits for
	t.Parallel()
	var name string
	var straggler *sql.DB
	t.Run("User", func(t *testing.T) {
		db := New(t)
		name = db.Name
		var err error
		straggler, err = sql.Open("postgres", db.DSN)
		require.NoError(t, err)
		require.NoError(t, straggler.PingContext(t.Context()))
	})
	defer straggler.Close()
	admin(t, func(ctx context.Context, conn *sql.Conn) error {
		there, err := exists(ctx, conn, name)
		require.False(t, there)
		return err
	})
}

func TestTemplateIsMadeOnceByManyAtOnce(t *testing.T) {
	t.Parallel()
	server, err := serverDSN(t.Context(), t.Logf)
	require.NoError(t, err)
	template := databaseName(time.Now(), t.Name())
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() {
			errs[i] = onServer(t.Context(), server, func(ctx context.Context, conn *sql.Conn) error {
				return makeTemplate(ctx, server, conn, template)
			})
		})
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	admin(t, func(ctx context.Context, conn *sql.Conn) error { return drop(ctx, conn, template) })
}

func TestSweepDropsOnlyWhatIsOldAndOurs(t *testing.T) {
	t.Parallel()
	old, young := databaseName(time.Now().Add(-testLife-time.Minute), t.Name()), databaseName(time.Now(), t.Name())
	foreign := "foreign_" + young
	admin(t, func(ctx context.Context, conn *sql.Conn) error {
		for _, name := range []string{old, young, foreign} {
			require.NoError(t, createEmpty(ctx, conn, name))
		}
		unlock, err := lock(ctx, conn)
		require.NoError(t, err)
		defer unlock()
		require.NoError(t, sweep(ctx, conn, time.Now()))
		for name, want := range map[string]bool{old: false, young: true, foreign: true} {
			there, err := exists(ctx, conn, name)
			require.NoError(t, err)
			require.Equal(t, want, there, name)
			require.NoError(t, drop(ctx, conn, name))
		}
		return nil
	})
}

func TestManyTestBinariesAtOnce(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	outputs, errs := make([][]byte, 4), make([]error, 4)
	for i := range outputs {
		wg.Go(func() {
			outputs[i], errs[i] = exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDatabaseIsMigratedAndOnesOwn$").CombinedOutput()
		})
	}
	wg.Wait()
	for i, err := range errs {
		require.NoError(t, err, string(outputs[i]))
	}
}

func TestWithDatabaseKeepsTheRest(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{
		"postgres://u:p@h:5433/old?sslmode=disable&application_name=x",
		"host=h port=5433 user=u password=p dbname=old sslmode=disable application_name=x",
	} {
		config, err := pq.NewConfig(withDatabase(dsn, "new"))
		require.NoError(t, err)
		require.Equal(t, "new", config.Database)
		require.Equal(t, "h", config.Host)
		require.Equal(t, uint16(5433), config.Port)
		require.Equal(t, "u", config.User)
		require.Equal(t, "x", config.ApplicationName)
	}
}

func admin(t *testing.T, f func(context.Context, *sql.Conn) error) {
	t.Helper()
	server, err := serverDSN(t.Context(), t.Logf)
	require.NoError(t, err)
	require.NoError(t, onServer(t.Context(), server, f))
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		New(b)
	}
}
