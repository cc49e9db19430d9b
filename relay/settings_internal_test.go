package relay

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// The database may hold everybody else to a stricter isolation: the reaper's second statement, above all, has to see what
// its first one waited for.
func TestF23_DefaultIsolationOfTheDatabaseIsNotTheRelays(t *testing.T) {
	t.Parallel()
	test := schematest.New(t)
	_, err := test.Owner.Exec(`ALTER DATABASE ` + test.Name + ` SET default_transaction_isolation = 'serializable'`)
	require.NoError(t, err)
	db, err := commitlog.Open(test.DSN, "surveyhooks-relay", 1, settings())
	require.NoError(t, err)
	defer db.Close()
	var isolation string
	require.NoError(t, db.QueryRow(`SHOW transaction_isolation`).Scan(&isolation))
	require.Equal(t, "read committed", isolation)
}

// What cannot be read today cannot be read tomorrow.
func TestDSNThatCannotBeReadEndsARunAtOnce(t *testing.T) {
	t.Parallel()
	r, err := New(Config{DSN: "postgres://user:secret@host:port/db"})
	require.NoError(t, err)
	err = r.Run(t.Context())
	require.ErrorContains(t, err, "parse DSN")
	require.NotContains(t, err.Error(), "secret")
}
