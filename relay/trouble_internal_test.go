package relay

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTroubleIsLoggedWhenItComesAndWhenItGoes(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	trouble := trouble{what: "lanes not taken", logger: slog.New(slog.NewTextHandler(&log, nil))}
	ctx, cancel := context.WithCancel(t.Context())
	for range 3 {
		trouble.note(ctx, nil)
	}
	require.Empty(t, log.String())
	for range 3 { // as often as PostgreSQL is away
		for range 100 {
			trouble.note(ctx, errors.New("connection refused"))
		}
		trouble.note(ctx, nil)
	}
	require.Equal(t, 3, strings.Count(log.String(), "connection refused"))
	require.Equal(t, 3, strings.Count(log.String(), "lanes not taken: over"))
	cancel()
	trouble.note(ctx, ctx.Err())
	require.Equal(t, 6, strings.Count(log.String(), "\n"), "a stop is no trouble")
}
