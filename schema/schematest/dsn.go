package schematest

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strings"

	"github.com/lib/pq"
)

// withDatabase is the same server with another database, in whichever of lib/pq's two forms the DSN has.
func withDatabase(dsn, name string) string {
	if strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://") {
		if u, err := url.Parse(dsn); err == nil {
			u.Path = "/" + name
			query := u.Query()
			query.Del("dbname")
			u.RawQuery = query.Encode()
			return u.String()
		}
	}
	return dsn + " dbname='" + name + "'" // a later word wins
}

// withLogin is the same database for another login.
func withLogin(dsn, user, password string) string {
	if strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://") {
		if u, err := url.Parse(dsn); err == nil {
			u.User = url.UserPassword(user, password)
			query := u.Query()
			query.Del("user")
			query.Del("password")
			u.RawQuery = query.Encode()
			return u.String()
		}
	}
	return dsn + " user='" + user + "' password='" + password + "'"
}

// loginPassword is what all test binaries on one server find by themselves, and nobody who may not enter it anyway.
func loginPassword(server string) string {
	config, err := pq.NewConfig(server)
	if err != nil {
		return "" // whoever connects next says what is wrong with it
	}
	sum := sha256.Sum256([]byte("surveyhooks test login " + config.Password))
	return hex.EncodeToString(sum[:])
}
