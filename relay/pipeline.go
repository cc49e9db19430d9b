package relay

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/chattosurvey/surveyhooks/outbox/wire"
	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/lane"
	"github.com/chattosurvey/surveyhooks/relay/sign"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// target is an endpoint's configuration as one attempt uses it; a change makes a new one, and attempts under way keep
// theirs.
type target struct {
	url      *url.URL
	shownURL string // the URL without its query, which may hold a secret
	version  int
	signer   *sign.Signer
	headers  []customHeader    // mostly none
	masked   map[string]string // the same, as facts show them
	enabled  bool

	secretsUntil time.Time // when the first of its secrets ends; zero: never
}

// customHeader is a header of the customer's, ready for the map of a request.
type customHeader struct {
	name   string
	values []string
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

// render makes the body: the same on every attempt.
func render(_ context.Context, a *attempt) {
	e := a.delivery.Event
	a.body = wire.Body(wire.Event{ID: e.ID, Type: e.Type, CreatedAt: e.CreatedAt, Data: e.Data}, a.delivery.FirstAttemptAt)
}

// sign sets the headers that wire lists, and the customer's own, none of which has the name of one of them (package
// header). net/http sends keys as they are written there.
func (r *session) sign(_ context.Context, a *attempt) {
	id := a.delivery.Event.ID.String()
	a.timestamp = r.clock.now().Unix()
	a.signature = string(a.target.signer.AppendSignature(make([]byte, 0, a.target.signer.Len()), id, a.timestamp, a.body))
	ts := strconv.FormatInt(a.timestamp, 10)
	values := []string{a.delivery.Event.Type, id, ts, a.signature}
	a.header = http.Header{
		wire.ContentType:    r.contentType,
		wire.UserAgent:      r.userAgent,
		wire.AcceptEncoding: r.identity, // net/http would copy the whole map to add it
		wire.XEvent:         values[0:1:1],
		wire.XID:            values[1:2:2],
		wire.XTimestamp:     values[2:3:3],
		wire.ID:             values[1:2:2],
		wire.Timestamp:      values[2:3:3],
		wire.Signature:      values[3:4:4],
	}
	for _, h := range a.target.headers {
		a.header[h.name] = h.values
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
