package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"

	"github.com/lib/pq"
)

// logLevel names the flag whose file SIGHUP reads again.
const logLevel = "log-level"

// parseLogLevel reads the value of --log-level.
func parseLogLevel(text string) (slog.Level, error) {
	switch text {
	case "debug":
		return slog.LevelDebug, nil
	case "info":
		return slog.LevelInfo, nil
	case "warn":
		return slog.LevelWarn, nil
	case "error":
		return slog.LevelError, nil
	default:
		return 0, usage("--log-level is %q: want debug, info, warn or error", text)
	}
}

// newLogHandler makes the handler of a format, on w. The level may change while it logs.
func newLogHandler(w io.Writer, format string, least slog.Leveler) (slog.Handler, error) {
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
