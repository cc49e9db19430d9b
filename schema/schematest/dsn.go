package schematest

import (
	"net/url"
	"strings"
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
