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
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Status is one migration and when it was applied.
type Status struct {
	Version   int64     `json:"version"`
	Name      string    `json:"name"`
	Applied   bool      `json:"applied"`
	AppliedAt time.Time `json:"applied_at,omitzero"`
}

// Migrate applies every migration that db lacks, then makes the partitions of the coming days. Processes that migrate
// at the same time wait for each other under a session lock.
func Migrate(ctx context.Context, db *sql.DB) error {
	provider, err := newProvider(db)
	if err != nil {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate schema webhooks: %w", err)
	}
	if _, err := db.ExecContext(ctx, ensurePartitions); err != nil {
		return fmt.Errorf("make partitions: %w", err)
	}
	return nil
}

// List says of each migration whether db has it.
func List(ctx context.Context, db *sql.DB) ([]Status, error) {
	provider, err := newProvider(db)
	if err != nil {
		return nil, err
	}
	states, err := provider.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	list := make([]Status, 0, len(states))
	for _, s := range states {
		list = append(list, Status{
			Version: s.Source.Version, Name: s.Source.Path,
			Applied: s.State == goose.StateApplied, AppliedAt: s.AppliedAt,
		})
	}
	return list, nil
}

// Fingerprint names the content of all migrations: two builds with the same one make the same schema.
func Fingerprint() string {
	sum := sha256.New()
	names, _ := fs.Glob(migrations, "migrations/*.sql") // the pattern is constant and well formed
	for _, name := range names {
		text, _ := migrations.ReadFile(name) // embedded: it is there
		sum.Write(text)
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
		goose.WithTableName("public.webhooks_migrations"))
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	return provider, nil
}
