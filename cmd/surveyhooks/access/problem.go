package access

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// problem is an RFC 9457 answer with a code that programs may compare.
type problem struct {
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Code      string `json:"code"`
	Detail    string `json:"detail"`
	RequestID string `json:"request_id"`

	retryAfter int // seconds; 0: nothing is said
}

// hint says when to try again.
func (p problem) hint(w http.ResponseWriter) {
	if p.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
}

func (p problem) write(w http.ResponseWriter) {
	p.hint(w)
	p.Title, p.RequestID = http.StatusText(p.Status), w.Header().Get("X-Request-ID")
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) //nolint:errchkjson // it fails when the client is gone
}
