package fact

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func genAttempt(t *rapid.T) *Attempt {
	text, small := rapid.String(), rapid.IntRange(0, 1<<20)
	times := rapid.Map(rapid.Int64Range(0, 1<<52), func(us int64) time.Time { return time.UnixMicro(us).UTC() })
	a := &Attempt{
		AttemptID:  AttemptID{DeliveryID: rapid.Int64().Draw(t, "delivery"), Attempt: small.Draw(t, "attempt")},
		EndpointID: uuid.New(), EventID: uuid.New(), EventType: text.Draw(t, "type"),
		Generation: small.Draw(t, "generation"), Trigger: Automatic, StartedAt: times.Draw(t, "started"),
		Reason: Reason(text.Draw(t, "reason")), Detail: text.Draw(t, "detail"), Status: small.Draw(t, "status"),
		Completed: small.Draw(t, "completed"), State: Retrying, FirstAttemptAt: times.Draw(t, "first"),
		Request: Request{
			ConfigVersion: small.Draw(t, "version"), URL: text.Draw(t, "url"), Timestamp: rapid.Int64().Draw(t, "timestamp"),
			Signature: text.Draw(t, "signature"), Bytes: small.Draw(t, "bytes"),
			CustomHeaders: rapid.MapOf(text, text).Draw(t, "request_headers"),
		},
		Response: Response{
			Headers: rapid.MapOf(text, rapid.SliceOf(text)).Draw(t, "headers"),
			Body:    rapid.SliceOf(rapid.Byte()).Draw(t, "body"), Truncated: rapid.Bool().Draw(t, "truncated"),
		},
		RemoteAddr: text.Draw(t, "remote"),
		Timing: Timing{
			DNS: rapid.Int64().Draw(t, "dns"), Connect: rapid.Int64().Draw(t, "connect"), TLS: rapid.Int64().Draw(t, "tls"),
			FirstByte: rapid.Int64().Draw(t, "first_byte"), Total: rapid.Int64().Draw(t, "total"),
		},
	}
	if rapid.Bool().Draw(t, "the first") {
		a.FirstAttemptAt = time.Time{}
	}
	if rapid.Bool().Draw(t, "next") {
		next := times.Draw(t, "next_at")
		a.NextAttemptAt = &next
	}
	return a
}

func TestAppendJSONIsWhatMarshalMakes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := genAttempt(t)
		want, err := json.Marshal(a)
		require.NoError(t, err)
		require.Equal(t, string(want), string(a.AppendJSON(nil)))
	})
	empty, err := json.Marshal(Attempt{})
	require.NoError(t, err)
	require.Equal(t, string(empty), string((&Attempt{}).AppendJSON(nil)))
}

func BenchmarkAppendJSON(b *testing.B) {
	a := &Attempt{
		EventType: "conversation.started", Trigger: Automatic, Reason: OK, Status: 200, State: Delivered,
		Response: Response{Headers: map[string][]string{"Content-Type": {"text/plain"}, "Date": {"x"}}, Body: []byte("ok")},
		Timing:   Timing{FirstByte: 200, Total: 220},
	}
	b.Run("Append", func(b *testing.B) {
		for b.Loop() {
			a.AppendJSON(make([]byte, 0, 1024))
		}
	})
	b.Run("Marshal", func(b *testing.B) {
		for b.Loop() {
			_, _ = json.Marshal(a)
		}
	})
}
