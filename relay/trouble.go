package relay

import (
	"context"
	"log/slog"
)

// trouble logs when something that is tried every second begins to fail and when it works again, and not every second.
// It is for one goroutine.
type trouble struct {
	what   string
	logger *slog.Logger
	on     bool
}

// note takes the result of a try. What fails because ctx ended is no trouble.
func (t *trouble) note(ctx context.Context, err error) {
	switch {
	case err != nil && !t.on && ctx.Err() == nil:
		t.on = true
		t.logger.Warn(t.what, "error", err)
	case err == nil && t.on:
		t.on = false
		t.logger.Info(t.what + ": over")
	}
}
