package api

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/outbox/wire"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/header"
	"github.com/chattosurvey/surveyhooks/relay/sign"
)

// withSecret is an endpoint in the two answers that may show its secret. A replay of them has none: it is not kept.
type withSecret struct {
	endpoint.Endpoint

	Secret   *string `json:"secret"`
	Withheld bool    `json:"withheld"` // it was shown in the first answer
}

// endpointFields are what can be said about an endpoint, to make it or to change it.
type endpointFields struct {
	URL         *string   `json:"url"`
	Description *string   `json:"description"`
	Events      *[]string `json:"events"`
	// Headers are custom headers by name; null removes one.
	Headers *map[string]*string `json:"headers"`
	// RateLimit is null where there is no limit.
	RateLimit nullable[int] `json:"rate_limit"`
}

// check refuses an empty choice of events, which the store would take for all of them.
func (f endpointFields) check() error {
	if f.Events != nil && len(*f.Events) == 0 {
		return unprocessable(field{Field: "events", Code: "required", Message: `choose some, or ["all"]`})
	}
	return nil
}

// headers are those to set and the names of those to remove, each in the order of names.
func (f endpointFields) headers() (set []header.Header, removed []string) {
	given := value(f.Headers)
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if text := given[name]; text != nil {
			set = append(set, header.New(name, *text))
		} else {
			removed = append(removed, name)
		}
	}
	return set, removed
}

// ref names the endpoint of the path within the company of the path.
func (r *request) ref() (endpoint.Ref, error) {
	id, ok := pathUUID(r.Request, "endpoint_id")
	if !ok {
		return endpoint.Ref{}, notFound()
	}
	version, err := r.ifMatch()
	return endpoint.Ref{Scope: endpoint.Company(r.company), ID: id, Actor: r.caller.Actor, ExpectedVersion: version}, err
}

func (s *server) listEndpoints(r *request) (answer, error) {
	p := r.params()
	filter := endpoint.Filter{
		Scope: endpoint.Company(r.company), State: endpoint.State(p.oneOf("state", "enabled", "disabled")),
		Text: p.text("q"), Limit: p.limit(),
	}
	if err := p.err(); err != nil {
		return answer{}, err
	}
	var err error
	if filter.After, err = p.cursor(); err != nil {
		return answer{}, err
	}
	found, next, err := s.endpoints.List(r.Context(), filter)
	if err != nil {
		return answer{}, err
	}
	for i := range found {
		found[i] = r.shown(found[i])
	}
	return page(found, idCursor(next))
}

func (s *server) createEndpoint(r *request) (answer, error) {
	body, err := decode[endpointFields](r)
	if err != nil {
		return answer{}, err
	}
	if err := body.check(); err != nil {
		return answer{}, err
	}
	set, removed := body.headers()
	if len(removed) > 0 {
		return answer{}, unprocessable(field{Field: "headers", Code: "required", Message: "give each header a value; null removes one from an endpoint that has it"})
	}
	if r.claim != uuid.Nil {
		made, err := s.endpoints.Get(r.Context(), endpoint.Company(r.company), r.claim)
		if err == nil { // by a process that died before it kept its answer; the secret went with it
			return r.created(made, answer{
				status: http.StatusCreated, version: made.Version, body: withSecret{Endpoint: made, Withheld: true},
			}), nil
		}
		if _, none := errors.AsType[*endpoint.NotFoundError](err); !none {
			return answer{}, err
		}
	}
	made, secret, err := s.endpoints.Create(r.Context(), endpoint.Create{
		ID: r.claim, CompanyID: r.company, URL: value(body.URL), Description: value(body.Description), EventTypes: value(body.Events),
		Headers: set, RateLimit: body.RateLimit.value, Actor: r.caller.Actor,
	})
	if err != nil {
		return answer{}, err
	}
	return r.created(made, showing(made, secret)), nil
}

func (r *request) created(made endpoint.Endpoint, a answer) answer {
	a.location = "/v1/companies/" + r.company.String() + "/endpoints/" + made.ID.String()
	return a
}

// showing is the answer that shows a new secret, this once.
func showing(e endpoint.Endpoint, secret sign.Secret) answer {
	text := secret.Reveal()
	return answer{
		status: http.StatusCreated, version: e.Version,
		body: withSecret{Endpoint: e, Secret: &text}, kept: withSecret{Endpoint: e, Withheld: true},
	}
}

func value[T any](p *T) T {
	var v T
	if p != nil {
		v = *p
	}
	return v
}

func (s *server) getEndpoint(r *request) (answer, error) {
	ref, err := r.ref()
	if err != nil {
		return answer{}, err
	}
	e, err := s.endpoints.Get(r.Context(), ref.Scope, ref.ID)
	return versioned(r.shown(e), err)
}

// shown is an endpoint as the caller may see it: the tokens in its URL are for those who could change them.
func (r *request) shown(e endpoint.Endpoint) endpoint.Endpoint {
	if !r.caller.MayChange() {
		e.URL = wire.MaskQuery(e.URL)
	}
	return e
}

// versioned is an endpoint with its version as ETag, for the If-Match of a change.
func versioned(e endpoint.Endpoint, err error) (answer, error) {
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK, body: e, version: e.Version}, nil
}

func (s *server) updateEndpoint(r *request) (answer, error) {
	ref, err := r.ref()
	if err != nil {
		return answer{}, err
	}
	body, err := decode[endpointFields](r)
	if err != nil {
		return answer{}, err
	}
	if err := body.check(); err != nil {
		return answer{}, err
	}
	if body.URL == nil && body.Description == nil && body.Events == nil && len(value(body.Headers)) == 0 && !body.RateLimit.given {
		return answer{}, unprocessable(field{Field: "", Code: "required", Message: "give what is to be changed: url, description, events, headers or rate_limit"})
	}
	set, removed := body.headers()
	return versioned(s.endpoints.Update(r.Context(), endpoint.Update{
		Ref: ref, URL: body.URL, Description: body.Description, EventTypes: value(body.Events),
		Headers: set, RemoveHeaders: removed, RateLimit: body.RateLimit.value, RemoveRateLimit: body.RateLimit.given,
	}))
}

// ifMatch is the version that a change is meant for; 0: whatever it is.
func (r *request) ifMatch() (int, error) {
	text := r.Header.Get("If-Match")
	if text == "" || text == "*" || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return 0, nil
	}
	number, quoted := strings.CutPrefix(text, `"`)
	number, closed := strings.CutSuffix(number, `"`)
	version, err := strconv.ParseInt(number, 10, 32)
	if err != nil || version < 1 || !quoted || !closed {
		return 0, refusal(http.StatusBadRequest, "invalid_if_match",
			`give the ETag of the endpoint as If-Match, such as "3", or leave it out`)
	}
	return int(version), nil
}

func (s *server) deleteEndpoint(r *request) (answer, error) {
	ref, err := r.ref()
	if err != nil {
		return answer{}, err
	}
	if err := s.endpoints.Delete(r.Context(), ref); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, nil
}
