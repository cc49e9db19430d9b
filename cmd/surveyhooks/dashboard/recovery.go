package dashboard

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// recoveryPage asks since when, shows what that means, and starts it.
type recoveryPage struct {
	Endpoint Endpoint
	Missing  bool // what was never sent; else what failed
	Choices  []choice
	Since    string // as RFC 3339
	At       *time.Time
	Custom   string // as a datetime-local field has it, in UTC
	Found    RecoveryCount
	Fault    string
}

// whatIsMissing is the parameter that tells the one recovery from the other.
const whatIsMissing = "missing"

// askRecovery counts before anything is done: what is confirmed is a number, not a hope.
func (q *request) askRecovery() error {
	ref, e, err := q.endpoint()
	if err != nil {
		return err
	}
	if err := q.mustChange(); err != nil {
		return err
	}
	query, status := q.r.URL.Query(), http.StatusOK
	p := recoveryPage{Endpoint: e, Missing: query.Get("what") == whatIsMissing}
	title, path := "Recover failed deliveries", "/endpoints/"+e.ID.String()+"/recover?"
	if p.Missing {
		title, path = "Send missed events", path+"what="+whatIsMissing+"&"
	}
	for _, d := range []struct {
		words string
		span  time.Duration
	}{{"Last hour", time.Hour}, {"Last 6 hours", 6 * time.Hour}, {"Last 24 hours", 24 * time.Hour}, {"Last 7 days", 7 * 24 * time.Hour}} {
		since := ago(q.now, d.span).Format(time.RFC3339)
		p.Choices = append(p.Choices, choice{
			Name: since, Words: d.words, URL: path + "since=" + since, Current: query.Get("since") == since,
		})
	}
	p.Custom = ago(q.now, 24*time.Hour).Format("2006-01-02T15:04")
	if text := query.Get("since"); text != "" {
		since, err := readTime(text)
		if err == nil && since.After(q.now) {
			p.Fault = "That time is still to come."
		}
		if err != nil {
			p.Fault = "Give a date and a time in UTC, such as 2026-03-04T05:06."
		}
		if p.Fault == "" {
			p.At, p.Since, p.Custom = &since, since.Format(time.RFC3339), since.Format("2006-01-02T15:04")
			if p.Found, err = q.Recovery.Count(q.r.Context(), ref, RecoveryAsk{p.Missing, since}); err != nil {
				return err
			}
		} else {
			status = http.StatusUnprocessableEntity
		}
	}
	return q.render("recover", view{
		Title: title, Section: "endpoints", Status: status, Data: p,
		Crumbs: []crumb{{"Endpoints", "/endpoints"}, {hostOf(e.URL), "/endpoints/" + e.ID.String()}},
	})
}

// readTime takes a time as we write it, or as a browser's field does, which has no zone: the page says UTC.
func readTime(text string) (time.Time, error) {
	text = strings.TrimSpace(text)
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04", "2006-01-02T15:04:05"} {
		if t, err := time.Parse(form, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, strconv.ErrSyntax
}

func (q *request) startRecovery() error {
	ref, err := q.ref()
	if err != nil {
		return err
	}
	since, err := readTime(q.r.PostForm.Get("since"))
	if err != nil || since.After(q.now) {
		return badRequest("The form does not say since when. Load the page again.")
	}
	what := RecoveryAsk{q.r.PostForm.Get("what") == whatIsMissing, since}
	id, err := q.Recovery.Start(q.r.Context(), ref, what, q.r.PostForm.Get("nonce"))
	if err != nil {
		return err
	}
	return q.redirect("/endpoints/" + ref.ID.String() + "/recoveries/" + id.String())
}

// recoveryView is how far a recovery has come.
type recoveryView struct {
	Endpoint Endpoint
	Progress RecoveryProgress
	Percent  int64
	State    mark
	Waits    string
}

// Running reports whether the page should ask again.
func (v recoveryView) Running() bool { return v.Progress.EndedAt == nil }

func recoveryMark(state string) mark {
	switch state {
	case "running":
		return mark{"retry", "Running"}
	case "done":
		return mark{"ok", "Done"}
	case "cancelled":
		return mark{"off", "Cancelled"}
	case "failed":
		return mark{"fail", "Ended: the endpoint was deleted"}
	default:
		return mark{"off", state}
	}
}

func recoveryWait(what string) string {
	switch what {
	case "enabled":
		return "It waits until the endpoint is enabled."
	case "breaker":
		return "It waits: the endpoint failed many times in a row, and is being tried again first."
	case "backlog":
		return "It waits until the deliveries before it have gone out: live events go first."
	default:
		return ""
	}
}

func (q *request) showRecovery() error {
	ref, e, err := q.endpoint()
	if err != nil {
		return err
	}
	id, err := q.pathID("recovery")
	if err != nil {
		return err
	}
	progress, err := q.Recovery.Progress(q.r.Context(), ref, id)
	if err != nil {
		return err
	}
	p := recoveryView{
		Endpoint: e, Progress: progress, State: recoveryMark(progress.State), Waits: recoveryWait(progress.WaitsFor),
	}
	if progress.Total > 0 {
		p.Percent = min(100*(progress.Retried+progress.Skipped)/progress.Total, 100)
	}
	v := view{
		Title: "Recovery", Section: "endpoints", Data: p,
		Crumbs: []crumb{{"Endpoints", "/endpoints"}, {hostOf(e.URL), "/endpoints/" + e.ID.String()}},
	}
	if q.partial() {
		return q.fragment("recovery", "progress", v)
	}
	return q.render("recovery", v)
}

func (q *request) cancelRecovery() error {
	ref, err := q.ref()
	if err != nil {
		return err
	}
	id, err := q.pathID("recovery")
	if err != nil {
		return err
	}
	if err := q.Recovery.Cancel(q.r.Context(), ref, id); err != nil {
		return err
	}
	return q.redirect("/endpoints/" + ref.ID.String() + "/recoveries/" + id.String() + "?done=cancelled")
}
