package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestNestingIsBoundedAtItsBound and not before it.
func TestNestingIsBoundedAtItsBound(t *testing.T) {
	t.Parallel()

	nested := func(depth int) []byte {
		return []byte(`{"type":"a","data":` + strings.Repeat(`{"a":`, depth-2) + `[]` + strings.Repeat(`}`, depth-1))
	}
	_, err := decodeBody[publishing](nested(maxDepth))
	require.NoError(t, err)
	_, err = decodeBody[publishing](nested(maxDepth + 1))
	require.ErrorContains(t, err, "nested deeper")
}

// FuzzDecodeBody holds that any bytes are either refused with 400 or 422, or are exactly one JSON object whose members
// are known and whose data comes through byte for byte.
func FuzzDecodeBody(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `{"id":"a","type":"b","created_at":"c","data":{"x": 1}}`, `{"data":1e999}`, `{"type":"a"}{}`, `{"type":"a","type":"b"}`,
		`{"\u0074ype":"a"}`, `{"TYPE":"a"}`, `{"data":null}`, `{"data":[[[[]]]]}`, "{\"type\":\"\xff\"}", "\ufeff{}", `{"type":"\ud800"}`, `{"a":{}`, `[]`, `{"data":{"":{},"":1}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := decodeBody[publishing](body)
		if err != nil {
			p := problemOf(err)
			require.Contains(t, []int{http.StatusBadRequest, http.StatusUnprocessableEntity}, p.Status, "%v", err)
			require.NotEmpty(t, p.Detail)
			return
		}
		var members map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(body, &members))
		for name, value := range members {
			require.Contains(t, []string{"id", "type", "created_at", "data"}, name)
			require.NotEqual(t, "null", string(value))
		}
		require.Equal(t, string(members["data"]), string(got.Data))
		require.True(t, bytes.Contains(body, got.Data))
	})
}

// FuzzCursor holds that any cursor, of any list, is a page or a bad_cursor, and never a fault of ours: what it carries
// reaches the database as values that fit there.
func FuzzCursor(f *testing.F) {
	b := setupFuzz(f)
	for _, seed := range []string{
		``, `x`, `{"of":"events","id":1}`, `{"of":"deliveries","id":9223372036854775807}`, `{"of":"attempts","id":1,"at":"2026-03-01T12:00:00Z","n":40000}`,
		`{"of":"attempts","id":1,"at":"0000-01-01T00:00:00Z","n":1}`, `{"of":"health","u":"00000000-0000-0000-0000-000000000000"}`, `{"of":"changes","id":-1}`,
		`{"of":"told","at":"9999-12-31T23:59:59.999999999Z"}`, `{"of":"told","at":"0001-01-01T00:00:00+23:59","id":1}`, `01932c07-9f4e-7cc0-8c1f-3a5b7d9e1f20`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, cursor string) { b.cursor(t, cursor) })
}
