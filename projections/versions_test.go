package projections_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// TestAttemptsOfEveryVersionAreTheSameHistory applies the golden files, which are what journals hold for ever.
func TestAttemptsOfEveryVersionAreTheSameHistory(t *testing.T) {
	t.Parallel()

	for _, name := range []fact.Name{fact.AttemptSucceeded, fact.AttemptFailed, fact.AttemptInterrupted, fact.AttemptStale} {
		t.Run(strings.NewReplacer(".", "", "_", "").Replace(string(name)), func(t *testing.T) {
			t.Parallel()
			nested, one := applyGolden(t, name, 1)
			flat, two := applyGolden(t, name, 2)
			require.Equal(t, nested["attempts"], flat["attempts"])
			require.Len(t, flat["attempts"], 1)
			require.Contains(t, flat["attempts"][0], "v1,c2lnbmF0dXJl", "the request is in it")
			require.Equal(t, nested["endpoint_slots"], flat["endpoint_slots"])
			if one.FirstAttemptAt != nil { // the files say different things of it
				require.Equal(t, 10*time.Second, one.FirstAttemptAt.Sub(*two.FirstAttemptAt))
			}
			one.FirstAttemptAt, two.FirstAttemptAt = nil, nil
			one.CreatedAt, two.CreatedAt = time.Time{}, time.Time{} // when each of the two was fanned out
			one.FinishedAt, two.FinishedAt = nil, nil               // when each of the two was told
			require.Equal(t, one, two)
		})
	}
}

// applyGolden makes the history of one delivery and one golden attempt.
func applyGolden(t *testing.T, name fact.Name, version int) (map[string][]string, projections.Delivery) {
	t.Helper()
	s := setup(t)
	s.company, s.endpoint, s.event = uuid.UUID{1}, uuid.UUID{2}, uuid.UUID{3} // the same in every version
	s.given(s.fannedOut(42))
	golden, err := os.ReadFile("../schema/fact/testdata/" + string(name) + ".v" + strconv.Itoa(version) + ".json")
	require.NoError(t, err)
	var compact bytes.Buffer
	require.NoError(t, json.Compact(&compact, golden))
	_, err = s.db.ExecContext(t.Context(), `INSERT INTO webhooks.journal (fact, version, company_id, data)
	  VALUES ($1, $2, '0190b5a0-0000-7000-8000-00000000000c', $3)`, name, version, compact.String())
	require.NoError(t, err)
	s.when()
	return history(t, s.db.DB), s.thenDelivery(42)
}

func TestAnAttemptThatDoesNotSayWhenTheFirstWasIsTheFirst(t *testing.T) {
	t.Parallel()
	s := setup(t)
	a := s.attempt(42, 1, fact.Delivered)
	a.FirstAttemptAt = time.Time{}
	s.given(s.fannedOut(42), s.of(fact.AttemptSucceeded, a))
	s.when()
	require.WithinDuration(t, a.StartedAt, *s.thenDelivery(42).FirstAttemptAt, 0)
}
