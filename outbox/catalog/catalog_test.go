package catalog_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/outbox/catalog"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
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
			require.NotEmpty(t, entry.Changes)
			require.Equal(t, entry.Version, entry.Changes[0].Version, "the latest change is told first")
			require.Contains(t, string(entry.Schema), `"const": "`+entry.Version+`"`)
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

// TestWhatPublishTakesMatchesTheSchema: Go's door (which is the API's and the command line's, too) holds raw data to the payload
// structs, the database's door by itself, and customers are shown the schema; all of them have to agree about every member,
// gone, null or of any other kind.
func TestWhatPublishTakesMatchesTheSchema(t *testing.T) {
	t.Parallel()

	db := schematest.New(t)
	for _, entry := range catalog.Entries() {
		schema := compile(t, entry)
		event := outbox.NewSample(entry.Type, uuid.New())
		event.Data = complete(event.Data)
		text, err := json.Marshal(event.Data)
		require.NoError(t, err)
		tried, refused := 0, 0
		agree := func(name string, data map[string]any) {
			published, err := json.Marshal(data)
			require.NoError(t, err)
			event.Data = outbox.Raw(published)
			faults := outbox.Check(event)
			_, refusal := db.App.ExecContext(t.Context(), `SELECT webhooks.publish($1, $2, $3)`, entry.Type, event.CompanyID, string(published))
			data["event_type"], data["metadata"] = entry.Type, map[string]any{"webhook_version": "2.0", "delivered_at": "2024-03-06T12:00:00Z"}
			body, err := json.Marshal(map[string]any{"id": uuid.New(), "event": entry.Type, "created_at": event.CreatedAt, "data": data})
			require.NoError(t, err)
			wrong := validate(t, schema, body)
			require.Equal(t, wrong != nil, faults != nil, "%s: schema: %v; publish: %v", name, wrong, faults)
			require.Equal(t, wrong != nil, refusal != nil, "%s: schema: %v; webhooks.publish: %v", name, wrong, refusal)
			if tried++; faults != nil {
				refused++
			}
		}
		values := []any{gone{}, nil, true, 1, "x", "", event.CompanyID.String(), []any{}, []any{1}, map[string]any{}}
		values = append(values, "2024-03-06T12:00:00Z", "2024-03-06T12:00:00.5+01:30", "2024-04-31T12:00:00Z", "2024-03-06 12:00:00Z")
		var whole map[string]any
		require.NoError(t, json.Unmarshal(text, &whole))
		for _, at := range paths("", whole) {
			for _, value := range values {
				var data map[string]any
				require.NoError(t, json.Unmarshal(text, &data))
				name := change(data, strings.Split(at, "."), value)
				if name == "company_id" && value == event.CompanyID.String() {
					continue // the same again
				}
				agree(fmt.Sprintf("%s %s=%v", entry.Type, at, value), data)
			}
		}
		require.Greater(t, tried, 120, entry.Type)
		require.Greater(t, refused, tried/2, entry.Type)
	}
}

// complete sets what may be absent, too.
func complete(payload outbox.Payload) outbox.Payload {
	at := time.Date(2024, 3, 6, 12, 0, 0, 0, time.UTC)
	switch p := payload.(type) {
	case outbox.ConversationStarted:
		p.Conversation.EndedAt = at
		return p
	case outbox.TestWebhook:
		p.Conversation.EndedAt = at
		return p
	case outbox.QuestionResponseUpserted:
		p.Conversation.EndedAt, p.Response.UpdatedAt = at, at
		return p
	case outbox.ConversationCompleted:
		p.Conversation.EndedAt, p.Responses[0].UpdatedAt = at, at
		return p
	default:
		return payload
	}
}

// gone takes a member away.
type gone struct{}

// paths of all members, those in lists too.
func paths(prefix string, in any) []string {
	var all []string
	add := func(key string, value any) {
		all = append(append(all, prefix+key), paths(prefix+key+".", value)...)
	}
	switch in := in.(type) {
	case map[string]any:
		for key, value := range in {
			add(key, value)
		}
	case []any:
		for i, value := range in {
			add(strconv.Itoa(i), value)
		}
	}
	return all
}

// change sets or takes away the value at a path, and returns its key.
func change(in any, path []string, value any) string {
	for ; len(path) > 1; path = path[1:] {
		if list, ok := in.([]any); ok {
			i, _ := strconv.Atoi(path[0])
			in = list[i]
		} else {
			in = in.(map[string]any)[path[0]]
		}
	}
	switch in := in.(type) {
	case map[string]any:
		if in[path[0]] = value; value == (gone{}) {
			delete(in, path[0])
		}
	case []any:
		if i, _ := strconv.Atoi(path[0]); value != (gone{}) {
			in[i] = value
		}
	}
	return path[0]
}
