package dashboard

import (
	"encoding/json"
	"fmt"
	"html/template"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/outbox/wire"
	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// helpers are what templates may call.
func (s *site) helpers() template.FuncMap {
	return template.FuncMap{
		"sub":         func(v view, data any) view { v.Data = data; return v },
		"rows":        func(rows []projections.Delivery) deliveryList { return deliveryList{Rows: rows} },
		"len64":       func(list []decisionRow) int64 { return int64(len(list)) },
		"age":         span,
		"maxRate":     func() int { return s.MaxRate },
		"heartbeat":   s.heartbeat,
		"ofAll":       func(c access.Caller) bool { return c.CompanyID == uuid.Nil },
		"retention":   func() time.Duration { return s.Retention },
		"most":        s.most,
		"asset":       s.assets.url,
		"ago":         relative,
		"utc":         func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"iso":         func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"mask":        wire.MaskQuery,
		"host":        hostOf,
		"ms":          milliseconds,
		"us":          func(n int64) string { return milliseconds(float64(n) / 1000) },
		"bytes":       byteCount,
		"count":       grouped,
		"percent":     percent,
		"rate":        rateWords,
		"delivery":    deliveryMark,
		"standing":    standing,
		"next":        next,
		"attemptMark": attemptMark,
		"trigger":     triggerWords,
		"outcome":     outcomeWords,
		"advise":      func(r string) advice { return advise(fact.Reason(r)) },
		"adviseOn":    adviseOn,
		"headerRules": headerRules,
		"short":       shortID,
		"pieces":      pieces,
		"printable":   printable,
		"plural":      plural,
		"pretty":      prettyJSON,
		"change":      changeWords,
		"actor":       actorWords,
		"who":         func(actor string) string { return strings.TrimPrefix(actorWords(actor), "by ") },
		"relayState":  relayState,
		"deref":       func(p *int) int { return *p },
		"pair":        func(a, b any) pair { return pair{a, b} },
		"clip":        clip,
	}
}

// most is how many attempts a delivery may have: a test is one, since somebody watches it.
func (s *site) most(trigger string) int {
	if trigger == string(fact.Test) {
		return 1
	}
	return s.Contract.Retry.Attempts()
}

// pair hands two values to a template that takes one.
type pair struct{ A, B any }

// relative is a time as a person says it; the absolute one always stands beside it.
func relative(t, now time.Time) string {
	d := now.Sub(t)
	form := "%s ago"
	if d < 0 {
		d, form = -d, "in %s"
	}
	if d < time.Second {
		return "just now"
	}
	return fmt.Sprintf(form, span(d))
}

func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Round(time.Second)/time.Second))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Round(time.Minute)/time.Minute))
	case d < 48*time.Hour:
		h, m := int(d/time.Hour), int(d%time.Hour/time.Minute)
		if m == 0 || h >= 10 {
			return fmt.Sprintf("%d h", h)
		}
		return fmt.Sprintf("%d h %d min", h, m)
	default:
		return fmt.Sprintf("%d days", int(d.Round(24*time.Hour)/(24*time.Hour)))
	}
}

func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return raw
	}
	return u.Host
}

func milliseconds(ms float64) string {
	switch {
	case ms < 1:
		return strconv.FormatFloat(ms, 'f', 2, 64) + " ms"
	case ms < 10:
		return strconv.FormatFloat(ms, 'f', 1, 64) + " ms"
	case ms < 10_000:
		return grouped(int64(ms+0.5)) + " ms"
	default:
		return strconv.FormatFloat(ms/1000, 'f', 1, 64) + " s"
	}
}

func byteCount(n int) string {
	switch {
	case n < 1024:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return tenths(float64(n)/1024) + " KiB"
	default:
		return tenths(float64(n)/(1<<20)) + " MiB"
	}
}

// tenths is a number with one decimal, which is left out when it says nothing.
func tenths(n float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", n), ".0") }

// grouped is a count with thin spaces between thousands, which every locale reads alike.
func grouped(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "\u202f" + text[i:]
	}
	return text
}

// percent never rounds a failure away: 100 % means all of them.
func percent(part, whole int64) string {
	if whole == 0 {
		return "–"
	}
	p := 100 * float64(part) / float64(whole)
	switch {
	case part == whole:
		return "100 %"
	case p > 99.9:
		return "99.9 %"
	case part > 0 && p < 0.1:
		return "0.1 %"
	default:
		return strconv.FormatFloat(p, 'f', 1, 64) + " %"
	}
}

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return grouped(n) + " " + many
}

// shortID is an id's beginning, for lists; the whole one is its link and its title.
func shortID(id fmt.Stringer) string {
	text := id.String()
	return text[:8] + "…" + text[len(text)-4:]
}

// pieces are the parts of a type's name or of a URL, between which a narrow column may break it.
func pieces(name string) []string {
	parts := []string{name}
	for _, end := range []string{"/", ".", "_"} {
		var finer []string
		for _, part := range parts {
			finer = append(finer, strings.SplitAfter(part, end)...)
		}
		parts = finer
	}
	return slices.DeleteFunc(parts, func(part string) bool { return part == "" })
}

func clip(text string, most int) string {
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:most-1]) + "…"
}

// printable shows bytes that a stranger chose: text as it is, and as \xNN or \u{NNNN} whatever would move the cursor,
// turn the direction of writing, or be invisible.
func printable(body []byte) string {
	var text strings.Builder
	for len(body) > 0 {
		r, size := utf8.DecodeRune(body)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&text, `\x%02X`, body[0])
		case r == '\n' || r == '\t' || r == ' ' || unicode.IsPrint(r):
			text.WriteRune(r)
		case r < 0x80:
			fmt.Fprintf(&text, `\x%02X`, r)
		default:
			fmt.Fprintf(&text, `\u{%04X}`, r)
		}
		body = body[size:]
	}
	return text.String()
}

// prettyJSON indents a JSON text for reading and keeps its order; anything else stays as it is.
func prettyJSON(raw []byte) string {
	var out strings.Builder
	if !json.Valid(raw) {
		return printable(raw)
	}
	indented, err := indentJSON(raw)
	if err != nil {
		return printable(raw)
	}
	out.WriteString(printable(indented))
	return out.String()
}

// relayActor is who disables an endpoint that only fails, or is gone.
const relayActor = "relay"

// actorWords is who made a change, as a person says it.
func actorWords(actor string) string {
	kind, who, found := strings.Cut(actor, ":")
	switch {
	case actor == "":
		return "unknown"
	case actor == relayActor:
		return "automatically"
	case !found:
		return "by " + actor
	case kind == "portal":
		return "by " + who
	case kind == "key":
		return "by API key " + who
	case kind == "operator":
		return "by ChatToSurvey (" + who + ")"
	case kind == "cli":
		return "by " + who + " on the command line"
	default:
		return "by " + actor
	}
}

// changed is one line of what a change did.
type changed struct{ Name, Old, New string }

// changeWords says what a change of an endpoint did.
func changeWords(c projections.EndpointChange) changeView {
	v := changeView{EndpointChange: c}
	switch fact.Name(c.Fact) {
	case fact.EndpointCreated:
		v.What = "Created"
	case fact.EndpointUpdated:
		v.What = "Configuration changed"
	case fact.EndpointEnabled:
		v.What = "Enabled"
	case fact.EndpointDisabled:
		v.What = "Disabled"
		if c.Reason != string(fact.ByRequest) {
			v.What += ": " + strings.ToLower(advise(fact.Reason(c.Reason)).Title[:1]) + advise(fact.Reason(c.Reason)).Title[1:]
		}
	case fact.EndpointDeleted:
		v.What = "Deleted"
	case fact.EndpointSecretRotated:
		v.What = "Signing secret rotated"
	default:
		v.What = c.Fact
	}
	if fact.Name(c.Fact) == fact.EndpointUpdated {
		v.Changes = differences(c.Old, c.New)
	}
	return v
}

type changeView struct {
	projections.EndpointChange

	What    string
	Changes []changed
}

func differences(before, after []byte) []changed {
	var a, b fact.EndpointConfig
	if json.Unmarshal(before, &a) != nil || json.Unmarshal(after, &b) != nil {
		return nil
	}
	var list []changed
	add := func(name, old, now string) {
		if old != now {
			list = append(list, changed{name, old, now})
		}
	}
	add("URL", a.URL, b.URL)
	add("Description", a.Description, b.Description)
	if !slices.Equal(a.EventTypes, b.EventTypes) {
		list = append(list, changed{"Event types", eventsOrAll(a.EventTypes), eventsOrAll(b.EventTypes)})
	}
	add("Rate limit", rateWords(a.RateLimit), rateWords(b.RateLimit))
	add("Custom headers", headerNames(a), headerNames(b))
	return list
}

// rateWords say a limit of attempts.
func rateWords(perSecond *int) string {
	if perSecond == nil {
		return "none"
	}
	return strconv.Itoa(*perSecond) + " a second"
}

func headerNames(c fact.EndpointConfig) string {
	return strings.Join(slices.Sorted(maps.Keys(c.Headers)), ", ")
}

func eventsOrAll(types []string) string {
	if len(types) == 0 {
		return "all"
	}
	return strings.Join(types, ", ")
}
