package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/relay/delivery"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/fleet"
	"github.com/chattosurvey/surveyhooks/schema"
)

// problem is what is answered when a request cannot be done (RFC 9457). Its type is about:blank, which need not be
// sent; programs choose by its code, which never changes.
type problem struct {
	Title     string  `json:"title"`
	Status    int     `json:"status"`
	Code      string  `json:"code"`
	Detail    string  `json:"detail"`
	Fields    []field `json:"fields,omitempty"`
	RequestID string  `json:"request_id"`

	retryAfter time.Duration
	allow      string
}

// field is one thing that is wrong with one field of the body, or one parameter.
type field struct {
	Field   string `json:"field"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Error is for the log.
func (p *problem) Error() string { return p.Code + ": " + p.Detail }

func refusal(status int, code, detail string, fields ...field) *problem {
	return &problem{Title: http.StatusText(status), Status: status, Code: code, Detail: detail, Fields: fields}
}

func (p *problem) after(wait time.Duration) *problem {
	p.retryAfter = wait
	return p
}

// notFound is the same for what does not exist and for what is another company's.
func notFound() *problem {
	return refusal(http.StatusNotFound, "not_found", "there is nothing here, or it is not yours to see")
}

func unprocessable(fields ...field) *problem {
	return refusal(http.StatusUnprocessableEntity, "invalid_fields", "some fields are not as they must be: see fields", fields...)
}

func badParameters(faults []field) error {
	if len(faults) == 0 {
		return nil
	}
	slices.SortFunc(faults, func(a, b field) int { return cmp.Compare(a.Field, b.Field) })
	return refusal(http.StatusBadRequest, "invalid_parameters", "some parameters are not as they must be: see fields", faults...)
}

// refuse is the one door for errors.
func (s *server) refuse(w http.ResponseWriter, r *request, err error) {
	p := problemOf(err)
	p.RequestID = r.id
	if p.Status >= http.StatusInternalServerError && r.Context().Err() == nil {
		s.logger.Error("api request failed", "request_id", r.id, "method", r.Method, "route", r.Pattern, "error", err)
	}
	if p.retryAfter > 0 {
		seconds := int64((p.retryAfter + time.Second - 1) / time.Second)
		w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
	}
	if p.allow != "" {
		w.Header().Set("Allow", p.allow)
	}
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) //nolint:errchkjson // a client that has gone needs no answer
}

// problemOf finds words for an error. What is not known is ours, and its text is not for the caller.
func problemOf(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		told := *p
		return &told
	}
	if p := ofOwners(err); p != nil {
		return p
	}
	if p := ofRetry(err); p != nil {
		return p
	}
	if p := ofRecovery(err); p != nil {
		return p
	}
	if p := ofAccess(err); p != nil {
		return p
	}
	if p := ofOperator(err); p != nil {
		return p
	}
	if errors.Is(err, access.ErrBusy) {
		return refusal(http.StatusTooManyRequests, "too_many_requests",
			"too many requests of this company or this key are under way: let some of them end").after(time.Second)
	}
	if schema.Unreachable(err) {
		return refusal(http.StatusServiceUnavailable, "unavailable", "the database does not answer: try again soon").after(5 * time.Second)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return refusal(http.StatusServiceUnavailable, "took_too_long", "it could not be done in time: try again").after(time.Second)
	}
	return refusal(http.StatusInternalServerError, "internal",
		"something is wrong on our side: try again, and tell us the request_id if it stays").after(time.Second)
}

// ofOwners answers for the packages that keep endpoints, events and history.
func ofOwners(err error) *problem {
	if errors.Is(err, projections.ErrNotFound) {
		return notFound()
	}
	if _, ok := errors.AsType[*projections.BadCursorError](err); ok {
		return badCursor()
	}
	if filter, ok := errors.AsType[*projections.BadFilterError](err); ok {
		return refusal(http.StatusBadRequest, "invalid_parameters", "some parameters are not as they must be: see fields",
			field{Field: filter.Field, Code: "invalid_parameter", Message: "want " + filter.Want})
	}
	if _, ok := errors.AsType[*endpoint.NotFoundError](err); ok {
		return notFound()
	}
	if paused, ok := errors.AsType[*fleet.PausedError](err); ok {
		return refusal(http.StatusConflict, "sending_paused",
			"all sending is paused since "+paused.Pause.Since.Format(time.RFC3339)+", so no test is sent: deliveries wait, and nothing is lost")
	}
	if conflict, ok := errors.AsType[*endpoint.ConflictError](err); ok {
		return refusal(http.StatusPreconditionFailed, "version_conflict", conflict.Error())
	}
	if invalid, ok := errors.AsType[*endpoint.InvalidError](err); ok {
		return invalidFields(invalid.Fields)
	}
	if invalid, ok := errors.AsType[*outbox.InvalidError](err); ok {
		p := unprocessable()
		for _, f := range invalid.Faults {
			p.Fields = append(p.Fields, field{Field: f.Field, Code: outboxCode(f), Message: f.Is + ": want " + f.Want})
		}
		return p
	}
	return nil
}

func invalidFields(fields []endpoint.FieldError) *problem {
	p := unprocessable()
	for _, f := range fields {
		p.Fields = append(p.Fields, field(f))
	}
	return p
}

func badCursor() *problem {
	return refusal(http.StatusBadRequest, "bad_cursor", "this is no cursor of this list: give the next of the page before, unchanged")
}

// outboxCode names a fault of an event, which has only words.
func outboxCode(f *outbox.FieldError) string {
	switch {
	case f.Is == "is not set" || f.Is == "is empty" || f.Is == "is missing":
		return "required"
	case strings.HasPrefix(f.Is, "has "):
		return "too_long"
	case f.Is == "is given":
		return "reserved"
	default:
		return "invalid"
	}
}

// ofRetry answers for deliveries that cannot be sent, or sent again, now.
func ofRetry(err error) *problem {
	if _, ok := errors.AsType[*delivery.NotFoundError](err); ok {
		return notFound()
	}
	conflict := func(code string, err error) *problem {
		return refusal(http.StatusConflict, code, err.Error())
	}
	if e, ok := errors.AsType[*delivery.AlreadyPendingError](err); ok {
		return conflict("already_pending", e)
	}
	if e, ok := errors.AsType[*delivery.HeldError](err); ok {
		return conflict("endpoint_disabled", e)
	}
	if e, ok := errors.AsType[*delivery.AlreadyRequestedError](err); ok {
		return conflict("already_requested", e)
	}
	if e, ok := errors.AsType[*delivery.CancelledError](err); ok {
		return conflict("delivery_cancelled", e)
	}
	if e, ok := errors.AsType[*delivery.EndpointDeletedError](err); ok {
		return conflict("endpoint_deleted", e)
	}
	if e, ok := errors.AsType[*delivery.EventExpiredError](err); ok {
		return conflict("event_expired", e)
	}
	if e, ok := errors.AsType[*delivery.BehindError](err); ok {
		return conflict("just_ended", e).after(time.Second)
	}
	return nil
}
