package access

import (
	"net/http"

	"github.com/google/uuid"
)

// Hardened sets the headers that every answer has, unless its handler sets another value, and names the request. tls says
// that browsers reach us over HTTPS, and must from then on.
func Hardened(tls bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Request-ID", uuid.NewString())
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "+
			"form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'")
		h.Set("Referrer-Policy", "no-referrer") // the address of a portal link holds its token
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if tls {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

// sameOrigin refuses what another site makes a browser send. http.CrossOriginProtection lets requests pass that say
// nothing about where they come from; every browser that keeps our cookie does say it, so those are refused, too.
func sameOrigin(next http.Handler) http.Handler {
	var protection http.CrossOriginProtection
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		safe := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
		silent := r.Header.Get("Origin") == "" && r.Header.Get("Sec-Fetch-Site") == ""
		if err := protection.Check(r); err != nil || !safe && silent {
			problem{Status: http.StatusForbidden, Code: "cross_origin", Detail: "The request did not come from one of our own pages. Open the page again, and send it from there."}.write(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}
