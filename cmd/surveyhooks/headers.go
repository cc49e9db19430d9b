package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/chattosurvey/surveyhooks/relay/header"
)

// headerFlags are the custom headers that a command line sets.
type headerFlags struct {
	lines []string
	file  string
}

func (f *headerFlags) define(flags *pflag.FlagSet) {
	flags.StringArrayVar(&f.lines, "header", nil, "a header to send with every request, `Name: value`; may be given often; the value is sealed and never shown again")
	flags.StringVar(&f.file, "header-file", "", "the same from a `file`, one a line; - is standard input; arguments show in process lists, a file does not")
}

// read returns the headers, unchecked: the store knows what is allowed.
func (f *headerFlags) read(stdin io.Reader) ([]header.Header, error) {
	lines, from := f.lines, make([]string, 0, len(f.lines))
	for i := range lines {
		from = append(from, fmt.Sprintf("--header %d", i+1))
	}
	if f.file != "" {
		content, err := f.content(stdin)
		if err != nil {
			return nil, usage("read --header-file: %w", err)
		}
		n := 0
		for line := range strings.Lines(string(content)) {
			n++
			if line = strings.TrimRight(line, "\r\n"); line != "" {
				lines, from = append(lines, line), append(from, fmt.Sprintf("--header-file, line %d", n))
			}
		}
	}
	headers := make([]header.Header, 0, len(lines))
	for i, line := range lines {
		h, err := header.Parse(line)
		if err != nil {
			return nil, usage("%s: %w", from[i], err)
		}
		headers = append(headers, h)
	}
	return headers, nil
}

func (f *headerFlags) content(stdin io.Reader) ([]byte, error) {
	if f.file == "-" {
		return io.ReadAll(io.LimitReader(stdin, 1<<20))
	}
	return os.ReadFile(f.file)
}
