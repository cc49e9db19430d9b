package dashboard

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/relay/header"
	"github.com/chattosurvey/surveyhooks/relay/sign"
)

// Ref names an endpoint, and who asks. Whose endpoints are reached follows from the caller: its company's, or every
// company's for an operator without one.
type Ref struct {
	Caller access.Caller
	ID     uuid.UUID
}

// Endpoint is an endpoint as its company sees it. Its secret and the values of its headers are not in it.
type Endpoint struct {
	ID          uuid.UUID
	CompanyID   uuid.UUID
	URL         string
	Description string
	Events      []string // of the catalogue; ["all"] when it is told of everything
	Enabled     bool
	StateNote   string // why it was disabled, in the words of who did it; "" when nothing was said
	StateSince  time.Time
	StateActor  string
	HeaderNames []string // of the custom headers
	RateLimit   *int     // attempts a second at most; nil: no limit
	Version     int      // counts the changes
	CreatedAt   time.Time
	UpdatedAt   time.Time
}

// Draft is what a person typed into the form of an endpoint.
type Draft struct {
	CompanyID   uuid.UUID // whose it becomes; of new ones alone
	URL         string
	Description string
	Events      []string // none means all

	Headers       []header.Header // to set, or to set anew where there is one of the name; the others stay
	RemoveHeaders []string        // names; of existing endpoints alone

	RateLimit *int // attempts a second at most; nil: no limit
}

// Registry makes, reads and changes endpoints. Each change is recorded with its actor. Errors: ErrNotFound,
// *InvalidError, *ConflictError.
type Registry interface {
	Endpoint(ctx context.Context, ref Ref) (Endpoint, error)
	// Create returns the signing secret, which nothing returns again.
	Create(ctx context.Context, by access.Caller, d Draft) (made Endpoint, secret string, err error)
	// Update changes an endpoint that is still at this version.
	Update(ctx context.Context, ref Ref, version int, d Draft) (Endpoint, error)
}

// Switch enables and disables endpoints, and ends them. Errors: ErrNotFound, and an *InvalidError of the note.
type Switch interface {
	Enable(ctx context.Context, ref Ref) error
	// Disable holds its deliveries; the note says why, to whoever finds it disabled, and may be "".
	Disable(ctx context.Context, ref Ref, note string) error
	Delete(ctx context.Context, ref Ref) error
}

// Keys makes new signing secrets, and checks what they signed. Errors: ErrNotFound.
type Keys interface {
	// Rotate returns the new secret, which nothing returns again. The old one signs beside it for the overlap.
	Rotate(ctx context.Context, ref Ref) (secret string, overlap time.Duration, err error)
	// CheckSignature tells which stored secret a request was signed with; *sign.RefusedError: with none of them.
	CheckSignature(ctx context.Context, ref Ref, h sign.Headers, body []byte) (SignedBy, error)
}

// SignedBy is the secret that signed a request.
type SignedBy struct {
	Previous bool      // it was replaced
	Until    time.Time // when a replaced one ends
}

// Sender makes something be sent, by the way of every event. Errors: ErrNotFound, *RefusedError.
type Sender interface {
	// PausedSince is when an operator paused all sending; nil while it goes on.
	PausedSince(ctx context.Context) (*time.Time, error)
	// Example publishes an example of the event type for this endpoint alone and returns the event's id.
	Example(ctx context.Context, ref Ref, eventType string) (event uuid.UUID, err error)
	// Retry makes the delivery due now; attempts is how many were ever started. heldUntil is when the endpoint's breaker
	// lets it pass; zero: nothing holds it.
	Retry(ctx context.Context, by access.Caller, d projections.Delivery, attempts int) (heldUntil time.Time, err error)
	// Request sends the endpoint an event that it was not sent when it happened, and returns the delivery.
	Request(ctx context.Context, ref Ref, event uuid.UUID) (delivery int64, err error)
}

// ErrNotFound says that there is no such thing, or that it is not the caller's, which nobody can tell apart.
var ErrNotFound = errors.New("not found")

// FieldError is one thing that is wrong with one field of a form.
type FieldError struct{ Field, Message string }

// InvalidError names everything that is wrong with a form at once.
type InvalidError struct{ Fields []FieldError }

// Error joins the faults.
func (e *InvalidError) Error() string {
	words := make([]string, len(e.Fields))
	for i, f := range e.Fields {
		words[i] = f.Field + ": " + f.Message
	}
	return "form is invalid: " + strings.Join(words, "; ")
}

// ConflictError says that the endpoint was changed since the form was shown.
type ConflictError struct{ Actual int }

// Error asks to look again.
func (e *ConflictError) Error() string { return "the endpoint was changed meanwhile: look at it again" }

// RefusedError says why something cannot be done now, to a person.
type RefusedError struct{ Words string }

// Error is the words.
func (e *RefusedError) Error() string { return e.Words }

// Recovery sends, at a pace, everything that failed for good at an endpoint since a time, or that it selects and was never
// sent. Errors: ErrNotFound, *RefusedError.
type Recovery interface {
	// Count is what a start would send now.
	Count(ctx context.Context, ref Ref, what RecoveryAsk) (RecoveryCount, error)
	// Start starts one recovery for a key, however often it is asked to.
	Start(ctx context.Context, ref Ref, what RecoveryAsk, key string) (recovery uuid.UUID, err error)
	Progress(ctx context.Context, ref Ref, recovery uuid.UUID) (RecoveryProgress, error)
	Cancel(ctx context.Context, ref Ref, recovery uuid.UUID) error
}

// RecoveryAsk is what a recovery is asked for.
type RecoveryAsk struct {
	Missing bool // what was never sent; else what failed
	Since   time.Time
}

// RecoveryCount is what a recovery would send.
type RecoveryCount struct {
	Deliveries int64
	Expired    int64      // missing events that are no longer kept
	Earliest   *time.Time // when the first missing event happened
	Types      []RecoveryType
}

// RecoveryType is how many of the missing events are of a type.
type RecoveryType struct {
	Name  string
	Count int64
}

// RecoveryProgress is how far a recovery has come.
type RecoveryProgress struct {
	ID        uuid.UUID
	Missing   bool
	Since     time.Time
	Actor     string
	StartedAt time.Time
	EndedAt   *time.Time // nil while it runs
	EndedBy   string     // who cancelled it
	State     string     // running, done, cancelled or failed
	WaitsFor  string     // enabled, breaker or backlog; "" while it goes on
	Total     int64      // that it found
	Retried   int64      // made due
	Skipped   int64      // that could not be, or need not
}
