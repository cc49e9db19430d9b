// Package retention lets what is old and needed by nothing go: whole days of the logs, and the rows that went with them.
//
// It owns when days (partitions of outbox, journal and attempts, by UTC) are dropped, and the sweep of event_ids, events,
// requests, deliveries, replays, recoveries, rebuilds, statistics and quarantine after them, and, after 400 days, of the
// trail of access and of the changes of endpoints that no kept decision was made under. It promises that a day stays,
// however old, while a consumer group has not read it, a delivery of its events is pending or held, or (attempts) the
// journal of that day is kept; that producers wait for a drop at most 200 ms at a time; and that the audit and a rebuild
// are right at every moment in between, also after a crash: what was half done is done the next time. The last change of
// every endpoint, and who disabled one that is disabled, are kept for ever.
//
// It decides nothing by itself in PostgreSQL's place: webhooks.prune_partition looks again, in the transaction that drops.
//
// # What goes, and in which order
//
//	journal day ──▶ attempts day ┐
//	outbox day ──────────────────┴▶ event_ids ──▶ events ──▶ deliveries, replays, recoveries, …
package retention

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/lib/pq"
)

// Default is how long days are kept.
const Default = 30 * 24 * time.Hour

// ErrBusy says that another process prunes right now.
var ErrBusy = errors.New("another process is pruning: let it finish")

const (
	tries = 5           // of dropping one day that is in use
	pause = time.Second // between them, for the producers that waited

	pagesAtOnce = 256 // of a table, swept by one statement: 2 MiB

	inUse         = "it is in use: transactions that have touched the log stay open"
	keptByJournal = "the journal of that day is kept" // the words of webhooks.partition_kept_for
)

// Partition is one day of a log.
type Partition struct {
	Log     string `json:"log"`  // outbox, journal or attempts
	Name    string `json:"name"` // of the table, in the schema webhooks
	Day     string `json:"day"`  // UTC
	Bytes   int64  `json:"bytes"`
	Rows    *int64 `json:"rows"`     // as PostgreSQL's planner estimates them; nil until it has looked
	Old     bool   `json:"old"`      // older than the retention
	KeptFor string `json:"kept_for"` // why it stays although it is old; "": nothing needs it
}

// List returns every day that there is, the oldest of each log first, as a retention of keep sees it.
func List(ctx context.Context, db *sql.DB, keep time.Duration) ([]Partition, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("list partitions: %w", err)
	}
	defer conn.Close()
	return list(ctx, conn, keep)
}

func list(ctx context.Context, conn *sql.Conn, keep time.Duration) ([]Partition, error) {
	rows, err := conn.QueryContext(ctx, listPartitions, keep.Microseconds())
	if err != nil {
		return nil, fmt.Errorf("list partitions: %w", err)
	}
	defer rows.Close()
	partitions := []Partition{}
	for rows.Next() {
		var p Partition
		var day time.Time
		if err := rows.Scan(&p.Log, &p.Name, &day, &p.Bytes, &p.Rows, &p.Old, &p.KeptFor); err != nil {
			return nil, fmt.Errorf("list partitions: %w", err)
		}
		p.Day = day.Format(time.DateOnly)
		partitions = append(partitions, p)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list partitions: %w", err)
	}
	return partitions, nil
}

// Strays counts the rows that are in no day's partition because there was none when they came: to 100 000 of a log. They
// are read like all others, and move to their day when it is over and somebody makes partitions.
func Strays(ctx context.Context, db *sql.DB) (map[string]int64, error) {
	var outbox, journal, attempts int64
	if err := db.QueryRowContext(ctx, countDefaults).Scan(&outbox, &journal, &attempts); err != nil {
		return nil, fmt.Errorf("count rows of default partitions: %w", err)
	}
	return map[string]int64{"outbox": outbox, "journal": journal, "attempts": attempts}, nil
}

// Report says what a Prune did.
type Report struct {
	Dropped []Partition `json:"dropped"`
	Kept    []Partition `json:"kept"` // old days, each with what needs it
	Rows    int64       `json:"rows"` // that were deleted from the tables beside the logs
}

// InUse reports whether a day could have been dropped but for open transactions: try again later.
func (r Report) InUse() bool {
	return slices.ContainsFunc(r.Kept, func(p Partition) bool { return p.KeptFor == inUse })
}

// Prune drops the days that are older than keep (0: Default; at least a day) and that nothing needs, then deletes the
// rows that went with them, in bounded statements. It returns ErrBusy when another process is at it.
func Prune(ctx context.Context, db *sql.DB, keep time.Duration) (Report, error) {
	keep = cmp.Or(keep, Default)
	conn, err := db.Conn(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("prune: %w", err)
	}
	defer conn.Close()
	var alone bool
	if err := conn.QueryRowContext(ctx, tryLock).Scan(&alone); err != nil {
		return Report{}, fmt.Errorf("lock pruning: %w", err)
	}
	if !alone {
		return Report{}, ErrBusy
	}
	defer func() { _, _ = conn.ExecContext(context.WithoutCancel(ctx), unlock) }() // it goes with the connection, too
	days, err := list(ctx, conn, keep)
	if err != nil {
		return Report{}, err
	}
	report, err := eachOld(days, func(day Partition) (string, error) { return dropDay(ctx, conn, day, keep) })
	if err != nil {
		return report, err
	}
	report.Rows, err = clean(ctx, conn)
	return report, err
}

// Plan says what Prune would do now, and does nothing. Rows are not counted.
func Plan(ctx context.Context, db *sql.DB, keep time.Duration) (Report, error) {
	days, err := List(ctx, db, cmp.Or(keep, Default))
	if err != nil {
		return Report{}, err
	}
	first := "" // day of the journal that would be left
	for _, day := range days {
		if day.Log == "journal" && (!day.Old || day.KeptFor != "") {
			first = day.Day
			break
		}
	}
	return eachOld(days, func(day Partition) (string, error) {
		if day.Log == "attempts" && day.KeptFor == keptByJournal && day.Day < first {
			return "", nil
		}
		return day.KeptFor, nil
	})
}

// eachOld sorts the old days, from the oldest on, into those that are dropped and those that drop says something needs.
// The journal's have to go in their order: what can be made again from it begins where it begins.
func eachOld(days []Partition, drop func(Partition) (string, error)) (Report, error) {
	report := Report{Dropped: []Partition{}, Kept: []Partition{}}
	stopped := false
	for _, day := range days {
		if !day.Old {
			continue
		}
		var err error
		if day.Log == "journal" && stopped {
			day.KeptFor = "an earlier day of the journal is kept"
		} else if day.KeptFor, err = drop(day); err != nil {
			return report, err
		}
		if day.KeptFor == "" {
			report.Dropped = append(report.Dropped, day)
			continue
		}
		report.Kept = append(report.Kept, day)
		stopped = stopped || day.Log == "journal"
	}
	return report, nil
}

// dropDay returns why the day stays, or "".
func dropDay(ctx context.Context, conn *sql.Conn, day Partition, keep time.Duration) (string, error) {
	for try := 1; ; try++ {
		var kept sql.NullString
		err := conn.QueryRowContext(ctx, prunePartition, day.Log, day.Day, keep.Microseconds()).Scan(&kept)
		if err == nil {
			return kept.String, nil
		}
		if fault, ok := errors.AsType[*pq.Error](err); !ok || fault.Code != "55P03" { // lock_not_available
			return "", fmt.Errorf("prune %s: %w", day.Name, err)
		}
		if try == tries {
			return inUse, nil
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(pause):
		}
	}
}

// clean deletes what went with the days, unless that was done already. Broken off, it is done again from the start.
func clean(ctx context.Context, conn *sql.Conn) (total int64, err error) {
	var needed bool
	if err := conn.QueryRowContext(ctx, anythingToSweep).Scan(&needed); err != nil || !needed {
		return 0, err
	}
	for _, s := range sweeps() {
		var pages int64
		if err := conn.QueryRowContext(ctx, s.count()).Scan(&pages); err != nil {
			return total, fmt.Errorf("sweep %s: %w", s.table, err)
		}
		for from := int64(0); from < pages; from += pagesAtOnce {
			result, err := conn.ExecContext(ctx, s.delete(from, from+pagesAtOnce))
			if err != nil {
				return total, fmt.Errorf("sweep %s: %w", s.table, err)
			}
			n, err := result.RowsAffected()
			if err != nil {
				return total, fmt.Errorf("sweep %s: %w", s.table, err)
			}
			total += n
		}
	}
	for more := true; more; {
		var n int64
		if err := conn.QueryRowContext(ctx, pruneAccessTrail).Scan(&n); err != nil {
			return total, fmt.Errorf("prune access trail: %w", err)
		}
		total, more = total+n, n > 0
	}
	if _, err := conn.ExecContext(ctx, markSwept); err != nil {
		return total, fmt.Errorf("mark as swept: %w", err)
	}
	return total, nil
}
