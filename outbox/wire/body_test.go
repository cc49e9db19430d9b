package wire_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox/wire"
)

const (
	renderedHead = `{"id":"0198c0de-0000-7000-8000-000000000001","event":"conversation.started","created_at":"2026-03-04T05:06:07Z",` +
		`"data":{"event_type":"conversation.started",`
	renderedTail = `"metadata":{"webhook_version":"2.0","delivered_at":"2026-03-04T06:00:00Z"}}}`
)

func rendered(data string) string {
	e := wire.Event{
		ID: uuid.MustParse("0198c0de-0000-7000-8000-000000000001"), Type: "conversation.started",
		CreatedAt: time.Date(2026, 3, 4, 6, 6, 7, 999_999_000, time.FixedZone("CET", 3600)), Data: []byte(data),
	}
	return string(wire.Body(e, time.Date(2026, 3, 4, 6, 0, 0, 1000, time.UTC)))
}

func TestBodySplicesTheDataByteForByte(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ data, inner string }{
		"Plain":            {`{"survey":{"id":1}}`, `"survey":{"id":1},`},
		"Empty":            {`{}`, ``},
		"EmptyWithBlanks":  {" {\n\t \r} ", ``},
		"OddWhitespace":    {"{ \"a\" :\t1 ,\r\n\"b\": [ ] }", " \"a\" :\t1 ,\r\n\"b\": [ ] ,"},
		"LeadingAndEnding": {"\n\t {\"a\":1} \r\n", `"a":1,`},
		"NestedBraces":     {`{"a":{"b":{}},"c":{}}`, `"a":{"b":{}},"c":{},`},
		"BracesInStrings":  {`{"}":"{\"}"}`, `"}":"{\"}",`},
		"NumbersStay":      {`{"n":1.000000000000000000001e+400,"z":-0}`, `"n":1.000000000000000000001e+400,"z":-0,`},
		"OrderStays":       {`{"b":1,"a":2,"b":3}`, `"b":1,"a":2,"b":3,`},
		"EscapesStay":      {`{"a":"\u00e4ä\/<>&"}`, `"a":"\u00e4ä\/<>&",`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := rendered(c.data)
			require.Equal(t, renderedHead+c.inner+renderedTail, body)
			require.True(t, json.Valid([]byte(body)))
		})
	}
}

func TestBodyHasTheSeedsKeyOrder(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"id", "event", "created_at", "data"}, keys(t, rendered(`{"x":1}`)))
	var body struct{ Data json.RawMessage }
	require.NoError(t, json.Unmarshal([]byte(rendered(`{"x":1,"w":2}`)), &body))
	require.Equal(t, []string{"event_type", "x", "w", "metadata"}, keys(t, string(body.Data)))
}

// keys are those of a JSON object, in their order.
func keys(t testing.TB, object string) []string {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(object))
	_, err := decoder.Token()
	require.NoError(t, err)
	var list []string
	for decoder.More() {
		key, err := decoder.Token()
		require.NoError(t, err)
		list = append(list, key.(string))
		var value json.RawMessage
		require.NoError(t, decoder.Decode(&value))
	}
	return list
}

func TestBodyLeavesTheEventAlone(t *testing.T) {
	t.Parallel()
	event := wire.Event{Type: "test.webhook", Data: append(make([]byte, 0, 4096), `{"a":1}`...)}
	for range 2 {
		wire.Body(event, time.Time{})
		require.Equal(t, `{"a":1}`, string(event.Data))
		require.Equal(t, make([]byte, 4089), event.Data[7:4096], "nor does it write behind it")
	}
}

// FuzzBody holds that any JSON object gives valid JSON with the object's bytes in it, and that nothing makes it panic.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{``, `{`, `}`, `{}`, ` { } `, `{"a":{}}`, `{"}":"{"}`, `[]`, `null`, `}{`, "{\"\xff\":1}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		body := rendered(string(data))
		require.True(t, strings.HasPrefix(body, renderedHead))
		require.True(t, strings.HasSuffix(body, renderedTail))
		var object map[string]json.RawMessage
		if json.Unmarshal(data, &object) != nil || object == nil {
			return // the fan-out lets objects pass alone
		}
		require.True(t, json.Valid([]byte(body)), body)
		inner := bytes.TrimSpace(data)
		inner = inner[1 : len(inner)-1]
		if len(object) == 0 {
			require.Equal(t, renderedHead+renderedTail, body) //nolint:testifylint // the bytes count, not only the JSON
			return
		}
		require.Equal(t, renderedHead+string(inner)+","+renderedTail, body)
	})
}
