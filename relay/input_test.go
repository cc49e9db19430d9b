package relay_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/relay/relaytest"
)

// fannedOut is the fact of an event that was fanned out.
func (b *testBundle) fannedOut(id uuid.UUID) (decisions []struct{ Decision string }) {
	b.t.Helper()
	b.await(1, `SELECT count(*) FROM webhooks.journal WHERE fact = 'event.fanned_out' AND data->>'event_id' = $1`, id.String())
	for _, f := range b.facts("event.fanned_out") {
		var told struct {
			EventID   uuid.UUID `json:"event_id"`
			Decisions []struct{ Decision string }
		}
		require.NoError(b.t, json.Unmarshal(f, &told))
		if told.EventID == id {
			return told.Decisions
		}
	}
	return nil
}

// TestB42_AnUnknownTypeIsStoredAndMatchesNobody, not even an endpoint that is told of everything; what comes after flows.
func TestB42_AnUnknownTypeIsStoredAndMatchesNobody(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	b.endpoint(receiver.URL)
	b.run()
	odd := b.publish(outbox.Event{Type: "made.up", CompanyID: b.company, Data: outbox.Raw(`{}`)})[0]
	known := b.publish(b.started())[0]
	require.Equal(t, known.String(), receiver.Await(t, 1, within)[0].ID())
	require.Equal(t, []struct{ Decision string }{{"type_not_selected"}}, b.fannedOut(odd))
	b.await(0, `SELECT count(*) FROM webhooks.pending`)
	b.await(2, `SELECT count(*) FROM webhooks.outbox`)
}

// TestB46_AnEventOfACompanyWithoutEndpointsIsRecorded, so that it can be asked why nobody was told.
func TestB46_AnEventOfACompanyWithoutEndpointsIsRecorded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.run()
	id := b.publish(b.started())[0]
	require.Empty(t, b.fannedOut(id))
	b.await(1, `SELECT count(*) FROM webhooks.event_ids WHERE event_id = $1`, id)
	b.await(0, `SELECT count(*) FROM webhooks.pending`)
	b.await(0, `SELECT count(*) FROM webhooks.quarantine`)
}

// TestB44_WhenItHappenedSchedulesNothing: an event of the future, of 1970, and one with a zone are sent at once, in UTC.
func TestB44_WhenItHappenedSchedulesNothing(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	b.endpoint(receiver.URL)
	b.run()
	for at, want := range map[time.Time]string{
		time.Date(2999, 1, 2, 3, 4, 5, 0, time.UTC): "2999-01-02T03:04:05Z",
		time.Unix(0, 0): "1970-01-01T00:00:00Z",
		time.Date(2024, 3, 6, 13, 0, 0, 0, time.FixedZone("CET", int(3600))): "2024-03-06T12:00:00Z",
	} {
		e := b.started()
		e.CreatedAt = at
		id := b.publish(e)[0]
		arrivals := receiver.Await(t, len(receiver.Arrivals())+1, within)
		last := arrivals[len(arrivals)-1]
		require.Equal(t, id.String(), last.ID())
		require.Contains(t, string(last.Body), `"created_at":"`+want+`"`)
	}
}

// TestB43_TheLargestEventArrivesWhole, and B39: members that are no strings are nothing to stumble over.
func TestB43_TheLargestEventArrivesWhole(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	b.endpoint(receiver.URL)
	b.run()
	whole, err := json.Marshal(b.started().Data)
	require.NoError(t, err)
	odd := strings.TrimSuffix(string(whole), "}") + `,"attempt":1,"list":[null,{"metadata":7}],"a":"`
	data := odd + strings.Repeat("x", outbox.MaxDataBytes-len(odd)-2) + `"}`
	b.publish(outbox.Event{Type: outbox.ConversationStartedType, CompanyID: b.company, Data: outbox.Raw(data)})
	inner := data[1 : len(data)-1] // the relay adds members of its own to data
	require.Equal(t, 1, strings.Count(string(receiver.Await(t, 1, within)[0].Body), inner), "a message with 256 KiB could not be shown")
}
