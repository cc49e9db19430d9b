package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"
)

// Span is the deliveries of an endpoint that failed for good in a stretch of time.
type Span struct {
	CompanyID  uuid.UUID
	EndpointID uuid.UUID
	Since      time.Time // inclusive
	Until      time.Time // exclusive; zero: to now
}

// Recovery is a job that sends the failed deliveries of a span again, at a pace that the endpoint can bear.
type Recovery struct {
	ID         uuid.UUID  `json:"id"`
	CompanyID  uuid.UUID  `json:"company_id"`
	EndpointID uuid.UUID  `json:"endpoint_id"`
	Since      time.Time  `json:"since"`
	Until      *time.Time `json:"until"`
	State      string     `json:"state"` // running, done or cancelled
	Total      int        `json:"total"` // counted at the start
	Queued     int        `json:"queued"`
	Actor      string     `json:"actor"`
	CreatedAt  time.Time  `json:"created_at"`
	FinishedAt *time.Time `json:"finished_at"`
}

// ErrNoRecovery is what Recoveries return for a job that the company's endpoint does not have.
var ErrNoRecovery = errors.New("no such recovery")

// Recoveries start and follow recoveries.
type Recoveries interface {
	// Count says how many deliveries Start would send again.
	Count(ctx context.Context, span Span) (int, error)
	Start(ctx context.Context, actor string, span Span) (Recovery, error)
	Get(ctx context.Context, endpoint, id uuid.UUID) (Recovery, error)
	Cancel(ctx context.Context, actor string, id uuid.UUID) (Recovery, error)
}

// failedSpan is the body that starts a recovery.
type failedSpan struct {
	Since string  `json:"since"`
	Until *string `json:"until"`
}

func (s *server) previewRecovery(r *request) (answer, error) {
	p := r.params()
	span := Span{CompanyID: r.company, Since: p.time("since"), Until: p.time("until")}
	if p.text("since") == "" {
		p.fault("since", wantTime)
	}
	if err := p.err(); err != nil {
		return answer{}, err
	}
	if err := s.within(r, &span); err != nil {
		return answer{}, err
	}
	n, err := s.recoveries.Count(r.Context(), span)
	if err != nil {
		return answer{}, err
	}
	return ok(map[string]int{"deliveries": n})
}

// within makes it a span of the path's endpoint, if that is the company's.
func (s *server) within(r *request, span *Span) error {
	ref, err := r.ref()
	if err != nil {
		return err
	}
	span.EndpointID = ref.ID
	_, err = s.endpoints.Get(r.Context(), ref.Scope, ref.ID)
	return err
}

func (s *server) startRecovery(r *request) (answer, error) {
	body, err := decode[failedSpan](r)
	if err != nil {
		return answer{}, err
	}
	span := Span{CompanyID: r.company}
	if err := s.within(r, &span); err != nil {
		return answer{}, err
	}
	var valid bool
	if span.Since, valid = parseTime(body.Since); !valid {
		return answer{}, unprocessable(field{Field: "since", Code: "invalid", Message: "want " + wantTime})
	}
	if body.Until != nil {
		if span.Until, valid = parseTime(*body.Until); !valid || !span.Until.After(span.Since) {
			return answer{}, unprocessable(field{Field: "until", Code: "invalid", Message: "want " + wantTime + " after since, or none"})
		}
	}
	job, err := s.recoveries.Start(r.Context(), r.caller.Actor, span)
	if err != nil {
		return answer{}, err
	}
	path := "/v1/companies/" + r.company.String() + "/endpoints/" + span.EndpointID.String() + "/recoveries/" + job.ID.String()
	return answer{status: http.StatusAccepted, location: path, body: job}, nil
}

// recovery is the one of the path, if it is of the company's endpoint.
func (s *server) recovery(r *request) (Recovery, error) {
	var span Span
	if err := s.within(r, &span); err != nil {
		return Recovery{}, err
	}
	id, there := pathUUID(r.Request, "recovery_id")
	if !there {
		return Recovery{}, notFound()
	}
	job, err := s.recoveries.Get(r.Context(), span.EndpointID, id)
	if errors.Is(err, ErrNoRecovery) || err == nil && job.CompanyID != r.company {
		return Recovery{}, notFound()
	}
	return job, err
}

func (s *server) getRecovery(r *request) (answer, error) {
	job, err := s.recovery(r)
	if err != nil {
		return answer{}, err
	}
	return ok(job)
}

func (s *server) cancelRecovery(r *request) (answer, error) {
	if _, err := decodeOptional[nothing](r); err != nil {
		return answer{}, err
	}
	job, err := s.recovery(r)
	if err != nil {
		return answer{}, err
	}
	if job, err = s.recoveries.Cancel(r.Context(), r.caller.Actor, job.ID); err != nil {
		return answer{}, err
	}
	return ok(job)
}
