package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// terminal is a real one, and what was written to it.
type terminal struct {
	*os.File

	t    *testing.T
	end  *os.File
	text chan string
}

// newTerminal opens the two ends of a pseudo terminal.
func newTerminal(t *testing.T) *terminal {
	t.Helper()
	end, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	var unlocked, number int32
	for request, value := range map[uintptr]*int32{syscall.TIOCSPTLCK: &unlocked, syscall.TIOCGPTN: &number} {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, end.Fd(), request, uintptr(unsafe.Pointer(value)))
		require.Zero(t, errno)
	}
	file, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	term := &terminal{File: file, t: t, end: end, text: make(chan string, 1)}
	go func() {
		text, _ := io.ReadAll(end) // it ends with an error of its own
		term.text <- string(text)
	}()
	return term
}

// shown closes the terminal and returns what it was to show.
func (t *terminal) shown() string {
	t.t.Helper()
	require.NoError(t.t, t.Close())
	text := <-t.text
	require.NoError(t.t, t.end.Close())
	return strings.ReplaceAll(text, "\r\n", "\n")
}

// on runs a command line whose standard output is the terminal.
func (s shell) on(term *terminal, args ...string) (code int, shown string) {
	s.t.Helper()
	code = run(s.t.Context(), args, process{env: s.env, stdin: strings.NewReader(""), stdout: term.File, stderr: io.Discard})
	return code, term.shown()
}

func TestTablesAreForTerminals(t *testing.T) {
	t.Parallel()

	s := newShell(t)
	made := s.object("endpoints", "create", "--company", company, "--url", "https://hooks.example.com/in")
	id, _ := made["id"].(string)
	list := []string{"endpoints", "list"}

	code, table := s.on(newTerminal(t), list...)
	require.Equal(t, exitOK, code)
	require.Regexp(t, `^ID +COMPANY .*\n`+id+`  `+company, table)
	for _, colours := range []string{"NO_COLOR=1", "CLICOLOR_FORCE=1", "TERM=xterm-256color"} {
		_, same := s.with(colours).on(newTerminal(t), list...)
		require.Equal(t, table, same, "%s: nothing is coloured", colours)
	}
	require.NotContains(t, table, "\x1b")
	require.Equal(t, table, s.ok(append(list, "-o", "table")...), "who asks for a table gets it anywhere")
	require.Equal(t, table, s.with("SURVEYHOOKS_OUTPUT=table").ok(list...))

	rows := strings.Split(strings.TrimSuffix(s.ok(list...), "\n"), "\n")
	require.Len(t, rows, 1, "rows alone")
	cells := strings.Split(rows[0], "\t")
	require.Equal(t, []string{id, company}, cells[:2])
	head, _, _ := strings.Cut(table, "\n")
	require.Len(t, cells, len(regexp.MustCompile(` {2,}`).Split(head, -1)))
}
