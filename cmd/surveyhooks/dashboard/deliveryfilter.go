package dashboard

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// deliveryFilter is the form above a list of deliveries. Its fields are in the address, so that a list can be shared.
type deliveryFilter struct { //nolint:recvcheck // read into a pointer, then a value that templates ask
	State   string
	Class   string
	Type    string
	Trigger string
	Since   string // as it was typed: 1h, 24h, 7d, 30d
	Text    string // an event's or a delivery's id
	Limit   int
	Fault   string // what is wrong with the text, which alone is typed and not chosen

	query projections.Filter
}

func deliveryStates() []fact.State {
	return []fact.State{fact.Pending, fact.Retrying, fact.Held, fact.Delivered, fact.Exhausted, fact.Cancelled}
}

func triggers() []fact.Trigger { return []fact.Trigger{fact.Automatic, fact.Manual, fact.Test} }

// classes are the choices of the answer's class.
func classes() []choice {
	return []choice{
		{Name: "2xx", Words: "2xx success"},
		{Name: "3xx", Words: "3xx redirect"},
		{Name: "4xx", Words: "4xx refused"},
		{Name: "5xx", Words: "5xx failed"},
		{Name: "none", Words: "no answer"},
	}
}

func knownType(name string) bool { return slices.Contains(outbox.Types(), outbox.Type(name)) }

// readFilter takes a filter from an address. What nobody could have chosen is refused, not passed over: a list that
// silently shows something else than was asked for is worse than none.
func readFilter(query url.Values, now time.Time) (deliveryFilter, error) {
	f := deliveryFilter{
		State: query.Get("state"), Class: query.Get("class"), Type: query.Get("type"), Trigger: query.Get("trigger"),
		Since: query.Get("since"), Text: strings.TrimSpace(query.Get("text")),
	}
	f.query.Cursor = query.Get("cursor")
	if f.State != "" {
		if !slices.Contains(deliveryStates(), fact.State(f.State)) {
			return f, badRequest("A delivery is pending, retrying, held, delivered, exhausted or cancelled.")
		}
		f.query.States = []string{f.State}
	}
	if f.Class != "" {
		if !slices.ContainsFunc(classes(), func(c choice) bool { return c.Name == f.Class }) {
			return f, badRequest("The class of an answer is 2xx, 3xx, 4xx, 5xx or none.")
		}
		f.query.StatusClass = f.Class
	}
	if f.Type != "" && !knownType(f.Type) {
		return f, badRequest("There is no event type of that name in the catalogue.")
	}
	if f.Trigger != "" && !slices.Contains(triggers(), fact.Trigger(f.Trigger)) {
		return f, badRequest("A delivery is triggered automatic, manual or test.")
	}
	f.query.EventType, f.query.Trigger = f.Type, f.Trigger
	if err := f.readSince(now); err != nil {
		return f, err
	}
	f.query.Limit = 50
	if text := query.Get("limit"); text != "" {
		limit, err := strconv.Atoi(text)
		if err != nil {
			return f, badRequest("The limit is a number from 1 to 200.")
		}
		f.query.Limit = min(max(limit, 1), 200)
		f.Limit = f.query.Limit
	}
	return f, f.readText()
}

// badTextError refuses the text of a filter in which all else is right. The list says so in its place; whatever else is
// asked with such a filter is refused as a whole.
type badTextError struct{ words string }

// Error is what would be right.
func (e *badTextError) Error() string { return e.words }

// Unwrap gives the page that says the same.
func (e *badTextError) Unwrap() error { return badRequest(e.words) }

func (f *deliveryFilter) readSince(now time.Time) error {
	switch f.Since {
	case "":
	case "1h":
		f.query.From = ago(now, time.Hour)
	case "24h":
		f.query.From = ago(now, 24*time.Hour)
	case "7d":
		f.query.From = ago(now, 7*24*time.Hour)
	case "30d":
		f.query.From = ago(now, 30*24*time.Hour)
	default:
		return badRequest("The time is 1h, 24h, 7d or 30d.")
	}
	return nil
}

// readText takes an id: a delivery's is a number, an event's a UUID.
func (f *deliveryFilter) readText() error {
	if f.Text == "" {
		return nil
	}
	if id, err := strconv.ParseInt(f.Text, 10, 64); err == nil && id > 0 {
		f.query.DeliveryID = id
		return nil
	}
	id, err := uuid.Parse(f.Text)
	if err != nil {
		return &badTextError{"That is no id. Give the whole id of an event, which is a UUID as in X-Webhook-ID, or of a delivery, which is a number."}
	}
	f.query.EventID = id
	return nil
}

// Any reports whether the filter leaves anything out.
func (f deliveryFilter) Any() bool {
	return f.State != "" || f.Class != "" || f.Type != "" || f.Trigger != "" || f.Since != "" || f.Text != ""
}

// values is the filter as an address, without the place in the list.
func (f deliveryFilter) values() url.Values {
	v := url.Values{}
	for name, value := range map[string]string{
		"state": f.State, "class": f.Class, "type": f.Type, "trigger": f.Trigger, "since": f.Since, "text": f.Text,
	} {
		if value != "" {
			v.Set(name, value)
		}
	}
	return v
}

// wants reports whether a delivery that has just changed belongs into the list.
func (f deliveryFilter) wants(d projections.Delivery) bool {
	switch {
	case f.State != "" && d.State != f.State,
		f.Type != "" && d.EventType != f.Type,
		f.Trigger != "" && d.Trigger != f.Trigger,
		f.query.DeliveryID != 0 && d.DeliveryID != f.query.DeliveryID,
		f.query.EventID != uuid.Nil && d.EventID != f.query.EventID,
		!f.query.From.IsZero() && d.CreatedAt.Before(f.query.From),
		f.Class != "" && classOf(d) != f.Class:
		return false
	}
	return true
}

// classOf is the class of a delivery's last answer; "" before the first attempt.
func classOf(d projections.Delivery) string {
	switch {
	case d.LastStatus != nil:
		return strconv.Itoa(*d.LastStatus/100) + "xx"
	case d.LastReason != nil:
		return "none"
	default:
		return ""
	}
}
