package header

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// Mask stands for every value that is shown.
const Mask = "***"

// Header is a header that a customer wants to be sent with every request.
type Header struct {
	Name  string // as it is sent; names that differ by case alone are one name
	Value Value
}

// New makes a header, unchecked.
func New(name, value string) Header {
	return Header{Name: name, Value: Value{&hidden{&value}}}
}

// Parse reads "Name: value", as curl takes it, unchecked but for the colon. The error does not quote the line.
func Parse(line string) (Header, error) {
	name, value, ok := strings.Cut(line, ":")
	if !ok {
		return Header{}, &Error{CodeName, "it has no colon: write a header as Name: value"}
	}
	return New(name, strings.Trim(value, " \t")), nil
}

// Value is a header's value. It does not print: fmt, slog and encoding/json all give "***". The zero value is empty.
type Value struct {
	// Two pointers deep, because fmt calls no methods on unexported fields and follows one pointer for some verbs.
	in *hidden
}

type hidden struct{ text *string }

// Reveal gives the value itself, to the encrypting store and to the request; nowhere else.
func (v Value) Reveal() string {
	if v.in == nil {
		return ""
	}
	return *v.in.text
}

// String gives "***".
func (v Value) String() string { return Mask }

// GoString gives "***".
func (v Value) GoString() string { return Mask }

// Format writes "***" for every verb.
func (v Value) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Mask) }

// LogValue gives "***".
func (v Value) LogValue() slog.Value { return slog.StringValue(Mask) }

// MarshalText gives "***", for encoding/json and every other encoder.
func (v Value) MarshalText() ([]byte, error) { return []byte(Mask), nil }

var (
	_ fmt.Formatter  = Value{}
	_ fmt.GoStringer = Value{}
	_ fmt.Stringer   = Value{}
	_ slog.LogValuer = Value{}
)
