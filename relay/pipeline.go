package relay

import (
	"context"
	"net/http"
	"net/url"
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
	headers  []egress.Field    // the customer's own; mostly none
	masked   map[string]string // the same, as facts show them
	enabled  bool

	secretsUntil time.Time // when the first of its secrets ends; zero: never
}

// attempt is one HTTP request on its way through the pipeline.
type attempt struct {
	delivery *lane.Delivery
	target   *target

	body      []byte
	timestamp int64 // Unix seconds
	signature string
	header    []egress.Field
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
// header).
func (r *session) sign(_ context.Context, a *attempt) {
	e := a.delivery.Event
	a.timestamp = r.clock.now().Unix()
	a.signature = string(a.target.signer.AppendSignature(make([]byte, 0, a.target.signer.Len()), e.ID.String(), a.timestamp, a.body))
	fields := wire.Request{ID: e.ID, Type: e.Type, Timestamp: a.timestamp, Signature: a.signature}.Fields()
	a.header = make([]egress.Field, 0, len(fields)+len(a.target.headers))
	for _, f := range fields {
		a.header = append(a.header, egress.Field{Name: f.Name, Value: f.Value})
	}
	a.header = append(a.header, a.target.headers...)
}

func (r *session) send(ctx context.Context, a *attempt) {
	a.response = r.client.Do(ctx, &egress.Request{URL: a.target.url, Header: a.header, Body: a.body})
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
