package commitlog

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	wsql "github.com/ThreeDotsLabs/watermill-sql/v3/pkg/sql"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/lib/pq"
)

// Config is a subscription of one consumer group to one log.
type Config struct {
	DB       *sql.DB
	Topic    Topic
	Group    string
	PageRows int // default 500
	// Gather is how long to wait after a page that was less than half full, so that a steady trickle is applied in pages
	// and not row by row. Default: not at all.
	Gather time.Duration
	// Apply handles a page in the reader's transaction: SQL, and milliseconds. It must have no effect for rows that it
	// has applied before.
	Apply func(ctx context.Context, tx *sql.Tx, page Page) error
	// Committed, if set, is called after the transaction of an applied page has ended. For each page that was applied, it or
	// Failed is called once: from another goroutine than Apply, before the next page and before Run returns.
	Committed func()
	// Failed, if set, is called after a look at the log that failed, and so maybe a page that was applied. It is not known
	// whether its transaction holds: its answer may be what was lost, or still to come.
	Failed func()
	Wake   *Doorbell // nil: poll
	// Poll is how late a commit is seen at most when its ring was lost, or there is no doorbell. Default: 1 s.
	Poll   time.Duration
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	c.PageRows = cmp.Or(c.PageRows, 500)
	c.Poll = cmp.Or(c.Poll, time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Run reads the log until ctx ends, and returns when the page under way is done. Only one reader of a group works at a
// time, in whatever process; the others stand by. When the database has moved to another cluster, it begins anew there, as
// often as that takes; an error is that of the first beginning.
func Run(ctx context.Context, cfg Config) error {
	cfg = cfg.withDefaults()
	for moved := false; ; {
		elsewhere, err := read(ctx, cfg)
		switch {
		case elsewhere:
			moved = true
		case err == nil || !moved:
			return err
		default: // what a cluster lacks that the database moved to may still come
			cfg.Logger.Warn("log of another cluster not read yet", "topic", string(cfg.Topic), "group", cfg.Group,
				"retry_in", cfg.Poll, "error", err)
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(cfg.Poll):
			}
		}
	}
}

// read reads the log until ctx ends, or until it finds itself in another cluster than the one it began in.
func read(ctx context.Context, cfg Config) (elsewhere bool, err error) {
	reader := NewReader(cfg)
	err = reader.rebase(ctx, cfg.DB)
	if err == nil {
		// It may have to wait for somebody who holds the table, and can be stopped here; the subscriber's reads cannot.
		_, err = cfg.DB.ExecContext(ctx, cfg.Topic.sql(touchLog))
	}
	if ctx.Err() != nil {
		return false, nil // stopped before it began
	}
	if err != nil {
		return false, fmt.Errorf("begin to read %s: %w", cfg.Topic, err)
	}
	sub, err := reader.Subscriber(cfg.DB)
	if err != nil {
		return false, err
	}
	// A cancelled context would roll a page back that is already applied; Close ends the loop between pages.
	pages, err := sub.Subscribe(context.WithoutCancel(ctx), string(cfg.Topic))
	if err != nil {
		return false, fmt.Errorf("subscribe to %s: %w", cfg.Topic, err)
	}
	defer func() {
		if closeErr := sub.Close(); closeErr != nil {
			err = errors.Join(err, fmt.Errorf("close subscriber of %s: %w", cfg.Topic, closeErr))
		}
	}()
	h := &handler{cfg: cfg}
	for {
		select {
		case <-ctx.Done():
			if cfg.Wake != nil {
				cfg.Wake.Interrupt()
			}
			return false, nil
		case <-reader.elsewhere:
			return true, nil
		case msg := <-pages:
			h.handle(msg) //nolint:contextcheck // the message carries the context of its transaction
		}
	}
}

type handler struct {
	cfg     Config
	rowwise bool // the last page held a poisonous row: go through the next one row by row
}

// handle applies one page and acks it. A page that must be read again is acked too, after a rollback: the library then
// finds the transaction gone, counts an error and starts afresh, where a nack would send the page again into the same
// broken transaction.
//
// The library moves the cursor behind an acked page in the page's transaction, unless it is closed before it has seen the
// ack: it then commits the page's effects without the move. So handle waits until it has: the message's context ends
// with that, and Close is called by the goroutine that waits here.
func (h *handler) handle(msg *message.Message) {
	seen := msg.Context().Done()
	defer func() {
		msg.Ack()
		<-seen
	}()
	tx, ok := wsql.TxFromContext(msg.Context())
	if !ok {
		return // never: the library always gives one
	}
	page, err := PageOf(msg)
	if err == nil {
		ctx, cancel := context.WithTimeout(msg.Context(), applyDeadline)
		err = h.apply(ctx, tx, page)
		cancel()
	}
	if err != nil {
		h.cfg.Logger.Warn("page failed", "topic", string(h.cfg.Topic), "group", h.cfg.Group, "rows", page.Rows, "error", err)
		_ = tx.Rollback() // if the connection is gone, so is the transaction
	}
}

// apply handles the page. One with a poisonous row is rolled back and comes again, and then goes through row by row; a
// savepoint around every page would cost all of them two round trips.
func (h *handler) apply(ctx context.Context, tx *sql.Tx, page Page) error {
	apply := h.cfg.Apply
	if h.rowwise {
		apply = h.applyRows
	}
	err := apply(ctx, tx, page)
	h.rowwise = isPoison(err)
	return err
}

// applyRows goes through a page row by row and sets aside those that fail.
func (h *handler) applyRows(ctx context.Context, tx *sql.Tx, page Page) error {
	singles, err := h.split(ctx, tx, page)
	if err != nil {
		return err
	}
	for _, single := range singles {
		err := inSavepoint(ctx, tx, func() error { return h.cfg.Apply(ctx, tx, single) })
		if err == nil {
			continue
		}
		if !isPoison(err) {
			return err
		}
		h.cfg.Logger.Error("row quarantined", "topic", string(h.cfg.Topic), "group", h.cfg.Group,
			"position", single.UntilPosition, "error", err)
		args := append(single.Args(), h.cfg.Group, err.Error())
		if _, err := tx.ExecContext(ctx, h.cfg.Topic.sql(quarantineRow), args...); err != nil {
			return fmt.Errorf("quarantine row %d of %s: %w", single.UntilPosition, h.cfg.Topic, err)
		}
	}
	return nil
}

func (h *handler) split(ctx context.Context, tx *sql.Tx, page Page) ([]Page, error) {
	rows, err := tx.QueryContext(ctx, h.cfg.Topic.sql(pageKeys), page.Args()...)
	if err != nil {
		return nil, fmt.Errorf("split page: %w", err)
	}
	defer rows.Close()
	singles := make([]Page, 0, page.Rows)
	next := page
	next.Rows = 1
	for rows.Next() {
		if err := rows.Scan(&next.UntilXID, &next.UntilPosition); err != nil {
			return nil, fmt.Errorf("split page: %w", err)
		}
		singles = append(singles, next)
		next.AfterXID, next.AfterPosition = next.UntilXID, next.UntilPosition
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("split page: %w", err)
	}
	return singles, nil
}

func inSavepoint(ctx context.Context, tx *sql.Tx, apply func() error) error {
	if _, err := tx.ExecContext(ctx, savepoint); err != nil {
		return fmt.Errorf("set savepoint: %w", err)
	}
	if err := apply(); err != nil {
		if _, rollbackErr := tx.ExecContext(ctx, rollbackSavepoint); rollbackErr != nil {
			return errors.Join(errLostTransaction, err, rollbackErr)
		}
		return err
	}
	if _, err := tx.ExecContext(ctx, releaseSavepoint); err != nil {
		return fmt.Errorf("release savepoint: %w", err)
	}
	return nil
}

var errLostTransaction = errors.New("the reader's transaction is lost")

// isPoison reports whether the error lies in the data of a row, so that reading it again cannot help. A fault of our
// own (class 42, say) must never drain a log into the quarantine.
func isPoison(err error) bool {
	var pqErr *pq.Error
	if errors.Is(err, errLostTransaction) || !errors.As(err, &pqErr) {
		return false
	}
	switch class := pqErr.Code.Class(); class {
	case "22", "23":
		return true
	default:
		return pqErr.Code == "P0001"
	}
}
