package operator

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/projections"
)

const (
	beatEvery = 2 * time.Second
	silentFor = 30 * time.Second // then a job's process is taken to be dead
)

// State is where a rebuild stands.
type State string

// The states. Only Running moves.
const (
	Running     State = "running"
	Done        State = "done"
	Failed      State = "failed"
	Interrupted State = "interrupted" // its process ended
)

// Rebuild is a comparison of the history with the journal, and what came of it.
type Rebuild struct {
	ID         uuid.UUID           `json:"rebuild_id"`
	VerifyOnly bool                `json:"verify_only"` // else the history is replaced when it differs
	Actor      string              `json:"actor"`
	State      State               `json:"state"`
	Facts      int64               `json:"facts"`  // read so far
	Report     *projections.Report `json:"report"` // nil unless it is done
	Fault      string              `json:"fault"`  // why it failed or was interrupted
	StartedAt  time.Time           `json:"started_at"`
	EndedAt    *time.Time          `json:"ended_at"` // nil while it runs
}

// RunningError says that a rebuild is running already.
type RunningError struct{ Actor string }

// Error names who started it.
func (e *RunningError) Error() string {
	return "another rebuild is running, started by " + e.Actor + ": wait for its end"
}

// RebuildNotFoundError says that no rebuild has the id: it never was, or is no longer kept.
type RebuildNotFoundError struct{ ID uuid.UUID }

// Error names it.
func (e *RebuildNotFoundError) Error() string { return fmt.Sprintf("there is no rebuild %s", e.ID) }

// Start has Run, of this process, work on a rebuild. Errors: *RunningError.
func (s *Service) Start(ctx context.Context, by access.Caller, verifyOnly bool) (Rebuild, error) {
	job, err := s.begin(ctx, by, verifyOnly)
	if err != nil {
		return job, err
	}
	select {
	case s.jobs <- job: // there is room, as long as Run runs: only one is ever running
		return job, nil
	case <-ctx.Done():
		return job, ctx.Err()
	}
}

// Rebuild works on a rebuild and returns it when it has ended, however that came out. Errors: *RunningError.
func (s *Service) Rebuild(ctx context.Context, by access.Caller, verifyOnly bool) (Rebuild, error) {
	job, err := s.begin(ctx, by, verifyOnly)
	if err != nil {
		return job, err
	}
	return s.work(ctx, job)
}

// Latest is the rebuild that was started last; nil: there was none.
func (s *Service) Latest(ctx context.Context) (*Rebuild, error) { return latest(ctx, s.db) }

func latest(ctx context.Context, db *sql.DB) (*Rebuild, error) {
	r, err := seen(db.QueryRowContext(ctx, selectLatest, silentFor.Seconds()))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // nobody ever asked for one, which is no fault
	}
	if err != nil {
		return nil, fmt.Errorf("read rebuild: %w", err)
	}
	return &r, nil
}

// ReadRebuild reads one. Errors: *RebuildNotFoundError.
func ReadRebuild(ctx context.Context, db *sql.DB, id uuid.UUID) (Rebuild, error) {
	r, err := seen(db.QueryRowContext(ctx, selectRebuild, silentFor.Seconds(), id))
	if errors.Is(err, sql.ErrNoRows) {
		return r, &RebuildNotFoundError{id}
	}
	if err != nil {
		return r, fmt.Errorf("read rebuild %s: %w", id, err)
	}
	return r, nil
}

// seen is a rebuild as who looks should see it: one that is silent as the next one to start will write it.
func seen(row *sql.Row) (Rebuild, error) {
	var silent bool
	r, err := scanRebuild(row, &silent)
	if silent {
		r.State, r.Fault = Interrupted, "its process ended"
	}
	return r, err
}

// Run works on what Start was asked for, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case job := <-s.jobs:
			if _, err := s.work(ctx, job); err != nil {
				s.logger.Error("rebuild's end not stored", "rebuild_id", job.ID, "error", err)
			}
		}
	}
}

func (s *Service) begin(ctx context.Context, by access.Caller, verifyOnly bool) (job Rebuild, err error) {
	err = s.act(ctx, by, func(tx *sql.Tx) (*access.Deed, error) {
		if _, err := tx.ExecContext(ctx, interruptSilent, silentFor.Seconds()); err != nil {
			return nil, fmt.Errorf("start rebuild: %w", err)
		}
		if job, err = scanRebuild(tx.QueryRowContext(ctx, insertRebuild, verifyOnly, by.Actor)); errors.Is(err, sql.ErrNoRows) {
			return nil, s.running(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("start rebuild: %w", err)
		}
		return &access.Deed{Action: "rebuild.started", Subject: job.ID, Detail: map[string]any{"verify_only": verifyOnly}}, nil
	})
	return job, err
}

func (s *Service) running(ctx context.Context) error {
	other, err := s.Latest(ctx)
	if err != nil || other == nil {
		return errors.Join(err, errors.New("start rebuild: another one has just ended: try again"))
	}
	return &RunningError{other.Actor}
}

// work does a job and stores what came of it. An error means that this could not be stored.
func (s *Service) work(ctx context.Context, job Rebuild) (Rebuild, error) {
	var facts atomic.Int64
	done, beats := make(chan struct{}), sync.WaitGroup{}
	beats.Go(func() { s.keepAlive(ctx, job.ID, &facts, done) })
	report, err := s.compare(ctx, job, &facts)
	close(done)
	beats.Wait()

	state, fault := Done, ""
	switch {
	case err != nil && ctx.Err() != nil:
		state, fault = Interrupted, "its process ended"
	case err != nil:
		state, fault = Failed, err.Error()
	}
	var told sql.NullString
	if state == Done {
		text, err := json.Marshal(report)
		if err != nil {
			return job, fmt.Errorf("encode report: %w", err)
		}
		told = sql.NullString{String: string(text), Valid: true}
	}
	s.logger.Info("rebuild ended", "rebuild_id", job.ID, "verify_only", job.VerifyOnly, "state", string(state),
		"facts", facts.Load(), "equal", report.Equal, "replaced", report.Replaced, "fault", fault)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	ended, err := scanRebuild(s.db.QueryRowContext(ctx, endRebuild, job.ID, state, facts.Load(), told, fault))
	if err != nil {
		return job, fmt.Errorf("end rebuild: %w", err)
	}
	return ended, nil
}

// compare verifies beside the live history, and replaces it only when it differs: a replacement holds the projector.
func (s *Service) compare(ctx context.Context, job Rebuild, facts *atomic.Int64) (projections.Report, error) {
	options := projections.Options{Verify: true, Progress: func(n int) { facts.Add(int64(n)) }}
	report, err := projections.Rebuild(ctx, s.db, options)
	if err != nil || report.Equal || job.VerifyOnly {
		return report, err
	}
	facts.Store(0)
	options.Verify = false
	return projections.Rebuild(ctx, s.db, options)
}

func (s *Service) keepAlive(ctx context.Context, id uuid.UUID, facts *atomic.Int64, done <-chan struct{}) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-done:
			return
		case <-ctx.Done():
			return
		}
		if _, err := s.db.ExecContext(ctx, beat, id, facts.Load()); err != nil && ctx.Err() == nil {
			s.logger.Warn("rebuild's progress not stored", "rebuild_id", id, "error", err)
		}
	}
}

func scanRebuild(row *sql.Row, more ...any) (Rebuild, error) {
	var r Rebuild
	var report []byte
	err := row.Scan(append([]any{&r.ID, &r.VerifyOnly, &r.Actor, &r.State, &r.Facts, &report, &r.Fault, &r.StartedAt, &r.EndedAt}, more...)...)
	if err != nil {
		return r, err
	}
	if report != nil {
		if err := json.Unmarshal(report, &r.Report); err != nil {
			return r, fmt.Errorf("read report: %w", err)
		}
	}
	r.StartedAt = r.StartedAt.UTC()
	if r.EndedAt != nil {
		*r.EndedAt = r.EndedAt.UTC()
	}
	return r, nil
}
