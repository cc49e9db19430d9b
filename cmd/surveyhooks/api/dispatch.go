package api

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
)

// request is what a handler gets: the caller was let in, and the company of the path is one that it reaches.
type request struct {
	*http.Request

	id      string // of this request, for the log and the answer
	caller  access.Caller
	company uuid.UUID
	body    []byte
	claim   uuid.UUID // of its Idempotency-Key; zero without one
}

// mux gives each path its methods. The methods are not in the patterns: a wrong one is answered as a problem.
func (s *server) mux(table []route) http.Handler {
	paths := map[string]map[string]route{}
	for _, rt := range table {
		if paths[rt.pattern] == nil {
			paths[rt.pattern] = map[string]route{}
		}
		paths[rt.pattern][rt.method] = rt
	}
	mux := http.NewServeMux()
	for pattern, methods := range paths {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, methods) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, nil) })
	return mux
}

// serve is the one way in and out: who may, what was asked, do it, answer.
func (s *server) serve(w http.ResponseWriter, r *http.Request, methods map[string]route) {
	header := w.Header()
	req := &request{Request: r, id: cmp.Or(header.Get("X-Request-ID"), uuid.NewString())} // the server's own, where it gives one
	header.Set("X-Request-ID", req.id)
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
	rt, err := choose(methods, r.Method)
	if err == nil {
		err = req.admit(rt)
	}
	if err != nil {
		s.refuse(w, req, err)
		return
	}
	if !rt.streams {
		ctx, cancel := context.WithTimeout(r.Context(), answerWithin)
		defer cancel()
		req.Request = r.WithContext(ctx)
	}
	done, err := s.do(w, req, rt)
	if err != nil {
		s.refuse(w, req, err)
		return
	}
	done.write(w, req)
}

func (s *server) do(w http.ResponseWriter, req *request, rt route) (answer, error) {
	if rt.method == http.MethodPost || rt.method == http.MethodPatch {
		if err := req.readBody(w, rt.bodyLimit); err != nil {
			return answer{}, err
		}
	}
	end, err := access.Turn(req.Context())
	if err != nil {
		return answer{}, err
	}
	defer end()
	if rt.method == http.MethodPost && len(req.Header.Values("Idempotency-Key")) > 0 {
		return s.once(req, rt)
	}
	return rt.handle(s, req)
}

func choose(methods map[string]route, method string) (route, error) {
	if len(methods) == 0 {
		return route{}, notFound()
	}
	if method == http.MethodHead {
		method = http.MethodGet // net/http leaves the body away
	}
	rt, ok := methods[method]
	if ok {
		return rt, nil
	}
	allowed := slices.Sorted(maps.Keys(methods))
	if _, ok := methods[http.MethodGet]; ok {
		allowed = append(allowed, http.MethodHead)
	}
	p := refusal(http.StatusMethodNotAllowed, "method_not_allowed", "this path takes "+strings.Join(allowed, ", "))
	p.allow = strings.Join(allowed, ", ")
	return route{}, p
}

// admit lets the caller in, or not, before anything else of the request is looked at.
func (r *request) admit(rt route) error {
	if rt.may != anybody {
		caller, ok := access.From(r.Context())
		if !ok {
			return refusal(http.StatusUnauthorized, "unauthorized", "give an API key, as in Authorization: Bearer whk_…")
		}
		r.caller = caller
	}
	if rt.may == reads || rt.may == changes {
		id, ok := pathUUID(r.Request, "company_id")
		if !ok || !r.caller.Reaches(id) {
			return notFound()
		}
		r.company = id
	}
	if rt.may == changes && !r.caller.MayChange() {
		return refusal(http.StatusForbidden, "read_only", "this key may read only: use one of an owner")
	}
	if rt.may == operates && (r.caller.Role != access.Operator || r.caller.CompanyID != uuid.Nil) {
		return refusal(http.StatusForbidden, "operators_only", "this is for operators: use the key of one")
	}
	return r.checkQuery(rt.query)
}

// checkQuery refuses parameters that the route does not take: a filter with a typing error would show everything.
func (r *request) checkQuery(takes []string) error {
	var faults []field
	for name, values := range r.URL.Query() {
		switch {
		case !slices.Contains(takes, name):
			want := "this path takes no parameters"
			if len(takes) > 0 {
				want = "this path takes " + strings.Join(takes, ", ")
			}
			faults = append(faults, field{Field: clip(name), Code: "unknown_parameter", Message: want})
		case len(values) > 1:
			faults = append(faults, field{Field: name, Code: "repeated_parameter", Message: "give it once"})
		case !utf8.ValidString(values[0]) || strings.ContainsRune(values[0], 0):
			faults = append(faults, field{Field: name, Code: "invalid_text", Message: "use UTF-8 without NUL"})
		}
	}
	return badParameters(faults)
}

// pathUUID takes the canonical form alone, which is the one that answers show.
func pathUUID(r *http.Request, name string) (uuid.UUID, bool) { return parseUUID(r.PathValue(name)) }

func parseUUID(text string) (uuid.UUID, bool) {
	id, err := uuid.Parse(text)
	return id, err == nil && len(text) == 36 && id != uuid.Nil
}

// clip keeps an answer short that names what the caller sent.
func clip(text string) string {
	const most = 64
	text = strings.ToValidUTF8(text, "�")
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
