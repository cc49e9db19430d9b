package header

import (
	"fmt"
	"slices"
	"strings"
)

// What an endpoint's headers may be in all.
const (
	Max      = 20
	MaxBytes = 4 << 10 // of names and values together
)

const maxName = 100 // bytes; a name is shown in lists

// The codes of an [Error]. They are stable: a page or a program may choose by them.
const (
	CodeName      = "invalid_header_name"
	CodeReserved  = "reserved_header"
	CodeValue     = "invalid_header_value"
	CodeDuplicate = "duplicate_header"
	CodeTooMany   = "too_many_headers"
	CodeTooLarge  = "headers_too_large"
)

// Error is one thing that is wrong with a header, or with all of them. It never quotes a value.
type Error struct {
	Code    string
	Message string // what would be right
}

// Error is the message.
func (e *Error) Error() string { return e.Message }

// Check returns everything that is wrong with headers that are to be set together. Their number and size are judged by
// [CheckTotal], with those that are set already.
func Check(headers ...Header) []*Error {
	var faults []*Error
	seen := make(map[string]bool, len(headers))
	for _, h := range headers {
		if err := checkName(h.Name); err != nil {
			faults = append(faults, err)
			continue
		}
		if key := strings.ToLower(h.Name); seen[key] {
			faults = append(faults, &Error{CodeDuplicate, fmt.Sprintf("header %s is given twice: give it once", h.Name)})
		} else {
			seen[key] = true
		}
		if err := checkValue(h.Name, h.Value.Reveal()); err != nil {
			faults = append(faults, err)
		}
	}
	return faults
}

// CheckTotal judges the number of an endpoint's headers, and the bytes of their names and values.
func CheckTotal(headers, bytes int) []*Error {
	var faults []*Error
	if headers > Max {
		faults = append(faults, &Error{CodeTooMany, fmt.Sprintf("an endpoint has at most %d headers; these are %d", Max, headers)})
	}
	if bytes > MaxBytes {
		faults = append(faults, &Error{CodeTooLarge, fmt.Sprintf("names and values together have at most %d bytes; these have %d", MaxBytes, bytes)})
	}
	return faults
}

func checkName(name string) *Error {
	switch {
	case name == "":
		return &Error{CodeName, "a header has no name: write Name: value"}
	case len(name) > maxName:
		return &Error{CodeName, fmt.Sprintf("a header's name has %d bytes: want at most %d", len(name), maxName)}
	case strings.ContainsFunc(name, notToken):
		at := strings.IndexFunc(name, notToken) // what stands behind it may be a value that lost its colon
		return &Error{CodeName, fmt.Sprintf("a header's name that begins with %q has a character that no name has: use letters, digits and - only, as in X-Api-Key", name[:at])}
	case reserved(name):
		return &Error{CodeReserved, fmt.Sprintf("header %s is set by the relay or by HTTP itself: choose another name, as in X-Api-Key, or Authorization", name)}
	default:
		return nil
	}
}

func checkValue(name, value string) *Error {
	switch {
	case value == "":
		return &Error{CodeValue, fmt.Sprintf("header %s has no value: give one, or leave the header out", name)}
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }):
		return &Error{CodeValue, fmt.Sprintf("the value of header %s has a character that is not printable ASCII (a line break, a tab, an accent): use letters, digits, signs and spaces", name)}
	case strings.Trim(value, " ") != value:
		return &Error{CodeValue, fmt.Sprintf("the value of header %s begins or ends with a space, which would be lost on the way: remove it", name)}
	default:
		return nil
	}
}

// notToken tells of a character outside a field name's, RFC 9110 section 5.6.2.
func notToken(r rune) bool {
	letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
	return !letter && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

// reserved are the names with a meaning that must not be a customer's to choose: they frame the request, are the
// relay's own, speak for somebody else (cookies, proxies), or open the metadata services of clouds.
func reserved(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case "host", "content-length", "transfer-encoding", "connection", "te", "trailer", "upgrade", "expect",
		"content-type", "content-encoding", "user-agent", "cookie", "idempotency-key", "metadata", "metadata-flavor",
		"accept-encoding":
		return true
	}
	return slices.ContainsFunc([]string{"proxy-", "webhook-", "x-webhook-", "x-forwarded-", "x-aws-ec2-metadata-token", "x-aliyun-ecs-metadata-token"},
		func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}
