package api

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds objects and lists in each other. An event of ours has four of them.
const maxDepth = 64

// readBody reads the whole body, within its limit.
func (r *request) readBody(w http.ResponseWriter, limit int64) error {
	limit = cmp.Or(limit, maxBody)
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return refusal(http.StatusRequestEntityTooLarge, "body_too_large", fmt.Sprintf("send at most %d bytes", limit))
	}
	if err != nil {
		return refusal(http.StatusBadRequest, "body_incomplete", "the body broke off: send it again")
	}
	r.body = body
	if len(body) == 0 {
		return nil
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" || !strings.EqualFold(cmp.Or(params["charset"], "utf-8"), "utf-8") ||
		r.Header.Get("Content-Encoding") != "" {
		return refusal(http.StatusUnsupportedMediaType, "unsupported_media_type",
			"send Content-Type: application/json, in UTF-8 and not compressed")
	}
	return nil
}

// nullable is a member that may be null, which says something else than to leave it out.
type nullable[T any] struct {
	given bool
	value *T // nil: null, or not given
}

// UnmarshalJSON is called for null, too.
func (n *nullable[T]) UnmarshalJSON(text []byte) error {
	n.given = true
	return json.Unmarshal(text, &n.value)
}

func (nullable[T]) mayBeNull() {}

// decode is the one door for bodies: exactly one JSON object in UTF-8, of known members, each once, and null only where
// that is a value.
func decode[T any](r *request) (T, error) {
	var value T
	if len(r.body) == 0 {
		return value, badJSON("the body is empty: want a JSON object")
	}
	return decodeBody[T](r.body)
}

// decodeOptional takes no body for an empty object.
func decodeOptional[T any](r *request) (T, error) {
	var value T
	if len(r.body) == 0 {
		return value, nil
	}
	return decodeBody[T](r.body)
}

func badJSON(detail string) *problem {
	return refusal(http.StatusBadRequest, "invalid_json", detail)
}

func decodeBody[T any](body []byte) (T, error) {
	var value T
	if !utf8.Valid(body) {
		return value, badJSON("the body is not valid UTF-8")
	}
	names, null := members(reflect.TypeFor[T]())
	if err := scan(body, names, null); err != nil {
		return value, err
	}
	err := json.Unmarshal(body, &value)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return value, unprocessable(field{
			Field: wrong.Field, Code: "wrong_type", Message: fmt.Sprintf("is a JSON %s: want %s", clip(wrong.Value), kindOf(wrong.Type)),
		})
	}
	if err != nil {
		return value, badJSON("the body cannot be read: " + err.Error())
	}
	return value, nil
}

// members are the JSON names of a struct, and which of them may be null.
func members(t reflect.Type) (names []string, null map[string]bool) {
	null = map[string]bool{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
		null[name] = t.Field(i).Type.Implements(reflect.TypeFor[interface{ mayBeNull() }]())
	}
	return names, null
}

func kindOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "a list"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	default:
		return "an object"
	}
}

// scan reads the body token by token and refuses what encoding/json would let pass: unknown members (it takes URL for
// url), members given twice, null where it is no value, deep nesting, and something after the end.
func scan(body []byte, names []string, null map[string]bool) error {
	s := scanner{decoder: json.NewDecoder(bytes.NewReader(body)), names: names, null: null}
	s.decoder.UseNumber() // 1e999 is a number of the sender's, and none of ours
	first, err := s.decoder.Token()
	if err != nil {
		return badJSON("the body is no JSON: " + err.Error())
	}
	if first != json.Delim('{') {
		return badJSON("the body is JSON but no object: want a JSON object")
	}
	if err := s.object(1); err != nil {
		return err
	}
	if _, err := s.decoder.Token(); !errors.Is(err, io.EOF) {
		return badJSON("there is something after the end of the JSON object: send one object")
	}
	return nil
}

type scanner struct {
	decoder *json.Decoder
	names   []string
	null    map[string]bool // those of them that may be null
}

// object reads to the end of an object whose brace has been read.
func (s *scanner) object(depth int) error {
	seen := map[string]bool{}
	for {
		token, err := s.decoder.Token()
		if err != nil {
			return badJSON("the body is no JSON: " + err.Error())
		}
		if token == json.Delim('}') {
			return nil
		}
		name, _ := token.(string) // the decoder takes nothing else here
		switch {
		case seen[name]:
			return badJSON(fmt.Sprintf("the member %q is given twice: give it once", clip(name)))
		case depth == 1 && !slices.Contains(s.names, name):
			return refusal(http.StatusBadRequest, "unknown_field",
				fmt.Sprintf("the member %q is not known: want some of %s", clip(name), strings.Join(s.names, ", ")))
		}
		seen[name] = true
		value, err := s.decoder.Token()
		if err != nil {
			return badJSON("the body is no JSON: " + err.Error())
		}
		if depth == 1 && value == nil && !s.null[name] {
			return badJSON(fmt.Sprintf("the member %q is null: leave it out, or give it a value", name))
		}
		if err := s.value(value, depth); err != nil {
			return err
		}
	}
}

// value reads the rest of a value whose first token has been read.
func (s *scanner) value(first json.Token, depth int) error {
	delim, opens := first.(json.Delim)
	if !opens {
		return nil
	}
	if depth == maxDepth {
		return badJSON(fmt.Sprintf("objects and lists are nested deeper than %d: make it flatter", maxDepth))
	}
	if delim == '{' {
		return s.object(depth + 1)
	}
	for {
		token, err := s.decoder.Token()
		if err != nil {
			return badJSON("the body is no JSON: " + err.Error())
		}
		if token == json.Delim(']') {
			return nil
		}
		if err := s.value(token, depth+1); err != nil {
			return err
		}
	}
}
