// Package schema owns every shape at rest: the migrations of the PostgreSQL schema "webhooks" and, in package fact,
// the vocabulary of the journal.
//
// It promises that Migrate is safe to run from any number of processes at once, and that schema.sql, kept beside the
// migrations, is what they make. It never reads or writes a row of business.
package schema

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/lib/pq"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrations embed.FS

// OldestServer is the first major version of PostgreSQL that has everything which migrations and statements use. `make
// test-versions` runs the tests on it, and on every later one.
const OldestServer = 14

// Status is one migration and when it was applied.
type Status struct {
	Version   int64     `json:"version"`
	Name      string    `json:"name"`
	Applied   bool      `json:"applied"`
	AppliedAt time.Time `json:"applied_at,omitzero"`
}

// Migrate applies every migration that db lacks, then makes the partitions of the coming days. Processes that migrate
// at the same time wait for each other under a session lock. Relays may run meanwhile: a table that a long transaction
// holds is waited for no longer than its migration says, and what was not applied then is the next time. A server that
// CheckServer refuses is left as it is.
func Migrate(ctx context.Context, db *sql.DB) error {
	var number int
	if err := db.QueryRowContext(ctx, serverVersion).Scan(&number); err != nil {
		return fmt.Errorf("migrate schema webhooks: ask for the version of the server: %w", err)
	}
	if err := CheckServer(number); err != nil {
		return fmt.Errorf("migrate schema webhooks: %w", err)
	}
	provider, err := newProvider(db)
	if err != nil {
		return err
	}
	_, err = provider.Up(ctx)
	if fault, ok := errors.AsType[*pq.Error](err); ok && fault.Code == "55P03" { // lock_not_available
		return fmt.Errorf("migrate schema webhooks: %w: a long transaction, such as that of a backup, holds a table, and relays would wait behind this one: migrate again when it has ended", err)
	}
	if err != nil {
		return fmt.Errorf("migrate schema webhooks: %w", err)
	}
	if _, err := db.ExecContext(ctx, ensurePartitions); err != nil {
		return fmt.Errorf("make partitions: %w", err)
	}
	return nil
}

// CheckServer refuses a server, by its server_version_num, that is older than OldestServer, and says so.
func CheckServer(number int) error {
	if major := number / 10_000; major < OldestServer {
		return fmt.Errorf("PostgreSQL %d is too old: upgrade the server to %d or later", major, OldestServer)
	}
	return nil
}

// List says of each migration whether db has it. It waits for nobody: goose's own list takes the lock of Migrate, and whoever
// asks at the same moment as another one, or while a migration runs, gets its answer seconds or minutes later.
func List(ctx context.Context, db *sql.DB) ([]Status, error) {
	provider, err := newProvider(db)
	if err != nil {
		return nil, err
	}
	applied, err := listApplied(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	sources := provider.ListSources()
	list := make([]Status, 0, len(sources))
	for _, s := range sources {
		at, known := applied[s.Version]
		list = append(list, Status{Version: s.Version, Name: s.Path, Applied: known, AppliedAt: at})
	}
	return list, nil
}

// listApplied reads goose's table, which a database without any migration has not got.
func listApplied(ctx context.Context, db *sql.DB) (map[int64]time.Time, error) {
	rows, err := db.QueryContext(ctx, appliedMigrations)
	if fault, ok := errors.AsType[*pq.Error](err); ok && fault.Code == "42P01" { // undefined_table
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	applied := make(map[int64]time.Time)
	for rows.Next() {
		var version int64
		var at time.Time
		if err := rows.Scan(&version, &at); err != nil {
			return nil, err
		}
		applied[version] = at
	}
	return applied, rows.Err()
}

// Fingerprint names all migrations with their content: two builds with the same one make the same schema.
func Fingerprint() string {
	sum := sha256.New()
	names, _ := fs.Glob(migrations, "migrations/*.sql") // the pattern is constant and well formed
	for _, name := range names {
		text, _ := migrations.ReadFile(name) // embedded: it is there
		fmt.Fprintf(sum, "%s\n%s", name, text)
	}
	return hex.EncodeToString(sum.Sum(nil))[:12]
}

func newProvider(db *sql.DB) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("open migrations: %w", err)
	}
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return nil, fmt.Errorf("make migration lock: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithSessionLocker(locker),
		goose.WithTableName(migrationsTable))
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	return provider, nil
}
