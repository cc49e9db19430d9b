package relay

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox/wire"
	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/lane"
	"github.com/chattosurvey/surveyhooks/relay/sign"
)

func TestB48_EveryAttemptHasTheSameBody(t *testing.T) {
	t.Parallel()
	event := &lane.Event{ID: uuid.New(), Type: "conversation.started", CreatedAt: time.Now(), Data: []byte(`{"a":1}`)}
	first := time.Date(2026, 3, 4, 6, 0, 0, 1000, time.UTC)
	a := &attempt{delivery: &lane.Delivery{Event: event, FirstAttemptAt: first}}
	b := &attempt{delivery: &lane.Delivery{
		Event: event, FirstAttemptAt: first, Started: 4, Completed: 3, Generation: 2, Trigger: "manual", StartedAt: time.Now(), Batch: 99,
	}}
	render(t.Context(), a)
	render(t.Context(), b)
	require.Equal(t, string(a.body), string(b.body))
	require.Contains(t, string(a.body), `"delivered_at":"2026-03-04T06:00:00Z"`)
}

// The history shows the headers of an attempt by the same list, without having kept them.
func TestHeadersAreThoseThatWireLists(t *testing.T) {
	t.Parallel()
	signer, err := sign.NewSigner(sign.NewSecret())
	require.NoError(t, err)
	s := &session{clock: &clock{}}
	own := egress.Field{Name: "X-Tenant", Value: "seven"}
	a := &attempt{
		delivery: &lane.Delivery{Event: &lane.Event{ID: uuid.New(), Type: "test.webhook"}},
		target:   &target{signer: signer, headers: []egress.Field{own}}, body: []byte(`{}`),
	}
	s.sign(t.Context(), a)
	fields := wire.Request{ID: a.delivery.Event.ID, Type: "test.webhook", Timestamp: a.timestamp, Signature: a.signature}.Fields()
	require.Len(t, a.header, len(fields)+1)
	for i, f := range fields {
		require.Equal(t, egress.Field{Name: f.Name, Value: f.Value}, a.header[i], "in the order of the documentation")
	}
	require.Equal(t, own, a.header[len(fields)])
}
