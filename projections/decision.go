package projections

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// Verdict says whether an endpoint was told of an event, and why not.
type Verdict string

// The verdicts: those that the fan-out records, and what else may be true of an event and an endpoint.
const (
	WasChosen          = Verdict(fact.Chosen)
	TypeNotSelected    = Verdict(fact.TypeNotSelected)
	EndpointIsDisabled = Verdict(fact.EndpointIsDisabled)
	CreatedAfterEvent  = Verdict(fact.CreatedAfterEvent)
	AddressedElsewhere = Verdict(fact.AddressedElsewhere)

	EndpointWasDeleted Verdict = "endpoint_deleted" // before the event was fanned out
	NotFannedOut       Verdict = "not_fanned_out"   // it is committed; the decision comes in a moment
	UnknownEvent       Verdict = "unknown_event"    // the company has no such event
)

// Change is who changed an endpoint, when, and why.
type Change struct {
	At     time.Time   `json:"at"`
	Actor  string      `json:"actor"`
	Reason fact.Reason `json:"reason"`
	Note   string      `json:"note"` // why, in the words of who did it; empty when nothing was said
}

// Decision answers why an endpoint was or was not sent an event.
type Decision struct {
	EventID    uuid.UUID `json:"event_id"`
	EndpointID uuid.UUID `json:"endpoint_id"`
	EventType  string    `json:"event_type"` // empty when the event is unknown
	Verdict    Verdict   `json:"verdict"`

	DecidedAt *time.Time `json:"decided_at"` // when it was fanned out
	Version   *int       `json:"version"`    // of the endpoint's configuration that decided
	Config    *Change    `json:"config"`     // who made that configuration; null when it is older than the history
	Selected  []string   `json:"selected"`   // the types that it had selected; null means all, or that Config is null
	Disabled  *Change    `json:"disabled"`   // endpoint_disabled, or held: since when, by whom and why

	EndpointCreatedAt time.Time  `json:"endpoint_created_at"`
	EndpointDeletedAt *time.Time `json:"endpoint_deleted_at"`
	AddressedTo       *uuid.UUID `json:"addressed_to"` // the one endpoint that the event is for, if the outbox still knows

	Requested *Change    `json:"requested"`  // not chosen, and sent all the same: when, and who asked for it
	Delivery  *Delivery  `json:"delivery"`   // chosen or requested: where it stands
	HeldUntil *time.Time `json:"held_until"` // it is open and held by the breaker: when the endpoint is tried again
}

// Decision returns why an endpoint of the company was or was not sent an event. It returns ErrNotFound when the company
// has no such endpoint; an event that it does not have is a Verdict.
func (r *Reader) Decision(ctx context.Context, company, event, endpoint uuid.UUID) (Decision, error) {
	page, err := list(ctx, r.db, all(company, selectDecision, event, endpoint), noKey[decision])
	row, err := only(page, err, event != uuid.Nil && endpoint != uuid.Nil)
	if err != nil {
		return Decision{}, err
	}
	d, err := row.judge()
	if err != nil || row.deliveryID == nil {
		d.EventID, d.EndpointID = event, endpoint
		return d, err
	}
	d.EventID, d.EndpointID = event, endpoint
	deliveries, err := r.Deliveries(ctx, Filter{CompanyID: company, DeliveryID: *row.deliveryID, Limit: 1})
	if err != nil {
		return Decision{}, err
	}
	for i := range deliveries.Items { // none: the history is being rebuilt
		d.Delivery = &deliveries.Items[i]
		switch state := fact.State(d.Delivery.State); {
		case state == fact.Held && d.Requested == nil: // else Disabled is of the decision
			d.Disabled = row.disabledNow.change()
		case d.Delivery.WaitsFor == WaitsForBreaker:
			d.HeldUntil = d.Delivery.NextAttemptAt
		}
	}
	return d, nil
}

// decision is a row.
type decision struct {
	createdAt   time.Time
	deletedAt   *time.Time
	state       string
	eventType   *string
	fannedOutAt *time.Time
	recorded    *string
	version     *int
	deliveryID  *int64
	addressedTo *uuid.UUID
	unknown     bool
	config      change
	configFact  *string
	configNew   []byte
	disabled    change // when it was decided
	disabledNow change
	requestedAt *time.Time
	requestedBy *string
}

type change struct {
	at            *time.Time
	actor, reason *string
	note          *string
}

func (c change) change() *Change {
	if c.at == nil {
		return nil
	}
	return &Change{At: *c.at, Actor: *c.actor, Reason: fact.Reason(*c.reason), Note: *c.note}
}

func (d *decision) fields() []any {
	return []any{
		&d.createdAt, &d.deletedAt, &d.state, &d.eventType, &d.fannedOutAt, &d.recorded, &d.version, &d.deliveryID,
		&d.addressedTo, &d.unknown, &d.config.at, &d.configFact, &d.config.actor, &d.config.reason, &d.config.note, &d.configNew,
		&d.disabled.at, &d.disabled.actor, &d.disabled.reason, &d.disabled.note,
		&d.disabledNow.at, &d.disabledNow.actor, &d.disabledNow.reason, &d.disabledNow.note,
		&d.requestedAt, &d.requestedBy,
	}
}

func (d *decision) times() []*time.Time {
	return []*time.Time{
		&d.createdAt, d.deletedAt, d.fannedOutAt, d.config.at, d.disabled.at, d.disabledNow.at, d.requestedAt,
	}
}

func (d *decision) judge() (Decision, error) {
	out := Decision{
		DecidedAt: d.fannedOutAt, Version: d.version, Config: d.config.change(),
		EndpointCreatedAt: d.createdAt, EndpointDeletedAt: d.deletedAt, AddressedTo: d.addressedTo,
	}
	if d.requestedAt != nil {
		out.Requested = &Change{At: *d.requestedAt, Actor: *d.requestedBy, Reason: fact.ByRequest}
	}
	if d.eventType != nil {
		out.EventType = *d.eventType
	}
	if d.configNew != nil {
		var config fact.EndpointConfig
		if err := json.Unmarshal(d.configNew, &config); err != nil {
			return Decision{}, fmt.Errorf("read configuration of endpoint: %w", err)
		}
		out.Selected = config.EventTypes
	}
	switch {
	case d.unknown:
		out.Verdict = UnknownEvent
	case d.fannedOutAt == nil:
		out.Verdict = NotFannedOut
	case d.recorded != nil:
		out.Verdict = Verdict(*d.recorded)
	case d.deletedAt != nil && d.deletedAt.Before(*d.fannedOutAt):
		out.Verdict = EndpointWasDeleted
	default:
		out.Verdict = CreatedAfterEvent // the fan-out decides about every endpoint that there is
	}
	if out.Verdict == EndpointIsDisabled {
		out.Disabled = d.disabled.change()
	}
	return out, nil
}

// MayBeRequested reports whether the endpoint can be sent the event on request, as far as the history knows: it was
// decided, without a delivery, and the event is not for another endpoint alone.
func (d Decision) MayBeRequested() bool {
	switch d.Verdict {
	case TypeNotSelected, EndpointIsDisabled, CreatedAfterEvent:
		return d.Requested == nil && d.EndpointDeletedAt == nil && d.AddressedTo == nil
	default:
		return false
	}
}

// Words says the decision to a person, in one sentence.
func (d Decision) Words() string {
	if d.Requested == nil {
		return d.verdictWords()
	}
	return fmt.Sprintf("%s; it was requested by %s at %s, and %s", d.verdictWords(), d.Requested.Actor, stamp(d.Requested.At), d.deliveryWords())
}

func (d Decision) verdictWords() string {
	switch d.Verdict {
	case WasChosen:
		return d.deliveryWords()
	case TypeNotSelected:
		return fmt.Sprintf("the endpoint had not selected %s%s", d.EventType, d.selection())
	case EndpointIsDisabled:
		return "the endpoint was disabled" + d.Disabled.words()
	case CreatedAfterEvent:
		return "the endpoint was created at " + stamp(d.EndpointCreatedAt) + ", after the event"
	case AddressedElsewhere:
		return "the event is for another endpoint alone, as test events are"
	case EndpointWasDeleted:
		return "the endpoint had been deleted before"
	case NotFannedOut:
		return "the event is committed and not decided yet: look again in a moment"
	case UnknownEvent:
		return "there is no such event: its transaction may have rolled back, or it belongs to somebody else"
	default:
		return string(d.Verdict)
	}
}

func (d Decision) deliveryWords() string {
	switch {
	case d.Delivery == nil:
		return "it is to be sent"
	case d.Delivery.State == string(fact.Held) && d.Requested != nil:
		return "it is held: the endpoint is disabled"
	case d.Delivery.State == string(fact.Held):
		return "it is held: the endpoint is disabled" + d.Disabled.words()
	case d.HeldUntil != nil:
		return "it is held until " + stamp(*d.HeldUntil) + ", since the endpoint fails too often"
	case d.Delivery.DeliveringSince != nil:
		return fmt.Sprintf("it is being sent now: delivery %d", d.Delivery.DeliveryID)
	case d.Delivery.State == string(fact.Pending):
		return fmt.Sprintf("it is to be sent: delivery %d is pending", d.Delivery.DeliveryID)
	case d.Delivery.State == string(fact.Cancelled):
		return fmt.Sprintf("its delivery %d was cancelled", d.Delivery.DeliveryID)
	default:
		return fmt.Sprintf("it was sent: delivery %d is %s", d.Delivery.DeliveryID, d.Delivery.State)
	}
}

func (d Decision) selection() string {
	if d.Config == nil {
		return ""
	}
	types := "no types"
	if len(d.Selected) > 0 {
		types = strings.Join(d.Selected, ", ")
	}
	return fmt.Sprintf(": it had %s, as %s set it at %s", types, d.Config.Actor, stamp(d.Config.At))
}

func (c *Change) words() string {
	if c == nil {
		return ""
	}
	words := fmt.Sprintf(" since %s by %s: %s", stamp(c.At), c.Actor, c.Reason.Words())
	if c.Note != "" {
		words += " (“" + c.Note + "”)"
	}
	return words
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }
