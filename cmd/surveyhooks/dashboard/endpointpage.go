package dashboard

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/projections"
)

// endpointPage is everything about one endpoint.
type endpointPage struct {
	Endpoint Endpoint
	Badge    badge
	Window   string
	Windows  []choice
	Stats    projections.EndpointStats
	OK       string
	Charts   []chart // wide and narrow
	Statuses []shareRow
	Types    []shareRow
	Upcoming []projections.Upcoming
	Recent   []projections.Delivery
	Changes  []projections.EndpointChange
	Failing  bool
	Typed    disabling
}

// disabling is the form that disables an endpoint, as it was sent when something is wrong with it.
type disabling struct{ Note, Fault string }

// choice is one of a switch.
type choice struct {
	Name, Words, URL string
	Current          bool
}

// shareRow is one bar of a breakdown.
type shareRow struct {
	Name  string
	Kind  string
	Count int64
	Width string // of 100
	Share string
}

func (q *request) showEndpoint() error { return q.showEndpointWith(disabling{}) }

func (q *request) showEndpointWith(typed disabling) error {
	_, e, err := q.endpoint()
	if err != nil {
		return err
	}
	p := endpointPage{Endpoint: e, Typed: typed, Window: q.r.URL.Query().Get("window")}
	if p.Window == "" {
		p.Window = "24h"
	}
	window, err := projections.WindowOf(p.Window)
	if err != nil {
		return badRequest("The window of a chart is 1h, 24h, 7d or 30d.")
	}
	window.Until = q.now
	if p.Stats, err = q.History.EndpointStats(q.r.Context(), e.CompanyID, e.ID, window); err != nil {
		return err
	}
	p.draw()
	v := view{
		Title: hostOf(e.URL), Section: "endpoints", Data: &p,
		Crumbs: []crumb{{"Endpoints", "/endpoints"}},
	}
	if q.partial() {
		return q.fragment("endpoint", "stats", v)
	}
	if typed.Fault != "" {
		v.Status = http.StatusUnprocessableEntity
	}
	if err := p.read(q); err != nil {
		return err
	}
	return q.render("endpoint", v)
}

// draw makes the charts and breakdowns from the statistics.
func (p *endpointPage) draw() {
	for _, name := range windows() {
		p.Windows = append(p.Windows, choice{
			Name: name, Words: windowWords(name), URL: "/endpoints/" + p.Endpoint.ID.String() + "?window=" + name, Current: name == p.Window,
		})
	}
	p.OK = percent(p.Stats.Succeeded, p.Stats.Succeeded+p.Stats.Failed)
	p.Charts = []chart{drawChart(p.Stats.Bars, p.Window, false), drawChart(p.Stats.Bars, p.Window, true)}
	var whole int64
	for _, s := range p.Stats.ByStatus {
		whole += s.Count
	}
	for _, s := range p.Stats.ByStatus {
		row := shareRow{Name: "No answer", Kind: "fail", Count: s.Count}
		if s.Status != 0 {
			row.Name = strconv.Itoa(s.Status)
		}
		switch s.Reason {
		case "ok":
			row.Kind = "ok"
		case "interrupted":
			row.Name, row.Kind = "Interrupted by us", "hold"
		default:
			row.Name = outcomeWords(statusOrNil(s.Status), &s.Reason)
		}
		p.Statuses = append(p.Statuses, row.of(whole))
	}
	whole = p.Stats.Succeeded + p.Stats.Failed
	for _, t := range p.Stats.ByEventType {
		row := shareRow{Name: t.EventType, Kind: "plain", Count: t.Succeeded + t.Failed}
		row = row.of(whole)
		row.Share = percent(t.Succeeded, t.Succeeded+t.Failed) + " ok"
		p.Types = append(p.Types, row)
	}
	slices.SortStableFunc(p.Types, func(a, b shareRow) int { return int(b.Count - a.Count) })
}

func statusOrNil(status int) *int {
	if status == 0 {
		return nil
	}
	return &status
}

func (r shareRow) of(whole int64) shareRow {
	r.Share = percent(r.Count, whole)
	r.Width = px(max(100*float64(r.Count)/float64(max(whole, 1)), 1))
	return r
}

// read takes what else stands on the page from the history.
func (p *endpointPage) read(q *request) error {
	ctx, history := q.r.Context(), q.History
	mine := projections.Filter{CompanyID: p.Endpoint.CompanyID, EndpointID: p.Endpoint.ID}
	overview := mine
	overview.Limit = 1
	found, err := history.Overview(ctx, overview)
	if err != nil {
		return err
	}
	if len(found.Items) == 0 {
		return ErrNotFound
	}
	o := found.Items[0]
	p.Badge = endpointBadge(o, q.caller.Actor, q.now)
	p.Failing = o.FailingSince != nil
	if p.Upcoming, err = history.Upcoming(ctx, p.Endpoint.CompanyID, p.Endpoint.ID, 5); err != nil {
		return err
	}
	recent := mine
	recent.Limit = 8
	last, err := history.Deliveries(ctx, recent)
	if err != nil {
		return err
	}
	p.Recent = last.Items
	recent.Limit = 20
	changes, err := history.EndpointChanges(ctx, recent)
	p.Changes = changes.Items
	return err
}

// confirmation is a page between a button and what cannot be taken back.
type confirmation struct {
	Endpoint Endpoint
	Kind     string
}

func (q *request) confirmRotate() error { return q.confirm("rotate", "Rotate the signing secret") }
func (q *request) confirmDelete() error { return q.confirm("delete", "Delete this endpoint") }

func (q *request) confirm(kind, title string) error {
	_, e, err := q.endpoint()
	if err != nil {
		return err
	}
	if err := q.mustChange(); err != nil {
		return err
	}
	return q.render("confirm", view{
		Title: title, Section: "endpoints", Data: confirmation{e, kind},
		Crumbs: []crumb{{"Endpoints", "/endpoints"}, {hostOf(e.URL), "/endpoints/" + e.ID.String()}},
	})
}

// atVersion refuses a form that was made from another version than the one that is stored: what it confirms is not what
// the person saw.
func (q *request) atVersion() (Ref, Endpoint, error) {
	ref, e, err := q.endpoint()
	if err == nil && q.r.PostForm.Get("version") != strconv.Itoa(e.Version) {
		err = &ConflictError{Actual: e.Version}
	}
	return ref, e, err
}

func (q *request) rotate() error {
	ref, e, err := q.atVersion()
	if err != nil {
		return err
	}
	secret, overlap, err := q.Keys.Rotate(q.r.Context(), ref)
	if err != nil {
		return err
	}
	return q.showSecret(e, secretPage{Secret: secret, Overlap: span(overlap)}, false)
}

func (q *request) delete() error {
	ref, _, err := q.atVersion()
	if err != nil {
		return err
	}
	if err := q.Switch.Delete(q.r.Context(), ref); err != nil {
		return err
	}
	return q.redirect("/endpoints?done=deleted")
}

// testResult is a test event on its way, and what came of it as far as that is stored.
type testResult struct {
	Endpoint uuid.UUID
	Event    uuid.UUID
	Delivery *projections.DeliveryDetail
	Attempt  *projections.Attempt
	Timing   timing
}

// Waiting reports whether there is nothing yet to look at.
func (t *testResult) Waiting() bool { return t.Attempt == nil }

// Path is where the result is shown.
func (t *testResult) Path() string {
	return "/endpoints/" + t.Endpoint.String() + "/tests/" + t.Event.String()
}

func (q *request) test() error {
	ref, err := q.ref()
	if err != nil {
		return err
	}
	kind := q.r.PostForm.Get("type")
	if kind == "" {
		kind = "test.webhook"
	}
	return q.sendTest(ref, kind)
}

// sendTest sends an example through the real pipeline and leads to what is stored about it.
func (q *request) sendTest(ref Ref, eventType string) error {
	event, err := q.publishTest(ref, eventType)
	if err != nil {
		return err
	}
	result := testResult{Endpoint: ref.ID, Event: event}
	if q.partial() {
		return q.fragment("test", "result", view{Status: http.StatusAccepted, Data: &result})
	}
	return q.redirect(result.Path())
}

func (q *request) publishTest(ref Ref, eventType string) (uuid.UUID, error) {
	if !knownType(eventType) {
		return uuid.Nil, badRequest("There is no event type of that name in the catalogue.")
	}
	// Whose endpoint it is comes first: a stranger's must not count, nor tell that it exists.
	e, err := q.Registry.Endpoint(q.r.Context(), ref)
	if err != nil {
		return uuid.Nil, err
	}
	wait, err := q.Tests.Take(q.r.Context(), e.CompanyID)
	if err != nil {
		return uuid.Nil, err
	}
	if wait > 0 {
		q.w.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds())+1))
		return uuid.Nil, &problem{
			http.StatusTooManyRequests, "That were many tests",
			"A company may send 10 tests in a minute. Try again in " + span(wait) + ".",
		}
	}
	return q.Sender.Example(q.r.Context(), ref, eventType)
}

// showTest shows what is stored about a test. Nothing stored yet is said as such, and asked for again by the page.
func (q *request) showTest() error {
	_, e, err := q.endpoint()
	if err != nil {
		return err
	}
	event, err := q.pathID("event")
	if err != nil {
		return err
	}
	result := testResult{Endpoint: e.ID, Event: event}
	found, err := q.History.Deliveries(q.r.Context(), projections.Filter{CompanyID: e.CompanyID, EndpointID: e.ID, EventID: event, Limit: 1})
	if err != nil {
		return err
	}
	if len(found.Items) > 0 {
		detail, err := q.History.Delivery(q.r.Context(), e.CompanyID, found.Items[0].DeliveryID)
		if err != nil {
			return err
		}
		result.Delivery = &detail
		if len(detail.AttemptRows) > 0 {
			result.Attempt = &detail.AttemptRows[0]
			result.Timing = drawTiming(*result.Attempt)
		}
	}
	v := view{
		Title: "Test event", Section: "endpoints", Data: &result,
		Crumbs: []crumb{{"Endpoints", "/endpoints"}, {hostOf(e.URL), "/endpoints/" + e.ID.String()}},
	}
	if q.partial() {
		return q.fragment("test", "result", v)
	}
	return q.render("test", v)
}
