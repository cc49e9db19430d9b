package dashboard

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// eventList is the page of what happened, the newest first.
type eventList struct {
	Rows   []eventRow
	Text   string // an event's id
	Type   string
	Since  string
	Next   string
	Types  []choice
	Choose []choice // of the time
}

type eventRow struct {
	projections.Event

	Made, Of int // deliveries that the fan-out made, of the endpoints that there were
}

func (q *request) listEvents() error {
	query := q.r.URL.Query()
	f, err := readFilter(url.Values{"since": query["since"], "type": query["type"], "cursor": query["cursor"]}, q.now)
	if err != nil {
		return err
	}
	p := eventList{Text: strings.TrimSpace(query.Get("text")), Type: f.Type, Since: f.Since}
	if p.Text != "" {
		if f.query.EventID, err = uuid.Parse(p.Text); err != nil || f.query.EventID == uuid.Nil {
			return badRequest("Search for the whole id of an event: a UUID, as in X-Webhook-ID.")
		}
	}
	f.query.CompanyID = q.caller.CompanyID
	found, err := q.History.Events(q.r.Context(), f.query)
	if err != nil {
		return err
	}
	for _, e := range found.Items {
		row := eventRow{Event: e}
		var choices []fact.EndpointChoice
		if err := json.Unmarshal(e.Decisions, &choices); err != nil {
			return err
		}
		row.Of = len(choices)
		for _, c := range choices {
			if c.DeliveryID != nil {
				row.Made++
			}
		}
		p.Rows = append(p.Rows, row)
	}
	if found.Next != "" {
		p.Next = nextPage(q.r.URL, found.Next)
	}
	for _, t := range catalogue() {
		p.Types = append(p.Types, choice{Name: t, Words: t, Current: p.Type == t})
	}
	for _, w := range windows() {
		p.Choose = append(p.Choose, choice{Name: w, Words: windowWords(w), Current: p.Since == w})
	}
	v := view{Title: "Events", Section: "events", Data: p}
	if q.partial() {
		return q.fragment("events", "list", v)
	}
	return q.render("events", v)
}

// Any reports whether anything is left out.
func (p eventList) Any() bool { return p.Text != "" || p.Type != "" || p.Since != "" }

// undelivered is the event that a search of deliveries was for, if it is the company's and none of them is of it.
func (q *request) undelivered(f deliveryFilter, rows []projections.Delivery) (*projections.Event, error) {
	if f.query.EventID == uuid.Nil || len(rows) > 0 {
		return nil, nil //nolint:nilnil // no event was searched for, or it has deliveries
	}
	e, err := q.History.Event(q.r.Context(), f.query.CompanyID, f.query.EventID)
	switch {
	case isNotFound(err):
		return nil, nil //nolint:nilnil // there is none
	case err != nil:
		return nil, err
	}
	var choices []fact.EndpointChoice
	if err := json.Unmarshal(e.Decisions, &choices); err != nil {
		return nil, err
	}
	made := func(c fact.EndpointChoice) bool {
		return c.DeliveryID != nil && (f.query.EndpointID == uuid.Nil || c.EndpointID == f.query.EndpointID)
	}
	if slices.ContainsFunc(choices, made) {
		return nil, nil //nolint:nilnil // the rest of the filter leaves its deliveries out
	}
	return &e, nil
}
