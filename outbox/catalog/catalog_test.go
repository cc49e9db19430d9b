package catalog_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/outbox/catalog"
)

// documented is the example of the customers' documentation, letter by letter but for its ids, which say only "uuid"
// there.
const documented = `{
"id": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
"event": "conversation.started",
"created_at": "2024-03-06T12:00:00Z",
"data": {
"event_type": "conversation.started",
"survey": {
"id": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
"name": "Customer Feedback Survey",
"company_id": "7c9e6679-7425-40de-944b-e07fc1f90ae7"
},
"respondent": {
"id": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
"first_name": "John",
"last_name": "Doe",
"phone": "+1234567890",
"verified": true
},
"conversation": {
"id": "7c9e6679-7425-40de-944b-e07fc1f90ae7",
"channel_type": "embedded_chat",
"state": "active",
"started_at": "2024-03-06T12:00:00Z"
},
"metadata": {
"webhook_version": "2.0",
"delivered_at": "2024-03-06T12:00:00Z"
}
}
}`

// compile reads an entry's schema with formats asserted.
func compile(t *testing.T, entry catalog.Entry) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(entry.Schema))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	require.NoError(t, compiler.AddResource("event.json", doc))
	schema, err := compiler.Compile("event.json")
	require.NoError(t, err)
	return schema
}

func validate(t *testing.T, schema *jsonschema.Schema, body []byte) error {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	require.NoError(t, err)
	return schema.Validate(value)
}

// sample is the body that a receiver would get of outbox.NewSample.
func sample(t *testing.T, kind outbox.Type) []byte {
	t.Helper()
	event := outbox.NewSample(kind, uuid.New())
	text, err := json.Marshal(event.Data)
	require.NoError(t, err)
	var data map[string]any
	require.NoError(t, json.Unmarshal(text, &data))
	data["event_type"] = kind
	data["metadata"] = map[string]string{"webhook_version": "2.0", "delivered_at": event.CreatedAt.Format(time.RFC3339)}
	body, err := json.Marshal(map[string]any{"id": uuid.New(), "event": kind, "created_at": event.CreatedAt, "data": data})
	require.NoError(t, err)
	return body
}

func TestEveryTypeHasASchemaThatItsExampleAndItsSampleMatch(t *testing.T) {
	t.Parallel()

	entries := catalog.Entries()
	require.Len(t, entries, len(outbox.Types()))
	for i, entry := range entries {
		t.Run(string(entry.Type), func(t *testing.T) {
			t.Parallel()

			require.Equal(t, outbox.Types()[i], entry.Type)
			require.Equal(t, entry.Type.Description(), entry.Description)
			schema := compile(t, entry)
			require.Equal(t, entry.Description, schema.Description)
			require.NoError(t, validate(t, schema, entry.Example))
			require.NoError(t, validate(t, schema, sample(t, entry.Type)))
		})
	}
}

func TestTheDocumentationsExampleMatches(t *testing.T) {
	t.Parallel()

	entry, ok := catalog.Find(outbox.ConversationStartedType)
	require.True(t, ok)
	schema := compile(t, entry)
	require.NoError(t, validate(t, schema, []byte(documented)))
	for name, wrong := range map[string]string{
		"OtherType":     strings.ReplaceAll(documented, "conversation.started", "conversation.completed"),
		"NoUUID":        strings.Replace(documented, "7c9e6679-7425-40de-944b-e07fc1f90ae7", "uuid", 1),
		"NoDate":        strings.Replace(documented, "2024-03-06T12:00:00Z", "yesterday", 1),
		"MissingMember": strings.Replace(documented, `"verified": true`, `"confirmed": true`, 1),
		"OldVersion":    strings.Replace(documented, `"2.0"`, `"1.0"`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			require.NotEqual(t, documented, wrong)
			require.Error(t, validate(t, schema, []byte(wrong)))
		})
	}
}

func TestAnUnknownTypeIsNotFound(t *testing.T) {
	t.Parallel()

	_, ok := catalog.Find("conversation.deleted")
	require.False(t, ok)
}
