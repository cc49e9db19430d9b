package spelling_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/spelling"
	"github.com/chattosurvey/surveyhooks/outbox"
)

func TestUnknownTypesAreNamedWithTheNearestOne(t *testing.T) {
	t.Parallel()

	for _, known := range outbox.Types() {
		require.Empty(t, spelling.UnknownType(known))
	}
	for typo, want := range map[outbox.Type]string{
		"conversation.startet": `"conversation.startet" is not in the catalogue (did you mean conversation.started?)`,
		"question_response":    `"question_response" is not in the catalogue (did you mean question_response.upserted?)`,
		"invoice.paid":         `"invoice.paid" is not in the catalogue`,
	} {
		require.Equal(t, want, spelling.UnknownType(typo))
	}
}
