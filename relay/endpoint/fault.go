package endpoint

import (
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// NotFoundError says that the scope holds no such endpoint: it never existed, was deleted, or is another company's,
// which a caller cannot tell apart.
type NotFoundError struct{ ID uuid.UUID }

// Error names the id.
func (e *NotFoundError) Error() string { return fmt.Sprintf("endpoint %s is not known", e.ID) }

// ConflictError says that the endpoint was changed since the caller read it: read it again, then decide.
type ConflictError struct {
	ID               uuid.UUID
	Expected, Actual int // versions
}

// Error names both versions.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("endpoint %s is at version %d, not %d: read it again", e.ID, e.Actual, e.Expected)
}

// FieldError is one thing that is wrong with one field.
type FieldError struct {
	Field   string `json:"field"`   // as in the JSON of Endpoint; actor and note, too
	Code    string `json:"code"`    // stable: required, too_long, out_of_range, invalid_text, unknown_event, all_with_others, url_taken, too_many_endpoints, unknown_header, or one of package header or egress.URLError
	Message string `json:"message"` // what would be right, for the person who wrote it
}

// Error is the field and the message.
func (e FieldError) Error() string { return e.Field + ": " + e.Message }

// InvalidError names everything that is wrong with a request at once.
type InvalidError struct{ Fields []FieldError }

// Error joins the faults.
func (e *InvalidError) Error() string {
	words := make([]string, len(e.Fields))
	for i, f := range e.Fields {
		words[i] = f.Error()
	}
	return "endpoint is invalid: " + strings.Join(words, "; ")
}

// Unwrap gives each fault to errors.As.
func (e *InvalidError) Unwrap() []error {
	errs := make([]error, len(e.Fields))
	for i, f := range e.Fields {
		errs[i] = f
	}
	return errs
}
