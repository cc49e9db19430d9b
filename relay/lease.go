package relay

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// The lease is the relay's, not the lane's: one row to keep alive however many lanes there are, and one row to delete
// to take them all.

func (s *session) join(ctx context.Context) error {
	var now time.Time
	err := s.db.QueryRowContext(ctx, join, s.id, hostName(), s.cfg.Lease.Seconds()).Scan(&now)
	if err != nil {
		return fmt.Errorf("join relays: %w", err)
	}
	s.clock.set(now)
	return nil
}

// timelineOf is the database's cluster and timeline, or empty where the server does not tell.
func timelineOf(ctx context.Context, db interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
},
) (now string, err error) {
	err = db.QueryRowContext(ctx, timeline).Scan(&now)
	if _, refused := errors.AsType[*pq.Error](err); refused {
		return "", nil // it recovers, or is no PostgreSQL of the usual kind
	}
	if err != nil {
		return "", fmt.Errorf("ask for the timeline: %w", err)
	}
	return now, nil
}

// isReadOnly tells of a server that became a standby, or was told to take no writes. A session keeps what it was told when
// it began, and a pool its sessions: without new ones it would go on for ever.
func isReadOnly(err error) bool {
	fault, ok := errors.AsType[*pq.Error](err)
	return ok && fault.Code == "25006" // read_only_sql_transaction
}

func isPromoted(before, now string) bool { return before != "" && now != "" && before != now }

// bury settles the accounts of dead relays soon after their leases end. It is apart from hold, because it may have to
// wait for the last commit of one that is frozen, and meanwhile this relay's own lease must be kept.
func (s *session) bury(ctx context.Context) error {
	tick := time.NewTicker(min(s.cfg.Poll, s.cfg.Lease/4))
	defer tick.Stop()
	settling := trouble{what: "dead relays not settled", logger: s.logger}
	for {
		settling.note(ctx, s.reap(ctx, uuid.Nil))
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// hold keeps the lease, and does nothing else: whatever it had to wait for would cost all lanes.
func (s *session) hold(ctx context.Context) error {
	beat := time.NewTicker(s.cfg.Lease / 4)
	defer beat.Stop()
	alive := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-beat.C:
		}
		err := s.heartbeat(ctx)
		switch {
		case err == nil:
			alive = time.Now()
		case errors.Is(err, errFenced):
			return err
		case isReadOnly(err):
			s.logger.Warn("database takes no writes on these connections; making new ones", "error", err)
			return err
		case ctx.Err() != nil:
			return nil
		case time.Since(alive) > s.cfg.Lease:
			return fmt.Errorf("lease ended %s ago: %w", time.Since(alive)-s.cfg.Lease, err)
		default:
			s.logger.Warn("heartbeat failed", "error", err)
		}
	}
}

// share keeps this relay's lanes and their configuration.
func (s *session) share(ctx, attempts context.Context) error {
	tick := time.NewTicker(min(s.cfg.Poll, s.cfg.Lease/4))
	defer tick.Stop()
	look := time.NewTicker(s.cfg.Lease / 4)
	defer look.Stop()
	taking := trouble{what: "lanes not taken", logger: s.logger}
	obeying := trouble{what: "orders not read", logger: s.logger}
	freeing := trouble{what: "lanes that nobody serves not freed", logger: s.logger}
	for {
		s.beat()
		s.refresh(ctx, s.outdated())
		s.beat()
		taking.note(ctx, s.keepShare(ctx, attempts))
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-s.reshare:
		case <-look.C:
			s.beat()
			freeing.note(ctx, s.freeStrays(ctx))
			obeying.note(ctx, s.obey(ctx))
		}
	}
}

func (s *session) heartbeat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Lease/2) // a connection that hangs must not keep it for ever
	defer cancel()
	var now time.Time
	err := s.db.QueryRowContext(ctx, heartbeat, s.id, s.cfg.Lease.Seconds()).Scan(&now)
	if errors.Is(err, sql.ErrNoRows) {
		return errFenced
	}
	if err != nil {
		return fmt.Errorf("renew lease: %w", err)
	}
	s.clock.set(now)
	// The row may have been copied to a standby. What the lanes have read has not, if the standby lacks the last commits.
	if timeline, err := timelineOf(ctx, s.db); err == nil && isPromoted(s.timeline, timeline) {
		return errPromoted
	}
	return nil
}

// leave gives everything back. What was cut is settled as interrupted.
func (s *session) leave() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return s.reap(ctx, s.id)
}

// reap settles the accounts of relays whose lease has ended, and of the one that leaves, in one transaction: their
// lanes are free, and each attempt that they left under way is in the history as interrupted.
func (s *session) reap(ctx context.Context, leaving uuid.UUID) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("reap relays: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	facts, err := s.interrupted(ctx, tx, leaving)
	if err != nil {
		return err
	}
	if err := commitlog.Append(ctx, tx, facts...); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("reap relays: %w", err)
	}
	if len(facts) > 0 {
		s.logger.Warn("attempts were interrupted", "attempts", len(facts))
	}
	return nil
}

func (s *session) interrupted(ctx context.Context, tx *sql.Tx, leaving uuid.UUID) ([]fact.Fact, error) {
	var dead []string
	if err := tx.QueryRowContext(ctx, reap, leaving, s.id).Scan(pq.Array(&dead)); err != nil {
		return nil, fmt.Errorf("reap relays: %w", err)
	}
	if len(dead) == 0 {
		return nil, nil
	}
	rows, err := tx.QueryContext(ctx, interrupt, pq.Array(dead))
	if err != nil {
		return nil, fmt.Errorf("reap relays: %w", err)
	}
	defer rows.Close()
	var facts []fact.Fact
	for rows.Next() {
		a := fact.Attempt{Reason: fact.Interrupted, State: fact.Pending}
		var company uuid.UUID
		err := rows.Scan(&a.DeliveryID, &a.EndpointID, &a.EventID, &a.Generation, &a.Completed, &a.Attempt, &a.Trigger,
			&a.FirstAttemptAt, &a.StartedAt, &company, &a.ConfigVersion, &a.EventType)
		if err != nil {
			return nil, fmt.Errorf("scan interrupted attempt: %w", err)
		}
		a.FirstAttemptAt, a.StartedAt = a.FirstAttemptAt.UTC(), a.StartedAt.UTC()
		if a.FirstAttemptAt.Equal(a.StartedAt) {
			a.FirstAttemptAt = time.Time{}
		}
		if a.Completed > 0 {
			a.State = fact.Retrying
		}
		facts = append(facts, fact.Fact{Name: fact.AttemptInterrupted, CompanyID: company, Body: a})
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reap relays: %w", err)
	}
	return facts, nil
}

// keepShare takes free lanes up to this relay's fair share, and gives surplus lanes back.
func (s *session) keepShare(ctx, attempts context.Context) error {
	var relays, lanes int
	if err := s.db.QueryRowContext(ctx, share).Scan(&relays, &lanes); err != nil {
		return fmt.Errorf("count lanes: %w", err)
	}
	fair := (lanes + max(relays, 1) - 1) / max(relays, 1)
	if s.drained.Load() {
		fair = 0
	}
	mine := s.count()
	s.metrics.lanes.Set(float64(mine))
	switch {
	case mine < fair:
		return s.take(ctx, attempts, fair-mine)
	case mine > fair:
		s.giveBack(ctx, mine-fair)
	}
	return nil
}

func (s *session) take(ctx, attempts context.Context, most int) error {
	rows, err := s.db.QueryContext(ctx, takeLanes, s.id, most)
	if err != nil {
		return fmt.Errorf("take lanes: %w", err)
	}
	defer rows.Close()
	var taken []laneState
	for rows.Next() {
		var l laneState
		var notBefore, failingSince sql.NullTime
		if err := rows.Scan(&l.endpointID, &l.breaker, &notBefore, &failingSince); err != nil {
			return fmt.Errorf("scan lane: %w", err)
		}
		l.notBefore, l.failingSince = notBefore.Time, failingSince.Time
		taken = append(taken, l)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("take lanes: %w", err)
	}
	if len(taken) == 0 {
		return nil
	}
	return s.openLanes(ctx, attempts, taken)
}

// freeStrays frees lanes that the table gives to this relay and that it does not serve: those of a take or a release that
// failed, or whose answer was lost. Else nobody would serve them as long as this relay lives.
func (s *session) freeStrays(ctx context.Context) error {
	if _, err := s.db.ExecContext(ctx, releaseStrays, s.id, pq.Array(s.heldLanes())); err != nil {
		return fmt.Errorf("free lanes that nobody serves: %w", err)
	}
	return nil
}

// giveBack releases some lanes.
func (s *session) giveBack(ctx context.Context, n int) {
	for _, m := range s.some(n) {
		s.release(ctx, m)
	}
}

// release gives a lane back: it stops starting, what is under way ends and is recorded, and then it is free. That takes as
// long as its slowest request, which no other lane waits for.
func (s *session) release(ctx context.Context, m *member) {
	if !s.closeLane(m) {
		return // it is being released already
	}
	s.releasing.Go(func() {
		if !s.source.Drained(ctx, m.id) {
			return // the session ends: leaving frees the lane
		}
		<-m.handler.Stopped() // its name is free again
		s.source.Remove(m.id)
		_, err := s.db.ExecContext(ctx, releaseLane, s.id, m.id)
		s.mu.Lock()
		delete(s.leaving, m.id)
		s.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			s.logger.Warn("lane not released yet", "endpoint_id", m.id, "error", err) // freeStrays will
		}
	})
}
