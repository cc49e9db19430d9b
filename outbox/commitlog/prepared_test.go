package commitlog_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// Watermill sends text: it is parsed and planned once for a connection, not once for each page.
func TestTextIsPreparedOncePerConnection(t *testing.T) {
	t.Parallel()
	db, err := commitlog.Open(schematest.New(t).DSN, "a-test", 1, map[string]string{"search_path": "pg_catalog"})
	require.NoError(t, err)
	defer db.Close()
	kept := func() (n int) {
		require.NoError(t, db.QueryRow(`SELECT count(*) FROM pg_prepared_statements`).Scan(&n))
		return n
	}
	for range 3 {
		var sum int
		require.NoError(t, db.QueryRow(`SELECT $1::int + $2::int`, 2, 3).Scan(&sum))
		require.Equal(t, 5, sum)
		_, err := db.Exec(`SELECT set_config('work_mem', $1, false)`, "5MB")
		require.NoError(t, err)
		require.Equal(t, 2, kept(), "what has no arguments is sent as it is: it may be several statements")
	}
	for i := range 100 {
		_, err := db.Exec(fmt.Sprintf(`SELECT $1::int + %d`, i), i)
		require.NoError(t, err)
	}
	require.Equal(t, 64, kept(), "texts without end cost no memory without end")
	var application, path string
	require.NoError(t, db.QueryRow(`SELECT current_setting('application_name'), current_setting('search_path')`).Scan(&application, &path))
	require.Equal(t, []string{"a-test", "pg_catalog"}, []string{application, path})
}

// A migration may change the columns of what was planned. That fails once, and not for as long as the connection lives; in
// a transaction, too.
func TestStatementThatAMigrationOvertookIsPreparedAnew(t *testing.T) {
	t.Parallel()
	test := schematest.New(t)
	db, err := commitlog.Open(test.OwnerDSN, "a-test", 1, nil)
	require.NoError(t, err)
	defer db.Close()
	_, err = db.Exec(`CREATE TABLE public.grows AS SELECT 1 AS a`)
	require.NoError(t, err)
	read := func() error {
		tx, err := db.Begin()
		require.NoError(t, err)
		defer tx.Rollback()                                                 //nolint:errcheck // it only read
		rows, err := tx.Query(`SELECT * FROM public.grows WHERE a = $1`, 1) //nolint:unqueryvet // a function's row is a star, too
		if err != nil {
			return err
		}
		defer rows.Close()
		require.True(t, rows.Next())
		return rows.Err()
	}
	require.NoError(t, read())
	_, err = test.Owner.Exec(`ALTER TABLE public.grows ADD b integer`)
	require.NoError(t, err)
	require.ErrorContains(t, read(), "cached plan must not change result type")
	require.NoError(t, read())
}

func TestDSNThatCannotBeReadIsNotShown(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{"postgres://user:s3cret@host:port/db", "password=s3cret port=ten", "postgres://user:s3cret@%zz/"} {
		_, err := commitlog.Open(dsn, "a-test", 1, nil)
		require.ErrorContains(t, err, "parse DSN")
		require.NotContains(t, err.Error(), "s3cret")
	}
}
