package dashboard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/outbox"
)

// actOnEndpoint is a change that needs no more than the endpoint.
type actOnEndpoint func(ctx context.Context, ref Ref) error

// endpointForm is the form of a new or an existing endpoint, with what was typed and what is wrong with it.
type endpointForm struct {
	Action      string
	Existing    *Endpoint // nil: a new one
	URL         string
	Description string
	All         bool
	Types       []typeChoice
	Set         []setHeader // of the existing one
	Rows        []headerRow
	RateLimit   string // as typed
	Version     int
	Company     string // typed by an operator, who has none
	AskCompany  bool
	Faults      map[string]string // by field
}

type typeChoice struct {
	Name, Words string
	Chosen      bool
}

func (q *request) emptyForm() endpointForm {
	f := endpointForm{Action: "/endpoints", All: true, Faults: map[string]string{}, AskCompany: q.caller.CompanyID == uuid.Nil}
	for _, t := range outbox.Types() {
		f.Types = append(f.Types, typeChoice{Name: string(t), Words: t.Description()})
	}
	f.rows(nil)
	return f
}

func (f *endpointForm) choose(types []string) {
	f.All = slices.Contains(types, "all")
	for i := range f.Types {
		f.Types[i].Chosen = slices.Contains(types, f.Types[i].Name)
	}
}

func (q *request) mustChange() error {
	return page(func(*request) error { return nil }).changing()(q)
}

func (q *request) newEndpoint() error {
	if err := q.mustChange(); err != nil {
		return err
	}
	return q.showForm(http.StatusOK, q.emptyForm())
}

func (q *request) editEndpoint() error {
	_, e, err := q.endpoint()
	if err != nil {
		return err
	}
	if err := q.mustChange(); err != nil {
		return err
	}
	return q.showForm(http.StatusOK, q.formOf(e))
}

func (q *request) formOf(e Endpoint) endpointForm {
	f := q.emptyForm()
	f.Action, f.Existing, f.AskCompany = "/endpoints/"+e.ID.String(), &e, false
	f.URL, f.Description, f.Version = e.URL, e.Description, e.Version
	f.choose(e.Events)
	if e.RateLimit != nil {
		f.RateLimit = strconv.Itoa(*e.RateLimit)
	}
	for _, name := range e.HeaderNames {
		f.Set = append(f.Set, setHeader{Name: name})
	}
	return f
}

// fault adds to what is wrong with a field.
func (f *endpointForm) fault(field, message string) {
	f.Faults[field] = strings.TrimSpace(f.Faults[field] + " " + sentence(message))
}

func (q *request) showForm(status int, f endpointForm) error {
	f.tellRows()
	v := view{Section: "endpoints", Status: status, Data: f, Title: "New endpoint", Crumbs: []crumb{{"Endpoints", "/endpoints"}}}
	if f.Existing != nil {
		v.Title = "Edit endpoint"
		v.Crumbs = append(v.Crumbs, crumb{hostOf(f.Existing.URL), f.Action})
	}
	return q.render("endpoint_form", v)
}

// typed is the form as it was sent: it is shown again when something is wrong with it.
func (q *request) typed(f endpointForm) (endpointForm, Draft) {
	form := q.r.PostForm
	f.URL, f.Description = strings.TrimSpace(form.Get("url")), form.Get("description")
	f.Description = strings.ReplaceAll(f.Description, "\r\n", "\n") // as browsers send it
	f.Company = strings.TrimSpace(form.Get("company"))
	events := form["events"]
	f.choose(events)
	d := Draft{CompanyID: q.caller.CompanyID, URL: f.URL, Description: f.Description, Events: events}
	d.Headers, d.RemoveHeaders = f.typedHeaders(form)
	if form.Has("rate_limit") {
		f.RateLimit = strings.TrimSpace(form.Get("rate_limit"))
	}
	if f.RateLimit != "" {
		perSecond, err := strconv.Atoi(f.RateLimit)
		if err != nil {
			f.Faults["rate_limit"] = fmt.Sprintf("Give a whole number from 1 to %d, or nothing for no limit.", q.MaxRate)
		}
		d.RateLimit = &perSecond
	}
	if len(events) == 0 {
		f.Faults["events"] = "Choose at least one event type, or all of them."
	}
	return f, d
}

// refuse shows the form again, with each fault beside its field.
func (q *request) refuse(f endpointForm, err error) error {
	var invalid *InvalidError
	if !errors.As(err, &invalid) {
		return err
	}
	for _, fault := range invalid.Fields {
		if fault.Field != "headers" || !f.placed(fault.Message) {
			f.fault(fault.Field, fault.Message)
		}
	}
	return q.showForm(http.StatusUnprocessableEntity, f)
}

func sentence(words string) string {
	if words == "" {
		return words
	}
	words = strings.ToUpper(words[:1]) + words[1:]
	if !strings.HasSuffix(words, ".") {
		words += "."
	}
	return words
}

func (q *request) createEndpoint() error {
	f, d := q.typed(q.emptyForm())
	if f.AskCompany {
		id, err := uuid.Parse(f.Company)
		if err != nil || id == uuid.Nil {
			f.Faults["company"] = "Give the company's id, a UUID."
		}
		d.CompanyID = id
	}
	if len(f.Faults) > 0 {
		return q.showForm(http.StatusUnprocessableEntity, f)
	}
	made, secret, err := q.Registry.Create(q.r.Context(), q.caller, d)
	if err != nil {
		return q.refuse(f, err)
	}
	return q.showSecret(made, secretPage{Secret: secret, New: true, Warning: q.warned(made.URL)}, q.r.PostForm.Get("then") == "test")
}

func (q *request) updateEndpoint() error {
	ref, e, err := q.endpoint()
	if err != nil {
		return err
	}
	version, err := strconv.Atoi(q.r.PostForm.Get("version"))
	if err != nil || version < 1 {
		return badRequest("The form does not say which version of the endpoint it was made from. Load the page again.")
	}
	f, d := q.typed(q.formOf(e))
	f.Version = version
	if len(f.Faults) > 0 {
		return q.showForm(http.StatusUnprocessableEntity, f)
	}
	saved, err := q.Registry.Update(q.r.Context(), ref, version, d)
	if err != nil {
		return q.refuse(f, err)
	}
	if q.r.PostForm.Get("then") == "test" {
		return q.sendTest(ref, string(outbox.TestWebhookType))
	}
	done := "saved"
	if saved.URL != e.URL && q.warned(saved.URL) != nil {
		done = "saved-nowhere"
	}
	return q.redirect("/endpoints/" + ref.ID.String() + "?done=" + done)
}

// secretPage shows a signing secret, this once.
type secretPage struct {
	Endpoint Endpoint
	Secret   string
	New      bool
	Overlap  string // how long the old one signs beside it
	Test     *testResult
	TestSays string // why no test was sent
	Warning  *urlCheck
}

func (q *request) showSecret(e Endpoint, p secretPage, andTest bool) error {
	p.Endpoint = e
	if andTest {
		ref := Ref{Caller: q.caller, ID: e.ID}
		event, err := q.publishTest(ref, string(outbox.TestWebhookType))
		var told *problem
		var refused *RefusedError
		switch {
		case errors.As(err, &refused):
			p.TestSays = refused.Words
		case errors.As(err, &told):
			p.TestSays = told.Words // the endpoint is made: this page must still show its secret
		case err != nil:
			q.Logger.ErrorContext(q.r.Context(), "test of a new endpoint failed", "error", err)
			p.TestSays = "The test could not be sent. Send one from the endpoint's page."
		default:
			p.Test = &testResult{Endpoint: e.ID, Event: event}
		}
	}
	title, status := "Endpoint created", http.StatusCreated
	if !p.New {
		title, status = "Secret rotated", http.StatusOK
	}
	return q.render("secret", view{
		Title: title, Section: "endpoints", Status: status, Data: p,
		Crumbs: []crumb{{"Endpoints", "/endpoints"}, {hostOf(e.URL), "/endpoints/" + e.ID.String()}},
	})
}
