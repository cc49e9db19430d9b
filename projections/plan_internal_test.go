package projections

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// TestPlanOfAPageIsMadeForALargeJournal makes the plan while the journal is small, when reading all of it looks cheapest:
// that plan is kept.
func TestPlanOfAPageIsMadeForALargeJournal(t *testing.T) {
	t.Parallel()
	db := schematest.New(t)
	_, err := db.ExecContext(t.Context(), `INSERT INTO webhooks.journal (fact, data)
	  SELECT 'breaker.closed', '{}' FROM generate_series(1, 20)`)
	require.NoError(t, err)
	_, err = db.Owner.ExecContext(t.Context(), `ANALYZE webhooks.journal`)
	require.NoError(t, err)

	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer tx.Rollback() //nolint:errcheck // there is nothing to keep
	_, err = tx.ExecContext(t.Context(), tunePlanner)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), `PREPARE page AS `+in(liveSchema, applyPage))
	require.NoError(t, err)
	rows, err := tx.QueryContext(t.Context(), `EXPLAIN (COSTS OFF) EXECUTE page('1:1:', '1:1:', '0', 0, '0', 0, '-infinity', 'infinity')`)
	require.NoError(t, err)
	defer rows.Close()
	var plan strings.Builder
	for rows.Next() {
		var line string
		require.NoError(t, rows.Scan(&line))
		plan.WriteString(line + "\n")
	}
	require.NoError(t, rows.Err())
	require.Contains(t, plan.String(), "on journal_")
	require.NotContains(t, plan.String(), "Seq Scan on journal", plan.String())
}
