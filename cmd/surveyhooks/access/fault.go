package access

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/relay/endpoint"
)

// ErrForbidden says that the caller may not do this, whatever it names.
var ErrForbidden = errors.New("the caller's role does not allow this")

// ErrRefused says that a token opens nothing. It is the same for one that never existed, was used, has expired or was
// revoked: a caller learns nothing about what exists.
var ErrRefused = errors.New("the token opens nothing")

// NotFoundError says that the caller reaches no such key or session, or that it has ended already.
type NotFoundError struct {
	What string // "API key" or "session"
	ID   uuid.UUID
}

// Error names the id.
func (e *NotFoundError) Error() string { return fmt.Sprintf("there is no live %s %s", e.What, e.ID) }

// InvalidError names everything that is wrong with a request at once.
type InvalidError struct{ Fields []endpoint.FieldError }

// Error joins the faults.
func (e *InvalidError) Error() string {
	words := make([]string, len(e.Fields))
	for i, f := range e.Fields {
		words[i] = f.Error()
	}
	return strings.Join(words, "; ")
}

type faults []endpoint.FieldError

func (f *faults) add(field, code, message string) {
	*f = append(*f, endpoint.FieldError{Field: field, Code: code, Message: message})
}

func (f *faults) err() error {
	if len(*f) == 0 {
		return nil
	}
	return &InvalidError{Fields: *f}
}

// line accepts a name as a person would write it, on one line.
func (f *faults) line(field, text string) {
	const longest = 100
	switch {
	case strings.TrimSpace(text) == "":
		f.add(field, "required", "give a name that people recognise")
	case !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl):
		f.add(field, "invalid_text", "use plain text on one line")
	case utf8.RuneCountInString(text) > longest:
		f.add(field, "too_long", fmt.Sprintf("use at most %d characters", longest))
	}
}
