package bench

import (
	"database/sql"
	"errors"
	"net/url"
	"strings"

	"github.com/lib/pq"
)

// errDSN does not quote its cause: the parser's words hold the string, and that holds the password.
var errDSN = errors.New("read DSN: want postgres://user@host:5432/database, or host=… user=… dbname=…")

func openDB(dsn string, connections int) (*sql.DB, error) {
	config, err := pq.NewConfig(dsn)
	if err != nil {
		return nil, errDSN
	}
	config.BinaryParameters = true // one round trip for each statement
	config.ApplicationName = "surveyhooks-bench"
	connector, err := pq.NewConnectorConfig(config)
	if err != nil {
		return nil, errDSN
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// asRelay is the same database with a relay's rights, which is what is measured.
func asRelay(dsn string) string {
	if !strings.Contains(dsn, "://") {
		return dsn + " role=webhooks_relay"
	}
	if strings.Contains(dsn, "?") {
		return dsn + "&role=webhooks_relay"
	}
	return dsn + "?role=webhooks_relay"
}

// inDatabase is the same server with another database, in the form that the DSN has.
func inDatabase(dsn, name string) (string, error) {
	if !strings.Contains(dsn, "://") {
		return dsn + " dbname=" + name, nil // a later word wins
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "", errDSN
	}
	query := u.Query()
	query.Del("dbname")
	u.Path, u.RawQuery = "/"+name, query.Encode()
	return u.String(), nil
}
