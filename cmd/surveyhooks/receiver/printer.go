package receiver

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Printer writes one line for each arrival. It is safe for concurrent use.
type Printer struct {
	mu sync.Mutex
	w  io.Writer
}

// NewPrinter returns a printer on w. It writes plain text: a log of it reads as well as a screen.
func NewPrinter(w io.Writer) *Printer { return &Printer{w: w} }

// Print writes the line: time, path, event, id, ✓ or ✗ with the reason, and whether it came before.
func (p *Printer) Print(a Arrival) {
	verdict := "✓ verified"
	switch {
	case a.Fault != nil:
		verdict = "✗ " + a.Fault.Error()
	case a.Duplicate:
		verdict += ", duplicate"
	case a.Age > 0:
		verdict += fmt.Sprintf(", %s after it happened", short(a.Age))
	}
	p.Note("%s  %-9s %-26s %-36s %s", a.At.Format("15:04:05.000"), printable(a.Path), printable(a.Event), printable(a.ID), verdict)
}

// Note writes a line between those of arrivals.
func (p *Printer) Note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, format+"\n", args...) //nolint:errcheck // nobody is left to tell
}

// printable keeps what anybody may send from steering the terminal, and the line a line.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
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

func short(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(100 * time.Millisecond)
}
