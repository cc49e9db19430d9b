package dashboard

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/projections"
)

// Operations reads the state of the whole installation, and changes it, for operators.
type Operations interface {
	Operations(ctx context.Context) (Operation, error)
	// Order carries one out, and tells the trail. Errors: ErrNotFound, *InvalidError, *RefusedError.
	Order(ctx context.Context, by access.Caller, o Order) error
}

// OrderKind is what an operator orders.
type OrderKind string

// The orders, as they stand in an address.
const (
	PauseSending  OrderKind = "pause"
	ResumeSending OrderKind = "resume"
	DrainRelay    OrderKind = "drain"
	UndrainRelay  OrderKind = "undrain"
	VerifyHistory OrderKind = "verify"
	RebuildIt     OrderKind = "rebuild" // the history, if it differs
)

// Order is what is ordered, and of whom.
type Order struct {
	Kind   OrderKind
	Relay  uuid.UUID // to drain or undrain
	Reason string    // of a pause
}

// Operation is the state of the whole installation.
type Operation struct {
	Pause      *Pause // nil: sending goes on
	Rebuild    *Rebuild
	Logs       []LogLag
	Relays     []RelayLease
	Endpoints  []EndpointCount
	Due        int64         // deliveries that are not over, wait for no time to come, and are held back by nothing
	HeldBack   int64         // that wait for no time either, but for the end of a pause, their endpoint, its breaker or its rate limit
	Later      int64         // that wait for a time to come
	InFlight   int64         // attempts under way
	Quarantine int64         // log rows that could not be handled
	OldestDue  time.Duration // how long one of the due ones has been so
	Worst      []WorstEndpoint
	Partitions []Partition
}

// Pause is that all sending is paused.
type Pause struct {
	By     string
	Since  time.Time
	Reason string
}

// Rebuild is the latest comparison of the history with the journal.
type Rebuild struct {
	VerifyOnly bool
	Actor      string
	State      string // running, done, failed or interrupted
	Fault      string // why it failed or was interrupted
	Facts      int64  // read so far
	Report     *projections.Report
	StartedAt  time.Time
	EndedAt    *time.Time
}

// LogLag is what a consumer group of a log has not read yet.
type LogLag struct {
	Topic, Group string
	Rows         int64
	OldestAge    time.Duration
}

// RelayLease is a relay process and the lease that it renews.
type RelayLease struct {
	ID         uuid.UUID
	Host       string
	StartedAt  time.Time
	LeaseUntil time.Time
	Lanes      int64
	DrainedBy  string
	DrainedAt  *time.Time // nil: it has its share of the lanes
}

// EndpointCount is how many endpoints are in a state, with their breaker in another.
type EndpointCount struct {
	State, Breaker string
	Count          int64
}

// WorstEndpoint is one where deliveries wait, or whose breaker is not closed.
type WorstEndpoint struct {
	ID, CompanyID uuid.UUID
	URL           string
	Breaker       string
	Waiting       int64
	FailingSince  *time.Time
}

// Partition is how far a log's daily partitions reach.
type Partition struct {
	Table       string
	Days        int64
	First, Last string // UTC, as 2026-03-04
}
