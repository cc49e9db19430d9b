package api

import (
	"strconv"
	"strings"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

func (s *server) listHealth(r *request) (answer, error) {
	p := r.params()
	filter := r.filter(p)
	filter.State = p.oneOf("state", "enabled", "disabled")
	if err := p.err(); err != nil {
		return answer{}, err
	}
	found, err := s.history.Health(r.Context(), filter)
	if err != nil {
		return answer{}, err
	}
	return page(found.Items, found.Next)
}

func (s *server) listChanges(r *request) (answer, error) {
	p := r.params()
	filter := r.filter(p)
	filter.State = p.oneOf("fact", endpointFacts()...)
	if err := p.err(); err != nil {
		return answer{}, err
	}
	found, err := s.history.EndpointChanges(r.Context(), filter)
	if err != nil {
		return answer{}, err
	}
	return page(found.Items, found.Next)
}

// listTrail tells an owner who did what for the company, but for changes of endpoints, which listChanges tells.
func (s *server) listTrail(r *request) (answer, error) {
	p := r.params()
	ask := access.TrailPage{Limit: p.limit()}
	if err := p.err(); err != nil {
		return answer{}, err
	}
	if text := p.text("cursor"); text != "" {
		var err error
		if ask.Before, err = strconv.ParseInt(text, 10, 64); err != nil || ask.Before < 1 {
			return answer{}, badCursor()
		}
	}
	by := r.caller
	by.CompanyID = r.company // an operator reads one company's, too
	entries, next, err := s.access.Trail(r.Context(), by, ask)
	if err != nil {
		return answer{}, err
	}
	if next == 0 {
		return page(entries, "")
	}
	return page(entries, strconv.FormatInt(next, 10))
}

func endpointFacts() []string {
	var names []string
	for _, name := range fact.Names() {
		if strings.HasPrefix(string(name), "endpoint.") {
			names = append(names, string(name))
		}
	}
	return names
}
