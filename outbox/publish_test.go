package outbox_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// publish publishes in a transaction of its own and commits it.
func publish(t *testing.T, db *sql.DB, events ...outbox.Event) []uuid.UUID {
	t.Helper()

	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	ids, err := outbox.Publish(t.Context(), tx, events...)
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	return ids
}

func count(t *testing.T, db *sql.DB) int {
	t.Helper()

	var n int
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT count(*) FROM webhooks.outbox`).Scan(&n))
	return n
}

func TestPublish(t *testing.T) {
	t.Parallel()

	company, endpoint := uuid.New(), uuid.New()
	raw := outbox.Event{Type: "custom.type", CompanyID: company, Data: outbox.Raw(`{}`)}

	t.Run("CommitStoresEveryFieldAndTheExactBytes", func(t *testing.T) {
		t.Parallel()
		db := schematest.New(t)
		event := outbox.Event{
			ID: uuid.New(), Type: "custom.type", CompanyID: company, EndpointID: &endpoint,
			CreatedAt: time.Date(2024, 3, 6, 13, 0, 0, 123_456_789, time.FixedZone("CET", 3600)),
			Data:      outbox.Raw(" {\"b\" : 1.0,\t\"a\":\"\\u0000 \\\\ \\\"{},'$1 \\ud800 é🙂\",\n\"a\":[1e400]} "),
		}
		require.Equal(t, []uuid.UUID{event.ID}, publish(t, db.App, event))

		var id, companyID, endpointID uuid.UUID
		var typ, data string
		var createdAt time.Time
		require.NoError(t, db.QueryRowContext(t.Context(),
			`SELECT event_id, event_type, company_id, data::text, created_at, endpoint_id FROM webhooks.outbox`).
			Scan(&id, &typ, &companyID, &data, &createdAt, &endpointID))
		require.Equal(t, event.ID, id)
		require.Equal(t, "custom.type", typ)
		require.Equal(t, company, companyID)
		require.Equal(t, endpoint, endpointID)
		require.Equal(t, "2024-03-06T12:00:00.123456Z", createdAt.UTC().Format(time.RFC3339Nano))
		require.Equal(t, string(event.Data.(outbox.Raw)), data)
	})

	t.Run("ZeroFieldsAreFilledIn", func(t *testing.T) {
		t.Parallel()
		db := schematest.New(t)
		before := time.Now()
		ids := publish(t, db.App, raw, raw)
		require.Len(t, ids, 2)
		require.NotEqual(t, ids[0], ids[1])
		require.EqualValues(t, 7, ids[0].Version())

		var stored int
		require.NoError(t, db.QueryRowContext(t.Context(),
			`SELECT count(*) FROM webhooks.outbox WHERE event_id = ANY ($1) AND created_at BETWEEN $2 AND $3 AND endpoint_id IS NULL`,
			pq.Array(ids), before.Truncate(time.Microsecond), time.Now()).Scan(&stored))
		require.Equal(t, 2, stored)
	})

	t.Run("RollbackStoresNothing", func(t *testing.T) {
		t.Parallel()
		db := schematest.New(t)
		tx, err := db.App.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		_, err = outbox.Publish(t.Context(), tx, raw)
		require.NoError(t, err)
		require.NoError(t, tx.Rollback())
		require.Zero(t, count(t, db.DB))
	})

	t.Run("SeventyThousandInOneCallKeepTheirOrder", func(t *testing.T) {
		t.Parallel()
		db := schematest.New(t)
		events := make([]outbox.Event, 70_000)
		for i := range events {
			events[i] = raw
			events[i].Data = outbox.Raw(fmt.Sprintf(`{"n":%d}`, i))
		}
		publish(t, db.App, events...)

		var stored, inOrder int
		require.NoError(t, db.QueryRowContext(t.Context(), `
			SELECT count(*), count(*) FILTER (WHERE n = rank)
			  FROM (SELECT (data->>'n')::int AS n, row_number() OVER (ORDER BY position) - 1 AS rank FROM webhooks.outbox) o`).
			Scan(&stored, &inOrder))
		require.Equal(t, 70_000, stored)
		require.Equal(t, 70_000, inOrder)
	})

	t.Run("NoEventsDoNothing", func(t *testing.T) {
		t.Parallel()
		ids, err := outbox.Publish(t.Context(), nil)
		require.NoError(t, err)
		require.Empty(t, ids)
	})

	t.Run("NoTransactionIsRefused", func(t *testing.T) {
		t.Parallel()
		_, err := outbox.Publish(t.Context(), nil, raw)
		require.ErrorContains(t, err, "tx is nil")
	})

	t.Run("InvalidEventLeavesTheTransactionUsable", func(t *testing.T) {
		t.Parallel()
		db := schematest.New(t)
		tx, err := db.App.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		_, err = outbox.Publish(t.Context(), tx, raw, outbox.Event{})
		var invalid *outbox.InvalidError
		require.ErrorAs(t, err, &invalid)
		require.Len(t, invalid.Faults, 3)
		_, err = outbox.Publish(t.Context(), tx, raw)
		require.NoError(t, err)
		require.NoError(t, tx.Commit())
		require.Equal(t, 1, count(t, db.DB))
	})

	t.Run("DatabaseErrorsAreReachable", func(t *testing.T) {
		t.Parallel()
		db := schematest.New(t)
		tx, err := db.App.BeginTx(t.Context(), &sql.TxOptions{ReadOnly: true})
		require.NoError(t, err)
		defer func() { _ = tx.Rollback() }()
		_, err = outbox.Publish(t.Context(), tx, raw)
		var refused *pq.Error
		require.ErrorAs(t, err, &refused)
		require.Equal(t, "25006", string(refused.Code)) // read_only_sql_transaction
	})

	t.Run("OneRoundTripWithBinaryParameters", func(t *testing.T) {
		t.Parallel()
		db := schematest.New(t)
		binary, err := sql.Open("postgres", withBinaryParameters(db.DSN))
		require.NoError(t, err)
		defer func() { _ = binary.Close() }()
		publish(t, binary, raw, outbox.NewSample(outbox.ConversationCompletedType, company))
		require.Equal(t, 2, count(t, db.DB))
	})
}

func TestPublishObeysTheCallersContext(t *testing.T) {
	t.Parallel()

	event := outbox.NewSample(outbox.ConversationStartedType, uuid.New())

	t.Run("EndedBefore", func(t *testing.T) {
		t.Parallel()
		db := schematest.New(t)
		tx, err := db.App.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		defer func() { _ = tx.Rollback() }()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = outbox.Publish(ctx, tx, event)
		require.ErrorIs(t, err, context.Canceled)
	})

	t.Run("EndedWhileTheDatabaseWaits", func(t *testing.T) {
		t.Parallel()
		db := schematest.New(t)
		holder, err := db.Owner.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		defer func() { _ = holder.Rollback() }()
		_, err = holder.ExecContext(t.Context(), `LOCK TABLE webhooks.outbox IN ACCESS EXCLUSIVE MODE`)
		require.NoError(t, err)

		tx, err := db.App.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		defer func() { _ = tx.Rollback() }()
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err = outbox.Publish(ctx, tx, event)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// The SQL contract is for any language: simple queries with everything in the text, as psql sends them.
func TestSQLPublish(t *testing.T) {
	t.Parallel()

	const company = `'11111111-1111-4111-8111-111111111111'`
	db := schematest.New(t)
	call := func(t *testing.T, args string) (uuid.UUID, error) {
		t.Helper()
		var id uuid.UUID
		err := db.App.QueryRowContext(t.Context(), `SELECT webhooks.publish(`+args+`)`).Scan(&id)
		return id, err
	}

	t.Run("MintsVersionSevenOfNow", func(t *testing.T) {
		t.Parallel()
		id, err := call(t, `'conversation.restarted', `+company+`, '{}'`)
		require.NoError(t, err)
		require.EqualValues(t, 7, id.Version())
		require.Equal(t, uuid.RFC4122, id.Variant())
		seconds, nanos := id.Time().UnixTime()
		require.WithinDuration(t, time.Now(), time.Unix(seconds, nanos), time.Minute)
	})

	t.Run("KeepsAGivenIDAndTheExactBytes", func(t *testing.T) {
		t.Parallel()
		want := uuid.New()
		id, err := call(t, `'conversation.restarted', `+company+`, ' {"b" : 1.0,  "a":"\u0026"} ', '`+want.String()+`'`)
		require.NoError(t, err)
		require.Equal(t, want, id)
		var data string
		require.NoError(t, db.QueryRowContext(t.Context(), `SELECT data::text FROM webhooks.outbox WHERE event_id = $1`, id).Scan(&data))
		require.Equal(t, ` {"b" : 1.0,  "a":"\u0026"} `, data) //nolint:testifylint // the bytes are the contract
	})

	t.Run("TakesNamedArguments", func(t *testing.T) {
		t.Parallel()
		_, err := call(t, `data => '{}', company_id => `+company+`, event_type => 'made.up'`)
		require.NoError(t, err)
	})

	t.Run("TakesTheLargestData", func(t *testing.T) {
		t.Parallel()
		_, err := call(t, `'a', `+company+`, ('{"a":"' || repeat('x', 262136) || '"}')::json`)
		require.NoError(t, err)
	})

	for name, test := range map[string]struct{ args, text string }{
		"B42_TypeNull":      {`NULL, ` + company + `, '{}'`, "event_type is NULL: want 1 to 64 of a-z 0-9 _ ."},
		"B42_TypeEmpty":     {`'', ` + company + `, '{}'`, "event_type is '': want"},
		"B42_TypeUpperCase": {`'Test', ` + company + `, '{}'`, "event_type is 'Test': want"},
		"B42_TypeNewline":   {`E'a\n', ` + company + `, '{}'`, "event_type is"},
		"B42_TypeTooLong":   {`repeat('a', 65), ` + company + `, '{}'`, "want 1 to 64"},
		"B38_CompanyNull":   {`'a', NULL, '{}'`, "company_id is NULL: want the company that the survey belongs to"},
		"B38_DataNull":      {`'a', ` + company + `, NULL`, "data is NULL: want a JSON object"},
		"B38_DataArray":     {`'a', ` + company + `, '[]'`, "data is a JSON array: want a JSON object"},
		"B39_ReservedType":  {`'a', ` + company + `, '{"event_type":"x"}'`, "data has the key event_type: want it left out"},
		"B39_ReservedMeta":  {`'a', ` + company + `, '{"metadata":null}'`, "data has the key metadata: want it left out"},
		"B38_DataJSONNull":  {`'a', ` + company + `, 'null'`, "data is a JSON null: want a JSON object"},
		"B43_DataTooLarge":  {`'a', ` + company + `, ('{"a":"' || repeat('x', 262137) || '"}')::json`, "data has 262145 bytes: want at most 262144"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := call(t, test.args)
			var refused *pq.Error
			require.ErrorAs(t, err, &refused)
			require.Equal(t, "invalid_parameter_value", refused.Code.Name())
			require.Contains(t, refused.Message, test.text)
		})
	}
}

// TestSQLPublishHoldsDataToItsType: it says which member is not as promised, and reads what it need not understand. Package
// catalog walks through all members.
func TestSQLPublishHoldsDataToItsType(t *testing.T) {
	t.Parallel()

	db, company := schematest.New(t), uuid.New()
	try := func(kind outbox.Type, data map[string]any) error {
		text, err := json.Marshal(data)
		require.NoError(t, err)
		_, err = db.App.ExecContext(t.Context(), `SELECT webhooks.publish($1, $2, $3)`, kind, company, string(text))
		return err
	}
	for _, kind := range outbox.Types() {
		sample := func() map[string]any {
			text, err := json.Marshal(outbox.NewSample(kind, company).Data)
			require.NoError(t, err)
			var data map[string]any
			require.NoError(t, json.Unmarshal(text, &data))
			data["more"] = "\x00"
			return data
		}
		require.NoError(t, try(kind, sample()), kind)
		never := sample()
		never["conversation"].(map[string]any)["ended_at"] = nil
		require.ErrorContains(t, try(kind, never), fmt.Sprintf("data of %s has no good conversation.ended_at: want a time such as 2024-03-06T12:00:00Z, or leave it out", kind))
		for member, value := range sample() {
			if member == "more" {
				continue
			}
			for _, wrong := range []any{nil, "x", true} {
				data := sample()
				data[member] = wrong
				require.ErrorContains(t, try(kind, data), fmt.Sprintf("data of %s has no good %s: want an", kind, member))
			}
			inner, _ := value.(map[string]any)
			for key := range inner {
				if key != "id" && !strings.HasSuffix(key, "_id") {
					continue
				}
				for _, wrong := range []any{nil, "4711", 4711, map[string]any{}} {
					data := sample()
					data[member].(map[string]any)[key] = wrong
					require.ErrorContains(t, try(kind, data), fmt.Sprintf("data of %s has no good %s.%s: want a UUID", kind, member, key))
				}
			}
		}
	}
}

func TestDeepDataIsStoredOrRefusedBeforeTheDatabase(t *testing.T) {
	t.Parallel()

	db := schematest.New(t)
	deep := func(n int) outbox.Event {
		return outbox.Event{Type: "a", CompanyID: uuid.New(), Data: outbox.Raw(`{"a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}`)}
	}
	publish(t, db.App, deep(9_990))
	tx, err := db.App.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = tx.Rollback() }()
	_, err = outbox.Publish(t.Context(), tx, deep(100_000))
	var invalid *outbox.InvalidError
	require.ErrorAs(t, err, &invalid)
}

// withBinaryParameters adds the option in either form of a connection string.
func withBinaryParameters(dsn string) string {
	switch {
	case !strings.Contains(dsn, "://"):
		return dsn + " binary_parameters=yes"
	case strings.Contains(dsn, "?"):
		return dsn + "&binary_parameters=yes"
	default:
		return dsn + "?binary_parameters=yes"
	}
}

func TestTypedDataIsStoredAsEncoded(t *testing.T) {
	t.Parallel()

	db := schematest.New(t)
	company := uuid.New()
	var events []outbox.Event
	for _, typ := range outbox.Types() {
		events = append(events, outbox.NewSample(typ, company))
	}
	ids := publish(t, db.App, events...)
	for i, event := range events {
		want, err := json.Marshal(event.Data)
		require.NoError(t, err)
		var typ, data string
		require.NoError(t, db.QueryRowContext(t.Context(),
			`SELECT event_type, data::text FROM webhooks.outbox WHERE event_id = $1`, ids[i]).Scan(&typ, &data))
		require.Equal(t, string(event.Type), typ)
		require.Equal(t, string(want), data)
	}
}
