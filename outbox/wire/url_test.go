package wire_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox/wire"
)

func TestB24_ValuesOfAQueryAreMasked(t *testing.T) {
	t.Parallel()

	for in, want := range map[string]string{
		"https://example.com/a":              "https://example.com/a",
		"https://example.com/a?":             "https://example.com/a?",
		"https://example.com/a?token=s&b=c":  "https://example.com/a?token=***&b=***",
		"https://example.com/a?s3cret":       "https://example.com/a?***",
		"https://example.com/a?t=a?b=c&&d=e": "https://example.com/a?t=***&***&d=***",
	} {
		require.Equal(t, want, wire.MaskQuery(in))
	}
}
