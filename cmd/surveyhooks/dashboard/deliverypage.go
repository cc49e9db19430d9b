package dashboard

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// toldWithin is how long the history is waited for to tell of a retry: it is told of it a moment later.
const toldWithin = time.Minute

// deliveryPage is one delivery with all of its attempts.
type deliveryPage struct {
	Delivery  projections.DeliveryDetail
	Endpoint  *Endpoint // nil: it was deleted
	Selected  *attemptView
	Attempts  []projections.Attempt // the newest first
	Following bool                  // there is more to come: the state is asked for again
	Chosen    bool                  // somebody asked for this attempt; else the newest is shown
	Request   projections.SentRequest
	Body      string // as it was sent, printable
	Pretty    string
	Retryable bool
	Enable    bool // the endpoint is disabled: that is what keeps it, or would keep a retry
	Most      int
	Breaker   *badge // of the endpoint, where it keeps this delivery waiting
}

// attemptView is the attempt that the page shows in full.
type attemptView struct {
	projections.Attempt

	Timing  timing
	Headers []headerLine
	Remote  string
	Text    string
	Advice  advice
}

type headerLine struct{ Name, Value string }

func (q *request) showDelivery() error {
	id, err := q.deliveryID()
	if err != nil {
		return err
	}
	d, err := q.History.Delivery(q.r.Context(), q.caller.CompanyID, id)
	if err != nil {
		return err
	}
	p := deliveryPage{Delivery: d, Attempts: d.AttemptRows, Most: q.most(d.Trigger)}
	e, err := q.Registry.Endpoint(q.r.Context(), Ref{Caller: q.caller, ID: d.EndpointID})
	switch {
	case err == nil:
		p.Endpoint = &e
	case !isNotFound(err):
		return err
	}
	if p.Endpoint != nil && d.FinishedAt == nil {
		if p.Breaker, err = q.openBreaker(e); err != nil {
			return err
		}
	}
	p.Following = d.FinishedAt == nil || d.RetriedAt != nil && d.RetriedAt.After(*d.FinishedAt) && q.now.Sub(*d.RetriedAt) < toldWithin
	p.Retryable = mayRetry(d.Delivery, p.Endpoint, q.now)
	p.Enable = p.Endpoint != nil && !p.Endpoint.Enabled && d.DeliveringSince == nil && d.State != string(fact.Cancelled)
	if err := q.selectAttempt(&p); err != nil {
		return err
	}
	v := view{
		Title: "Delivery " + strconv.FormatInt(id, 10), Section: "deliveries", Data: &p,
		Crumbs: []crumb{{"Deliveries", "/deliveries"}},
	}
	if p.Endpoint != nil {
		path := "/endpoints/" + e.ID.String()
		v.Crumbs = []crumb{{"Endpoints", "/endpoints"}, {hostOf(e.URL), path}, {"Deliveries", path + "/deliveries"}}
	}
	if q.partial() {
		// The state alone is asked for again. Once an attempt has ended, the rest of the page would tell of the one before.
		if shown := q.r.URL.Query().Get("shown"); shown != "" && shown != strconv.Itoa(p.shown()) {
			return q.redirect("/deliveries/" + strconv.FormatInt(id, 10))
		}
		return q.fragment("delivery", "state", v)
	}
	return q.render("delivery", v)
}

// shown is the number of the attempt that the page shows; 0 before the first has ended.
func (p *deliveryPage) shown() int {
	if p.Selected == nil {
		return 0
	}
	return p.Selected.Attempt.Attempt
}

// Again is how the state is asked for again: of a chosen attempt, or of the newest as long as that is the one shown.
func (p *deliveryPage) Again() string {
	name := "shown"
	if p.Chosen {
		name = "attempt"
	}
	return fmt.Sprintf("%s=%d", name, p.shown())
}

// selectAttempt takes the attempt that the address names, else the last one.
func (q *request) selectAttempt(p *deliveryPage) error {
	if len(p.Attempts) == 0 {
		return nil
	}
	at := 0
	if text := q.r.URL.Query().Get("attempt"); text != "" {
		n, err := strconv.Atoi(text)
		if at = slices.IndexFunc(p.Attempts, func(a projections.Attempt) bool { return a.Attempt == n }); err != nil || at < 0 {
			return ErrNotFound
		}
		p.Chosen = true
	}
	a := p.Attempts[at]
	p.Selected = &attemptView{
		Attempt: a, Timing: drawTiming(a), Headers: headerLines(a.ResponseHeaders), Text: printable(a.ResponseBody),
		Advice: adviseOn(&a), Remote: a.RemoteAddr,
	}
	if a.Reason == string(fact.BlockedDestination) {
		p.Selected.Remote = "" // where a name leads inside our network is nobody's to learn
	}
	var err error
	p.Request, err = q.History.Request(q.r.Context(), p.Delivery.CompanyID, a.DeliveryID, a.Attempt)
	if err != nil {
		return err
	}
	p.Body, p.Pretty = printable(p.Request.Body), prettyJSON(p.Request.Body)
	return nil
}

// headerLines are the headers of an answer, by name. A stranger chose them: they are shown as text.
func headerLines(raw json.RawMessage) []headerLine {
	var headers map[string][]string
	if len(raw) == 0 || json.Unmarshal(raw, &headers) != nil {
		return nil
	}
	var lines []headerLine
	for name, values := range headers {
		for _, value := range values {
			lines = append(lines, headerLine{printable([]byte(name)), printable([]byte(value))})
		}
	}
	slices.SortStableFunc(lines, func(a, b headerLine) int {
		switch {
		case a.Name < b.Name:
			return -1
		case a.Name > b.Name:
			return 1
		default:
			return 0
		}
	})
	return lines
}

// openBreaker is nil where deliveries go out.
func (q *request) openBreaker(e Endpoint) (*badge, error) {
	found, err := q.History.Overview(q.r.Context(), projections.Filter{CompanyID: e.CompanyID, EndpointID: e.ID, Limit: 1})
	if err != nil || len(found.Items) == 0 {
		return nil, err
	}
	if o := found.Items[0]; o.State == "enabled" && (o.Breaker == "open" || o.Breaker == "half_open") {
		b := endpointBadge(o, q.caller.Actor, q.now)
		return &b, nil
	}
	return nil, nil //nolint:nilnil // nothing is open
}

func (q *request) retryOne() error {
	id, err := q.deliveryID()
	if err != nil {
		return err
	}
	heldUntil, err := q.retry(q.r.Context(), id)
	if err != nil {
		return err
	}
	if !heldUntil.IsZero() {
		return q.redirect(fmt.Sprintf("/deliveries/%d?done=retried-breaker", id))
	}
	return q.redirect(fmt.Sprintf("/deliveries/%d?done=retried", id))
}

// download sends bytes that a stranger chose so that no browser takes them for anything: not a page, not a script.
func (q *request) download(name string, body []byte) error {
	header := q.w.Header()
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	header.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	q.w.WriteHeader(http.StatusOK)
	_, _ = q.w.Write(body) // a reader that went away is its own fault
	return nil
}

func (q *request) downloadResponse() error {
	id, err := q.deliveryID()
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(q.r.PathValue("attempt"))
	if err != nil {
		return ErrNotFound
	}
	d, err := q.History.Delivery(q.r.Context(), q.caller.CompanyID, id)
	if err != nil {
		return err
	}
	for _, a := range d.AttemptRows {
		if a.Attempt == n {
			return q.download(fmt.Sprintf("delivery-%d-attempt-%d-response.txt", id, n), a.ResponseBody)
		}
	}
	return ErrNotFound
}

// downloadRequest sends the body of a delivery byte for byte. It is the same on every attempt.
func (q *request) downloadRequest() error {
	id, err := q.deliveryID()
	if err != nil {
		return err
	}
	sent, err := q.History.Request(q.r.Context(), q.caller.CompanyID, id, 1)
	if err != nil {
		return err
	}
	if sent.Body == nil {
		return ErrNotFound
	}
	return q.download(fmt.Sprintf("delivery-%d-request.json.txt", id), sent.Body)
}
