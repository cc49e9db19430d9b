package dashboard

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
)

// Trail tells what people did for the caller's company, the newest first, and from where to go on; 0 at the end.
type Trail interface {
	Trail(ctx context.Context, by access.Caller, p access.TrailPage) (page []access.Entry, next int64, err error)
}

var _ Trail = (*access.Store)(nil)

// trailPage is who did what.
type trailPage struct {
	Rows []trailRow
	Next string
}

type trailRow struct {
	access.Entry

	What string
	Link string // to what it was done to; "": there is no page of it
}

// showTrail is for owners: it names persons.
func (q *request) showTrail() error {
	if err := q.mustChange(); err != nil {
		return err
	}
	var ask access.TrailPage
	if text := q.r.URL.Query().Get("cursor"); text != "" {
		before, err := strconv.ParseInt(text, 10, 64)
		if err != nil || before < 1 {
			return badRequest("The address of this page was cut off or changed. Start from its first page.")
		}
		ask.Before = before
	}
	entries, next, err := q.Trail.Trail(q.r.Context(), q.caller, ask)
	if err != nil {
		return err
	}
	var p trailPage
	for _, e := range entries {
		p.Rows = append(p.Rows, rowOf(e))
	}
	if next != 0 {
		p.Next = nextPage(q.r.URL, strconv.FormatInt(next, 10))
	}
	return q.render("trail", view{Title: "Activity", Section: "trail", Data: p})
}

func rowOf(e access.Entry) trailRow {
	var detail struct {
		DeliveryID int64  `json:"delivery_id"`
		EventID    string `json:"event_id"`
		EventType  string `json:"event_type"`
		RecoveryID string `json:"recovery_id"`
		Kind       string `json:"kind"`
		Found      int64  `json:"found"`
		Person     string `json:"person"`
		Name       string `json:"name"`
	}
	row := trailRow{Entry: e, What: e.Action}
	if json.Unmarshal(e.Detail, &detail) != nil {
		return row
	}
	endpoint := "/endpoints/" + e.SubjectID.String()
	switch e.Action {
	case "delivery.retried":
		row.What, row.Link = "Retried a delivery", fmt.Sprintf("/deliveries/%d", detail.DeliveryID)
	case "delivery.requested":
		row.What, row.Link = "Sent a missed event", fmt.Sprintf("/deliveries/%d", detail.DeliveryID)
	case "test.sent":
		row.What, row.Link = "Sent a test ("+detail.EventType+")", endpoint+"/tests/"+detail.EventID
	case "recovery.started":
		row.What, row.Link = "Recovered "+plural(detail.Found, "failed delivery", "failed deliveries"), endpoint+"/recoveries/"+detail.RecoveryID
		if detail.Kind == "missing" {
			row.What = "Sent " + plural(detail.Found, "missed event", "missed events")
		}
	case "recovery.cancelled":
		row.What, row.Link = "Cancelled a recovery", endpoint+"/recoveries/"+detail.RecoveryID
	default:
		row.What = accessWords(e.Action)
		switch {
		case e.Action == "session.started" || e.Action == "session.replaced" || e.Action == "session.ended":
			// Who it was is said beside it.
		case detail.Person != "":
			row.What += " for " + detail.Person
		case detail.Name != "":
			row.What += " “" + detail.Name + "”"
		}
	}
	return row
}

// accessWords say what became of a key, a link or a session.
func accessWords(action string) string {
	switch action {
	case "key.created":
		return "Made an API key"
	case "key.revoked":
		return "Revoked an API key"
	case "link.minted":
		return "Made a sign-in link"
	case "link.revoked":
		return "Revoked a sign-in link"
	case "session.started":
		return "Signed in"
	case "session.replaced":
		return "Signed in anew: the session before ended"
	case "session.ended":
		return "Signed out"
	case "session.revoked":
		return "Ended a session"
	default:
		return action
	}
}
