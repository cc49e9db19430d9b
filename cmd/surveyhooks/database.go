package main

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/lib/pq"

	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
	"github.com/chattosurvey/surveyhooks/schema"
)

// answerWithin bounds the wait of a verb for a database that does not answer.
const answerWithin = 5 * time.Second

// missingError says what a database lacks.
func missingError(missing int) error {
	return fmt.Errorf("%d migrations are missing: run surveyhooks migrate up, or serve with --migrate", missing)
}

// dsn is the database to use: the one that was named, else the private one if it runs.
func (a *app) dsn(ctx context.Context) (string, error) {
	if a.databaseURL != "" {
		return a.databaseURL, nil
	}
	if dsn, ok := runningDevCluster(ctx); ok {
		a.sources["database-url"] = devSource
		return asLogin(dsn, devRelay), nil
	}
	return "", unavailable("no database: give --database-url or %s, such as postgres://user@host/survey, or start surveyhooks dev", twin("database-url"))
}

// migrate brings the schema up to date, with rights that no other verb needs.
func (a *app) migrate(ctx context.Context) error {
	if a.databaseURL == "" {
		if dsn, ok := runningDevCluster(ctx); ok {
			return migrateDev(ctx, dsn)
		}
	}
	return a.withDB(ctx, schema.Migrate)
}

// openDatabase opens the database without talking to it.
func openDatabase(dsn string) (*sql.DB, error) {
	config, err := pq.NewConfig(dsn)
	if err != nil {
		return nil, badDSN()
	}
	config.FallbackApplicationName = cmp.Or(config.FallbackApplicationName, "surveyhooks") // in pg_stat_activity
	connector, err := pq.NewConnectorConfig(config)
	if err != nil {
		return nil, badDSN()
	}
	connector.Dialer(commitlog.Dialer())
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(4)
	db.SetMaxIdleConns(4)
	return db, nil
}

// badDSN does not quote the cause: the parser's words hold the string, and that holds the password.
func badDSN() error {
	return usage("--database-url cannot be read: want postgres://user@host:5432/database?sslmode=require, or host=… user=… dbname=…")
}

// withDB runs a verb on a database that answers.
func (a *app) withDB(ctx context.Context, do func(context.Context, *sql.DB) error) error {
	dsn, err := a.dsn(ctx)
	if err != nil {
		return err
	}
	db, err := openDatabase(dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := ping(ctx, db); err != nil {
		return unavailable("reach the database %s: %w", maskDSN(dsn), err)
	}
	return do(ctx, db)
}

func ping(ctx context.Context, db *sql.DB) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	return db.PingContext(ctx)
}

// maskDSN is the connection string without its secrets.
func maskDSN(dsn string) string {
	if !strings.Contains(dsn, "://") {
		return regexp.MustCompile(`(?i)\b(password|sslpassword|sslkey)\s*=\s*('(?:[^'\\]|\\.)*'|\S+)`).ReplaceAllString(dsn, "$1=xxxxx")
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "(unreadable)"
	}
	query := u.Query()
	for _, key := range []string{"password", "sslpassword"} {
		if query.Has(key) {
			query.Set(key, "xxxxx")
		}
	}
	u.RawQuery = query.Encode()
	return u.Redacted()
}
