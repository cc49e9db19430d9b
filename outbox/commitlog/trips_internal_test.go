package commitlog

import (
	"context"
	"database/sql"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// counting counts the messages that are sent to the server, each of which waits for its answer.
type counting struct{ sent *atomic.Int32 }

func (c counting) Dial(network, address string) (net.Conn, error) {
	return c.DialContext(context.Background(), network, address)
}

func (c counting) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return c.DialContext(ctx, network, address)
}

func (c counting) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	raw, err := new(net.Dialer).DialContext(ctx, network, address)
	return countedConn{raw, c.sent}, err
}

type countedConn struct {
	net.Conn

	sent *atomic.Int32
}

func (c countedConn) Write(p []byte) (int, error) {
	c.sent.Add(1)
	return c.Conn.Write(p)
}

// oneConn is a pool of one connection of ours to a database with a table of numbers, and the count of its round trips.
func oneConn(t *testing.T) (*sql.DB, *atomic.Int32) {
	t.Helper()
	test := schematest.New(t)
	config, err := pq.NewConfig(test.OwnerDSN)
	require.NoError(t, err)
	config.BinaryParameters = true
	raw, err := pq.NewConnectorConfig(config)
	require.NoError(t, err)
	sent := new(atomic.Int32)
	raw.Dialer(counting{sent})
	db := sql.OpenDB(connector{raw})
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = db.Close() })
	_, err = db.Exec(`CREATE TABLE public.numbers (n bigint UNIQUE DEFERRABLE INITIALLY DEFERRED, word text, yes boolean)`)
	require.NoError(t, err)
	return db, sent
}

const (
	readNumbers  = `SELECT count(*), coalesce(sum(n), 0) FROM public.numbers WHERE word <> $1 OR yes = $2`
	writeNumber  = `INSERT INTO public.numbers (n, word, yes) VALUES ($1, $2, $3)`
	countNumber  = WithCommit + `SELECT count(*) FROM public.numbers WHERE n = $1`
	renameNumber = WithCommit + `UPDATE public.numbers SET word = $2 WHERE n = $1`
)

// A page of a log takes a reader three round trips: what finds it, what applies it, and what moves the cursor.
func TestBeginAndCommitTakeNoRoundTripsOfTheirOwn(t *testing.T) {
	t.Parallel()
	db, sent := oneConn(t)
	word := `it's a \ "word"; DROP TABLE public.numbers; --`
	for i := range 3 {
		before := sent.Load()
		tx, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelReadCommitted})
		require.NoError(t, err)
		var count, sum int
		require.NoError(t, tx.QueryRow(readNumbers, word, true).Scan(&count, &sum))
		require.Equal(t, i, count)
		_, err = tx.Exec(writeNumber, i, "", true)
		require.NoError(t, err)
		for range 2 {
			_, err = tx.Exec(countNumber, i) // whose result nobody wants
			require.NoError(t, err)
		}
		_, err = tx.Exec(renameNumber, i, word)
		require.NoError(t, err)
		require.NoError(t, tx.Commit())
		if i > 0 { // the first prepares them
			require.EqualValues(t, 3, sent.Load()-before)
		}
		var written string
		require.NoError(t, db.QueryRow(`SELECT word FROM public.numbers WHERE n = $1`, i).Scan(&written))
		require.Equal(t, word, written)
	}
}

func TestTransactionIsOneHoweverItsPartsTravel(t *testing.T) {
	t.Parallel()
	db, sent := oneConn(t)
	count := func() (n int) {
		require.NoError(t, db.QueryRow(`SELECT count(*) FROM public.numbers`).Scan(&n))
		return n
	}
	begin := func() *sql.Tx {
		tx, err := db.Begin()
		require.NoError(t, err)
		return tx
	}
	write := func(tx *sql.Tx, n int) {
		_, err := tx.Exec(writeNumber, n, "", true)
		require.NoError(t, err)
	}

	before := sent.Load()
	require.NoError(t, begin().Commit())
	require.NoError(t, begin().Rollback())
	require.Equal(t, before, sent.Load(), "of nothing, nothing is sent")

	tx := begin()
	write(tx, 1)
	_, err := tx.Exec(renameNumber, 1, "x")
	require.NoError(t, err)
	require.NoError(t, tx.Rollback())
	require.Zero(t, count(), "rolled back")

	tx = begin()
	write(tx, 1)
	_, err = tx.Exec(renameNumber, 1, "x")
	require.NoError(t, err)
	var word string
	require.NoError(t, tx.QueryRow(`SELECT word FROM public.numbers WHERE n = $1`, 1).Scan(&word))
	require.Equal(t, "x", word, "it was not the last after all, and went before")
	require.NoError(t, tx.Commit())
	require.Equal(t, 1, count())

	for name, fails := range map[string]func(*sql.Tx){
		"TheLastStatement": func(tx *sql.Tx) {
			_, err := tx.Exec(WithCommit+`UPDATE public.numbers SET n = n / $1::bigint`, 0)
			require.NoError(t, err, "nobody has asked yet")
		},
		"TheOneBeforeTheLast": func(tx *sql.Tx) {
			_, err := tx.Exec(WithCommit+`SELECT 1 / $1::int`, 0)
			require.NoError(t, err, "nobody has asked yet")
			_, err = tx.Exec(renameNumber, 1, "y")
			require.NoError(t, err)
		},
		"TheCommit": func(tx *sql.Tx) {
			write(tx, 1) // a second one
			_, err := tx.Exec(renameNumber, 1, "y")
			require.NoError(t, err)
		},
		"AStatementBefore": func(tx *sql.Tx) {
			_, err := tx.Exec(`SELECT 1 / $1::int`, 0)
			require.Error(t, err)
			_, _ = tx.Exec(renameNumber, 1, "y") // tells it, or leaves that to Commit
		},
	} {
		tx := begin()
		write(tx, 2)
		fails(tx)
		require.Error(t, tx.Commit(), name)
		require.Equal(t, 1, count(), name)
	}

	// As lib/pq begins them: whatever a server's default is, they may write.
	_, err = db.Exec(`SET default_transaction_read_only = on`)
	require.NoError(t, err)
	tx = begin()
	write(tx, 4)
	require.NoError(t, tx.Rollback())
	_, err = db.Exec(`SET default_transaction_read_only = off`)
	require.NoError(t, err)

	byHand, err := db.Prepare(writeNumber)
	require.NoError(t, err)
	defer byHand.Close()
	for range 2 {
		tx = begin()
		_, err = tx.Stmt(byHand).Exec(3, "", true) //nolint:sqlclosecheck // closed with tx
		require.NoError(t, err)
		require.NoError(t, tx.Rollback())
		require.Equal(t, 1, count(), "what is prepared by hand is in the transaction, too")
	}
	for _, write := range []func(string, ...any) (sql.Result, error){db.Exec, func(text string, args ...any) (sql.Result, error) {
		tx := begin() // which has begun: see PrepareContext
		result, err := tx.Exec(text, args...)
		return result, errors.Join(err, tx.Commit())
	}} {
		_, err = write(renameNumber, 1, "z")
		require.NoError(t, err)
		require.NoError(t, db.QueryRow(`SELECT word FROM public.numbers WHERE n = $1`, 1).Scan(&word))
		require.Equal(t, "z", word, "nothing waits for a COMMIT that is not ours")
		_, err = write(renameNumber, 1, "")
		require.NoError(t, err)
	}
	tx = begin()
	require.ErrorContains(t, tx.QueryRow(`SELECT 1 / $1::int`, 0).Scan(new(int)), "division by zero")
	require.NoError(t, tx.Rollback())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = db.BeginTx(ctx, nil)
	require.ErrorIs(t, err, context.Canceled)
	tx, err = db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelSerializable})
	require.NoError(t, err)
	var isolation string
	require.NoError(t, tx.QueryRow(`SELECT current_setting($1)`, "transaction_isolation").Scan(&isolation))
	require.Equal(t, "serializable", isolation)
	require.NoError(t, tx.Commit())
	require.Equal(t, 1, count(), "the connection is as good as before")
}

// A pooler, or a person, may throw prepared statements away. That costs one transaction.
func TestStatementsThatWereThrownAwayArePreparedAnew(t *testing.T) {
	t.Parallel()
	db, _ := oneConn(t)
	write := func() error {
		tx, err := db.Begin()
		require.NoError(t, err)
		defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
		if err := tx.QueryRow(readNumbers, "", true).Scan(new(int), new(int)); err != nil {
			return err
		}
		if _, err := tx.Exec(renameNumber, 1, "x"); err != nil {
			return err
		}
		return tx.Commit()
	}
	require.NoError(t, write())
	_, err := db.Exec(`DEALLOCATE ALL`)
	require.NoError(t, err)
	require.Error(t, write())
	require.NoError(t, write())

	tx, err := db.Begin()
	require.NoError(t, err)
	_, err = tx.Exec(`DEALLOCATE ALL`)
	require.NoError(t, err)
	_, err = tx.Exec(renameNumber, 1, "x")
	require.NoError(t, err)
	require.Error(t, tx.Commit(), "the last statement alone finds out")
	require.NoError(t, write())
}
