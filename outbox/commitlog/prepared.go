package commitlog

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"

	"github.com/lib/pq"
)

// Open returns a pool for the readers and writers of the logs: connections that notice a server which vanished (Dialer),
// have the settings, are application's in pg_stat_activity, and let PostgreSQL parse and plan a statement once for each
// connection, whoever sends it.
//
// They send the same few statements for ever, and planning one takes as long as running it. database/sql keeps what is
// prepared by hand; but Watermill's subscriber and publisher send text. A connection of this pool prepares each text
// that has arguments when it first sees it, and from then on sends the arguments alone, in one round trip.
//
// Nothing is connected before it is used. An error holds nothing of the DSN, which may hold a password.
func Open(dsn, application string, conns int, settings map[string]string) (*sql.DB, error) {
	config, err := pq.NewConfig(dsn)
	if err != nil {
		return nil, errors.New("parse DSN: want postgres://user:password@host:port/database or host=… user=… dbname=…")
	}
	config = config.Clone()
	config.ApplicationName, config.BinaryParameters = application, true
	maps.Copy(config.Runtime, settings)
	raw, err := pq.NewConnectorConfig(config)
	if err != nil {
		return nil, errors.New("parse DSN: its parts contradict each other")
	}
	raw.Dialer(Dialer())
	db := sql.OpenDB(connector{raw})
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

// most bounds the statements that a connection keeps: the first ones. It is far more than there are.
const most = 64

type connector struct{ *pq.Connector }

// Connect opens a connection.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	raw, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	able, ok := raw.(capable)
	if !ok {
		_ = raw.Close()
		return nil, fmt.Errorf("lib/pq's %T lacks what is passed on to it", raw)
	}
	return &conn{capable: able, kept: make(map[string]statement), trips: trips{named: make(map[string]string)}}, nil
}

// capable is what a connection of lib/pq can do.
type capable interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.QueryerContext
	driver.SessionResetter
	driver.Tx // of the transaction that it is in
	driver.Validator
}

type statement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

type conn struct {
	capable

	kept  map[string]statement
	trips trips
}

// ExecContext runs a statement.
func (c *conn) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	if ok, err := c.defers(ctx, text, args); ok || err != nil {
		return driver.ResultNoRows, err
	}
	if err := c.begun(ctx); err != nil {
		return nil, err
	}
	st, err := c.prepare(ctx, text, args)
	if err != nil {
		return nil, err
	}
	if st == nil {
		return c.capable.ExecContext(ctx, text, args)
	}
	result, err := st.ExecContext(ctx, args)
	if err != nil {
		c.forget(text)
	}
	return result, err
}

// QueryContext runs a query.
func (c *conn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	if rows, err := c.withBegin(ctx, text, args); rows != nil || err != nil {
		return rows, err
	}
	if err := c.begun(ctx); err != nil {
		return nil, err
	}
	st, err := c.prepare(ctx, text, args)
	if err != nil {
		return nil, err
	}
	if st == nil {
		return c.capable.QueryContext(ctx, text, args)
	}
	rows, err := st.QueryContext(ctx, args)
	if err != nil {
		c.forget(text)
	}
	return rows, err
}

// prepare returns nil for what is sent as it is: a text without arguments may be several statements.
func (c *conn) prepare(ctx context.Context, text string, args []driver.NamedValue) (statement, error) {
	if len(args) == 0 {
		return nil, nil
	}
	if st, ok := c.kept[text]; ok {
		return st, nil
	}
	if len(c.kept) >= most {
		return nil, nil
	}
	raw, err := c.capable.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	st, ok := raw.(statement)
	if !ok {
		return nil, fmt.Errorf("lib/pq's %T cannot be cancelled", raw)
	}
	c.kept[text] = st
	return st, nil
}

// forget gives a statement up that failed: after a migration a plan may be one of columns that have changed, and would
// fail for ever.
func (c *conn) forget(text string) {
	_ = c.kept[text].Close() // or the connection is over, and all of them with it
	delete(c.kept, text)
}

var _ capable = (*conn)(nil)
