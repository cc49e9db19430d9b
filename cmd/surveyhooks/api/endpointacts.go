package api

import (
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/sign"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// nothing is the body of requests that say everything by their path.
type nothing struct{}

// target is the endpoint of a request that has nothing more to say.
func (r *request) target() (endpoint.Ref, error) {
	ref, err := r.ref()
	if err != nil {
		return ref, err
	}
	_, err = decodeOptional[nothing](r)
	return ref, err
}

func (s *server) enableEndpoint(r *request) (answer, error) {
	ref, err := r.target()
	if err != nil {
		return answer{}, err
	}
	return versioned(s.endpoints.Enable(r.Context(), ref))
}

func (s *server) disableEndpoint(r *request) (answer, error) {
	ref, err := r.ref()
	if err != nil {
		return answer{}, err
	}
	body, err := decodeOptional[struct {
		Reason string `json:"reason"`
		Note   string `json:"note"`
	}](r)
	if err != nil {
		return answer{}, err
	}
	switch fact.Reason(body.Reason) {
	case "", fact.ByRequest, fact.Gone, fact.FailingPersistently:
	default:
		return answer{}, unprocessable(field{
			Field: "reason", Code: "unknown_reason", Message: "want by_request, gone or failing_persistently",
		})
	}
	return versioned(s.endpoints.Disable(r.Context(), ref, fact.Reason(body.Reason), body.Note))
}

func (s *server) rotateSecret(r *request) (answer, error) {
	ref, err := r.target()
	if err != nil {
		return answer{}, err
	}
	e, secret, err := s.endpoints.RotateSecret(r.Context(), ref, sign.Secret{})
	if err != nil {
		return answer{}, err
	}
	return showing(e, secret), nil
}

// tested says where the outcome of a test event will be seen.
type tested struct {
	EventID    uuid.UUID `json:"event_id"`
	EndpointID uuid.UUID `json:"endpoint_id"`
	Deliveries string    `json:"deliveries"` // a path to ask until its one delivery is over; empty until the event is fanned out
}

func (s *server) testEndpoint(r *request) (answer, error) {
	ref, err := r.target()
	if err != nil {
		return answer{}, err
	}
	if _, err := s.endpoints.Get(r.Context(), ref.Scope, ref.ID); err != nil {
		return answer{}, err // what is not there uses up no quota
	}
	wait, err := TakeTest(r.Context(), s.db, r.company)
	if err != nil {
		return answer{}, err
	}
	if wait > 0 {
		return answer{}, refusal(http.StatusTooManyRequests, "too_many_tests",
			"a company may ask for 10 test events a minute: wait "+wait.Round(time.Second).String()).after(wait)
	}
	id, err := s.endpoints.Test(r.Context(), ref)
	if err != nil {
		return answer{}, err
	}
	follow := "/v1/companies/" + r.company.String() + "/deliveries?event=" + id.String()
	return answer{
		status: http.StatusAccepted, location: follow,
		body: tested{EventID: id, EndpointID: ref.ID, Deliveries: follow},
	}, nil
}
