package bench

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/chattosurvey/surveyhooks/outbox"
)

// The bytes of an event's data that can be asked for. A whole event without a filler has fewer than minPayload.
const (
	minPayload = 512
	maxPayload = outbox.MaxDataBytes
)

// payload is data of exactly n bytes: a whole event of the company, and a filler.
func payload(company uuid.UUID, n int) (outbox.Raw, error) {
	data, err := json.Marshal(outbox.NewSample(outbox.ConversationStartedType, company).Data)
	if err != nil {
		return nil, fmt.Errorf("encode payload: %w", err)
	}
	head, tail := strings.TrimSuffix(string(data), "}")+`,"filler":"`, `"}`
	return outbox.Raw(head + strings.Repeat("x", n-len(head)-len(tail)) + tail), nil
}

// published is what the bench knows of an event.
type published struct {
	company int   // its index
	at      int64 // Unix nanoseconds right after the commit; 0: not for the latencies
	calm    bool  // Hang: published while nobody hung
}

// commits are the events that were committed.
type commits struct {
	mu     sync.Mutex
	calm   bool // of what is published now
	events map[uuid.UUID]published
}

func newCommits() *commits { return &commits{events: map[uuid.UUID]published{}} }

func (c *commits) add(ids []uuid.UUID, of []int, at int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, id := range ids {
		c.events[id] = published{company: of[i], at: at, calm: c.calm}
	}
}

// publish commits one transaction with an event for each of the companies, which are indexes.
func (r *run) publish(ctx context.Context, companies []int, timed bool) error {
	events := make([]outbox.Event, len(companies))
	for i, company := range companies {
		events[i] = outbox.Event{
			Type: outbox.ConversationStartedType, CompanyID: r.companies[company], Data: r.payloads[company],
		}
	}
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after the commit it says ErrTxDone
	ids, err := outbox.Publish(ctx, tx, events...)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if err := commit(tx); err != nil {
		return err
	}
	var at int64
	if timed {
		at = time.Now().UnixNano()
	}
	r.committed.add(ids, companies, at)
	return nil
}

func commit(tx *sql.Tx) error {
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// publishAll publishes n events, evenly over the companies, in transactions of batch, by all producers at once.
func (r *run) publishAll(ctx context.Context, n, batch int, timed bool) error {
	transactions := make(chan []int)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(transactions)
		for from := 0; from < n; from += batch {
			companies := make([]int, min(batch, n-from))
			for i := range companies {
				companies[i] = (from + i) % len(r.companies)
			}
			select {
			case transactions <- companies:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range r.cfg.Producers {
		group.Go(func() error {
			for companies := range transactions {
				if err := r.publish(ctx, companies, timed); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// publishSteadily publishes one event per transaction at the configured rate. A producer that is late does not wait
// for the others, and no event is left out: a slow database makes latencies, not a smaller load.
func (r *run) publishSteadily(ctx context.Context) error {
	n := int(r.cfg.Duration.Seconds() * float64(r.cfg.Rate))
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for producer := range r.cfg.Producers {
		group.Go(func() error {
			for i := producer; i < n; i += r.cfg.Producers {
				due := began.Add(time.Duration(i) * time.Second / time.Duration(r.cfg.Rate))
				if err := sleepUntil(ctx, due); err != nil {
					return err
				}
				if err := r.publish(ctx, []int{i % len(r.companies)}, true); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

func sleepUntil(ctx context.Context, due time.Time) error {
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
