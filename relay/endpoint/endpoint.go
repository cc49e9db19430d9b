package endpoint

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/chattosurvey/surveyhooks/outbox/wire"
	"github.com/chattosurvey/surveyhooks/relay/header"
	"github.com/chattosurvey/surveyhooks/schema/fact"
	"github.com/chattosurvey/surveyhooks/schema/tenant"
)

// All stands alone in a list of event types and selects the whole catalogue, later additions included.
const All = "all"

// State says whether events make deliveries to an endpoint.
type State string

// The states of an endpoint that is not deleted.
const (
	Enabled  State = "enabled"
	Disabled State = "disabled"
)

// Endpoint is an endpoint as its company sees it. Its secrets are not in it.
type Endpoint struct {
	ID          uuid.UUID   `json:"id"`
	CompanyID   uuid.UUID   `json:"company_id"`
	URL         string      `json:"url"` // canonical
	Description string      `json:"description"`
	Events      []string    `json:"events"` // of the catalogue, in its order; ["all"] when it is told of everything
	State       State       `json:"state"`
	StateReason fact.Reason `json:"state_reason"` // "" as long as the state was never changed
	StateNote   string      `json:"state_note"`   // why it was disabled, in the words of who did it; "" when nothing was said
	StateSince  time.Time   `json:"state_since"`
	StateActor  string      `json:"state_actor"`
	HeaderNames []string    `json:"header_names"` // of the custom headers, which are set; nobody is shown a value
	RateLimit   *int        `json:"rate_limit"`   // at most so many attempts a second, of whatever trigger; null: no limit
	Version     int         `json:"version"`      // counts the changes; 1 is the first
	CreatedAt   time.Time   `json:"created_at"`
	UpdatedAt   time.Time   `json:"updated_at"`
}

// Scope says whose endpoints a call may reach. The zero Scope reaches none, so that a forgotten one is no leak.
type Scope struct {
	company uuid.UUID
	any     bool
}

// Company is the scope of one company. The nil UUID is no company.
func Company(id uuid.UUID) Scope { return Scope{company: id} }

// AnyCompany is the operator's scope: every endpoint there is. No call on behalf of a customer may use it.
func AnyCompany() Scope { return Scope{any: true} }

// Bounds are the scope for a statement: `($any OR company_id = $company)`.
func (s Scope) Bounds() (anyCompany bool, company uuid.UUID) { return s.any, s.company }

// Begin starts a transaction that reaches what the scope reaches, and, unless that is everything, is held to it by
// row-level security besides.
func (s Scope) Begin(ctx context.Context, db *sql.DB, access tenant.Access) (*sql.Tx, error) {
	if s.any {
		return db.BeginTx(ctx, &sql.TxOptions{ReadOnly: access == tenant.ReadOnly})
	}
	return tenant.Begin(ctx, db, s.company, access)
}

// Ref names an endpoint, and who asks.
type Ref struct {
	Scope Scope
	ID    uuid.UUID
	Actor string // a person or "cli", for the audit trail; required for changes

	ExpectedVersion int // that a change is meant for; 0: whatever it is
}

type scanner interface{ Scan(dest ...any) error }

func scan(row scanner) (Endpoint, error) {
	var e Endpoint
	var types, headers pq.StringArray
	err := row.Scan(&e.ID, &e.CompanyID, &e.URL, &e.Description, &types, &e.State, &e.StateReason, &e.StateNote, &e.StateSince,
		&e.StateActor, &e.RateLimit, &e.Version, &e.CreatedAt, &e.UpdatedAt, &headers)
	if err != nil {
		return Endpoint{}, err
	}
	if e.Events = types; types == nil {
		e.Events = []string{All}
	}
	e.HeaderNames = headers
	e.StateSince, e.CreatedAt, e.UpdatedAt = e.StateSince.UTC(), e.CreatedAt.UTC(), e.UpdatedAt.UTC()
	return e, nil
}

// eventTypes is the list as the table and the facts keep it: nil means all.
func (e Endpoint) eventTypes() []string {
	if slices.Equal(e.Events, []string{All}) {
		return nil
	}
	return e.Events
}

func (e Endpoint) config() *fact.EndpointConfig {
	c := &fact.EndpointConfig{
		URL: wire.MaskQuery(e.URL), Description: e.Description, EventTypes: e.eventTypes(), State: string(e.State),
		RateLimit: e.RateLimit,
	}
	if len(e.HeaderNames) > 0 {
		c.Headers = make(map[string]string, len(e.HeaderNames))
		for _, name := range e.HeaderNames {
			c.Headers[name] = header.Mask
		}
	}
	return c
}

// changed makes the fact of a change from old to now; either may be nil.
func changed(name fact.Name, ref Ref, old, now *Endpoint) fact.Fact {
	body := fact.Endpoint{Actor: ref.Actor, Reason: fact.ByRequest}
	after := now
	if old != nil {
		body.Old = old.config()
		after = old
	}
	if now != nil {
		body.New = now.config()
		after = now
	}
	body.EndpointID, body.Version = after.ID, after.Version
	return fact.Fact{Name: name, CompanyID: after.CompanyID, Body: body}
}
