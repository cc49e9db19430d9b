package dashboard

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/outbox/catalog"
	"github.com/chattosurvey/surveyhooks/outbox/wire"
	"github.com/chattosurvey/surveyhooks/projections"
)

// typePage is the catalogue of event types.
type typePage struct {
	Types     []typeView
	Endpoints []choice
}

type typeView struct {
	Name, Words, Example, Schema string
	Fields                       []fieldView
	Changes                      []catalog.Change
}

// fieldView is one member of an event's body, as the schema describes it.
type fieldView struct {
	Path, Kind, Words string
	Optional          bool
	Depth             int
}

func (q *request) listEventTypes() error {
	var p typePage
	for _, e := range catalog.Entries() {
		fields, err := fieldsOf(e.Schema)
		if err != nil {
			return fmt.Errorf("read schema of %s: %w", e.Type, err)
		}
		p.Types = append(p.Types, typeView{
			Name: string(e.Type), Words: e.Description, Example: prettyJSON(e.Example), Schema: prettyJSON(e.Schema), Fields: fields, Changes: e.Changes,
		})
	}
	found, err := q.History.Overview(q.r.Context(), projections.Filter{CompanyID: q.caller.CompanyID, Limit: 100})
	if err != nil {
		return err
	}
	for _, e := range found.Items {
		words := wire.MaskQuery(e.URL)
		if q.caller.CompanyID == uuid.Nil {
			words += " (company " + shortID(e.CompanyID) + ")"
		}
		p.Endpoints = append(p.Endpoints, choice{Name: e.EndpointID.String(), Words: words})
	}
	return q.render("event_types", view{Title: "Event types", Section: "types", Data: p})
}

// sendExample sends an example of a type to the endpoint that the form names.
func (q *request) sendExample() error {
	id, err := uuid.Parse(q.r.PostForm.Get("endpoint"))
	if err != nil {
		return ErrNotFound
	}
	return q.sendTest(Ref{Caller: q.caller, ID: id}, q.r.PostForm.Get("type"))
}

// shape is what the page reads of a JSON Schema.
type shape struct {
	Type        any             `json:"type"`
	Const       string          `json:"const"`
	Format      string          `json:"format"`
	Description string          `json:"description"`
	Required    []string        `json:"required"`
	Properties  json.RawMessage `json:"properties"`
	Items       *shape          `json:"items"`
	Ref         string          `json:"$ref"`
	Defs        json.RawMessage `json:"$defs"`
}

// fieldsOf lists the members that a schema describes, in its order.
func fieldsOf(schema []byte) ([]fieldView, error) {
	var root shape
	if err := json.Unmarshal(schema, &root); err != nil {
		return nil, err
	}
	defs := map[string]shape{}
	if root.Defs != nil {
		if err := json.Unmarshal(root.Defs, &defs); err != nil {
			return nil, err
		}
	}
	return walk(root, defs, "")
}

func walk(s shape, defs map[string]shape, prefix string) ([]fieldView, error) {
	names, err := keysInOrder(s.Properties)
	if err != nil {
		return nil, err
	}
	var members map[string]shape
	if s.Properties != nil {
		if err := json.Unmarshal(s.Properties, &members); err != nil {
			return nil, err
		}
	}
	var fields []fieldView
	for _, name := range names {
		m := resolve(members[name], defs)
		f := fieldView{
			Path: prefix + name, Kind: kindOf(m), Words: m.Description, Optional: !slices.Contains(s.Required, name),
			Depth: min(strings.Count(prefix, "."), 4),
		}
		fields = append(fields, f)
		deeper, under := m, prefix+name+"."
		if m.Items != nil {
			deeper, under = resolve(*m.Items, defs), prefix+name+"[]."
		}
		inner, err := walk(deeper, defs, under)
		if err != nil {
			return nil, err
		}
		fields = append(fields, inner...)
	}
	return fields, nil
}

// resolve follows a reference into the schema's own definitions; what stands beside it wins.
func resolve(s shape, defs map[string]shape) shape {
	target, ok := defs[strings.TrimPrefix(s.Ref, "#/$defs/")]
	if !ok {
		return s
	}
	if s.Description != "" {
		target.Description = s.Description
	}
	return target
}

func kindOf(s shape) string {
	switch kind := s.Type.(type) {
	case string:
		if s.Format != "" {
			return s.Format
		}
		if s.Items != nil {
			return "array"
		}
		return kind
	case []any:
		var kinds []string
		for _, k := range kind {
			kinds = append(kinds, fmt.Sprint(k))
		}
		return strings.Join(kinds, " or ")
	}
	if s.Const != "" {
		return `"` + s.Const + `"`
	}
	return "any"
}

// keysInOrder are an object's names as they were written: a map would shuffle them.
func keysInOrder(object json.RawMessage) ([]string, error) {
	if object == nil {
		return nil, nil
	}
	decoder := json.NewDecoder(strings.NewReader(string(object)))
	if _, err := decoder.Token(); err != nil {
		return nil, err
	}
	var names []string
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		names = append(names, fmt.Sprint(name))
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, err
		}
	}
	return names, nil
}
