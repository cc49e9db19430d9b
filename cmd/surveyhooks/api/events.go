package api

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/spelling"
	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/outbox/catalog"
	"github.com/chattosurvey/surveyhooks/projections"
)

func (s *server) listEventTypes(*request) (answer, error) { return page(catalog.Entries(), "") }

func (s *server) getEventType(r *request) (answer, error) {
	entry, known := catalog.Find(outbox.Type(r.PathValue("event_type")))
	if !known {
		return answer{}, notFound()
	}
	return ok(entry)
}

func (s *server) listEvents(r *request) (answer, error) {
	p := r.params()
	filter := r.filter(p)
	if err := p.err(); err != nil {
		return answer{}, err
	}
	found, err := s.history.Events(r.Context(), filter)
	if err != nil {
		return answer{}, err
	}
	return page(found.Items, found.Next)
}

func (s *server) getEvent(r *request) (answer, error) {
	id, there := pathUUID(r.Request, "event_id")
	if !there {
		return answer{}, notFound()
	}
	event, err := s.history.Event(r.Context(), r.company, id)
	if err != nil {
		return answer{}, err
	}
	return ok(event)
}

// published says what the outbox holds now.
type published struct {
	EventID   uuid.UUID   `json:"event_id"`
	EventType outbox.Type `json:"event_type"`
	CompanyID uuid.UUID   `json:"company_id"`
	// Warnings are what was stored all the same, and is rarely meant.
	Warnings []field `json:"warnings,omitempty"`
}

// warnings are those about an event that the outbox has taken.
func warnings(event outbox.Event) []field {
	if unknown := spelling.UnknownType(event.Type); unknown != "" {
		return []field{{Field: "type", Code: "unknown_type", Message: unknown + ": it is stored, and no endpoint is told of it"}}
	}
	return nil
}

// publishing is an event as an app without the database gives it.
type publishing struct {
	ID        *string         `json:"id"`
	Type      string          `json:"type"`
	CreatedAt *string         `json:"created_at"`
	Data      json.RawMessage `json:"data"`
}

// event is the same for the outbox, whose words are used for all that it checks itself.
func (p publishing) event(r *request) (outbox.Event, error) {
	event := outbox.Event{ID: r.claim, Type: outbox.Type(p.Type), CompanyID: r.company, Data: outbox.Raw(p.Data)}
	var faults []field
	if p.ID != nil {
		id, valid := parseUUID(*p.ID)
		if !valid {
			faults = append(faults, field{Field: "id", Code: "invalid", Message: "want a UUID such as 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20, or none"})
		}
		event.ID = id
	}
	if p.CreatedAt != nil {
		at, valid := parseTime(*p.CreatedAt)
		if !valid {
			faults = append(faults, field{Field: "created_at", Code: "invalid", Message: "want " + wantTime + ", or none for now"})
		}
		event.CreatedAt = at
	}
	if len(faults) > 0 {
		return event, unprocessable(faults...)
	}
	return event, nil
}

func (s *server) publishEvent(r *request) (answer, error) {
	body, err := decode[publishing](r)
	if err != nil {
		return answer{}, err
	}
	event, err := body.event(r)
	if err != nil {
		return answer{}, err
	}
	tx, err := s.db.BeginTx(r.Context(), nil)
	if err != nil {
		return answer{}, fmt.Errorf("begin: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	ids, err := outbox.Publish(r.Context(), tx, event)
	if err != nil {
		return answer{}, err
	}
	if err := tx.Commit(); err != nil {
		return answer{}, fmt.Errorf("commit: %w", err)
	}
	return answer{
		status: http.StatusAccepted, location: "/v1/companies/" + r.company.String() + "/events/" + ids[0].String(),
		body: published{EventID: ids[0], EventType: event.Type, CompanyID: r.company, Warnings: warnings(event)},
	}, nil
}

// explained is a decision, and the same in a sentence.
type explained struct {
	projections.Decision

	Words string `json:"words"`
}

// decision is the one of the path, if event and endpoint are the company's.
func (s *server) decision(r *request) (projections.Decision, error) {
	ref, err := r.ref()
	if err != nil {
		return projections.Decision{}, err
	}
	id, there := pathUUID(r.Request, "event_id")
	if !there {
		return projections.Decision{}, notFound()
	}
	d, err := s.history.Decision(r.Context(), r.company, id, ref.ID)
	if err == nil && d.Verdict == projections.UnknownEvent {
		return d, notFound()
	}
	return d, err
}

// explainDecision answers why an endpoint was, or was not, told of an event.
func (s *server) explainDecision(r *request) (answer, error) {
	d, err := s.decision(r)
	if err != nil {
		return answer{}, err
	}
	return ok(explained{Decision: d, Words: d.Words()})
}
