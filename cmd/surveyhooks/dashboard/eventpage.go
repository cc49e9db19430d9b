package dashboard

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/outbox/wire"
	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// eventPage is one event: for each endpoint of the company what was decided, and for one of them why.
type eventPage struct {
	Event     projections.Event
	Decisions []decisionRow
	Made      int // deliveries
	Arrived   int // of them
	Why       *whyView
	Endpoints []choice // those that can be asked about
}

type decisionRow struct {
	fact.EndpointChoice

	URL      string
	Decided  string                // what was decided; what came of it is the delivery's to say
	Delivery *projections.Delivery // nil: none was made, or the history is behind
	Words    string
	Why      string // the address of the whole answer
}

// whyView answers "why was I not sent this?".
type whyView struct {
	projections.Decision

	URL      string
	Sentence string
	Do       string
	Mark     mark
	Send     bool // it can be sent now
}

func (q *request) showEvent() error {
	id, err := q.pathID("event")
	if err != nil {
		return err
	}
	event, err := q.History.Event(q.r.Context(), q.caller.CompanyID, id)
	if err != nil {
		return err
	}
	p := eventPage{Event: event}
	endpoints, err := q.History.Overview(q.r.Context(), projections.Filter{CompanyID: event.CompanyID, Limit: 500})
	if err != nil {
		return err
	}
	urls := map[uuid.UUID]string{}
	asked := q.r.URL.Query().Get("endpoint")
	for _, e := range endpoints.Items {
		urls[e.EndpointID] = e.URL
		p.Endpoints = append(p.Endpoints, choice{Name: e.EndpointID.String(), Words: wire.MaskQuery(e.URL), Current: e.EndpointID.String() == asked})
	}
	deliveries, err := q.History.Deliveries(q.r.Context(), projections.Filter{CompanyID: event.CompanyID, EventID: id, Limit: 500})
	if err != nil {
		return err
	}
	if err := p.decide(urls, deliveries.Items); err != nil {
		return err
	}
	if asked != "" {
		if p.Why, err = q.why(event, asked); err != nil {
			return err
		}
		p.Why.URL = urls[p.Why.EndpointID]
	}
	return q.render("event", view{
		Title: "Event", Section: "events", Data: p, Crumbs: []crumb{{"Events", "/events"}},
	})
}

// decide says what was decided about each endpoint, and which of the others were sent the event on request.
func (p *eventPage) decide(urls map[uuid.UUID]string, deliveries []projections.Delivery) error {
	var choices []fact.EndpointChoice
	if err := json.Unmarshal(p.Event.Decisions, &choices); err != nil {
		return err
	}
	made := map[int64]*projections.Delivery{}
	for _, d := range deliveries {
		i := slices.IndexFunc(choices, func(c fact.EndpointChoice) bool { return c.EndpointID == d.EndpointID })
		if i < 0 { // there was no such endpoint yet
			i = len(choices)
			choices = append(choices, fact.EndpointChoice{EndpointID: d.EndpointID, Decision: fact.CreatedAfterEvent})
		}
		choices[i].DeliveryID = &d.DeliveryID
		made[d.DeliveryID] = &d
		if d.State == string(fact.Delivered) {
			p.Arrived++
		}
	}
	for _, c := range choices {
		row := decisionRow{EndpointChoice: c, URL: urls[c.EndpointID], Decided: "No delivery"}
		row.Words = verdictWords(projections.Verdict(c.Decision)).Title
		if c.DeliveryID != nil {
			row.Decided, row.Delivery = "Delivery made on request", made[*c.DeliveryID]
			p.Made++
		}
		if c.Decision == fact.Chosen {
			row.Decided = "Delivery made"
		}
		row.Why = "/events/" + p.Event.EventID.String() + "?endpoint=" + c.EndpointID.String()
		p.Decisions = append(p.Decisions, row)
	}
	slices.SortStableFunc(p.Decisions, func(a, b decisionRow) int {
		switch {
		case a.DeliveryID != nil && b.DeliveryID == nil:
			return -1
		case a.DeliveryID == nil && b.DeliveryID != nil:
			return 1
		default:
			return 0
		}
	})
	return nil
}

func (q *request) why(event projections.Event, asked string) (*whyView, error) {
	endpoint, err := uuid.Parse(asked)
	if err != nil {
		return nil, ErrNotFound
	}
	d, err := q.History.Decision(q.r.Context(), event.CompanyID, event.EventID, endpoint)
	if err != nil {
		return nil, err
	}
	v := &whyView{Decision: d, Sentence: sentence(d.Words()), Do: verdictWords(d.Verdict).Do, Mark: mark{"off", "Not sent"}}
	if d.Verdict == projections.WasChosen {
		v.Mark = mark{"wait", "Pending"}
	}
	if d.Delivery != nil {
		v.Mark = standing(*d.Delivery)
	}
	if d.Requested != nil {
		v.Do = ""
	}
	v.Send = d.MayBeRequested() && q.caller.MayChange()
	return v, nil
}

// sendEvent sends one event to an endpoint that it was not sent to when it happened.
func (q *request) sendEvent() error {
	event, err := q.pathID("event")
	if err != nil {
		return err
	}
	ref, e, err := q.endpoint()
	if err != nil {
		return err
	}
	d, err := q.History.Decision(q.r.Context(), e.CompanyID, event, e.ID)
	if err != nil {
		return err
	}
	switch {
	case d.Verdict == projections.UnknownEvent:
		return ErrNotFound
	case d.Delivery != nil: // a second click
		return q.redirect(fmt.Sprintf("/deliveries/%d", d.Delivery.DeliveryID))
	case !d.MayBeRequested():
		return &RefusedError{Words: sentence("it cannot be sent: " + d.Words())}
	}
	if _, err := q.Sender.Request(q.r.Context(), ref, event); err != nil {
		return err
	}
	return q.redirect("/events/" + event.String() + "?endpoint=" + ref.ID.String() + "&done=requested")
}

// verdictWords says why an endpoint was told of an event or not, in a few words, and what would change that.
func verdictWords(v projections.Verdict) advice {
	switch v {
	case projections.WasChosen:
		return advice{"", "It was chosen", "Look at its delivery for what came of it."}
	case projections.TypeNotSelected:
		return advice{"", "Event type not selected", "Edit the endpoint and select the type. It counts for events from then on; those of before you can send afterwards."}
	case projections.EndpointIsDisabled:
		return advice{"", "It was disabled", "Enable the endpoint. It is told of events from then on; those of the meantime you can send afterwards."}
	case projections.CreatedAfterEvent:
		return advice{"", "It was made after the event", "An endpoint is told of events that are published after it was made; those of before you can send afterwards."}
	case projections.AddressedElsewhere:
		return advice{"", "The event was for another endpoint alone", "Send a test from this endpoint's own page."}
	case projections.EndpointWasDeleted:
		return advice{"", "It had been deleted", "Nothing: a deleted endpoint is told of nothing."}
	case projections.NotFannedOut:
		return advice{"", "Not decided yet", "Load this page again in a moment."}
	case projections.UnknownEvent:
		return advice{"", "There is no such event", "Check the id: it is the X-Webhook-ID of the request."}
	default:
		return advice{Title: string(v)}
	}
}

func catalogue() []string {
	var names []string
	for _, t := range outbox.Types() {
		names = append(names, string(t))
	}
	return names
}

// isNotFound reports whether there is no such thing, in the words of either side.
func isNotFound(err error) bool {
	return errors.Is(err, ErrNotFound) || errors.Is(err, projections.ErrNotFound)
}
