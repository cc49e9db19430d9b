package api

import (
	"errors"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/recovery"
)

// newRecovery is the body that starts a recovery.
type newRecovery struct {
	Kind   string   `json:"kind"`
	Types  []string `json:"event_types"`
	Since  string   `json:"since"`
	Until  *string  `json:"until"`
	Reason string   `json:"reason"`
}

func (s *server) previewRecovery(r *request) (answer, error) {
	ref, err := r.ref()
	if err != nil {
		return answer{}, err
	}
	p := r.params()
	asked := recovery.Request{
		CompanyID: r.company, EndpointID: ref.ID, Kind: recovery.Kind(p.oneOf("kind", string(recovery.Failures), string(recovery.Missing))),
		Since: p.time("since"), Until: p.time("until"),
	}
	if types := p.text("event_types"); types != "" {
		asked.Types = strings.Split(types, ",")
	}
	if p.text("since") == "" {
		p.fault("since", wantTime)
	}
	if err := p.err(); err != nil {
		return answer{}, err
	}
	found, err := s.recoveries.Count(r.Context(), asked)
	if err != nil {
		return answer{}, err
	}
	return ok(found)
}

func (s *server) startRecovery(r *request) (answer, error) {
	ref, err := r.ref()
	if err != nil {
		return answer{}, err
	}
	body, err := decode[newRecovery](r)
	if err != nil {
		return answer{}, err
	}
	asked := recovery.Request{
		CompanyID: r.company, EndpointID: ref.ID, Kind: recovery.Kind(body.Kind), Types: body.Types, Actor: r.caller.Actor, Reason: body.Reason,
	}
	if r.claim != uuid.Nil {
		asked.Key = r.claim.String() // one recovery, even when the first process died with it
	}
	var valid bool
	if asked.Since, valid = parseTime(body.Since); !valid {
		return answer{}, unprocessable(field{Field: "since", Code: "invalid", Message: "want " + wantTime})
	}
	if body.Until != nil {
		if asked.Until, valid = parseTime(*body.Until); !valid {
			return answer{}, unprocessable(field{Field: "until", Code: "invalid", Message: "want " + wantTime + ", or none for now"})
		}
	}
	job, err := s.recoveries.Start(r.Context(), asked)
	if err != nil {
		return answer{}, err
	}
	path := "/v1/companies/" + r.company.String() + "/endpoints/" + ref.ID.String() + "/recoveries/" + job.ID.String()
	return answer{status: http.StatusAccepted, location: path, body: job}, nil
}

// recovery is the one of the path, if it is of the company's endpoint.
func (s *server) recovery(r *request) (recovery.Recovery, error) {
	ref, err := r.ref()
	if err != nil {
		return recovery.Recovery{}, err
	}
	id, there := pathUUID(r.Request, "recovery_id")
	if !there {
		return recovery.Recovery{}, notFound()
	}
	job, err := s.recoveries.Get(r.Context(), r.company, id)
	if err == nil && job.EndpointID != ref.ID {
		return recovery.Recovery{}, notFound()
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
	if job, err = s.recoveries.Cancel(r.Context(), r.company, job.ID, r.caller.Actor); err != nil {
		return answer{}, err
	}
	return ok(job)
}

// ofRecovery answers for recoveries that cannot be started.
func ofRecovery(err error) *problem {
	if _, missing := errors.AsType[*recovery.NotFoundError](err); missing {
		return notFound()
	}
	if e, invalid := errors.AsType[*recovery.InvalidError](err); invalid {
		return unprocessable(field{Field: e.Field, Code: "invalid", Message: e.Message})
	}
	if e, nothing := errors.AsType[*recovery.NothingError](err); nothing {
		return refusal(http.StatusConflict, "nothing_"+string(e.Kind), e.Error())
	}
	if e, tooMany := errors.AsType[*recovery.TooManyError](err); tooMany {
		return refusal(http.StatusConflict, "too_many_"+string(e.Kind), e.Error())
	}
	if e, running := errors.AsType[*recovery.RunningError](err); running {
		return refusal(http.StatusConflict, "recovery_running", e.Error())
	}
	return nil
}
