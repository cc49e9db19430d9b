package dashboard

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
)

// opsPage is the operator's page.
type opsPage struct {
	Operation

	History rebuildView

	Backlog  int64 // committed events that are not fanned out yet
	Oldest   string
	Open     int64 // breakers
	Trying   int64 // breakers that let one attempt through
	Disabled int64
	Enabled  int64
	Alarms   []string
}

// operates reports whether there is a page for the caller: operators alone have one.
func (q *request) operates() bool {
	return q.Operations != nil && q.caller.Role == access.Operator && q.caller.CompanyID == uuid.Nil
}

// operations is for operators alone; to others it does not exist.
func (q *request) operations() error {
	if !q.operates() {
		return ErrNotFound
	}
	state, err := q.Operations.Operations(q.r.Context())
	if err != nil {
		return err
	}
	if q.partial() {
		return q.fragment("ops", "history", view{Data: opsPage{History: viewRebuild(state.Rebuild)}})
	}
	p := opsPage{Operation: state, Oldest: "–", History: viewRebuild(state.Rebuild)}
	for _, l := range state.Logs {
		if l.Topic == "outbox" {
			p.Backlog += l.Rows
			if l.Rows > 0 {
				p.Oldest = span(l.OldestAge)
			}
		}
	}
	for _, c := range state.Endpoints {
		switch {
		case c.State != "enabled":
			p.Disabled += c.Count
		default:
			p.Enabled += c.Count
			switch c.Breaker {
			case "open":
				p.Open += c.Count
			case "half_open":
				p.Trying += c.Count
			}
		}
	}
	p.Alarms = append(q.alarms(state), p.held()...)
	return q.render("ops", view{Title: "Operations", Section: "ops", Data: p})
}

// fewBreakers may be open without a word: customers' servers fail every day.
const fewBreakers = 3

// held is the alarm of a whole installation whose breakers open, which no single customer can cause.
func (p opsPage) held() []string {
	if p.Open < fewBreakers || 4*p.Open < p.Enabled {
		return nil
	}
	return []string{
		fmt.Sprintf("The breakers of %s of %s enabled endpoints are open. Where so many fail at once, look at our own way out first: DNS, proxy, firewall.",
			grouped(p.Open), grouped(p.Enabled)),
	}
}

// alarms are what somebody should look at now, with what to do.
func (q *request) alarms(state Operation) []string {
	var list []string
	live, drained := 0, 0
	for _, r := range state.Relays {
		if !r.LeaseUntil.After(q.now) {
			continue
		}
		live++
		if r.DrainedAt != nil {
			drained++
		}
	}
	switch live {
	case 0:
		list = append(list, "No relay is running: nothing is sent. Start surveyhooks serve.")
	case drained:
		list = append(list, "Every relay is drained: nothing is sent. Take one back, or start another one.")
	}
	if state.Quarantine > 0 {
		list = append(list, plural(state.Quarantine, "log row", "log rows")+" could not be handled. Run surveyhooks doctor.")
	}
	for _, l := range state.Logs {
		if l.Rows > 0 && l.OldestAge.Seconds() > 60 {
			list = append(list, l.Topic+" is "+span(l.OldestAge)+" behind for "+l.Group+". Look at the relay's log, then at the database's load.")
		}
	}
	if state.Pause == nil && state.OldestDue > dueTooLong {
		list = append(list, "Deliveries that nothing holds back have been due for up to "+span(state.OldestDue)+
			". See whether a relay is alive below, and whether one endpoint answers too slowly for what it is sent.")
	}
	return list
}

// dueTooLong is far above what a backlog of minutes and an endpoint of slow answers need.
const dueTooLong = 5 * time.Minute

// heartbeat is when a relay last renewed its lease, as far as the relays' leases are as long as this server's.
func (s *site) heartbeat(r RelayLease) *time.Time {
	at := r.LeaseUntil.Add(-s.Lease)
	if s.Lease == 0 || at.After(s.Now().Add(time.Second)) {
		return nil
	}
	return &at
}

// relayState is where a relay stands, as the page shows it.
func relayState(r RelayLease, now time.Time) mark {
	switch {
	case !r.LeaseUntil.After(now):
		return mark{"fail", "Lease ended"}
	case r.DrainedAt == nil:
		return mark{"ok", "Alive"}
	case r.Lanes > 0:
		return mark{"retry", "Draining"}
	default:
		return mark{"off", "Drained"}
	}
}

// rebuildView is the latest comparison of the history with the journal.
type rebuildView struct {
	*Rebuild

	State mark
}

// Running reports whether the page should ask again.
func (v rebuildView) Running() bool { return v.Rebuild != nil && v.EndedAt == nil }

func viewRebuild(r *Rebuild) rebuildView {
	v := rebuildView{Rebuild: r}
	switch {
	case r == nil:
	case r.State == "running":
		v.State = mark{"retry", "Running"}
	case r.State == "failed":
		v.State = mark{"fail", "Failed"}
	case r.State == "interrupted" || r.Report == nil:
		v.State = mark{"off", "Interrupted"}
	case r.Report.Replaced:
		v.State = mark{"hold", "Differed, and was rebuilt"}
	case r.Report.Equal:
		v.State = mark{"ok", "The history is what the journal says"}
	default:
		v.State = mark{"fail", "The history differs from the journal"}
	}
	return v
}

// orderPage is a page between a button and what it does to everybody.
type orderPage struct {
	Order Order
	Relay *RelayLease // to drain or undrain
	Alone bool        // nobody else could take its lanes
	Fault string      // of the reason
}

func (q *request) confirmOrder() error {
	o, err := q.ordered(q.r.URL.Query().Get("relay"))
	if err != nil {
		return err
	}
	return q.showOrder(http.StatusOK, orderPage{Order: o})
}

// order answers with what is stored, at the page of all of it.
func (q *request) order() error {
	o, err := q.ordered(q.r.PostForm.Get("relay"))
	if err != nil {
		return err
	}
	o.Reason = q.r.PostForm.Get("reason")
	err = q.Operations.Order(q.r.Context(), q.caller, o)
	if invalid := (*InvalidError)(nil); errors.As(err, &invalid) {
		return q.showOrder(http.StatusUnprocessableEntity, orderPage{Order: o, Fault: sentence(invalid.Fields[0].Message)})
	}
	if err != nil {
		return err
	}
	return q.redirect("/ops?done=" + string(o.Kind))
}

// ordered reads an order from its address and the relay that it is for.
func (q *request) ordered(relay string) (Order, error) {
	o := Order{Kind: OrderKind(q.r.PathValue("order"))}
	if !q.operates() {
		return o, ErrNotFound
	}
	switch o.Kind {
	case PauseSending, ResumeSending, VerifyHistory, RebuildIt:
		return o, nil
	case DrainRelay, UndrainRelay:
		id, err := uuid.Parse(relay)
		if err != nil {
			return o, ErrNotFound
		}
		o.Relay = id
		return o, nil
	default:
		return o, ErrNotFound
	}
}

func (q *request) showOrder(status int, p orderPage) error {
	title := map[OrderKind]string{
		PauseSending: "Pause all sending", ResumeSending: "Resume sending", DrainRelay: "Drain a relay", UndrainRelay: "Take a relay back",
		VerifyHistory: "Verify the history", RebuildIt: "Rebuild the history",
	}[p.Order.Kind]
	if p.Order.Relay != uuid.Nil {
		state, err := q.Operations.Operations(q.r.Context())
		if err != nil {
			return err
		}
		p.Alone = true
		for _, r := range state.Relays {
			if r.ID == p.Order.Relay {
				p.Relay = &r
			} else if r.DrainedAt == nil && r.LeaseUntil.After(q.now) {
				p.Alone = false
			}
		}
		if p.Relay == nil {
			return ErrNotFound
		}
	}
	return q.render("order", view{Title: title, Section: "ops", Status: status, Data: p, Crumbs: []crumb{{"Operations", "/ops"}}})
}
