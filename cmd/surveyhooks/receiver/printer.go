package receiver

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode"
)

// Printer writes one line for each arrival. It is safe for concurrent use.
type Printer struct {
	mu sync.Mutex
	w  io.Writer
}

// NewPrinter returns a printer on w. It writes plain text: a log of it reads as well as a screen.
func NewPrinter(w io.Writer) *Printer { return &Printer{w: w} }

// Print writes the line: time, path, event, id, ✓ or ✗ with the reason, whether it came before, and an
// answer that was slow, missing or no success.
func (p *Printer) Print(a Arrival) {
	verdict := "✓ verified"
	switch {
	case a.Fault != nil:
		verdict = "✗ " + a.Fault.Error()
	case a.Duplicate:
		verdict += ", duplicate"
	}
	switch {
	case a.Status == 0:
		verdict += fmt.Sprintf(", not answered: the sender hung up after %s", a.Took.Round(100*time.Millisecond))
	case a.Took >= 100*time.Millisecond:
		verdict += fmt.Sprintf(", answered %d after %s", a.Status, a.Took.Round(100*time.Millisecond))
	case a.Status != http.StatusOK:
		verdict += fmt.Sprintf(", answered %d", a.Status)
	}
	p.Notef("%s  %-9s %-26s %-36s %s", a.At.Format("15:04:05.000"), printable(a.Path), printable(a.Event), printable(a.ID), verdict)
}

// Notef writes a line between those of arrivals.
func (p *Printer) Notef(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, format+"\n", args...)
}

// printable keeps what anybody may send from steering the terminal, and the line a line.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	if s == "" {
		return "-"
	}
	if runes := []rune(s); len(runes) > 64 {
		return string(runes[:63]) + "…"
	}
	return s
}
