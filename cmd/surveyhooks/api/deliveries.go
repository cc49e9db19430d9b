package api

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/relay/delivery"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

func (s *server) listDeliveries(r *request) (answer, error) {
	p := r.params()
	filter := r.filter(p)
	filter.State = p.oneOf("state", "pending", "retrying", "held", "delivered", "exhausted", "cancelled")
	if err := p.err(); err != nil {
		return answer{}, err
	}
	found, err := s.history.Deliveries(r.Context(), filter)
	if err != nil {
		return answer{}, err
	}
	return page(found.Items, found.Next)
}

func (s *server) listAttempts(r *request) (answer, error) {
	p := r.params()
	filter := r.filter(p)
	filter.DeliveryID = p.number("delivery", 1, 1<<62)
	filter.State = p.oneOf("outcome", "succeeded", "failed", "interrupted", "stale")
	if err := p.err(); err != nil {
		return answer{}, err
	}
	found, err := s.history.Attempts(r.Context(), filter)
	if err != nil {
		return answer{}, err
	}
	return page(found.Items, found.Next)
}

// delivery is the one of the path, if it is the company's.
func (s *server) delivery(r *request) (projections.DeliveryDetail, error) {
	id, err := strconv.ParseInt(r.PathValue("delivery_id"), 10, 64)
	if err != nil || id < 1 {
		return projections.DeliveryDetail{}, notFound()
	}
	return s.history.Delivery(r.Context(), r.company, id)
}

func (s *server) getDelivery(r *request) (answer, error) {
	d, err := s.delivery(r)
	if err != nil {
		return answer{}, err
	}
	return ok(d)
}

// queued says that a delivery is due.
type queued struct {
	DeliveryID int64      `json:"delivery_id"`
	Delivery   string     `json:"delivery"`   // the path where its outcome will be seen
	HeldUntil  *time.Time `json:"held_until"` // the endpoint's breaker is open until then; null: nothing holds it
}

func (s *server) retryDelivery(r *request) (answer, error) {
	if _, err := decodeOptional[nothing](r); err != nil {
		return answer{}, err
	}
	d, err := s.delivery(r)
	if err != nil {
		return answer{}, err
	}
	known := delivery.Known{
		DeliveryID: d.DeliveryID, EndpointID: d.EndpointID, EventID: d.EventID, CompanyID: d.CompanyID,
		Generation: d.Generation, FirstAttemptAt: value(d.FirstAttemptAt), State: fact.State(d.State),
	}
	for _, attempt := range d.AttemptRows {
		known.Attempts = max(known.Attempts, attempt.Attempt)
	}
	heldUntil, err := s.queue.Retry(r.Context(), delivery.Retry{
		Scope: endpoint.Company(r.company), Actor: r.caller.Actor, Delivery: known,
	})
	if err != nil {
		return answer{}, err
	}
	return queue(r, d.DeliveryID, heldUntil), nil
}

// requestDelivery sends an endpoint an event that it was not sent when it happened.
func (s *server) requestDelivery(r *request) (answer, error) {
	if _, err := decodeOptional[nothing](r); err != nil {
		return answer{}, err
	}
	d, err := s.decision(r)
	if err != nil {
		return answer{}, err
	}
	if !d.MayBeRequested() {
		return answer{}, refusal(http.StatusConflict, "not_missing", "it cannot be sent on request: "+d.Words())
	}
	id, err := s.queue.Request(r.Context(), delivery.RequestPage{
		Scope: endpoint.Company(r.company), Actor: r.caller.Actor, EndpointID: d.EndpointID, Events: []uuid.UUID{d.EventID},
	})
	if err != nil {
		return answer{}, err
	}
	return queue(r, id, time.Time{}), nil
}

func queue(r *request, id int64, heldUntil time.Time) answer {
	path := fmt.Sprintf("/v1/companies/%s/deliveries/%d", r.company, id)
	body := queued{DeliveryID: id, Delivery: path}
	if !heldUntil.IsZero() {
		body.HeldUntil = &heldUntil
	}
	return answer{status: http.StatusAccepted, location: path, body: body}
}

// downloadResponse gives a receiver's answer byte for byte, in a way that no browser runs or shows it.
func (s *server) downloadResponse(r *request) (answer, error) {
	d, err := s.delivery(r)
	if err != nil {
		return answer{}, err
	}
	for _, attempt := range d.AttemptRows { // the newest first
		if strconv.Itoa(attempt.Attempt) != r.PathValue("attempt") {
			continue
		}
		name := fmt.Sprintf("response-%d-%d.txt", attempt.DeliveryID, attempt.Attempt)
		return answer{stream: func(w http.ResponseWriter, _ *request) {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			w.Header().Set("Content-Disposition", `attachment; filename="`+name+`"`)
			w.Header().Set("Content-Length", strconv.Itoa(len(attempt.ResponseBody)))
			_, _ = w.Write(attempt.ResponseBody) // a client that has gone needs no answer
		}}, nil
	}
	return answer{}, notFound()
}
