package wire

import (
	"time"

	"github.com/google/uuid"
)

// Version is data.metadata.webhook_version.
const Version = "2.0"

// Event is what the outbox holds of an event.
type Event struct {
	ID        uuid.UUID
	Type      string
	CreatedAt time.Time
	Data      []byte // exactly as inserted
}

// Body makes the body of every request about an event to one endpoint: the key order of the customers' documentation,
// the event's data byte for byte as it was inserted, and between its braces the two keys that are ours. deliveredAt is
// when the delivery's first attempt started.
func Body(e Event, deliveredAt time.Time) []byte {
	data := e.Data
	first, last := 0, len(data)-1
	for first < len(data) && data[first] != '{' {
		first++
	}
	for last > first && data[last] != '}' {
		last--
	}
	inner := data[min(first+1, len(data)):max(last, min(first+1, len(data)))]
	b := make([]byte, 0, len(data)+320)
	b = append(b, `{"id":"`...)
	b = append(b, e.ID.String()...)
	b = append(b, `","event":"`...)
	b = append(b, e.Type...)
	b = append(b, `","created_at":"`...)
	b = appendTime(b, e.CreatedAt)
	b = append(b, `","data":{"event_type":"`...)
	b = append(b, e.Type...)
	b = append(b, `",`...)
	if !blank(inner) {
		b = append(b, inner...)
		b = append(b, ',')
	}
	b = append(b, `"metadata":{"webhook_version":"`+Version+`","delivered_at":"`...)
	b = appendTime(b, deliveredAt)
	return append(b, `"}}}`...)
}

func appendTime(b []byte, t time.Time) []byte { return t.UTC().AppendFormat(b, "2006-01-02T15:04:05Z") }

func blank(b []byte) bool {
	for _, c := range b {
		if c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			return false
		}
	}
	return true
}
