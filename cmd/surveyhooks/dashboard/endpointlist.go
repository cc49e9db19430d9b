package dashboard

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/samples"
	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// maxSearch bounds a search text in characters: nothing that is searched is longer.
const maxSearch = 200

// endpointList is the page of a company's endpoints.
type endpointList struct {
	Rows   []endpointRow
	Text   string
	State  string
	Next   string // the address of the next page
	Empty  bool   // there is no endpoint at all
	Sample samples.Sample
	Curl   string

	Path, Addr string // where the sample listens
	Proxy      string // the line of a proxy that passes requests on to it
}

// endpointRow is one endpoint in the list.
type endpointRow struct {
	projections.EndpointOverview

	Badge badge
	Spark chart
	OK    string // the share of attempts that succeeded
}

// badge is an endpoint's state in words, with when and why.
type badge struct {
	mark

	Since *time.Time // or until, for a breaker
	Until bool
	Why   string
	More  string // what that means for the deliveries; a list of many has no room for it
	Note  string // in the words of who disabled it
}

// Brief is the badge as a list of many shows it.
func (b badge) Brief() badge {
	b.More = ""
	return b
}

// endpointBadge tells a person's choice from ours: what the relay disabled for its failures has another badge than what
// somebody disabled.
func endpointBadge(o projections.EndpointOverview, caller string, now time.Time) badge {
	switch {
	case o.State == "enabled" && o.Breaker == "open" && o.NotBefore != nil && o.NotBefore.After(now):
		return badge{
			mark: mark{"hold", "Breaker open"}, Since: o.NotBefore, Until: true,
			More: "It failed many times in a row. Its deliveries wait, and use up no retry.",
		}
	case o.State == "enabled" && o.Breaker != "closed":
		return badge{mark: mark{"wait", "Trying again"}, More: "One delivery is tried before the others follow."}
	case o.State == "enabled":
		return badge{mark: mark{"ok", "Enabled"}}
	case o.StateActor == relayActor:
		return badge{mark: mark{"fail", "Disabled automatically"}, Since: &o.StateSince, Why: advise(fact.Reason(o.StateReason)).Title + "."}
	}
	b := badge{mark: mark{"off", "Disabled by you"}, Since: &o.StateSince, Note: o.StateNote}
	if o.StateActor != caller {
		b.Words, b.Why = "Disabled", sentence(actorWords(o.StateActor))
	}
	if o.StateReason != string(fact.ByRequest) { // a program can say so, too
		b.Why = strings.TrimSpace(b.Why + " " + advise(fact.Reason(o.StateReason)).Title + ".")
	}
	return b
}

func (q *request) listEndpoints() error {
	query := q.r.URL.Query()
	page := endpointList{Text: strings.TrimSpace(query.Get("text")), State: query.Get("state")}
	switch page.State {
	case "", "enabled", "disabled":
	default:
		return badRequest("The state of an endpoint is enabled or disabled.")
	}
	if !searchable(page.Text) {
		return badRequest("Search for at most 200 characters of plain text.")
	}
	found, err := q.History.Overview(q.r.Context(), projections.Filter{
		CompanyID: q.caller.CompanyID, State: page.State, Text: page.Text, Cursor: query.Get("cursor"), Limit: 50,
	})
	if err != nil {
		return err
	}
	for _, o := range found.Items {
		page.Rows = append(page.Rows, overviewRow(o, q.caller.Actor, q.now))
	}
	if found.Next != "" {
		page.Next = nextPage(q.r.URL, found.Next)
	}
	page.Empty = len(found.Items) == 0 && page.Text == "" && page.State == "" && query.Get("cursor") == ""
	if page.Empty {
		if page.Sample, err = samples.Get("node"); err != nil {
			return err
		}
		page.Path, page.Addr = samples.Path, samples.Addr
		page.Curl = "curl -i -X POST http://" + samples.Addr + samples.Path + " \\\n  -H 'Content-Type: application/json' -d '{}'"
		page.Proxy = "location = " + samples.Path + " { proxy_pass http://" + samples.Addr + "; }"
	}
	v := view{Title: "Endpoints", Section: "endpoints", Data: page}
	if q.partial() {
		return q.fragment("endpoints", "rows", v)
	}
	return q.render("endpoints", v)
}

func overviewRow(o projections.EndpointOverview, caller string, now time.Time) endpointRow {
	row := endpointRow{
		EndpointOverview: o, Spark: drawSparkline(o.Bars), OK: "–",
		Badge: endpointBadge(o, caller, now),
	}
	var ok, failed int64
	for _, b := range o.Bars {
		ok, failed = ok+b.Succeeded, failed+b.Failed
	}
	row.OK = percent(ok, ok+failed)
	return row
}

// nextPage is the same list, further on.
func nextPage(at *url.URL, cursor string) string {
	query := at.Query()
	query.Set("cursor", cursor)
	query.Del("done")
	return at.Path + "?" + query.Encode()
}

// searchable reports whether PostgreSQL can look for the text.
func searchable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsRune(text, 0) && utf8.RuneCountInString(text) <= maxSearch
}

// enable and disable answer with the endpoint as it is stored then: in place where htmx asked, else on its page.
func (q *request) enable() error { return q.toggle(q.Switch.Enable, "enabled") }

func (q *request) disable() error {
	note := q.r.PostForm.Get("note")
	err := q.toggle(func(ctx context.Context, ref Ref) error { return q.Switch.Disable(ctx, ref, note) }, "disabled")
	var invalid *InvalidError
	switch {
	case !errors.As(err, &invalid):
		return err
	case q.partial(): // a list's button sends no note
		return &problem{http.StatusUnprocessableEntity, "Nothing was changed", sentence(invalid.Fields[0].Message)}
	default:
		return q.showEndpointWith(disabling{Note: note, Fault: sentence(invalid.Fields[0].Message)})
	}
}

func (q *request) toggle(act actOnEndpoint, done string) error {
	ref, err := q.ref()
	if err != nil {
		return err
	}
	if err := act(q.r.Context(), ref); err != nil {
		return err
	}
	if !q.partial() {
		return q.redirect("/endpoints/" + ref.ID.String() + "?done=" + done)
	}
	found, err := q.History.Overview(q.r.Context(), projections.Filter{CompanyID: q.caller.CompanyID, EndpointID: ref.ID, Limit: 1})
	if err != nil {
		return err
	}
	if len(found.Items) == 0 {
		return ErrNotFound
	}
	return q.fragment("endpoints", "row", view{Status: http.StatusOK, Data: overviewRow(found.Items[0], q.caller.Actor, q.now)})
}
