package recovery

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/relay/delivery"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// What a recovery waits for.
const (
	waitsForEnabled = "enabled"
	waitsForBreaker = "breaker"
	waitsForBacklog = "backlog"
)

// Run works on recoveries until ctx ends, a page at a time. Many processes may run: they share them.
func (s *Service) Run(ctx context.Context) error {
	pause := s.cfg.Poll
	for ctx.Err() == nil {
		worked, err := s.step(ctx)
		switch {
		case err == nil:
			pause = s.cfg.Poll
		case ctx.Err() == nil:
			pause = min(2*pause, 30*time.Second)
			s.cfg.Logger.Error("recovery stopped short; it goes on from there", "error", err, "again_in", pause.String())
		}
		if worked {
			continue
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
		case <-timer.C:
		}
	}
	return nil
}

// place is how far a recovery has come: the last delivery, or event, that it handled.
type place struct {
	at time.Time
	id int64
}

// task is a recovery that is due, its place, and what may stand in its way.
type task struct {
	Recovery

	after   place
	deleted bool
	waits   map[string]bool
}

// step takes the recovery that is due the longest and works on it; false means that there is none.
func (s *Service) step(ctx context.Context) (bool, error) {
	tx, err := s.cfg.DB.BeginTx(ctx, nil)
	if err != nil {
		return false, fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit there is nothing to roll back
	var t task
	var disabled, broken, behind bool
	t.Recovery, err = scan(tx.QueryRowContext(ctx, take, s.cfg.Backlog),
		&t.after.at, &t.after.id, &t.deleted, &disabled, &broken, &behind)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("take recovery: %w", err)
	}
	t.waits = map[string]bool{waitsForEnabled: disabled, waitsForBreaker: broken, waitsForBacklog: behind}
	if err := s.work(ctx, tx, &t); err != nil {
		return false, fmt.Errorf("work on recovery %s: %w", t.ID, err)
	}
	if err := tx.Commit(); err != nil {
		return false, fmt.Errorf("commit recovery %s: %w", t.ID, err)
	}
	return true, nil
}

func (s *Service) work(ctx context.Context, tx *sql.Tx, t *task) error {
	if t.deleted {
		return s.end(ctx, tx, t, Failed)
	}
	for _, wait := range []string{waitsForEnabled, waitsForBreaker, waitsForBacklog} {
		if t.waits[wait] {
			return s.wait(ctx, tx, t, wait)
		}
	}
	handle := s.retryFailed
	if t.Kind == Missing {
		handle = s.requestMissing
	}
	p, err := handle(ctx, tx, t)
	if err != nil {
		return err
	}
	if p.seen == 0 {
		return s.end(ctx, tx, t, Done)
	}
	pause := float64(p.seen) / float64(s.cfg.Rate)
	if _, err := tx.ExecContext(ctx, advance, t.ID, p.queued, p.seen-p.queued, p.last.at, p.last.id, pause); err != nil {
		return fmt.Errorf("keep the place: %w", err)
	}
	return nil
}

// portion is what one page was: how many it looked at, how many of them are queued, and where it ends.
type portion struct {
	seen, queued int
	last         place
}

func (t *task) request() Request {
	return Request{CompanyID: t.CompanyID, EndpointID: t.EndpointID, Types: t.Types, Since: t.Since, Until: t.Until}
}

func (s *Service) retryFailed(ctx context.Context, tx *sql.Tx, t *task) (p portion, err error) {
	after := projections.Failed{ExhaustedAt: t.after.at, DeliveryID: t.after.id}
	failed, err := s.reader.Failed(ctx, t.request().span(), after, s.cfg.Rate)
	if err != nil {
		return p, fmt.Errorf("read failed deliveries: %w", err)
	}
	page := delivery.RetryPage{Scope: endpoint.Company(t.CompanyID), Actor: t.Actor, EndpointID: t.EndpointID}
	for _, f := range failed {
		known := delivery.Known{
			DeliveryID: f.DeliveryID, EndpointID: f.EndpointID, EventID: f.EventID, CompanyID: f.CompanyID,
			Generation: f.Generation, Attempts: f.Attempts, State: fact.Exhausted,
		}
		if f.FirstAttemptAt != nil {
			known.FirstAttemptAt = *f.FirstAttemptAt
		}
		page.Deliveries = append(page.Deliveries, known)
		p.last = place{f.ExhaustedAt, f.DeliveryID}
	}
	p.seen = len(failed)
	p.queued, err = page.Apply(ctx, tx)
	return p, err
}

func (s *Service) requestMissing(ctx context.Context, tx *sql.Tx, t *task) (p portion, err error) {
	after := projections.Missing{FannedOutAt: t.after.at, Position: t.after.id}
	missing, err := s.reader.Missing(ctx, t.request().span(), t.request().types(), after, s.cfg.Rate)
	if err != nil {
		return p, fmt.Errorf("read missing events: %w", err)
	}
	page := delivery.RequestPage{Scope: endpoint.Company(t.CompanyID), Actor: t.Actor, EndpointID: t.EndpointID}
	for _, m := range missing {
		page.Events = append(page.Events, m.EventID)
		p.last = place{m.FannedOutAt, m.Position}
	}
	ids, err := page.Apply(ctx, tx)
	p.seen, p.queued = len(missing), len(ids)
	return p, err
}

func (s *Service) wait(ctx context.Context, tx *sql.Tx, t *task, what string) error {
	pause := s.cfg.Poll
	if what != waitsForBacklog {
		pause *= 5
	}
	if _, err := tx.ExecContext(ctx, wait, t.ID, what, pause.Seconds()); err != nil {
		return fmt.Errorf("wait for %s: %w", what, err)
	}
	return nil
}

func (s *Service) end(ctx context.Context, tx *sql.Tx, t *task, state State) error {
	if _, err := tx.ExecContext(ctx, end, t.ID, state); err != nil {
		return fmt.Errorf("end as %s: %w", state, err)
	}
	s.cfg.Logger.Info("recovery ended", "recovery_id", t.ID, "endpoint_id", t.EndpointID, "state", string(state),
		"total", t.Total, "replayed", t.Replayed, "skipped", t.Skipped)
	return nil
}
