package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/schema/retention"
)

// tidyEvery is far less than the three days that partitions are made ahead.
const tidyEvery = 10 * time.Minute

// keepTidy is apart from hold, since dropping and sweeping may take minutes. Relays that share a database all try; what
// must be done by one alone is done under a lock.
func (s *session) keepTidy(ctx context.Context) error {
	timer := time.NewTimer(s.cfg.Lease / 4) // a session that fails at once does not tidy each time
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		for _, chore := range []func(context.Context) error{s.makePartitions, s.cancelStranded, s.prune} {
			if err := chore(ctx); err != nil && ctx.Err() == nil {
				s.logger.Warn("not tidied", "error", err)
			}
		}
		timer.Reset(tidyEvery)
	}
}

func (s *session) makePartitions(ctx context.Context) error {
	if _, err := s.db.ExecContext(ctx, ensurePartitions); err != nil {
		return fmt.Errorf("make partitions: %w", err)
	}
	return nil
}

// cancelStranded cancels what was fanned out to endpoints while they were deleted.
func (s *session) cancelStranded(ctx context.Context) error {
	n, err := endpoint.CancelStranded(ctx, s.db)
	if n > 0 {
		s.logger.Info("deliveries of deleted endpoints cancelled", "deliveries", n)
	}
	return err
}

func (s *session) prune(ctx context.Context) error {
	report, err := retention.Prune(ctx, s.db, s.cfg.Retention)
	if errors.Is(err, retention.ErrBusy) {
		return nil
	}
	if len(report.Dropped) > 0 || report.Rows > 0 {
		s.logger.Info("old days dropped", "partitions", len(report.Dropped), "rows", report.Rows)
	}
	for _, kept := range report.Kept {
		s.logger.Debug("old day kept", "partition", kept.Name, "kept_for", kept.KeptFor)
	}
	return err
}
