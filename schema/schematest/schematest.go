// Package schematest gives each test a PostgreSQL database of its own with all migrations applied.
//
// It owns a shared server for tests and, on it, one template database per content of the migrations; a test's database
// is a copy of the template and is dropped when the test ends. It promises that any number of test binaries may use it
// at once. It never touches a database whose name does not begin with its own prefix.
//
// The server is TEST_DATABASE_URL when that is set (its user must be allowed to create databases and roles, and the
// server must let two more roles in, by password or trust), else a private cluster without fsync below the user's cache
// folder, another one for each value of SURVEYHOOKS_PG_BINDIR (see package cluster). The private one is started by the
// first test that needs it and stays, so that the next run finds it warm; `go test ./schema/schematest -count=1 -run '^$'
// -halt` ends it. No process owns it, since several test binaries start and end in any order and none of them may end it
// under the others.
//
// # Failure handling
//
// A killed test leaves its database behind. The name holds the time it was made, and whoever comes an hour later drops
// it. Templates of other migrations go after a day; one that is still wanted is simply made again.
package schematest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"

	"github.com/chattosurvey/surveyhooks/schema"
	"github.com/chattosurvey/surveyhooks/schema/cluster"
)

const (
	templatePrefix = "surveyhooks_template_"
	testPrefix     = "surveyhooks_test_"

	testLife     = time.Hour // longer than any test binary may run
	templateLife = 24 * time.Hour

	maxConns = 8 // of one pool: the server's 300 are shared by all tests that run at once
)

// DB is a test's own database, as a relay sees it: the pool's login is a member of webhooks_relay and of nothing else.
// All pools have an empty search_path, so that a statement which forgets to name its schema fails here and not at a
// customer's.
type DB struct {
	*sql.DB
	// Owner owns the schema and everything in it, past all privileges: for fixtures, and for faults that only a test makes.
	Owner *sql.DB
	// App is the survey app: its login is a member of webhooks_app and of nothing else.
	App *sql.DB
	// DSN connects as the relay's login, with the server's own search_path, as a program would.
	DSN string
	// OwnerDSN connects as Owner: for migrations.
	OwnerDSN string
	// AppDSN connects as App.
	AppDSN string
	// Name of the database.
	Name string
}

// New makes the test's database and drops it, with whoever is still connected, when the test ends. It may be called
// from parallel tests, and more than once in a test.
func New(t testing.TB) *DB {
	t.Helper()
	// Not t.Context: it ends before Cleanup, and a template half made for one test is missed by all.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	server, err := serverDSN(ctx, t.Logf)
	if err != nil {
		t.Fatalf("schematest: %v", err)
	}
	name, err := create(ctx, server, t.Name())
	if err != nil {
		t.Fatalf("schematest: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := onServer(ctx, server, func(ctx context.Context, admin *sql.Conn) error { return drop(ctx, admin, name) }); err != nil {
			t.Errorf("schematest: %v", err)
		}
	})
	db := &DB{Name: name, OwnerDSN: withDatabase(server, name)}
	password := loginPassword(server)
	db.DSN, db.AppDSN = withLogin(db.OwnerDSN, relayLogin, password), withLogin(db.OwnerDSN, appLogin, password)
	db.DB, db.Owner, db.App = db.Open(t), open(t, db.OwnerDSN), open(t, db.AppDSN)
	return db
}

// Open is one more pool of the relay's on the database; it is closed when the test ends.
func (db *DB) Open(t testing.TB) *sql.DB {
	t.Helper()
	return open(t, db.DSN)
}

func open(t testing.TB, dsn string) *sql.DB {
	t.Helper()
	config, err := pq.NewConfig(dsn)
	if err != nil {
		t.Fatalf("schematest: read DSN: %v", err)
	}
	config = config.Clone()
	config.Runtime["search_path"] = ""
	connector, err := pq.NewConnectorConfig(config)
	if err != nil {
		t.Fatalf("schematest: %v", err)
	}
	pool := sql.OpenDB(connector)
	pool.SetMaxOpenConns(maxConns)
	pool.SetMaxIdleConns(2)
	t.Cleanup(func() { _ = pool.Close() })
	return pool
}

// Halt ends the private server of this user's tests, if it runs.
func Halt(ctx context.Context) error {
	config, err := clusterConfig()
	if err != nil {
		return err
	}
	return cluster.Halt(ctx, config)
}

func serverDSN(ctx context.Context, logf func(string, ...any)) (string, error) {
	if dsn := os.Getenv("TEST_DATABASE_URL"); dsn != "" {
		return dsn, nil
	}
	config, err := clusterConfig()
	if err != nil {
		return "", err
	}
	config.Logf = logf
	server, err := cluster.Start(ctx, config)
	if err != nil {
		return "", err
	}
	return server.DSN(""), nil
}

func clusterConfig() (cluster.Config, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return cluster.Config{}, fmt.Errorf("find cache folder, or set TEST_DATABASE_URL: %w", err)
	}
	name := "test"
	// Other programs, another server: the one that runs may be of another version.
	if bindir := os.Getenv(cluster.BindirVariable); bindir != "" {
		sum := fnv.New32a()
		_, _ = sum.Write([]byte(bindir)) // a hash never fails
		name = fmt.Sprintf("test-%x", sum.Sum32())
	}
	return cluster.Config{Dir: filepath.Join(cache, "surveyhooks", name), Unsafe: true, Detached: true}, nil
}

// create copies the template, which it makes first when it is not there.
func create(ctx context.Context, server, test string) (string, error) {
	template := templatePrefix + schema.Fingerprint()
	name := databaseName(time.Now(), test)
	err := onServer(ctx, server, func(ctx context.Context, admin *sql.Conn) error {
		for try := 1; ; try++ {
			err := clone(ctx, admin, name, template)
			switch code := sqlState(err); {
			case err == nil:
				return nil
			case try < 5 && code == "3D000": // invalid_catalog_name: nobody has made the template, or it was swept
				if err := makeTemplate(ctx, server, admin, template); err != nil {
					return err
				}
			case try < 5 && (code == "55006" || code == "42P04"): // object_in_use: a last backend of its maker; duplicate_database
				name = databaseName(time.Now(), test)
			default:
				return fmt.Errorf("clone %s: %w", template, err)
			}
		}
	})
	return name, err
}

// databaseName is unique, says when it was made, and shows in pg_stat_activity whose test it is.
func databaseName(now time.Time, test string) string {
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(test)) // a hash never fails
	return fmt.Sprintf("%s%d_%d_%x_%x", testPrefix, now.Unix(), os.Getpid(), now.UnixNano()&0xffffff, sum.Sum32())
}

// makeTemplate migrates aside and renames, under a lock: a template that has the name is whole.
func makeTemplate(ctx context.Context, server string, admin *sql.Conn, template string) error {
	unlock, err := lock(ctx, admin)
	if err != nil {
		return fmt.Errorf("lock templates: %w", err)
	}
	defer unlock()
	if there, err := exists(ctx, admin, template); err != nil || there {
		return err
	}
	if err := sweep(ctx, admin, time.Now()); err != nil {
		return fmt.Errorf("drop old databases: %w", err)
	}
	raw := databaseName(time.Now(), template)
	if err := createEmpty(ctx, admin, raw); err != nil {
		return fmt.Errorf("create template: %w", err)
	}
	if err := migrate(ctx, withDatabase(server, raw)); err != nil {
		return errors.Join(err, drop(ctx, admin, raw))
	}
	if err := makeLogins(ctx, admin, loginPassword(server)); err != nil {
		return errors.Join(err, drop(ctx, admin, raw))
	}
	return publish(ctx, admin, raw, template, time.Now())
}

func migrate(ctx context.Context, dsn string) error {
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		return fmt.Errorf("open template: %w", err)
	}
	defer db.Close() // before the rename, which needs the database to itself
	return schema.Migrate(ctx, db)
}

// onServer runs f on one connection to the server's maintenance database.
func onServer(ctx context.Context, server string, f func(context.Context, *sql.Conn) error) error {
	db, err := sql.Open("postgres", server)
	if err != nil {
		return fmt.Errorf("open server: %w", err)
	}
	defer db.Close()
	admin, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect to server: %w", err)
	}
	defer admin.Close()
	return f(ctx, admin)
}

// madeAt reads the time out of a test database's name.
func madeAt(name string) (time.Time, bool) {
	rest, ours := strings.CutPrefix(name, testPrefix)
	seconds, _, whole := strings.Cut(rest, "_")
	unix, err := strconv.ParseInt(seconds, 10, 64)
	return time.Unix(unix, 0), ours && whole && err == nil
}

func sqlState(err error) string {
	if pqErr, ok := errors.AsType[*pq.Error](err); ok {
		return string(pqErr.Code)
	}
	return ""
}
