package commitlog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	wsql "github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
)

// lightPage is the most rows of a page after which a reader that slept stays asleep: a trickle, whose producers can well
// pay for a ring each.
const lightPage = 8

// applyDeadline ends an Apply that hangs: it is SQL, and milliseconds.
const applyDeadline = time.Minute

// maxBackoff bounds the wait between two tries to read after an error.
const maxBackoff = 5 * time.Second

// errElsewhere says that the cursor is of another cluster than the log.
var errElsewhere = errors.New("the log was restored from another cluster, or the database moved there: surveyhooks serve reads it again when it runs")

var errReadOnly = errors.New("insert into a log through its owner: outbox.Publish, or the relay's recorder")

// Reader is one subscription to a log: Watermill's three extension points of a SQL subscriber in one, because what one
// of them sees (a drained log, a log held by another reader) decides what the next one does. It serves one
// sql.Subscriber and is not safe for two.
type Reader struct {
	topic     Topic
	group     string
	pageRows  int
	bell      *Doorbell
	poll      time.Duration
	pause     time.Duration // Config.Gather
	committed func()
	failed    func()
	elsewhere chan struct{} // filled when a poll found errElsewhere
	logger    *slog.Logger

	unended  atomic.Bool // the last transaction's end failed: what it did may or may not be there
	holds    atomic.Bool // the last poll held the log, and so may arrange to be woken
	failures int
	gather   time.Duration // after the last page
	light    bool          // the last page was all there was, and little
}

// errUnended says that a page may not be committed. Whoever asks then finds out by reading it again.
var errUnended = errors.New("the transaction of a page could not be ended")

var (
	_ wsql.SchemaAdapter  = (*Reader)(nil)
	_ wsql.OffsetsAdapter = (*Reader)(nil)
	_ wsql.BackoffManager = (*Reader)(nil)
)

// NewReader returns a reader for a consumer group; its doorbell may be nil, and the reader then polls.
func NewReader(cfg Config) *Reader {
	cfg = cfg.withDefaults()
	return &Reader{
		topic: cfg.Topic, group: cfg.Group, pageRows: cfg.PageRows, bell: cfg.Wake, poll: cfg.Poll, pause: cfg.Gather,
		committed: cfg.Committed, failed: cfg.Failed, elsewhere: make(chan struct{}, 1), logger: cfg.Logger,
	}
}

// Subscriber returns a Watermill subscriber over db whose messages are pages.
func (r *Reader) Subscriber(db wsql.Beginner) (message.Subscriber, error) {
	// When it passes, the library commits what an unfinished handler has done so far. Run ends an Apply that hangs long
	// before, by applyDeadline and a rollback.
	deadline := time.Hour
	sub, err := wsql.NewSubscriber(db, wsql.SubscriberConfig{
		ConsumerGroup:  r.group,
		AckDeadline:    &deadline,
		ResendInterval: 50 * time.Millisecond,
		BackoffManager: r,
		SchemaAdapter:  r,
		OffsetsAdapter: r,
	}, ends{failed: &r.unended})
	if err != nil {
		return nil, fmt.Errorf("make subscriber of %s: %w", r.topic, err)
	}
	return sub, nil
}

// SelectQuery asks for the next page.
func (r *Reader) SelectQuery(string, string, wsql.OffsetsAdapter) wsql.Query {
	r.holds.Store(false) // until a row says otherwise
	return wsql.Query{Query: r.topic.sql(selectPage), Args: []any{r.group, r.pageRows}}
}

// UnmarshalMessage turns the bounds of a page into a message; sql.ErrNoRows says that the log is drained.
func (r *Reader) UnmarshalMessage(row wsql.Scanner) (wsql.Row, error) {
	var p Page
	var untilXID, since, until sql.NullString
	var untilPosition sql.NullInt64
	var elsewhere bool
	err := row.Scan(&p.FromSnapshot, &p.ToSnapshot, &p.AfterXID, &p.AfterPosition, &untilXID, &untilPosition, &p.Rows, &since, &until, &elsewhere)
	if err != nil {
		return wsql.Row{}, fmt.Errorf("scan page: %w", err)
	}
	if elsewhere {
		return wsql.Row{}, errElsewhere
	}
	r.holds.Store(true)
	if p.Rows == 0 {
		return wsql.Row{}, sql.ErrNoRows
	}
	r.gather = 0
	if p.Rows < r.pageRows/2 {
		r.gather = r.pause
	}
	r.light = p.Rows <= lightPage && p.Rows < r.pageRows && r.pause == 0
	p.UntilXID, p.UntilPosition, p.Since, p.Until = untilXID.String, untilPosition.Int64, since.String, until.String
	msg, err := p.message()
	if err != nil {
		return wsql.Row{}, err
	}
	// Offset 0 means "nothing acked" to the library.
	return wsql.Row{Offset: 1, Msg: msg, ExtraData: map[string]any{"page": p}}, nil
}

// SubscribeIsolationLevel is read committed: the page function orders its own snapshots.
func (r *Reader) SubscribeIsolationLevel() sql.IsolationLevel { return sql.LevelReadCommitted }

// AckMessageQuery moves the cursor behind the page.
func (r *Reader) AckMessageQuery(_ string, row wsql.Row, _ string) wsql.Query {
	p, _ := row.ExtraData["page"].(Page) // put there by UnmarshalMessage
	return wsql.Query{Query: r.topic.sql(moveCursor), Args: []any{
		r.group, p.ToSnapshot, p.UntilXID, p.UntilPosition, p.Rows < r.pageRows,
		p.FromSnapshot, p.AfterXID, p.AfterPosition,
	}}
}

// BeforeSubscribingQueries makes the group's cursor, before the first row of the log.
func (r *Reader) BeforeSubscribingQueries(string, string) []wsql.Query {
	return []wsql.Query{{Query: r.topic.sql(addCursor), Args: []any{r.group}}}
}

// ends is the library's logger. It logs nothing, since the library logs every empty poll, and HandleError what matters. But
// that the end of a page's transaction failed is told to it alone: to everybody else the page looks committed.
type ends struct {
	watermill.NopLogger

	failed *atomic.Bool
}

// Error is only ever told of a COMMIT or a ROLLBACK that failed.
func (e ends) Error(string, error, watermill.LogFields) { e.failed.Store(true) }

// With keeps it.
func (e ends) With(watermill.LogFields) watermill.LoggerAdapter { return e }

// HandleError decides when to poll again. The library calls it after every poll and waits for it, so it may block
// until the doorbell rings.
func (r *Reader) HandleError(_ watermill.LoggerAdapter, noMsg bool, err error) time.Duration {
	if r.unended.Swap(false) && err == nil {
		err = errUnended
	}
	if err != nil && r.failed != nil {
		r.failed()
	}
	switch {
	case errors.Is(err, errElsewhere):
		select {
		case r.elsewhere <- struct{}{}:
		default:
		}
		return r.poll // Run closes the subscriber meanwhile
	case err != nil:
		r.failures++
		wait := min(maxBackoff, 50*time.Millisecond<<min(r.failures, 10))
		r.logger.Warn("log read failed", "topic", string(r.topic), "group", r.group, "retry_in", wait, "error", err)
		return wait
	case !noMsg:
		r.failures = 0
		if r.committed != nil {
			r.committed()
		}
		if r.light && r.bell.Rest(r.poll) {
			return 0
		}
		r.bell.Awake()
		return r.gather
	case r.bell == nil:
		return r.poll
	case !r.holds.Load():
		r.bell.Standby(r.poll)
		return 0
	default:
		r.failures = 0
		r.bell.Sleep(r.poll)
		return 0
	}
}

// ConsumedMessageQuery is not used: its effects would be committed for messages that were never acked.
func (r *Reader) ConsumedMessageQuery(string, wsql.Row, string, []byte) wsql.Query {
	return wsql.Query{}
}

// NextOffsetQuery is not used: the page function reads the cursor itself.
func (r *Reader) NextOffsetQuery(string, string) wsql.Query { return wsql.Query{} }

// SchemaInitializingQueries is empty: package schema owns the tables.
func (r *Reader) SchemaInitializingQueries(string) []wsql.Query { return nil }

// InsertQuery refuses: a reader does not write.
func (r *Reader) InsertQuery(string, message.Messages) (wsql.Query, error) {
	return wsql.Query{}, errReadOnly
}

// rebase makes the log readable after a restore into another cluster; see the package's failure handling.
func (r *Reader) rebase(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("rebase %s: %w", r.topic, err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	if _, err := tx.ExecContext(ctx, unbounded); err != nil {
		return fmt.Errorf("rebase %s: %w", r.topic, err)
	}
	var found int
	err = tx.QueryRowContext(ctx, r.topic.sql(lockForeignCursor), r.group).Scan(&found)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("compare cluster of %s: %w", r.topic, err)
	}
	r.logger.Warn("log was restored from another cluster: reading it again", "topic", string(r.topic), "group", r.group)
	if _, err := tx.ExecContext(ctx, r.topic.sql(restampRows)); err != nil {
		return fmt.Errorf("restamp %s: %w", r.topic, err)
	}
	if r.topic == Outbox {
		if _, err := tx.ExecContext(ctx, restampEventIDs); err != nil {
			return fmt.Errorf("restamp event ids: %w", err)
		}
	}
	if _, err := tx.ExecContext(ctx, r.topic.sql(rebaseCursor), r.group); err != nil {
		return fmt.Errorf("rebase cursor of %s: %w", r.topic, err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("rebase %s: %w", r.topic, err)
	}
	return nil
}
