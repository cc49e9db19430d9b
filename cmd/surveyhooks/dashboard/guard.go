package dashboard

import (
	"net/http"
	"net/http/httptest"
)

// contentSecurityPolicy lets a page load from this binary alone, and run nothing that stands in the page itself.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'"

// guarded says with every page what it may load, and who may look into it.
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", contentSecurityPolicy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "same-origin")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

func (s *site) route(w http.ResponseWriter, r *http.Request) {
	if _, pattern := s.mux.Handler(r); pattern == "" {
		s.serve(s.unrouted).ServeHTTP(w, r)
		return
	}
	s.mux.ServeHTTP(w, r)
}

// unrouted tells an address that is nobody's from a method that an address does not take: only ServeMux knows.
func (s *site) unrouted(q *request) error {
	probe := httptest.NewRecorder()
	s.mux.ServeHTTP(probe, q.r)
	if location := probe.Header().Get("Location"); location != "" { // a path with // or .. in it, made clean
		return q.redirect(location)
	}
	if probe.Code != http.StatusMethodNotAllowed {
		return notFound()
	}
	q.w.Header().Set("Allow", probe.Header().Get("Allow"))
	return &problem{
		http.StatusMethodNotAllowed, "Not like that",
		"This address only takes the form of its page. Go back and use the button there.",
	}
}
