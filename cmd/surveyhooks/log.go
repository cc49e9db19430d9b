package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/lib/pq"
)

// newLogHandler makes the handler that the two flags ask for, on w.
func newLogHandler(w io.Writer, format, level string) (slog.Handler, error) {
	var least slog.Level
	switch level {
	case "debug", "info", "warn", "error":
		if err := least.UnmarshalText([]byte(level)); err != nil {
			return nil, fmt.Errorf("read --log-level: %w", err)
		}
	default:
		return nil, usage("--log-level is %q: want debug, info, warn or error", level)
	}
	options := &slog.HandlerOptions{Level: least}
	switch {
	case format == "text" || format == "auto" && isTerminal(w):
		return slog.NewTextHandler(w, options), nil
	case format == "json" || format == "auto":
		return slog.NewJSONHandler(w, options), nil
	default:
		return nil, usage("--log-format is %q: want auto, text or json", format)
	}
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// isContextError also knows PostgreSQL's word for a statement that was cancelled with its context: query_canceled.
func isContextError(err error) bool {
	pqErr, ok := errors.AsType[*pq.Error](err)
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || ok && pqErr.Code == "57014"
}
