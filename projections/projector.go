package projections

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
)

// Group is the consumer group that makes the history.
const Group = "history"

// ErrHeld says that another process is applying the history right now; it goes on without our help.
var ErrHeld = errors.New("the history is being applied by another process")

// Config says how to project. DB is needed; the rest has defaults.
type Config struct {
	DB       *sql.DB
	DSN      string        // of the same database, for connections that are Run's own; empty: it uses DB, and polls every second
	PageRows int           // facts applied by one transaction; default 2000
	Gather   time.Duration // how long Run lets facts gather after it has caught up; default 50 ms
	Logger   *slog.Logger  // default: silent
}

// Projector applies the journal to the history. It is safe for concurrent use; only one reader works at a time.
type Projector struct{ cfg Config }

// New returns a projector.
func New(cfg Config) *Projector {
	cfg.PageRows = cmp.Or(cfg.PageRows, 2000)
	cfg.Gather = cmp.Or(cfg.Gather, 50*time.Millisecond)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Projector{cfg: cfg}
}

// Run applies the journal until ctx ends, as facts arrive; a fact that cannot be applied is quarantined.
func (p *Projector) Run(ctx context.Context) error {
	db, bell := p.cfg.DB, (*commitlog.Doorbell)(nil)
	if p.cfg.DSN != "" {
		var err error
		// One for the reader, and one for the doorbell.
		if db, err = commitlog.Open(p.cfg.DSN, "surveyhooks-history", 2, nil); err != nil {
			return err
		}
		defer db.Close()
		bell, err = commitlog.NewDoorbell(ctx, db, p.cfg.DSN, commitlog.Journal, p.cfg.Logger)
		if ctx.Err() != nil && err != nil {
			return nil // stopped before it began
		}
		if err != nil {
			return fmt.Errorf("open doorbell: %w", err)
		}
		defer bell.Close()
	}
	return commitlog.Run(ctx, commitlog.Config{
		DB: db, Topic: commitlog.Journal, Group: Group, PageRows: p.cfg.PageRows, Gather: p.cfg.Gather,
		Apply: Apply, Wake: bell, Logger: p.cfg.Logger,
	})
}

// RunToEnd applies pages until the journal is drained, waiting for its turn while another process works.
func (p *Projector) RunToEnd(ctx context.Context) error {
	for {
		n, err := p.RunOnce(ctx)
		switch {
		case errors.Is(err, ErrHeld):
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(10 * time.Millisecond):
			}
		case err != nil:
			return err
		case n == 0:
			return nil
		}
	}
}

// RunOnce applies one page in a transaction of its own and returns its number of facts: 0 when the journal is drained.
// It returns ErrHeld when another process holds the journal. A fact that cannot be applied fails the page, and so does a
// journal that was restored from another cluster; only Run sets facts aside, and reads such a journal again.
func (p *Projector) RunOnce(ctx context.Context) (n int, err error) {
	reader := commitlog.NewReader(commitlog.Config{
		DB: p.cfg.DB, Topic: commitlog.Journal, Group: Group, PageRows: p.cfg.PageRows, Logger: p.cfg.Logger,
	})
	for _, q := range reader.BeforeSubscribingQueries(string(commitlog.Journal), Group) {
		if _, err := p.cfg.DB.ExecContext(ctx, q.Query, q.Args...); err != nil {
			return 0, fmt.Errorf("subscribe to journal: %w", err)
		}
	}
	tx, err := p.cfg.DB.BeginTx(ctx, nil)
	if err != nil {
		return 0, fmt.Errorf("begin page: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back

	page, ack, err := nextPage(ctx, tx, reader)
	if err != nil {
		return 0, err
	}
	if page.Rows > 0 {
		if err := Apply(ctx, tx, page); err != nil {
			return 0, err
		}
		if _, err := tx.ExecContext(ctx, ack.Query, ack.Args...); err != nil {
			return 0, fmt.Errorf("move cursor of history: %w", err)
		}
	}
	// A drained page may have closed its window: commit that too.
	if err := tx.Commit(); err != nil {
		return 0, fmt.Errorf("commit page: %w", err)
	}
	return page.Rows, nil
}

// Apply applies one page to the history in tx. Applying a page again changes nothing.
func Apply(ctx context.Context, tx *sql.Tx, page commitlog.Page) error {
	return applyTo(ctx, tx, liveSchema, page)
}

func applyTo(ctx context.Context, tx *sql.Tx, schema string, page commitlog.Page) error {
	if _, err := tx.ExecContext(ctx, tunePlanner); err != nil {
		return fmt.Errorf("tune planner: %w", err)
	}
	if _, err := tx.ExecContext(ctx, in(schema, applyPage), page.Args()...); err != nil {
		return fmt.Errorf("apply %d facts: %w", page.Rows, err)
	}
	return nil
}
