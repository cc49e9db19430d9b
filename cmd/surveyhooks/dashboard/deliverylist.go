package dashboard

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/outbox/wire"
	"github.com/chattosurvey/surveyhooks/projections"
)

// maxBulk is how many deliveries one form may retry: a page of them. More is a recovery's work.
const maxBulk = 200

// deliveryList is the page of deliveries, of one endpoint or of all.
type deliveryList struct {
	Endpoint *Endpoint // nil: all of the company's
	Path     string
	Filter   deliveryFilter
	Rows     []projections.Delivery
	Names    map[uuid.UUID]endpointName // as far as they are known
	Event    *projections.Event         // that was searched for and made no delivery
	Next     string
	Live     string
	CSV      string
	JSONL    string
	States   []choice
	Classes  []choice
	Types    []choice
	Triggers []choice
	Since    []choice
}

func (q *request) listDeliveries() error {
	f, err := readFilter(q.r.URL.Query(), q.now)
	if bad, ok := errors.AsType[*badTextError](err); ok {
		f.Fault, err = bad.words, nil
	}
	if err != nil {
		return err
	}
	page := deliveryList{Path: "/deliveries", Filter: f}
	f.query.CompanyID = q.caller.CompanyID
	v := view{Title: "Deliveries", Section: "deliveries"}
	values := f.values()
	if q.r.PathValue("endpoint") != "" {
		_, e, err := q.endpoint()
		if err != nil {
			return err
		}
		page.Endpoint, f.query.EndpointID, f.query.CompanyID = &e, e.ID, e.CompanyID
		page.Path = "/endpoints/" + e.ID.String() + "/deliveries"
		values.Set("endpoint", e.ID.String())
		v.Crumbs = []crumb{{"Endpoints", "/endpoints"}, {hostOf(e.URL), "/endpoints/" + e.ID.String()}}
	}
	page.choices()
	if f.Fault != "" {
		v.Status = http.StatusBadRequest
		return q.showDeliveries(v, page)
	}
	found, err := q.History.Deliveries(q.r.Context(), f.query)
	if err != nil {
		return err
	}
	page.Rows = found.Items
	if page.Event, err = q.undelivered(f, found.Items); err != nil {
		return err
	}
	if page.Endpoint == nil {
		if page.Names, err = q.endpointNames(); err != nil {
			return err
		}
	}
	if found.Next != "" {
		page.Next = nextPage(q.r.URL, found.Next)
	}
	page.Live = "/deliveries/live?" + values.Encode()
	values.Set("format", "csv")
	page.CSV = "/deliveries/export?" + values.Encode()
	values.Set("format", "jsonl")
	page.JSONL = "/deliveries/export?" + values.Encode()
	return q.showDeliveries(v, page)
}

func (q *request) showDeliveries(v view, page deliveryList) error {
	v.Data = page
	if q.partial() {
		return q.fragment("deliveries", "part", v)
	}
	return q.render("deliveries", v)
}

// endpointName is an endpoint in a list of something else.
type endpointName struct {
	Host, Path string // without what a viewer must not see
	Words      string // all that is known of it
}

// endpointNames name the company's endpoints, so that no two look the same: by their URLs, and where those differ in
// nothing that may be shown, by what the customer calls them.
func (q *request) endpointNames() (map[uuid.UUID]endpointName, error) {
	found, err := q.History.Overview(q.r.Context(), projections.Filter{CompanyID: q.caller.CompanyID, Limit: 100})
	if err != nil {
		return nil, err
	}
	names := make(map[uuid.UUID]endpointName, len(found.Items))
	alike := map[string]int{}
	for _, e := range found.Items {
		alike[wire.MaskQuery(e.URL)]++
	}
	for _, e := range found.Items {
		shown := wire.MaskQuery(e.URL)
		name := endpointName{Host: hostOf(e.URL), Words: strings.TrimSpace(shown + " " + e.Description)}
		_, name.Path, _ = strings.Cut(shown, "://"+name.Host)
		if alike[shown] > 1 {
			name.Path += " · " + cmp.Or(clip(e.Description, 40), shortID(e.EndpointID))
		}
		names[e.EndpointID] = name
	}
	return names, nil
}

func (p *deliveryList) choices() {
	for _, s := range deliveryStates() {
		p.States = append(p.States, choice{Name: string(s), Words: deliveryMark(string(s)).Words, Current: p.Filter.State == string(s)})
	}
	p.Classes = classes()
	for i := range p.Classes {
		p.Classes[i].Current = p.Classes[i].Name == p.Filter.Class
	}
	for _, t := range catalogue() {
		p.Types = append(p.Types, choice{Name: t, Words: t, Current: p.Filter.Type == t})
	}
	for _, t := range triggers() {
		p.Triggers = append(p.Triggers, choice{Name: string(t), Words: triggerWords(string(t)), Current: p.Filter.Trigger == string(t)})
	}
	for _, w := range windows() {
		p.Since = append(p.Since, choice{Name: w, Words: windowWords(w), Current: p.Filter.Since == w})
	}
}

// bulkOutcome is what became of each delivery that a form asked to retry.
type bulkOutcome struct {
	Lines []bulkLine
	Due   int64
	Held  int64 // by a breaker that is open
	Back  string
}

type bulkLine struct {
	ID    int64
	Mark  mark
	Words string
}

func (q *request) retryMany() error {
	ids := q.r.PostForm["delivery"]
	if len(ids) == 0 {
		return badRequest("Select at least one delivery, then retry.")
	}
	if len(ids) > maxBulk {
		return badRequest(fmt.Sprintf("Retry at most %d deliveries at once; to send everything again that failed, use Recover on the endpoint's page.", maxBulk))
	}
	out := bulkOutcome{Back: "/deliveries"}
	if back := q.r.PostForm.Get("back"); strings.HasPrefix(back, "/endpoints/") || strings.HasPrefix(back, "/deliveries") {
		out.Back = back
	}
	seen := map[int64]bool{}
	for _, text := range ids {
		id, err := strconv.ParseInt(text, 10, 64)
		if err != nil || id <= 0 {
			return badRequest("The id of a delivery is a number.")
		}
		if seen[id] {
			continue
		}
		seen[id] = true
		line := bulkLine{ID: id, Mark: mark{"ok", "Due now"}}
		heldUntil, err := q.retry(q.r.Context(), id)
		switch {
		case err != nil:
			told, ours := words(err)
			if ours {
				return err
			}
			line.Mark, line.Words = mark{"off", "Not retried"}, told
		case !heldUntil.IsZero():
			out.Held++
			line.Mark, line.Words = mark{"hold", "Waits for the breaker"}, "It is open until "+heldUntil.Format("15:04:05 UTC")+". A test goes at once."
		default:
			out.Due++
		}
		out.Lines = append(out.Lines, line)
	}
	return q.render("retried", view{
		Title: "Retry", Section: "deliveries", Data: out, Crumbs: []crumb{{"Deliveries", out.Back}},
	})
}

func (q *request) retry(ctx context.Context, id int64) (heldUntil time.Time, err error) {
	d, err := q.History.Delivery(ctx, q.caller.CompanyID, id)
	if err != nil {
		return heldUntil, err
	}
	attempts := 0
	for _, a := range d.AttemptRows {
		attempts = max(attempts, a.Attempt)
	}
	return q.Sender.Retry(ctx, q.caller, d.Delivery, attempts)
}

const (
	tailPoll = time.Second      // between two looks: the history is about as far behind
	tailLife = 55 * time.Second // a browser connects again; meanwhile a session may have ended
)

// tail sends the rows of deliveries as they change, each as the HTML that the list has. It polls the history, since a
// notification for each change would cost every commit.
func (q *request) tail() error {
	f, err := readFilter(q.r.URL.Query(), q.now)
	if err != nil {
		return err
	}
	f.query.CompanyID = q.caller.CompanyID
	if text := q.r.URL.Query().Get("endpoint"); text != "" {
		id, err := uuid.Parse(text)
		if err != nil {
			return ErrNotFound
		}
		e, err := q.Registry.Endpoint(q.r.Context(), Ref{Caller: q.caller, ID: id})
		if err != nil {
			return err
		}
		f.query.EndpointID, f.query.CompanyID = e.ID, e.CompanyID
	}
	if !q.tails.enter(q.caller.CompanyID) {
		return &problem{http.StatusTooManyRequests, "Too many live lists", "Close one of the pages that follow deliveries live."}
	}
	defer q.tails.leave(q.caller.CompanyID)
	control := http.NewResponseController(q.w)
	if err := control.SetWriteDeadline(q.now.Add(tailLife + 10*time.Second)); err != nil && q.r.Context().Err() != nil {
		return nil
	}
	names, err := q.endpointNames()
	if err != nil {
		return err
	}
	q.end() // each look has a turn of its own
	q.w.Header().Set("Content-Type", "text/event-stream")
	q.w.Header().Set("X-Accel-Buffering", "no")
	q.w.WriteHeader(http.StatusOK)
	if err := q.follow(control, f, names); err != nil && q.r.Context().Err() == nil {
		q.Logger.ErrorContext(q.r.Context(), "live list ended", "error", err)
	}
	return nil
}

func (q *request) follow(control *http.ResponseController, f deliveryFilter, names map[uuid.UUID]endpointName) error {
	ctx := q.r.Context()
	look := func(since int64) (changes projections.Changes, err error) {
		err = q.nextTurn(func() error {
			changes, err = q.History.DeliveriesSince(ctx, f.query, since)
			return err
		})
		return changes, err
	}
	changes, err := look(projections.Now)
	if err != nil {
		return err
	}
	since := changes.Next
	tick := time.NewTicker(tailPoll)
	defer tick.Stop()
	end := time.NewTimer(tailLife)
	defer end.Stop()
	fmt.Fprint(q.w, "retry: 2000\nevent: open\ndata: \n\n")
	for {
		if err := control.Flush(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-end.C:
			return nil
		case <-q.Stopping:
			return nil
		case <-tick.C:
		}
		changes, err := look(since)
		if err != nil {
			return err
		}
		since = changes.Next
		if err := q.sendChanges(changes, f, names); err != nil {
			return err
		}
	}
}

// sendChanges writes one event for each row, the oldest first, so that the newest ends on top.
func (q *request) sendChanges(changes projections.Changes, f deliveryFilter, names map[uuid.UUID]endpointName) error {
	if changes.Reset {
		_, err := fmt.Fprint(q.w, "event: reset\ndata: \n\n")
		return err
	}
	for _, d := range slices.Backward(changes.Deliveries) {
		if !f.wants(d) {
			if _, err := fmt.Fprintf(q.w, "event: gone\ndata: delivery-%d\n\n", d.DeliveryID); err != nil {
				return err
			}
			continue
		}
		var row bytes.Buffer
		v := view{Now: q.Now(), Caller: q.caller, Data: deliveryList{Rows: []projections.Delivery{d}, Names: names}}
		if err := q.pages["deliveries"].ExecuteTemplate(&row, "rows", v); err != nil {
			return err
		}
		html := strings.Join(strings.Fields(row.String()), " ") // one line: a break ends a field of the stream
		if _, err := fmt.Fprintf(q.w, "event: row\ndata: %s\n\n", html); err != nil {
			return err
		}
	}
	_, err := fmt.Fprint(q.w, ": alive\n\n") // a comment finds out who went away
	return err
}
