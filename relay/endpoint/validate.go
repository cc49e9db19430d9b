package endpoint

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/header"
)

// MaxRateLimit is how many attempts a second a customer may set at most.
const MaxRateLimit = 1000

const (
	maxEndpoints   = 1000 // of a company, at once
	maxDescription = 500  // characters
	maxActor       = 200  // characters
	maxNote        = 200  // characters
)

// faults gathers what is wrong with a request.
type faults []FieldError

func (f *faults) add(field, code, message string) {
	*f = append(*f, FieldError{Field: field, Code: code, Message: message})
}

func (f *faults) err() error {
	if len(*f) == 0 {
		return nil
	}
	return &InvalidError{Fields: *f}
}

func (f *faults) company(id uuid.UUID) {
	if id == uuid.Nil {
		f.add("company_id", "required", "name the company that the endpoint belongs to")
	}
}

func (f *faults) actor(actor string) {
	if strings.TrimSpace(actor) == "" {
		f.add("actor", "required", "name who asks for the change")
		return
	}
	f.text("actor", actor, maxActor)
}

// text accepts what PostgreSQL stores and a page shows on few lines.
func (f *faults) text(field, text string, longest int) {
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }) {
		f.add(field, "invalid_text", "use plain text without control characters")
		return
	}
	if n := utf8.RuneCountInString(text); n > longest {
		f.add(field, "too_long", fmt.Sprintf("use at most %d characters; these are %d", longest, n))
	}
}

// line accepts what is shown within a sentence: what would break the line, or turn its direction, is refused.
func (f *faults) line(field, text string, longest int) {
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		f.add(field, "invalid_text", "use one line of plain text, without characters that cannot be seen")
		return
	}
	f.text(field, text, longest)
}

// url returns the canonical form.
func (f *faults) url(policy egress.Policy, raw string) string {
	if raw == "" {
		f.add("url", "required", "give the URL that events are sent to, as in https://example.com/hooks")
		return ""
	}
	u, err := policy.ParseURL(raw)
	if err != nil {
		code := "invalid_url"
		if refused, ok := errors.AsType[*egress.URLError](err); ok {
			code = refused.Code
		}
		f.add("url", code, err.Error())
		return ""
	}
	return u.String()
}

func (f *faults) rateLimit(perSecond *int) {
	if perSecond != nil && (*perSecond < 1 || *perSecond > MaxRateLimit) {
		f.add("rate_limit", "out_of_range", fmt.Sprintf("use a whole number of attempts a second, from 1 to %d", MaxRateLimit))
	}
}

// headers checks those that are to be set.
func (f *faults) headers(set []header.Header) {
	for _, fault := range header.Check(set...) {
		f.add("headers", fault.Code, fault.Message)
	}
}

// headerTotal checks what there will be: sizes are the headers that stay, by name.
func (f *faults) headerTotal(sizes map[string]int, set []header.Header) {
	bytes := 0
	for _, size := range sizes {
		bytes += size
	}
	for _, h := range set {
		bytes += len(h.Name) + len(h.Value.Reveal())
	}
	for _, fault := range header.CheckTotal(len(sizes)+len(set), bytes) {
		f.add("headers", fault.Code, fault.Message)
	}
}

// removals refuses a header that is both set and removed.
func (f *faults) removals(set []header.Header, removed []string) {
	for _, h := range set {
		if slices.ContainsFunc(removed, func(name string) bool { return strings.EqualFold(name, h.Name) }) {
			f.add("headers", header.CodeDuplicate, "header "+h.Name+" is set and removed at once: choose one")
		}
	}
}

// events returns the types in the catalogue's order, each once; none means all.
func (f *faults) events(types []string) []string {
	if len(types) == 0 || slices.Equal(types, []string{All}) {
		return []string{All}
	}
	var known []string
	for _, t := range outbox.Types() {
		known = append(known, string(t))
	}
	if slices.Contains(types, All) {
		f.add("events", "all_with_others", "choose either all, or single types without it")
		return nil
	}
	for _, t := range types {
		if !slices.Contains(known, t) {
			f.add("events", "unknown_event", fmt.Sprintf("%.80q is no event type; choose all, or some of %s", t, strings.Join(known, ", ")))
		}
	}
	return slices.DeleteFunc(known, func(t string) bool { return !slices.Contains(types, t) })
}
