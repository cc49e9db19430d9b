package outbox

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// shapeOf is the struct that describes a type of the catalogue, nil for any other type.
func shapeOf(t Type) reflect.Type {
	switch t {
	case ConversationStartedType:
		return reflect.TypeFor[ConversationStarted]()
	case ConversationCompletedType:
		return reflect.TypeFor[ConversationCompleted]()
	case QuestionResponseUpsertedType:
		return reflect.TypeFor[QuestionResponseUpserted]()
	case TestWebhookType:
		return reflect.TypeFor[TestWebhook]()
	default:
		return nil
	}
}

// checkShape holds raw data to what customers are promised: the members of the type's own payload, each of its kind.
// Further members are the caller's. Whatever the type, a survey of another company is refused: it is the tenant.
func (e Event) checkShape(f *faults, data json.RawMessage) {
	if shape := shapeOf(e.Type); shape != nil {
		checkValue(f, "data", shape, data)
	}
	// Maps, and not structs: encoding/json would take Survey for survey.
	var members map[string]json.RawMessage
	var survey map[string]any
	if json.Unmarshal(data, &members) != nil || json.Unmarshal(members["survey"], &survey) != nil {
		return
	}
	text, _ := survey["company_id"].(string)
	if company, err := uuid.Parse(text); err == nil && company != e.CompanyID {
		f.add("data.survey.company_id", "is another company's", "the event's company_id, "+e.CompanyID.String())
	}
}

// checkValue finds what a JSON value lacks of a payload's type. It stops at as many faults as are told.
func checkValue(f *faults, path string, want reflect.Type, value json.RawMessage) {
	var items []json.RawMessage
	var members map[string]json.RawMessage
	switch {
	case len(f.list) >= maxFaultsTold || want.Kind() == reflect.Interface: // an answer is any value at all
	case isObject(want) && json.Unmarshal(value, &members) == nil && members != nil:
		checkMembers(f, path, want, members)
	case want.Kind() == reflect.Slice && json.Unmarshal(value, &items) == nil && items != nil:
		for i, item := range items {
			checkValue(f, path+"."+strconv.Itoa(i), want.Elem(), item)
		}
	case !isScalar(want, value):
		f.add(path, "is not what it should be", wanted(want))
	}
}

// checkMembers looks for each field of the struct; one that may be absent is marked omitzero.
func checkMembers(f *faults, path string, want reflect.Type, members map[string]json.RawMessage) {
	for field := range want.Fields() {
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		value, given := members[name]
		switch {
		case given:
			checkValue(f, path+"."+name, field.Type, value)
		case options != "omitzero" && len(f.list) < maxFaultsTold:
			f.add(path+"."+name, "is missing", wanted(field.Type))
		}
	}
}

// The kinds that have a spelling of their own in JSON.
func isID(t reflect.Type) bool     { return t == reflect.TypeFor[uuid.UUID]() }
func isMoment(t reflect.Type) bool { return t == reflect.TypeFor[time.Time]() }
func isObject(t reflect.Type) bool { return t.Kind() == reflect.Struct && !isMoment(t) }

// isScalar reports whether the value is one of the type, which is no object and no list.
func isScalar(want reflect.Type, value json.RawMessage) bool {
	if want.Kind() == reflect.Bool {
		return string(value) == "true" || string(value) == "false"
	}
	var text *string // nil for null
	if json.Unmarshal(value, &text) != nil || text == nil {
		return false
	}
	switch {
	case isID(want):
		return len(*text) == len(uuid.Nil.String()) && uuid.Validate(*text) == nil
	case isMoment(want):
		return new(time.Time).UnmarshalText([]byte(*text)) == nil
	default:
		return want.Kind() == reflect.String
	}
}

// wanted says in words what a member has to be.
func wanted(t reflect.Type) string {
	switch {
	case isID(t):
		return "a UUID"
	case isMoment(t):
		return "a time such as 2024-03-06T12:00:00Z"
	case t.Kind() == reflect.Interface:
		return "any JSON value"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Slice:
		return "a list"
	case t.Kind() == reflect.Struct:
		return "an object"
	default:
		return `a text, "" when it is not known`
	}
}
