// Package catalog says what the documented events look like to a receiver: a JSON Schema (2020-12) and an example of
// each type, as whole request bodies.
//
// It promises an entry for every type of outbox.Types, in that order, and that the examples, the samples of
// outbox.NewSample and the example of the customers' documentation match the schemas. It validates nothing at run time:
// the relay sends what the survey app has published.
package catalog

import (
	"embed"
	"encoding/json"
	"fmt"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/outbox/wire"
)

//go:embed schemas/*.json
var files embed.FS

// Entry is one type of event. The schema allows further members: receivers must pass over what they do not know.
type Entry struct {
	Type        outbox.Type     `json:"type"`
	Description string          `json:"description"`     // when it is sent
	Version     string          `json:"webhook_version"` // metadata.webhook_version of what is sent now
	Changes     []Change        `json:"changes"`         // of its shape, the latest first
	Schema      json.RawMessage `json:"schema"`
	Example     json.RawMessage `json:"example"`
}

// Change is what a version of a type's shape brought. Members that are added are no new version: receivers pass over them.
type Change struct {
	Version string `json:"version"`
	Words   string `json:"words"`
}

// changes is the changelog of a type. Whoever changes a shape adds a line before the others.
func changes(t outbox.Type) []Change {
	const version = "2.0"
	switch t {
	case outbox.ConversationStartedType:
		return []Change{{version, "Survey, respondent and conversation."}}
	case outbox.ConversationCompletedType:
		return []Change{{version, "Survey, respondent, conversation with ended_at, and the list of all responses."}}
	case outbox.QuestionResponseUpsertedType:
		return []Change{{version, "Survey, respondent, conversation, and the response, with updated_at once it was changed."}}
	case outbox.TestWebhookType:
		return []Change{{version, "The members of conversation.started, invented."}}
	default:
		return nil
	}
}

// Entries lists the catalogue in the order of outbox.Types.
func Entries() []Entry {
	types := outbox.Types()
	entries := make([]Entry, 0, len(types))
	for _, t := range types {
		entries = append(entries, Entry{
			Type: t, Description: t.Description(), Version: wire.Version, Changes: changes(t), Schema: read(t, "schema"), Example: read(t, "example"),
		})
	}
	return entries
}

// Find returns the entry of a type; false: it is not in the catalogue.
func Find(t outbox.Type) (Entry, bool) {
	for _, entry := range Entries() {
		if entry.Type == t {
			return entry, true
		}
	}
	return Entry{}, false
}

func read(t outbox.Type, what string) json.RawMessage {
	text, err := files.ReadFile(fmt.Sprintf("schemas/%s.%s.json", t, what))
	if err != nil {
		panic(err) // a type without its files: no build of that passes the tests
	}
	return text
}
