package dashboard

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/schema"
)

// maxForm bounds a form in bytes: the longest URL, description and list of types are far below it.
const maxForm = 64 << 10

// request is one request with its caller.
type request struct {
	*site

	w      http.ResponseWriter
	r      *http.Request
	caller access.Caller
	now    time.Time
	end    func() // gives the turn at the database back
}

// problem is a fault that a person is told of.
type problem struct {
	Status int
	Title  string
	Words  string
}

// Error is the words.
func (p *problem) Error() string { return p.Words }

func badRequest(words string) error {
	return &problem{http.StatusBadRequest, "That cannot be read", words}
}

func (s *site) serve(p page) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := &request{site: s, w: w, r: r, now: s.Now(), end: func() {}}
		var known bool
		if q.caller, known = access.From(r.Context()); !known {
			q.fail(&problem{
				http.StatusUnauthorized, "Please sign in again",
				"You are not signed in, or your session has ended. Open the webhooks page from your ChatToSurvey account again.",
			})
			return
		}
		if q.caller.CompanyID == uuid.Nil && q.caller.Role != access.Operator {
			q.fail(&problem{http.StatusForbidden, "No company", "Your account belongs to no company, so there is nothing to show."})
			return
		}
		if err := p(q); err != nil {
			q.fail(err)
		}
	})
}

// inTurn carries the page out when it is its company's turn.
func (p page) inTurn() page {
	return func(q *request) (err error) {
		if q.end, err = access.Turn(q.r.Context()); err != nil {
			q.end = func() {}
			return err
		}
		defer func() { q.end() }() // another one by then, where a page gave the first back
		return p(q)
	}
}

// nextTurn does something for an answer that has begun, when it is its company's turn again.
func (q *request) nextTurn(do func() error) error {
	end, err := access.NextTurn(q.r.Context())
	if err != nil {
		return err
	}
	defer end()
	return do()
}

// changing lets only those pass who may change something, and whose form is small enough to be one of ours.
func (p page) changing() page {
	return func(q *request) error {
		if !q.caller.MayChange() {
			return &problem{
				http.StatusForbidden, "You can look, but not change",
				"Your role is viewer. Ask an owner of your company's account to make this change.",
			}
		}
		if err := q.readForm(maxForm); err != nil {
			return err
		}
		return p(q)
	}
}

func (q *request) readForm(most int64) error {
	q.r.Body = http.MaxBytesReader(q.w, q.r.Body, most)
	err := q.r.ParseForm()
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &problem{http.StatusRequestEntityTooLarge, "That form is too large", "This form may have at most " + byteCount(int(most)) + "."}
	case err != nil:
		return badRequest("The form could not be read: send it as application/x-www-form-urlencoded.")
	case q.r.Header.Get("Content-Type") != "" && q.r.PostForm == nil, len(q.r.PostForm) == 0 && q.r.ContentLength > 0:
		return &problem{http.StatusUnsupportedMediaType, "That is not a form", "Send the form as application/x-www-form-urlencoded."}
	}
	return nil
}

// words are what a person is told of a fault, and whether it is ours, of which they are told nothing.
func words(err error) (told string, ours bool) {
	var refused *RefusedError
	switch {
	case errors.As(err, &refused):
		return refused.Words, false
	case isNotFound(err):
		return "There is no such delivery.", false
	default:
		return "", true
	}
}

// fail answers with a page that says what is wrong and what to do, and nothing about our inside.
func (q *request) fail(err error) {
	var p *problem
	var refused *RefusedError
	var conflict *ConflictError
	var cursor *projections.BadCursorError
	var filter *projections.BadFilterError
	switch {
	case errors.As(err, &p):
	case errors.Is(err, ErrNotFound), errors.Is(err, projections.ErrNotFound):
		p = notFound()
	case errors.As(err, &refused):
		p = &problem{http.StatusConflict, "That cannot be done now", refused.Words}
	case errors.As(err, &conflict):
		p = &problem{
			http.StatusConflict, "Somebody else was faster",
			"This endpoint was changed after your page was loaded. Go back, load it again, and decide again; nothing was overwritten.",
		}
	case errors.As(err, &filter):
		p = &problem{http.StatusBadRequest, "That cannot be read", sentence(filter.Error())}
	case errors.As(err, &cursor):
		p = &problem{http.StatusBadRequest, "That page does not exist", "The address of this page was cut off or changed. Start the list from its first page."}
	case errors.Is(err, access.ErrBusy):
		p = &problem{
			http.StatusTooManyRequests, "One moment, please",
			"Too many pages of your company are being loaded at once. Let some of them come, then load this one again.",
		}
		q.w.Header().Set("Retry-After", "1")
	case errors.Is(err, context.Canceled) && q.r.Context().Err() != nil:
		return // nobody waits for an answer
	case schema.Unreachable(err):
		q.Logger.ErrorContext(q.r.Context(), "page failed", "method", q.r.Method, "route", q.r.Pattern, "error", err)
		p = &problem{
			http.StatusServiceUnavailable, "Please try again soon",
			"Our database does not answer just now, so there is nothing to show. Your webhooks wait, and none is lost.",
		}
		q.w.Header().Set("Retry-After", "5")
	default:
		q.Logger.ErrorContext(q.r.Context(), "page failed", "method", q.r.Method, "route", q.r.Pattern, "error", err)
		p = &problem{
			http.StatusInternalServerError, "Something went wrong on our side",
			"The fault was logged. Your webhooks are not affected by this page; try again in a moment.",
		}
	}
	q.problem(p)
}

func (q *request) problem(p *problem) {
	v := view{Title: p.Title, Data: p, Status: p.Status}
	show := q.render
	if q.partial() { // the part that was asked for stays, and the fault is told above it
		q.w.Header().Set("HX-Retarget", "#message")
		q.w.Header().Set("HX-Reswap", "innerHTML")
		show = func(name string, v view) error { return q.fragment(name, "problem-part", v) }
	}
	if err := show("problem", v); err != nil {
		q.Logger.ErrorContext(q.r.Context(), "page of a fault failed", "error", err)
		http.Error(q.w, p.Title, p.Status)
	}
}

func notFound() *problem {
	return &problem{
		http.StatusNotFound, "There is nothing here",
		"No such page, endpoint, delivery or event belongs to your account. It may have been deleted, or the address was cut off.",
	}
}

// view is what every page is made from.
type view struct {
	Title   string
	Section string // of the navigation
	Crumbs  []crumb
	Status  int    // of the answer; 0 means 200
	Notice  string // what was just done, as it is stored
	Warning string // what to think of then
	Data    any
	Part    bool // of a page, for htmx

	Caller  access.Caller
	Now     time.Time
	Paused  *time.Time // all sending, since then
	Nonce   string
	SignOut string
	Ops     bool
}

// crumb is a step of the way to a page.
type crumb struct{ Name, URL string }

// partial reports whether htmx asks for a part of a page.
func (q *request) partial() bool {
	return q.r.Header.Get("HX-Request") == "true" && q.r.Header.Get("HX-History-Restore-Request") != "true"
}

// render answers with a whole page. Each says when all sending is paused, but for the operator's, which says more of it,
// and the one of a fault, which is shown without asking the database.
func (q *request) render(name string, v view) error {
	if v.Section != "" && v.Section != "ops" {
		var err error
		if v.Paused, err = q.Sender.PausedSince(q.r.Context()); err != nil {
			return err
		}
	}
	return q.execute(name, "layout", v)
}

// fragment answers with one part of a page.
func (q *request) fragment(name, part string, v view) error {
	v.Part = true
	return q.execute(name, part, v)
}

func (q *request) execute(name, part string, v view) error {
	v.Caller, v.Now, v.Nonce, v.SignOut = q.caller, q.now, newNonce(), q.SignOut
	v.Ops = q.Operations != nil && q.caller.Role == access.Operator
	if v.Notice == "" {
		v.Notice = notice(q.r.URL.Query().Get("done"))
	}
	if q.r.URL.Query().Get("done") == "saved-nowhere" {
		v.Warning = nowhereWords
	}
	var page bytes.Buffer
	if err := q.pages[name].ExecuteTemplate(&page, part, v); err != nil {
		return err
	}
	q.end() // a reader may be slow
	header := q.w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Vary", "HX-Request")
	header.Set("Content-Length", strconv.Itoa(page.Len()))
	q.w.WriteHeader(max(v.Status, http.StatusOK))
	_, _ = page.WriteTo(q.w) // a reader that went away is its own fault
	return nil
}

// notice says what a change that redirected here has stored.
func notice(done string) string {
	switch done {
	case "enabled":
		return "Enabled. Held deliveries go on, and new events are sent."
	case "disabled":
		return "Disabled. Its deliveries are held until you enable it again."
	case "saved", "saved-nowhere":
		return "Saved. Attempts from now on use the new configuration."
	case "deleted":
		return "Deleted. Deliveries that were still to be sent are cancelled."
	case "retried":
		return "Due now. The next attempt is made as soon as a relay takes it."
	case "retried-breaker":
		return "It is the next to go. The endpoint failed many times in a row, so its breaker is open: it is tried when that lets an attempt pass. To try the endpoint at once, send a test."
	case "requested":
		return "Asked for. It is sent as soon as a relay takes it."
	case "pause":
		return "Paused. Every relay has been told; requests under way end."
	case "resume":
		return "Resumed. Everything that is due is sent."
	case "drain":
		return "Ordered. The relay hands its lanes over as soon as what is under way has ended."
	case "undrain":
		return "Ordered. The relay takes its share of the lanes again."
	case "cancelled":
		return "Cancelled. What was already made due is still sent."
	default:
		return ""
	}
}

// redirect shows the stored result at an address of its own, so that loading it again repeats nothing.
func (q *request) redirect(path string) error {
	if q.partial() {
		q.w.Header().Set("HX-Redirect", path)
		q.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	http.Redirect(q.w, q.r, path, http.StatusSeeOther)
	return nil
}

func (q *request) home() error { return q.redirect("/endpoints") }

// ref is the endpoint in the path. What is no id belongs to nobody.
func (q *request) ref() (Ref, error) {
	id, err := uuid.Parse(q.r.PathValue("endpoint"))
	if err != nil {
		return Ref{}, ErrNotFound
	}
	return Ref{Caller: q.caller, ID: id}, nil
}

func (q *request) endpoint() (Ref, Endpoint, error) {
	ref, err := q.ref()
	if err != nil {
		return ref, Endpoint{}, err
	}
	e, err := q.Registry.Endpoint(q.r.Context(), ref)
	return ref, e, err
}

func (q *request) pathID(name string) (uuid.UUID, error) {
	id, err := uuid.Parse(q.r.PathValue(name))
	if err != nil {
		return uuid.Nil, ErrNotFound
	}
	return id, nil
}

func (q *request) deliveryID() (int64, error) {
	id, err := strconv.ParseInt(q.r.PathValue("delivery"), 10, 64)
	if err != nil || id <= 0 {
		return 0, ErrNotFound
	}
	return id, nil
}
