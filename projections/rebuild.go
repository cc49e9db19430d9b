package projections

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
)

// ErrRebuilding says that another rebuild runs on the same database.
var ErrRebuilding = errors.New("another rebuild is running: wait for its end")

// Options says what a rebuild is for.
type Options struct {
	Verify   bool // compare with the live tables and leave them; else replace their rows
	PageRows int  // facts applied by one statement; default 10000

	Progress func(facts int) // told after each page how many facts it had; nil: nobody
}

// Report says what a rebuild found.
type Report struct {
	Facts        int         `json:"facts"`          // read, up to where the live history has read
	RetainedFrom time.Time   `json:"retained_from"`  // the first fact that is still there; zero without one
	Truncated    bool        `json:"truncated"`      // facts before RetainedFrom are gone: older rows were left alone
	From         *time.Time  `json:"from,omitempty"` // when Truncated: only rows from then on were looked at
	Tables       []TableDiff `json:"tables"`         // one for each table of the history
	Equal        bool        `json:"equal"`          // no table differed (before they were replaced)
	Replaced     bool        `json:"replaced"`       // the live rows are now the rebuilt ones
}

// TableDiff compares the rows of one table.
type TableDiff struct {
	Table       string `json:"table"`
	Live        int64  `json:"live"`
	Rebuilt     int64  `json:"rebuilt"`
	OnlyLive    int64  `json:"only_live"`    // rows that the rebuild does not have
	OnlyRebuilt int64  `json:"only_rebuilt"` // rows that the live table does not have
	Beyond      int64  `json:"beyond"`       // live rows older than what can be rebuilt
}

// history is the tables in the order of a delivery's life, each with the column that says when a row began.
func history() [][2]string {
	return [][2]string{
		{"events", "fanned_out_at"},
		{"deliveries", "created_at"},
		{"attempts", "started_at"},
		{"endpoint_slots", "slot"},
		{"endpoint_changes", "recorded_at"},
	}
}

// Rebuild makes the history again beside the live one, from the first retained fact to where the live one has read, by
// the same statements, and compares both. It works in one transaction and leaves nothing behind. With Verify the
// projector goes on meanwhile; without, it stands by until the live rows are replaced.
func Rebuild(ctx context.Context, db *sql.DB, opts Options) (Report, error) {
	if opts.PageRows == 0 {
		opts.PageRows = 10000
	}
	if opts.Progress == nil {
		opts.Progress = func(int) {}
	}
	level := sql.LevelReadCommitted
	if opts.Verify {
		level = sql.LevelRepeatableRead // tables and cursor of one moment
	}
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: level})
	if err != nil {
		return Report{}, fmt.Errorf("begin rebuild: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // a verification always ends so
	var alone bool
	if err := tx.QueryRowContext(ctx, tryRebuildLock).Scan(&alone); err != nil {
		return Report{}, fmt.Errorf("lock rebuild: %w", err)
	}
	if !alone {
		return Report{}, ErrRebuilding
	}
	if !opts.Verify {
		if _, err := tx.ExecContext(ctx, lockGroup, Group); err != nil {
			return Report{}, fmt.Errorf("hold the projector: %w", err)
		}
	}
	if _, err := tx.ExecContext(ctx, makeRebuildTables); err != nil {
		return Report{}, fmt.Errorf("make rebuild tables: %w", err)
	}
	report, err := rebuildIn(ctx, tx, opts)
	if err != nil || opts.Verify {
		return report, err
	}
	return replaceRows(ctx, tx, report)
}

func rebuildIn(ctx context.Context, tx *sql.Tx, opts Options) (report Report, err error) {
	if report.Facts, err = refill(ctx, tx, opts); err != nil {
		return report, err
	}
	var first, whole sql.Null[time.Time]
	err = tx.QueryRowContext(ctx, readRetention).Scan(&first, &whole, &report.Truncated)
	if err != nil {
		return report, fmt.Errorf("read retention: %w", err)
	}
	report.RetainedFrom = first.V.UTC()
	if report.Truncated {
		// The hour in which retention cut is half there.
		from := whole.V.UTC().Truncate(hourWidth).Add(hourWidth)
		report.From = &from
	}
	report.Equal = true
	for _, t := range history() {
		diff := TableDiff{Table: t[0]}
		err := tx.QueryRowContext(ctx, forTable(compareTable, t), report.From).
			Scan(&diff.Live, &diff.Rebuilt, &diff.OnlyLive, &diff.OnlyRebuilt, &diff.Beyond)
		if err != nil {
			return report, fmt.Errorf("compare %s: %w", t[0], err)
		}
		report.Equal = report.Equal && diff.OnlyLive == 0 && diff.OnlyRebuilt == 0
		report.Tables = append(report.Tables, diff)
	}
	return report, nil
}

// refill applies what the live cursor has read: everything before its window, then its window up to the cursor.
func refill(ctx context.Context, tx *sql.Tx, opts Options) (int, error) {
	var from, afterXID string
	var to sql.NullString
	var afterPosition int64
	err := tx.QueryRowContext(ctx, readCursor, Group).Scan(&from, &to, &afterXID, &afterPosition)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil // nothing was ever read
	}
	if err != nil {
		return 0, fmt.Errorf("read cursor of history: %w", err)
	}
	n, err := refillWindow(ctx, tx, commitlog.Page{FromSnapshot: "1:1:", ToSnapshot: from, AfterXID: "0", Rows: opts.PageRows}, opts.Progress)
	if err != nil || !to.Valid {
		return n, err
	}
	m, err := refillWindow(ctx, tx, commitlog.Page{
		FromSnapshot: from, ToSnapshot: to.String, AfterXID: "0", UntilXID: afterXID, UntilPosition: afterPosition, Rows: opts.PageRows,
	}, opts.Progress)
	return n + m, err
}

// refillWindow applies the facts of a window in pages of window.Rows, to its end when it has no UntilXID.
func refillWindow(ctx context.Context, tx *sql.Tx, window commitlog.Page, read func(int)) (total int, err error) {
	page := window
	end := sql.NullString{String: window.UntilXID, Valid: window.UntilXID != ""}
	for {
		err := tx.QueryRowContext(ctx, nextBounds, page.FromSnapshot, page.ToSnapshot, page.AfterXID, page.AfterPosition,
			end, window.UntilPosition, window.Rows).Scan(&page.UntilXID, &page.UntilPosition, &page.Rows)
		if errors.Is(err, sql.ErrNoRows) {
			return total, nil
		}
		if err != nil {
			return total, fmt.Errorf("read page of journal: %w", err)
		}
		if err := refillPage(ctx, tx, page); err != nil {
			return total, err
		}
		total += page.Rows
		read(page.Rows)
		page.AfterXID, page.AfterPosition = page.UntilXID, page.UntilPosition
	}
}

// refillPage applies a page, or, when that fails, its facts one by one but for those that are in quarantine.
func refillPage(ctx context.Context, tx *sql.Tx, page commitlog.Page) error {
	if _, err := tx.ExecContext(ctx, savepoint); err != nil {
		return fmt.Errorf("set savepoint: %w", err)
	}
	cause := applyTo(ctx, tx, rebuildSchema, page)
	if cause == nil {
		if _, err := tx.ExecContext(ctx, releaseSavepoint); err != nil {
			return fmt.Errorf("release savepoint: %w", err)
		}
		return nil
	}
	if _, err := tx.ExecContext(ctx, rollbackSavepoint); err != nil {
		return errors.Join(cause, err)
	}
	if page.Rows > 1 {
		single := page
		single.Rows = 1
		_, err := refillWindow(ctx, tx, single, func(int) {}) // whoever asked for the page tells of it
		return err
	}
	var known bool
	err := tx.QueryRowContext(ctx, isQuarantined, Group, page.UntilXID, page.UntilPosition).Scan(&known)
	if err != nil || known {
		return err
	}
	return cause
}

func replaceRows(ctx context.Context, tx *sql.Tx, report Report) (Report, error) {
	for _, t := range history() {
		if _, err := tx.ExecContext(ctx, forTable(clearTable, t), report.From); err != nil {
			return report, fmt.Errorf("clear %s: %w", t[0], err)
		}
		var columns string
		if err := tx.QueryRowContext(ctx, forTable(readColumns, t)).Scan(&columns); err != nil {
			return report, fmt.Errorf("read columns of %s: %w", t[0], err)
		}
		fill := strings.ReplaceAll(forTable(fillTable, t), "{columns}", columns)
		if _, err := tx.ExecContext(ctx, fill, report.From); err != nil {
			return report, fmt.Errorf("fill %s: %w", t[0], err)
		}
	}
	if err := tx.Commit(); err != nil {
		return report, fmt.Errorf("commit rebuild: %w", err)
	}
	report.Replaced = true
	return report, nil
}

func forTable(text string, t [2]string) string {
	return strings.NewReplacer("{table}", t[0], "{column}", t[1]).Replace(text)
}
