package dashboard

import (
	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
)

// opsPage is the operator's page.
type opsPage struct {
	Operation

	Backlog  int64 // committed events that are not fanned out yet
	Oldest   string
	Open     int64 // breakers
	Disabled int64
	Enabled  int64
	Alarms   []string
}

// operations is for operators alone; to others it does not exist.
func (q *request) operations() error {
	if q.Operations == nil || q.caller.Role != access.Operator {
		return ErrNotFound
	}
	state, err := q.Operations.Operations(q.r.Context())
	if err != nil {
		return err
	}
	p := opsPage{Operation: state, Oldest: "–"}
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
			if c.Breaker != "closed" {
				p.Open += c.Count
			}
		}
	}
	p.Alarms = q.alarms(state)
	return q.render("ops", view{Title: "Operations", Section: "ops", Data: p})
}

// alarms are what somebody should look at now, with what to do.
func (q *request) alarms(state Operation) []string {
	var list []string
	live := 0
	for _, r := range state.Relays {
		if r.LeaseUntil.After(q.now) {
			live++
		}
	}
	if live == 0 {
		list = append(list, "No relay is running: nothing is sent. Start surveyhooks serve.")
	}
	if state.Quarantine > 0 {
		list = append(list, plural(state.Quarantine, "log row", "log rows")+" could not be handled. Run surveyhooks doctor.")
	}
	for _, l := range state.Logs {
		if l.Rows > 0 && l.OldestAge.Seconds() > 60 {
			list = append(list, l.Topic+" is "+span(l.OldestAge)+" behind for "+l.Group+". Look at the relay's log, then at the database's load.")
		}
	}
	return list
}
