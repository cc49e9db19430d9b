package schematest

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"time"

	"github.com/lib/pq"
)

// The logins of tests. Roles belong to the server, so all databases of all tests share them.
const (
	relayLogin = "surveyhooks_test_relay"
	appLogin   = "surveyhooks_test_app"
)

// lockKey is for makers of templates; advisory locks count per database, and all makers meet in the same one.
const lockKey = 0x7375727665796874

const (
	lockTemplates   = `SELECT pg_advisory_lock($1)`
	unlockTemplates = `SELECT pg_advisory_unlock($1)`
	databaseExists  = `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`

	// oldDatabases lists what carries our prefixes, with the comment that says when a template was made.
	oldDatabases = `
SELECT datname, coalesce(shobj_description(oid, 'pg_database'), '')
FROM pg_database
WHERE starts_with(datname, $1) OR starts_with(datname, $2)`
)

// clone copies template; nobody may be connected to that.
func clone(ctx context.Context, admin *sql.Conn, name, template string) error {
	return run(ctx, admin, `CREATE DATABASE `+pq.QuoteIdentifier(name)+` TEMPLATE `+pq.QuoteIdentifier(template))
}

func createEmpty(ctx context.Context, admin *sql.Conn, name string) error {
	return run(ctx, admin, `CREATE DATABASE `+pq.QuoteIdentifier(name)+` TEMPLATE template0 ENCODING 'UTF8'`)
}

func drop(ctx context.Context, admin *sql.Conn, name string) error {
	if err := run(ctx, admin, `DROP DATABASE IF EXISTS `+pq.QuoteIdentifier(name)+` WITH (FORCE)`); err != nil {
		return fmt.Errorf("drop %s: %w", name, err)
	}
	return nil
}

// publish closes the migrated database to connections, which would be in the way of copies, and gives it its name.
// The migrator's last backend may still be leaving; FORCE exists for DROP only, so it is ended by hand.
func publish(ctx context.Context, admin *sql.Conn, raw, template string, now time.Time) error {
	const endBackends = `SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE datname = $1`
	from, to := pq.QuoteIdentifier(raw), pq.QuoteIdentifier(template)
	if err := run(ctx, admin, `ALTER DATABASE `+from+` ALLOW_CONNECTIONS false`); err != nil {
		return fmt.Errorf("close template: %w", err)
	}
	if err := run(ctx, admin, endBackends, raw); err != nil {
		return fmt.Errorf("empty template: %w", err)
	}
	if err := run(ctx, admin, `COMMENT ON DATABASE `+from+` IS '`+strconv.FormatInt(now.Unix(), 10)+`'`); err != nil {
		return fmt.Errorf("date template: %w", err)
	}
	if err := run(ctx, admin, `ALTER DATABASE `+from+` RENAME TO `+to); err != nil {
		return fmt.Errorf("name template: %w", err)
	}
	return nil
}

func exists(ctx context.Context, admin *sql.Conn, name string) (there bool, err error) {
	if err = admin.QueryRowContext(ctx, databaseExists, name).Scan(&there); err != nil {
		return false, fmt.Errorf("look for %s: %w", name, err)
	}
	return there, nil
}

// sweep drops what killed tests and former migrations have left. It is called under the lock.
func sweep(ctx context.Context, admin *sql.Conn, now time.Time) error {
	rows, err := admin.QueryContext(ctx, oldDatabases, testPrefix, templatePrefix)
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	defer rows.Close()
	var old []string
	for rows.Next() {
		var name, comment string
		if err := rows.Scan(&name, &comment); err != nil {
			return fmt.Errorf("list: %w", err)
		}
		made, ok := madeAt(name)
		life := testLife
		if !ok {
			unix, err := strconv.ParseInt(comment, 10, 64)
			made, ok, life = time.Unix(unix, 0), err == nil, templateLife
		}
		if ok && now.Sub(made) > life {
			old = append(old, name)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("list: %w", err)
	}
	for _, name := range old {
		if err := drop(ctx, admin, name); err != nil {
			return err
		}
	}
	return nil
}

// makeLogins is called under the lock, once the migrations have made the roles.
func makeLogins(ctx context.Context, admin *sql.Conn, password string) error {
	const loginExists = `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)`
	for login, role := range map[string]string{relayLogin: "webhooks_relay", appLogin: "webhooks_app"} {
		var there bool
		if err := admin.QueryRowContext(ctx, loginExists, login).Scan(&there); err != nil {
			return fmt.Errorf("look for role %s: %w", login, err)
		}
		statement := `ALTER ROLE ` + login + ` PASSWORD '` + password + `'`
		if !there {
			statement = `CREATE ROLE ` + login + ` LOGIN PASSWORD '` + password + `' IN ROLE ` + role
		}
		if err := run(ctx, admin, statement); err != nil {
			return fmt.Errorf("make role %s: %w", login, err)
		}
	}
	return nil
}

func lock(ctx context.Context, admin *sql.Conn) (unlock func(), err error) {
	if err := run(ctx, admin, lockTemplates, int64(lockKey)); err != nil {
		return nil, err
	}
	return func() { _ = run(context.WithoutCancel(ctx), admin, unlockTemplates, int64(lockKey)) }, nil
}

func run(ctx context.Context, admin *sql.Conn, statement string, args ...any) error {
	_, err := admin.ExecContext(ctx, statement, args...)
	return err
}
