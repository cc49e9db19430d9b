package commitlog_test

import (
	"database/sql"
	"errors"
	"slices"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// writers is one cursor on one log, and as many transactions as may be open at once. One goroutine plays all of them, so
// that a byte string is a history that happens again the same way.
type writers struct {
	db      *schematest.DB
	reader  *commitlog.Reader
	company uuid.UUID
	open    [4]*sql.Tx
	written [4][]int64 // by what is open
	want    []int64    // committed, and not yet asked for
	next    int64
}

// FuzzPageCursor holds that whatever order transactions begin, write, commit and roll back in, and whenever pages are
// read in between, the cursor shows every committed row once and no other. A byte is a transaction and what it does.
func FuzzPageCursor(f *testing.F) {
	for _, seed := range []string{
		"\x00\x04\x0c",                     // write, commit, read
		"\x00\x01\x05\x0c\x04\x0c",         // the second commits first, the first while the window is read
		"\x00\x01\x02\x03\x0b\x0c\x06\x04", // three commit around one that rolls back
		"\x00\x00\x00\x00\x04\x01\x0c\x05\x0c\x00\x04\x0c\x0c",
	} {
		f.Add([]byte(seed))
	}
	db := schematest.New(f)
	w := &writers{
		db: db, company: uuid.New(),
		reader: commitlog.NewReader(commitlog.Config{DB: db.DB, Topic: commitlog.Outbox, Group: group, PageRows: 2}),
	}
	for _, query := range w.reader.BeforeSubscribingQueries("", group) {
		_, err := db.ExecContext(f.Context(), query.Query, query.Args...)
		require.NoError(f, err)
	}
	f.Fuzz(func(t *testing.T, history []byte) {
		var got []int64
		for _, step := range history[:min(len(history), 32)] {
			i := int(step & 3)
			switch step >> 2 & 3 {
			case 0:
				w.write(t, i)
			case 1:
				w.end(t, i, true)
			case 2:
				w.end(t, i, false)
			case 3:
				page, _ := w.page(t)
				got = append(got, page...)
			}
		}
		for i := range w.open {
			w.end(t, i, i%2 == 0)
		}
		for {
			page, more := w.page(t)
			got = append(got, page...)
			if !more {
				break
			}
		}
		slices.Sort(got)
		slices.Sort(w.want)
		require.Equal(t, w.want, got, "%x", history)
		w.want = nil
	})
}

func (w *writers) write(t *testing.T, i int) {
	t.Helper()
	if w.open[i] == nil {
		tx, err := w.db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		w.open[i] = tx
	}
	w.next++
	_, err := w.open[i].ExecContext(t.Context(), insertNumbered, w.company, w.next, w.next)
	require.NoError(t, err)
	w.written[i] = append(w.written[i], w.next)
}

func (w *writers) end(t *testing.T, i int, commit bool) {
	t.Helper()
	if w.open[i] == nil {
		return
	}
	if commit {
		require.NoError(t, w.open[i].Commit())
		w.want = append(w.want, w.written[i]...)
	} else {
		require.NoError(t, w.open[i].Rollback())
	}
	w.open[i], w.written[i] = nil, nil
}

// page reads what comes next and moves the cursor behind it, as a subscriber does.
func (w *writers) page(t *testing.T) (rows []int64, more bool) {
	t.Helper()
	tx, err := w.db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	query := w.reader.SelectQuery("", group, w.reader)
	row, err := w.reader.UnmarshalMessage(tx.QueryRowContext(t.Context(), query.Query, query.Args...))
	if errors.Is(err, sql.ErrNoRows) {
		require.NoError(t, tx.Commit())
		return nil, false
	}
	require.NoError(t, err)
	page, err := commitlog.PageOf(row.Msg)
	require.NoError(t, err)
	found, err := tx.QueryContext(t.Context(), `SELECT data->>'n' FROM webhooks.outbox_rows($1, $2, $3, $4, $5, $6, $7, $8)`, page.Args()...)
	require.NoError(t, err)
	defer found.Close()
	for found.Next() {
		var n int64
		require.NoError(t, found.Scan(&n))
		rows = append(rows, n)
	}
	require.NoError(t, found.Err())
	require.Len(t, rows, page.Rows)
	move := w.reader.AckMessageQuery("", row, group)
	_, err = tx.ExecContext(t.Context(), move.Query, move.Args...)
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	return rows, true
}
