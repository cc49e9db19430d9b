package schema

import (
	"database/sql/driver"
	"errors"
	"net"

	"github.com/lib/pq"
)

// Unreachable reports that there is no database to talk to, as opposed to one that says no.
func Unreachable(err error) bool {
	if pqErr, ok := errors.AsType[*pq.Error](err); ok {
		switch pqErr.Code.Class() {
		case "08", "28", "3D": // connection, authorization, no such database
			return true
		}
	}
	return Starting(err)
}

// Starting reports a server that will take connections soon, or is not up yet.
func Starting(err error) bool {
	if pqErr, ok := errors.AsType[*pq.Error](err); ok {
		return pqErr.Code.Class() == "57" && pqErr.Code != "57014" || pqErr.Code == "53300" // not a cancelled query; too many connections
	}
	var dial *net.OpError
	return errors.As(err, &dial) || errors.Is(err, driver.ErrBadConn)
}
