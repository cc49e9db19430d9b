package outbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// MaxDataBytes is the largest data of one event, 256 KiB.
const MaxDataBytes = 256 << 10

// maxTypeBytes is the longest Type.
const maxTypeBytes = 64

// maxFaultsTold is how many faults the text of an InvalidError tells; the field holds all.
const maxFaultsTold = 20

// FieldError is one fault of one event: what is wrong, and what would be right. It never quotes data.
type FieldError struct {
	Index int    // of the event in the call of Publish, from 0
	Field string // such as company_id or data.survey.company_id
	Is    string // what is wrong, such as "is not set"
	Want  string // what would be right
	Err   error  // the cause, or nil
}

// Error says "event 3: company_id is not set: want …".
func (e *FieldError) Error() string {
	return fmt.Sprintf("event %d: %s %s: want %s", e.Index, e.Field, e.Is, e.Want)
}

// Unwrap returns the cause.
func (e *FieldError) Unwrap() error { return e.Err }

// InvalidError holds every fault of every event of one call, ordered by event.
type InvalidError struct {
	Faults []*FieldError
}

// Error joins the first twenty faults and counts the rest.
func (e *InvalidError) Error() string {
	told := make([]string, 0, maxFaultsTold+1)
	for i, fault := range e.Faults {
		if i == maxFaultsTold {
			told = append(told, fmt.Sprintf("and %d more", len(e.Faults)-i))
			break
		}
		told = append(told, fault.Error())
	}
	return strings.Join(told, "; ")
}

// Unwrap returns the faults, each a *FieldError.
func (e *InvalidError) Unwrap() []error {
	errs := make([]error, 0, len(e.Faults))
	for _, fault := range e.Faults {
		errs = append(errs, fault)
	}
	return errs
}

// faults collects what is wrong with one event.
type faults struct {
	index int
	list  []*FieldError
}

func (f *faults) add(field, is, want string) {
	f.list = append(f.list, &FieldError{Index: f.index, Field: field, Is: is, Want: want})
}

// Check says whether Publish would take the event: nil, or an *InvalidError with all of its faults. It asks nobody.
func Check(event Event) error {
	_, _, err := marshal([]Event{event}, time.Now())
	return err
}

// check returns the bytes of the filled event's data, and all of its faults.
func (e Event) check(index int) (json.RawMessage, []*FieldError) {
	f := &faults{index: index}
	if !validType(e.Type) {
		f.add("type", "is "+strconv.Quote(cut(string(e.Type))), "1 to 64 of a-z 0-9 _ . such as conversation.started")
	}
	if e.CompanyID == uuid.Nil {
		f.add("company_id", "is not set", "the company that the survey belongs to")
	}
	// PostgreSQL knows no year 0, RFC 3339 none above 9999.
	if year := e.CreatedAt.Year(); year < 1 || year > 9999 {
		f.add("created_at", fmt.Sprintf("is in year %d (UTC)", year), "a year of 1 to 9999")
	}
	if e.EndpointID != nil && *e.EndpointID == uuid.Nil {
		f.add("endpoint_id", "is the zero UUID", "an endpoint's id, or nil for all endpoints")
	}
	return e.checkData(f), f.list
}

func (e Event) checkData(f *faults) json.RawMessage {
	if e.Data == nil {
		f.add("data", "is not set", "a payload such as ConversationStarted, or Raw with a JSON object")
		return nil
	}
	data, err := e.Data.encode()
	if err != nil {
		f.list = append(f.list, &FieldError{Index: f.index, Field: "data", Is: "is no JSON", Want: "values that encoding/json can encode", Err: err})
		return nil
	}
	if len(data) > MaxDataBytes {
		f.add("data", fmt.Sprintf("has %d bytes", len(data)), fmt.Sprintf("at most %d", MaxDataBytes))
		return nil // whatever else is wrong with it is not worth reading megabytes for
	}
	if survey := e.Data.survey(); survey != nil {
		e.checkTyped(f, *survey)
	} else if checkRaw(f, data) {
		e.checkShape(f, data)
	}
	return data
}

// checkTyped checks what a struct cannot: its JSON is right by construction.
func (e Event) checkTyped(f *faults, survey Survey) {
	if own := e.Data.eventType(); e.Type != own {
		f.add("type", "is "+strconv.Quote(cut(string(e.Type)))+" with the payload of "+string(own), string(own)+", or none")
	}
	if survey.ID == uuid.Nil {
		f.add("data.survey.id", "is not set", "the survey's id")
	}
	if survey.CompanyID != e.CompanyID {
		f.add("data.survey.company_id", "is "+survey.CompanyID.String(), "the event's company_id, "+e.CompanyID.String())
	}
}

// checkRaw reports whether the data is a JSON object, whatever else is wrong with it.
func checkRaw(f *faults, data []byte) bool {
	const want = "a JSON object"
	if !utf8.Valid(data) {
		f.add("data", "is not valid UTF-8", want+" in UTF-8")
	}
	// A map and not a struct: encoding/json would take Metadata for metadata in a struct.
	var members map[string]json.RawMessage
	err := json.Unmarshal(data, &members)
	var wrongKind *json.UnmarshalTypeError
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		f.add("data", "is empty", want)
	case errors.As(err, &wrongKind), err == nil && members == nil: // the latter is null
		f.add("data", "is JSON but no object", want)
	case err != nil:
		f.list = append(f.list, &FieldError{Index: f.index, Field: "data", Is: "is not valid JSON", Want: want, Err: err})
	}
	for _, reserved := range []string{"event_type", "metadata"} {
		if _, ok := members[reserved]; ok {
			f.add("data."+reserved, "is given", "no such key: the relay adds it when it sends")
		}
	}
	return members != nil
}

// validType is ^[a-z0-9_.]{1,64}$, the rule of webhooks.publish.
func validType(t Type) bool {
	if len(t) < 1 || len(t) > maxTypeBytes {
		return false
	}
	for i := range len(t) {
		c := t[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

// cut keeps an error readable when the caller confused type and data.
func cut(s string) string {
	const most = 80
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
