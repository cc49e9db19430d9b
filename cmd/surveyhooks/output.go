package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/google/uuid"
	"github.com/spf13/pflag"
)

// table is what a person reads: a head and rows, aligned. next is another one that follows after an empty line.
type table struct {
	head []string
	rows [][]string
	next *table
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// print writes data as the output flag asks: the value as JSON, each element of a list as a line of JSON, or the table.
// Where nobody asked and no terminal shows it, the table is its rows alone, for cut and awk.
func (a *app) print(value any, t *table) error {
	switch a.output {
	case "jsonl":
		return a.printLines(value)
	case "json":
		encoder := json.NewEncoder(a.stdout)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(value); err != nil {
			return fmt.Errorf("write JSON: %w", err)
		}
		return nil
	}
	if err := t.write(a.stdout, a.bare); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}

// write aligns head and rows; bare, it separates the cells of the rows by tabs and leaves the head out.
func (t *table) write(out io.Writer, bare bool) error {
	var text bytes.Buffer
	if len(t.head) > 0 && !bare {
		fmt.Fprintln(&text, strings.Join(t.head, "\t"))
	}
	for _, row := range t.rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = oneLine(cell)
		}
		fmt.Fprintln(&text, strings.Join(cells, "\t"))
	}
	if t.next != nil {
		fmt.Fprintln(&text)
	}
	aligned := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	to := io.Writer(aligned)
	if bare {
		to = out
	}
	_, err := to.Write(text.Bytes())
	if err = errors.Join(err, aligned.Flush()); err != nil || t.next == nil {
		return err
	}
	return t.next.write(out, bare)
}

// printLine writes one row of a table that grows while it is looked at, so that its columns have the widths that are
// given, or that of their cell.
func (a *app) printLine(widths []int, cells ...string) error {
	var line strings.Builder
	for i, cell := range cells {
		cell = oneLine(cell)
		switch {
		case i == len(cells)-1:
			line.WriteString(cell)
		case a.bare:
			line.WriteString(cell + "\t")
		case i < len(widths):
			fmt.Fprintf(&line, "%-*s  ", widths[i], cell)
		default:
			line.WriteString(cell + "  ")
		}
	}
	if _, err := fmt.Fprintln(a.stdout, line.String()); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}

// printLines writes a list's elements, or a single value, one to a line.
func (a *app) printLines(value any) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	lines := []json.RawMessage{bytes.TrimSpace(text.Bytes())}
	if lines[0][0] == '[' {
		if err := json.Unmarshal(text.Bytes(), &lines); err != nil {
			return fmt.Errorf("write JSON: %w", err) // never: it was encoded above
		}
	}
	for _, line := range lines {
		if _, err := fmt.Fprintf(a.stdout, "%s\n", line); err != nil {
			return fmt.Errorf("write JSON: %w", err)
		}
	}
	return nil
}

// oneLine keeps a receiver's or a customer's text from breaking the table, steering the terminal, or turning the
// direction of what follows.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

// at is a time as tables show it: UTC, or a dash for none.
func at(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

func atOrNone(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return at(*t)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func listOrAll(types []string) string {
	if len(types) == 0 {
		return "all"
	}
	return strings.Join(types, ",")
}

func number[N int | int64 | int16](n N) string { return strconv.FormatInt(int64(n), 10) }

// uuidFlag is a flag that holds a UUID; the zero UUID means that it was not given.
type uuidFlag struct{ id *uuid.UUID }

var _ pflag.Value = uuidFlag{}

// String returns the id, or nothing.
func (f uuidFlag) String() string {
	if f.id == nil || *f.id == uuid.Nil {
		return ""
	}
	return f.id.String()
}

// Set parses the canonical form.
func (f uuidFlag) Set(text string) error {
	id, err := parseUUID(text)
	*f.id = id
	return err
}

// Type is shown in --help.
func (uuidFlag) Type() string { return "UUID" }

// parseUUID takes the canonical form alone: uuid.Parse would take braces and URNs, which no JSON of ours shows.
func parseUUID(text string) (uuid.UUID, error) {
	id, err := uuid.Parse(text)
	if err != nil || len(text) != 36 || id == uuid.Nil {
		return uuid.Nil, fmt.Errorf("%q is no id: want a UUID such as 01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20", text)
	}
	return id, nil
}

// uuidArgument parses a positional id.
func uuidArgument(what, text string) (uuid.UUID, error) {
	id, err := parseUUID(text)
	if err != nil {
		return id, usage("%s: %w", what, err)
	}
	return id, nil
}

// deliveryArgument parses a positional delivery id.
func deliveryArgument(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, usage("delivery: %q is no id: want a number from surveyhooks deliveries list", text)
	}
	return id, nil
}
