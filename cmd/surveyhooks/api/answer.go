package api

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// answer is what a request came to.
type answer struct {
	status   int
	body     any // encoded as JSON; nil: none
	location string
	version  int  // of an endpoint, sent as ETag; 0: none
	kept     any  // instead of body for a replay of the request, when body holds a secret
	replayed bool // it was given before
	// stream writes everything itself.
	stream func(w http.ResponseWriter, r *request)
}

func ok(body any) (answer, error) { return answer{status: http.StatusOK, body: body}, nil }

// list is a page as JSON; next is null at the end.
type list[T any] struct {
	Items []T     `json:"items"`
	Next  *string `json:"next"`
}

func page[T any](items []T, next string) (answer, error) {
	if items == nil {
		items = []T{}
	}
	l := list[T]{Items: items}
	if next != "" {
		l.Next = &next
	}
	return ok(l)
}

// write is the one door for answers.
func (a answer) write(w http.ResponseWriter, r *request) {
	if a.stream != nil {
		a.stream(w, r)
		return
	}
	header := w.Header()
	if a.location != "" {
		header.Set("Location", a.location)
	}
	if a.version > 0 {
		header.Set("ETag", strconv.Quote(strconv.Itoa(a.version)))
	}
	if a.replayed {
		header.Set("Idempotency-Replayed", "true")
	}
	if a.body != nil {
		header.Set("Content-Type", "application/json")
	}
	w.WriteHeader(a.status)
	if a.body != nil {
		encoder := json.NewEncoder(w)
		encoder.SetEscapeHTML(false)
		_ = encoder.Encode(a.body) //nolint:errchkjson // a client that has gone needs no answer
	}
}
