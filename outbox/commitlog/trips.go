package commitlog

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/lib/pq"
)

// A reader's transaction is on the way of every event, and each of its statements is a round trip. Some of them need none of
// their own: BEGIN travels with the first statement, and the last ones with COMMIT. Watermill's subscriber and database/sql
// see no difference, but that the last statements' faults are told by Commit.

// WithCommit begins a statement whose result nobody wants, and which travels with the COMMIT behind it. Other connections
// than those of Open take it for a comment.
const WithCommit = "/* with COMMIT */ "

// mostLiteral bounds the arguments of a statement that are written into such a message. Larger ones go their own way.
const mostLiteral = 8 << 10

// trips is what a connection has not sent yet.
type trips struct {
	open   bool              // a transaction that ends through tx
	begin  string            // its beginning
	last   string            // its last statements
	byHand bool              // somebody prepared a statement, and runs it past this connection
	named  map[string]string // names of the statements that were prepared for such messages, by text
	names  int
}

// PrepareContext prepares a statement for whoever calls it. From then on a transaction begins at once, since such a
// statement may be its first, and is not run by this connection.
func (c *conn) PrepareContext(ctx context.Context, text string) (driver.Stmt, error) {
	if err := c.begun(ctx); err != nil {
		return nil, err
	}
	c.trips.byHand = true
	return c.capable.PrepareContext(ctx, text)
}

// BeginTx begins a transaction with its first statement, if it is a usual one.
func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if c.trips.byHand || opts.ReadOnly || opts.Isolation != driver.IsolationLevel(sql.LevelDefault) && opts.Isolation != driver.IsolationLevel(sql.LevelReadCommitted) {
		return c.capable.BeginTx(ctx, opts)
	}
	c.trips.open, c.trips.begin = true, "BEGIN READ WRITE"
	if opts.Isolation == driver.IsolationLevel(sql.LevelReadCommitted) {
		c.trips.begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
	}
	return tx{c}, nil
}

// tx is a transaction whose beginning may not have been sent yet.
type tx struct{ c *conn }

// Commit commits. A transaction that never began has nothing to commit.
func (t tx) Commit() error {
	c, begin, text := t.c, t.c.trips.begin, t.c.trips.last
	c.trips.open, c.trips.begin, c.trips.last = false, "", ""
	switch {
	case begin != "":
		return nil
	case text == "":
		return c.Commit()
	}
	if _, err := c.capable.ExecContext(context.Background(), text+"; COMMIT", nil); err != nil {
		clear(c.trips.named)                  // whichever it is, it may be gone
		return errors.Join(err, c.Rollback()) // the COMMIT was not looked at
	}
	return nil
}

// Rollback rolls back.
func (t tx) Rollback() error {
	c, begin := t.c, t.c.trips.begin
	c.trips.open, c.trips.begin, c.trips.last = false, "", ""
	if begin != "" {
		return nil
	}
	return c.Rollback()
}

// begun sends what has to be sent before another statement.
func (c *conn) begun(ctx context.Context) error {
	if err := c.send(ctx, &c.trips.begin); err != nil {
		return err
	}
	return c.send(ctx, &c.trips.last)
}

func (c *conn) send(ctx context.Context, waiting *string) error {
	text := *waiting
	if text == "" {
		return nil
	}
	*waiting = ""
	_, err := c.capable.ExecContext(ctx, text, nil)
	return err
}

// defers keeps the last statements of a transaction for its COMMIT.
func (c *conn) defers(ctx context.Context, text string, args []driver.NamedValue) (bool, error) {
	if !c.trips.open || !strings.HasPrefix(text, WithCommit) {
		return false, nil
	}
	if err := c.send(ctx, &c.trips.begin); err != nil {
		return true, err
	}
	call, err := c.call(ctx, text, args)
	if call == "" || err != nil {
		return call != "", err
	}
	if c.trips.last != "" {
		call = c.trips.last + "; " + call
	}
	c.trips.last = call
	return true, nil
}

// withBegin runs the first query of a transaction in one message with its BEGIN. It returns nil when it has to go alone.
func (c *conn) withBegin(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	if word, _, _ := strings.Cut(text, " "); c.trips.begin == "" || word != "SELECT" && word != "WITH" { // others may not be prepared
		return nil, nil
	}
	call, err := c.call(ctx, text, args)
	if call == "" || err != nil {
		return nil, err
	}
	begin := c.trips.begin
	c.trips.begin = ""
	rows, err := c.capable.QueryContext(ctx, begin+"; "+call, nil)
	if err != nil {
		clear(c.trips.named)
	}
	return rows, err
}

// call is text as the call of a statement that is prepared by name, with its arguments written into it; empty when they are
// too large for that, or of a kind that lib/pq would have to encode.
func (c *conn) call(ctx context.Context, text string, args []driver.NamedValue) (string, error) {
	literals := make([]string, len(args))
	size := 0
	for i, arg := range args {
		switch v := arg.Value.(type) {
		case string:
			literals[i] = pq.QuoteLiteral(v)
		case int64:
			literals[i] = strconv.FormatInt(v, 10)
		case bool:
			literals[i] = strconv.FormatBool(v)
		default:
			return "", nil
		}
		if size += len(literals[i]); size > mostLiteral {
			return "", nil
		}
	}
	name, ok := c.trips.named[text]
	if !ok {
		if len(c.trips.named) >= most {
			return "", nil
		}
		c.trips.names++
		name = "trip_" + strconv.Itoa(c.trips.names)
		if _, err := c.capable.ExecContext(ctx, "PREPARE "+name+" AS "+text, nil); err != nil {
			return "", fmt.Errorf("prepare %q: %w", strings.TrimSpace(text[:min(len(text), 40)]), err)
		}
		c.trips.named[text] = name
	}
	if len(literals) == 0 {
		return "EXECUTE " + name, nil
	}
	return "EXECUTE " + name + "(" + strings.Join(literals, ", ") + ")", nil
}
