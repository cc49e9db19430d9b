package api

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/projections"
)

// maxPage is the longest page of a list.
const maxPage = 500

// params reads the query and gathers what is wrong with it. A parameter that is absent or empty is its zero value.
type params struct {
	values url.Values
	faults []field
}

func (r *request) params() *params { return &params{values: r.URL.Query()} }

func (p *params) err() error { return badParameters(p.faults) }

func (p *params) fault(name, want string) {
	p.faults = append(p.faults, field{Field: name, Code: "invalid_parameter", Message: "want " + want})
}

func (p *params) text(name string) string { return p.values.Get(name) }

func (p *params) id(name string) uuid.UUID {
	text := p.values.Get(name)
	if text == "" {
		return uuid.Nil
	}
	id, ok := parseUUID(text)
	if !ok {
		p.fault(name, "a UUID such as 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20")
	}
	return id
}

func (p *params) oneOf(name string, allowed ...string) string {
	text := p.values.Get(name)
	if text != "" && !slices.Contains(allowed, text) {
		p.fault(name, "one of "+strings.Join(allowed, ", "))
	}
	return text
}

func (p *params) number(name string, least, most int64) int64 {
	text := p.values.Get(name)
	if text == "" {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least || n > most {
		p.fault(name, fmt.Sprintf("a whole number of %d to %d", least, most))
	}
	return n
}

func (p *params) time(name string) time.Time {
	text := p.values.Get(name)
	if text == "" {
		return time.Time{}
	}
	at, ok := parseTime(text)
	if !ok {
		p.fault(name, wantTime)
	}
	return at
}

const wantTime = "a time such as 2026-03-06T12:00:00Z"

// parseTime takes RFC 3339, in the years that PostgreSQL and JSON both know.
func parseTime(text string) (time.Time, bool) {
	at, err := time.Parse(time.RFC3339, text)
	at = at.UTC()
	return at, err == nil && at.Year() >= 1 && at.Year() <= 9999
}

// limit is 0 for the list's default; more than the longest page is the longest page.
func (p *params) limit() int {
	text := p.values.Get("limit")
	if text == "" {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 {
		p.fault("limit", fmt.Sprintf("a whole number of 1 to %d", maxPage))
	}
	return int(min(n, maxPage))
}

// filter reads what all lists of the history have.
func (r *request) filter(p *params) projections.Filter {
	return projections.Filter{
		CompanyID: r.company, EndpointID: p.id("endpoint"), EventID: p.id("event"), EventType: p.text("type"),
		Status: int(p.number("status", 100, 999)), Reason: p.text("reason"),
		From: p.time("from"), Until: p.time("until"), Cursor: p.text("cursor"), Limit: p.limit(),
	}
}

// cursor is that of a list whose order is that of its ids; nil: the first page.
func (p *params) cursor() (uuid.UUID, error) {
	text := p.values.Get("cursor")
	if text == "" {
		return uuid.Nil, nil
	}
	after, ok := parseUUID(text)
	if !ok {
		return uuid.Nil, badCursor()
	}
	return after, nil
}

// idCursor is the next of such a list.
func idCursor(next uuid.UUID) string {
	if next == uuid.Nil {
		return ""
	}
	return next.String()
}
