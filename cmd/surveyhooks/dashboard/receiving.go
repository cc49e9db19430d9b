package dashboard

import (
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/samples"
	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/outbox/wire"
	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/header"
	"github.com/chattosurvey/surveyhooks/relay/retry"
	"github.com/chattosurvey/surveyhooks/relay/sign"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// Contract is what a deployment may set of what receivers count on. The rest follows from the packages that keep it.
type Contract struct {
	Retry   retry.Policy   // zero: the documented schedule
	Overlap time.Duration  // how long a rotated secret signs beside the new one; default 24 h
	GiveUp  time.Duration  // an endpoint that only fails for that long is disabled; default 5 days
	Sources []netip.Prefix // where requests come from; none: no address is promised
}

// receivingPage is what a receiver may count on, and has to do.
type receivingPage struct {
	Headers  []headerRule
	Outcomes []outcomeRule
	Retries  []retryRule
	Attempts int
	Jitter   string
	Limits   []limitRule
	Sources  []string
	Samples  []samples.Sample
}

type headerRule struct{ Name, Example, Words string }

// Fixed is the header's value where every request has the same.
func (h headerRule) Fixed() string {
	switch h.Name {
	case wire.ContentType, wire.UserAgent, wire.AcceptEncoding:
		return h.Example
	}
	return ""
}

type outcomeRule struct{ Answer, Then string }

type retryRule struct {
	Attempt        int
	After, Elapsed string
}

type limitRule struct{ Name, Value, Words string }

func (q *request) receiving() error {
	c := q.Contract
	schedule := c.Retry.WithDefaults()
	p := receivingPage{Headers: headerRules(), Attempts: schedule.Attempts(), Jitter: fmt.Sprintf("%.0f %%", 100*schedule.Jitter)}
	p.Retries = append(p.Retries, retryRule{Attempt: 1, After: "at once", Elapsed: "0 s"})
	var elapsed time.Duration
	for i, delay := range schedule.Schedule() {
		elapsed += delay
		p.Retries = append(p.Retries, retryRule{Attempt: i + 2, After: span(delay), Elapsed: span(elapsed)})
	}
	p.Outcomes = outcomeRules(schedule.MaxRetryAfter)
	p.Limits = q.limitRules(cmp.Or(c.Overlap, 24*time.Hour), cmp.Or(c.GiveUp, 5*24*time.Hour))
	for _, block := range c.Sources {
		p.Sources = append(p.Sources, strings.TrimSuffix(strings.TrimSuffix(block.String(), "/32"), "/128"))
	}
	for _, name := range samples.Names() {
		sample, err := samples.Get(name)
		if err != nil {
			return err
		}
		p.Samples = append(p.Samples, sample)
	}
	return q.render("receiving", view{Title: "Receiving", Section: "receiving", Data: p})
}

// headerRules are the headers that every request has, of an invented one.
func headerRules() []headerRule {
	example := wire.Request{
		ID: uuid.MustParse("01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20"), Type: string(outbox.ConversationStartedType), Timestamp: 1709812800, Signature: "v1,K5oZfzN95Z9U…=",
	}
	words := headerWords()
	var rules []headerRule
	for _, f := range example.Fields() {
		rules = append(rules, headerRule{f.Name, f.Value, words[f.Name]})
	}
	return rules
}

func headerWords() map[string]string {
	return map[string]string{
		wire.ContentType:    "The body is JSON in UTF-8.",
		wire.UserAgent:      "Who calls. It proves nothing: the signature does.",
		wire.AcceptEncoding: "Answers are not compressed.",
		wire.XEvent:         "The event’s type.",
		wire.XID:            "The event’s id: the same on every attempt, on every manual retry, and for each of your endpoints. Remember it, and pass over what you have handled.",
		wire.XTimestamp:     "When this attempt was made, in Unix seconds.",
		wire.ID:             "The event’s id again, which is signed.",
		wire.Timestamp:      "The time of the attempt again, which is signed.",
		wire.Signature:      "v1, and the base64 of the HMAC-SHA256 of id.timestamp.body under your secret; several, with blanks between them, while a rotated secret is on its way out.",
	}
}

// outcomeRules say what becomes of a delivery after each way in which an attempt can end.
func outcomeRules(maxRetryAfter time.Duration) []outcomeRule {
	rules := []outcomeRule{{
		"Any 2xx within " + span(egress.Config{}.WithDefaults().Timeout), "Delivered. The body of your answer does not matter.",
	}}
	for _, r := range []fact.Reason{
		fact.StatusRedirect, fact.StatusGone, fact.StatusThrottled, fact.StatusClient, fact.StatusServer, fact.Timeout, fact.DNS,
		fact.Connect, fact.ConnectTimeout, fact.TLS, fact.Reset, fact.Protocol, fact.HeaderTooLarge, fact.BlockedDestination,
		fact.Interrupted, fact.Local,
	} {
		then := "Tried again by the schedule."
		switch {
		case r == fact.StatusRedirect:
			then = "A failure: redirects are never followed. Tried again by the schedule."
		case r == fact.StatusGone:
			then = "The endpoint is disabled. What is still to be sent is held until you enable it again."
		case r == fact.StatusThrottled:
			then = "Tried again by the schedule, and not before your Retry-After (at most " + span(maxRetryAfter) + "), which counts for a 503, too."
		case r == fact.BlockedDestination:
			then = "Failed for good."
		case !r.Charged():
			then = "Tried again soon; no retry is used up."
		}
		rules = append(rules, outcomeRule{advise(r).Title, then})
	}
	return rules
}

func (s *site) limitRules(overlap, giveUp time.Duration) []limitRule {
	client := egress.Config{}.WithDefaults()
	return []limitRule{
		{"Whole request", span(client.Timeout), "From looking up your name to the end of your answer’s headers. Answer first and work later."},
		{"Connecting", span(client.ConnectTimeout), "Name and TCP together."},
		{"TLS handshake", span(client.HandshakeTimeout), "TLS 1.2 or later, a certificate of a public authority; then HTTP/1.1."},
		{"Event data", byteCount(outbox.MaxDataBytes), "The request’s body adds less than 1 KiB to it. Let bodies of " + byteCount(2*outbox.MaxDataBytes) + " pass."},
		{"Your answer", byteCount(egress.MaxBody), "Kept of its body, for the delivery’s page; the rest is thrown away. Its headers may have " + byteCount(egress.MaxHead) + "."},
		{"Rate limit", strconv.Itoa(s.MaxRate), "Attempts a second at one endpoint: you may set as many, or fewer. Retries and tests count, too. What is above waits its turn and uses up no retry."},
		{"Attempts of a test", "1", "A test is sent at once and never again, whatever you answer, and disables nothing."},
		{"Custom headers", strconv.Itoa(header.Max), "For each endpoint, " + byteCount(header.MaxBytes) + " in all."},
		{"Clock", span(sign.Tolerance), "Refuse a timestamp that lies further from your clock, in either direction: it may be a replay."},
		{"Rotation", span(overlap), "A replaced secret signs beside the new one for that long."},
		{"Failing", span(giveUp), "An endpoint at which every attempt fails for that long is disabled. Nothing is lost: enable it, and recover what failed."},
	}
}
