package outbox_test

import (
	"testing"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// TestSQLPublishRefusesWhatItsTypesCannotHold: the error is PostgreSQL's, the transaction is the app's, and nothing that
// it did stays.
func TestSQLPublishRefusesWhatItsTypesCannotHold(t *testing.T) {
	t.Parallel()

	db := schematest.New(t)
	const id, noJSON = "01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20", "22P02"
	for name, tt := range map[string]struct{ id, data, code string }{
		"B36_InvalidJSON": {id, `{"a":`, noJSON},
		"B36_TwoObjects":  {id, `{}{}`, noJSON},
		"B36_NUL":         {id, "{\"a\":\"\x00\"}", "22021"},
		"B36_NotUTF8":     {id, "{\"a\":\"\xff\"}", "22021"},
		"B38_Nothing":     {id, "", noJSON},
		"B40_Dot":         {"a.b", `{}`, noJSON},
		"B40_LineBreak":   {id + "\r\nX-Injected: 1", `{}`, noJSON},
		"B40_TooLong":     {id + "00", `{}`, noJSON},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tx, err := db.App.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			defer func() { _ = tx.Rollback() }()
			publish := `SELECT webhooks.publish('made.up', $1, $2, $3)`
			_, err = tx.ExecContext(t.Context(), publish, uuid.New(), `{}`, uuid.New())
			require.NoError(t, err)
			_, err = tx.ExecContext(t.Context(), publish, uuid.New(), tt.data, tt.id)
			var refused *pq.Error
			require.ErrorAs(t, err, &refused)
			require.Equal(t, tt.code, string(refused.Code), refused.Message)
			require.Error(t, tx.Commit())
			require.Zero(t, count(t, db.DB))
		})
	}
}

// TestB40_AnIDInCapitalsIsTheSameID, at both doors.
func TestB40_AnIDInCapitalsIsTheSameID(t *testing.T) {
	t.Parallel()

	db := schematest.New(t)
	var got uuid.UUID
	require.NoError(t, db.App.QueryRowContext(t.Context(),
		`SELECT webhooks.publish('a', $1, '{}', '01932C07-9F4E-7CC0-8C1F-3A5B7D9E1F20')`, uuid.New()).Scan(&got))
	require.Equal(t, "01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20", got.String())
	ids := publish(t, db.App, outbox.Event{ID: uuid.MustParse("01932C07-9F4E-7CC0-8C1F-3A5B7D9E1F20"), Type: "a", CompanyID: uuid.New(), Data: outbox.Raw(`{}`)})
	require.Equal(t, []uuid.UUID{got}, ids)
}
