package api

import (
	"strings"

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

func endpointFacts() []string {
	var names []string
	for _, name := range fact.Names() {
		if strings.HasPrefix(string(name), "endpoint.") {
			names = append(names, string(name))
		}
	}
	return names
}
