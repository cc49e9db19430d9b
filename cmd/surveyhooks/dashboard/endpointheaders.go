package dashboard

import (
	"slices"
	"strconv"
	"strings"

	"github.com/chattosurvey/surveyhooks/relay/header"
)

// emptyRows are how many headers can be typed at once into a form that nothing was typed into.
const emptyRows = 3

// setHeader is a custom header that the endpoint has. Nobody is shown its value.
type setHeader struct {
	Name   string
	Remove bool
}

// headerRow is a line of the form for a header to set. It has no value: what was typed goes to the store alone, and
// not back to the browser either.
type headerRow struct {
	ID      string
	Name    string
	OfValue bool // what is wrong is the value, not the name

	nameless bool
	faults   []*header.Error
}

// rows are those that were typed, and empty ones.
func (f *endpointForm) rows(names []string) {
	f.Rows = nil
	for i := range max(emptyRows, len(names)) {
		row := headerRow{ID: "header-" + strconv.Itoa(i+1)}
		if i < len(names) {
			row.Name = names[i]
		}
		f.Rows = append(f.Rows, row)
	}
}

// typedHeaders takes the headers to set and the names of those to remove from a form as it was sent.
func (f *endpointForm) typedHeaders(form map[string][]string) (set []header.Header, removed []string) {
	removed = form["remove_header"]
	for i := range f.Set {
		f.Set[i].Remove = slices.Contains(removed, f.Set[i].Name)
	}
	given, values := form["header_name"], form["header_value"]
	var names []string
	for i := range max(len(given), len(values)) {
		name, value := trimmed(given, i), trimmed(values, i)
		if name != "" || value != "" {
			names, set = append(names, name), append(set, header.New(name, value))
		}
	}
	f.rows(names)
	f.judge(set)
	return set, removed
}

// trimmed is a text without the blanks around it that a copy brings along; of a field that was not sent, none.
func trimmed(texts []string, i int) string {
	if i >= len(texts) {
		return ""
	}
	return strings.Trim(texts[i], " \t")
}

// judge finds the row of each fault that the store will name.
func (f *endpointForm) judge(set []header.Header) {
	first := map[string]header.Header{}
	for i, h := range set {
		var above []header.Header
		if same, ok := first[strings.ToLower(h.Name)]; ok {
			above = append(above, same)
		} else {
			first[strings.ToLower(h.Name)] = h
		}
		row := &f.Rows[i]
		row.nameless = h.Name == ""
		row.faults = header.Check(append(above, h)...)[len(header.Check(above...)):]
		for _, fault := range row.faults {
			row.OfValue = fault.Code == header.CodeValue
			if fault.Code == header.CodeName {
				row.Name = "" // a whole line may stand in it, with its value
			}
		}
	}
}

// placed reports whether a fault stands beside a row already.
func (f *endpointForm) placed(message string) bool {
	return slices.ContainsFunc(f.Rows, func(row headerRow) bool {
		return slices.ContainsFunc(row.faults, func(e *header.Error) bool { return e.Message == message })
	})
}

// tellRows puts the faults of rows beside them.
func (f *endpointForm) tellRows() {
	for _, row := range f.Rows {
		for _, fault := range row.faults {
			message := fault.Message
			if row.nameless {
				message = "give this header a name, as in X-Api-Key, and its value again"
			}
			f.fault(row.ID, message)
		}
	}
}
