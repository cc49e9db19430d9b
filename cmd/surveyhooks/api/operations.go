package api

import (
	"errors"
	"net/http"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/operator"
	"github.com/chattosurvey/surveyhooks/relay/fleet"
)

// resumed is what was ended; null: it was not paused.
type resumed struct {
	Was *fleet.Pause `json:"was"`
}

func (s *server) getOperations(r *request) (answer, error) {
	seen, err := operator.ReadOverview(r.Context(), s.db)
	if err != nil {
		return answer{}, err
	}
	return ok(seen)
}

func (s *server) pauseSending(r *request) (answer, error) {
	body, err := decode[struct {
		Reason string `json:"reason"`
	}](r)
	if err != nil {
		return answer{}, err
	}
	pause, err := s.operations.Pause(r.Context(), r.caller, body.Reason)
	if err != nil {
		return answer{}, err
	}
	return ok(pause)
}

func (s *server) resumeSending(r *request) (answer, error) {
	if _, err := decodeOptional[nothing](r); err != nil {
		return answer{}, err
	}
	was, err := s.operations.Resume(r.Context(), r.caller)
	if err != nil {
		return answer{}, err
	}
	return ok(resumed{was})
}

func (s *server) drainRelay(r *request) (answer, error) {
	id, there := pathUUID(r.Request, "relay_id")
	if !there {
		return answer{}, notFound()
	}
	body, err := decodeOptional[struct {
		EvenAlone bool `json:"even_alone"`
	}](r)
	if err != nil {
		return answer{}, err
	}
	relay, err := s.operations.Drain(r.Context(), r.caller, id, body.EvenAlone)
	if err != nil {
		return answer{}, err
	}
	return ok(relay)
}

func (s *server) undrainRelay(r *request) (answer, error) {
	id, there := pathUUID(r.Request, "relay_id")
	if !there {
		return answer{}, notFound()
	}
	if _, err := decodeOptional[nothing](r); err != nil {
		return answer{}, err
	}
	relay, err := s.operations.Undrain(r.Context(), r.caller, id)
	if err != nil {
		return answer{}, err
	}
	return ok(relay)
}

func (s *server) startRebuild(r *request) (answer, error) {
	body, err := decodeOptional[struct {
		VerifyOnly bool `json:"verify_only"`
	}](r)
	if err != nil {
		return answer{}, err
	}
	job, err := s.operations.Start(r.Context(), r.caller, body.VerifyOnly)
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusAccepted, location: "/v1/rebuilds/" + job.ID.String(), body: job}, nil
}

func (s *server) getRebuild(r *request) (answer, error) {
	id, there := pathUUID(r.Request, "rebuild_id")
	if !there {
		return answer{}, notFound()
	}
	job, err := operator.ReadRebuild(r.Context(), s.db, id)
	if err != nil {
		return answer{}, err
	}
	return ok(job)
}

// ofOperator answers for orders that are not carried out.
func ofOperator(err error) *problem {
	if _, missing := errors.AsType[*fleet.NotFoundError](err); missing {
		return notFound()
	}
	if _, missing := errors.AsType[*operator.RebuildNotFoundError](err); missing {
		return notFound()
	}
	if invalid, ok := errors.AsType[*fleet.InvalidError](err); ok {
		return unprocessable(field{Field: invalid.Field, Code: "invalid", Message: invalid.Message})
	}
	if running, ok := errors.AsType[*operator.RunningError](err); ok {
		return refusal(http.StatusConflict, "rebuild_running", running.Error())
	}
	if alone, ok := errors.AsType[*operator.AloneError](err); ok {
		return refusal(http.StatusConflict, "last_relay", alone.Error()+`, or send "even_alone": true`)
	}
	return nil
}
