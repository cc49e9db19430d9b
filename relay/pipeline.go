package relay

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/lane"
	"github.com/chattosurvey/surveyhooks/relay/sign"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// UserAgent is the seed's.
const UserAgent = "HS-Webhook/1.0"

// WebhookVersion is data.metadata.webhook_version.
const WebhookVersion = "2.0"

// target is an endpoint's configuration as one attempt uses it; a change makes a new one, and attempts under way keep
// theirs.
type target struct {
	url     *url.URL
	shown   string // the URL without its query, which may hold a secret
	version int
	signer  *sign.Signer
	enabled bool

	secretsUntil time.Time // when the first of its secrets ends; zero: never
}

// attempt is one HTTP request on its way through the pipeline.
type attempt struct {
	delivery *lane.Delivery
	target   *target

	body      []byte
	timestamp int64 // Unix seconds
	signature string
	header    http.Header
	response  egress.Response
	outcome   *outcome
}

// stage is one step of an attempt.
type stage func(ctx context.Context, a *attempt)

// pipeline is the way of one attempt. The breaker's gate stands before it, in the lane, where it is asked before a
// delivery is claimed; the intent is committed by then, and no transaction is open.
func (r *session) pipeline() []stage {
	return []stage{
		render,
		r.sign,
		r.send,
		r.judge,
	}
}

// render makes the body: the seed's key order, the event's data byte for byte as it was inserted, and between its
// braces the two keys that are ours. The same on every attempt.
func render(_ context.Context, a *attempt) {
	e := a.delivery.Event
	data := e.Data
	first, last := 0, len(data)-1
	for first < len(data) && data[first] != '{' {
		first++
	}
	for last > first && data[last] != '}' {
		last--
	}
	inner := data[min(first+1, len(data)):max(last, min(first+1, len(data)))]
	b := make([]byte, 0, len(data)+320)
	b = append(b, `{"id":"`...)
	b = append(b, e.ID.String()...)
	b = append(b, `","event":"`...)
	b = append(b, e.Type...)
	b = append(b, `","created_at":"`...)
	b = appendTime(b, e.CreatedAt)
	b = append(b, `","data":{"event_type":"`...)
	b = append(b, e.Type...)
	b = append(b, `",`...)
	if !blank(inner) {
		b = append(b, inner...)
		b = append(b, ',')
	}
	b = append(b, `"metadata":{"webhook_version":"`+WebhookVersion+`","delivered_at":"`...)
	b = appendTime(b, a.delivery.FirstAttemptAt)
	b = append(b, `"}}}`...)
	a.body = b
}

func appendTime(b []byte, t time.Time) []byte { return t.UTC().AppendFormat(b, "2006-01-02T15:04:05Z") }

func blank(b []byte) bool {
	for _, c := range b {
		if c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			return false
		}
	}
	return true
}

// sign sets the headers: the seed's, and those of Standard Webhooks 1.0.0 beside them. net/http sends keys as
// they are written here.
func (r *session) sign(_ context.Context, a *attempt) {
	id := a.delivery.Event.ID.String()
	a.timestamp = r.clock.now().Unix()
	a.signature = string(a.target.signer.AppendSignature(make([]byte, 0, a.target.signer.Len()), id, a.timestamp, a.body))
	ts := strconv.FormatInt(a.timestamp, 10)
	values := []string{a.delivery.Event.Type, id, ts, a.signature}
	a.header = http.Header{
		"Content-Type":        r.contentType,
		"User-Agent":          r.userAgent,
		"Accept-Encoding":     r.identity, // net/http would copy the whole map to add it
		"X-Webhook-Event":     values[0:1:1],
		"X-Webhook-ID":        values[1:2:2],
		"X-Webhook-Timestamp": values[2:3:3],
		"webhook-id":          values[1:2:2],
		"webhook-timestamp":   values[2:3:3],
		"webhook-signature":   values[3:4:4],
	}
}

func (r *session) send(ctx context.Context, a *attempt) {
	a.response = r.client.Do(ctx, &egress.Request{URL: a.target.url, Header: a.header, Body: [][]byte{a.body}})
}

// reasonOf names how a response ended.
func reasonOf(res *egress.Response) fact.Reason {
	switch {
	case res.Fault != egress.FaultNone:
		return faultReason(res.Fault)
	case res.Status < 300:
		return fact.OK
	case res.Status < 400:
		return fact.StatusRedirect
	case res.Status == http.StatusGone:
		return fact.StatusGone
	case res.Status == http.StatusTooManyRequests:
		return fact.StatusThrottled
	case res.Status < 500:
		return fact.StatusClient
	default:
		return fact.StatusServer
	}
}
