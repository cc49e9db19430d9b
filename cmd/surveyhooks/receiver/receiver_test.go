package receiver_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/receiver"
	"github.com/chattosurvey/surveyhooks/relay/sign"
)

type testBundle struct {
	*receiver.Receiver

	secret   sign.Secret
	arrivals []receiver.Arrival
	now      time.Time
	status   int
}

func setup(t *testing.T, remember int) *testBundle {
	t.Helper()
	b := &testBundle{secret: sign.NewSecret(), now: time.Unix(1_709_812_800, 0), status: http.StatusOK}
	r, err := receiver.New(receiver.Config{
		Secrets:  map[string]sign.Secret{"/healthy": b.secret},
		Arrived:  func(a receiver.Arrival) { b.arrivals = append(b.arrivals, a) },
		Answer:   func(context.Context, receiver.Arrival) int { return b.status },
		Remember: remember,
		Now:      func() time.Time { return b.now },
	})
	require.NoError(t, err)
	b.Receiver = r
	return b
}

// request signs a webhook of the event, which happened two seconds ago.
func (b *testBundle) request(t *testing.T, id string) *http.Request {
	t.Helper()
	signer, err := sign.NewSigner(b.secret)
	require.NoError(t, err)
	body := `{"id":"` + id + `","event":"conversation.started","created_at":"` + b.now.Add(-2*time.Second).UTC().Format(time.RFC3339) + `","data":{}}`
	req := httptest.NewRequest(http.MethodPost, "/healthy", strings.NewReader(body))
	req.Header.Set("X-Webhook-ID", id)
	req.Header.Set("X-Webhook-Event", "conversation.started")
	req.Header.Set("webhook-id", id)
	req.Header.Set("webhook-timestamp", strconv.FormatInt(b.now.Unix(), 10))
	req.Header.Set("webhook-signature", string(signer.AppendSignature(nil, id, b.now.Unix(), []byte(body))))
	return req
}

func (b *testBundle) take(req *http.Request) int {
	answer := httptest.NewRecorder()
	b.ServeHTTP(answer, req)
	return answer.Code
}

func TestReceiver(t *testing.T) {
	t.Parallel()

	t.Run("VerifiesAndRecognisesTheSameEventAgain", func(t *testing.T) {
		t.Parallel()
		b := setup(t, 0)
		id := uuid.NewString()
		require.Equal(t, http.StatusOK, b.take(b.request(t, id)))
		require.Equal(t, http.StatusOK, b.take(b.request(t, id)), "a duplicate is acknowledged, or it would come for ever")
		require.False(t, b.arrivals[0].Duplicate)
		require.True(t, b.arrivals[1].Duplicate)
		require.Equal(t, receiver.Counts{
			Requests: 2, Verified: 2, Duplicates: 1, Age: receiver.Ages{Mean: 2 * time.Second, Max: 2 * time.Second},
		}, b.Counts())
	})

	t.Run("RefusesWhatIsNotSigned", func(t *testing.T) {
		t.Parallel()
		for name, forge := range map[string]func(*http.Request){
			"NoSignature":  func(r *http.Request) { r.Header.Del("webhook-signature") },
			"OtherContent": func(r *http.Request) { r.Body = http.NoBody },
			"OldTimestamp": func(r *http.Request) { r.Header.Set("webhook-timestamp", "1609459200") },
			"UnsignedID":   func(r *http.Request) { r.Header.Set("X-Webhook-ID", uuid.NewString()) },
		} {
			b := setup(t, 0)
			id := uuid.NewString()
			req := b.request(t, id)
			forge(req)
			require.Equal(t, http.StatusUnauthorized, b.take(req), name)
			require.Equal(t, http.StatusOK, b.take(b.request(t, id)))
			require.False(t, b.arrivals[1].Duplicate, "a forgery must not suppress the real one")
		}
	})

	t.Run("TakesAgainWhatItAnsweredWithAFailure", func(t *testing.T) {
		t.Parallel()
		b := setup(t, 0)
		id := uuid.NewString()
		b.status = http.StatusInternalServerError
		require.Equal(t, http.StatusInternalServerError, b.take(b.request(t, id)))
		b.status = http.StatusAccepted
		require.Equal(t, http.StatusAccepted, b.take(b.request(t, id)))
		require.Equal(t, http.StatusOK, b.take(b.request(t, id)))
		require.False(t, b.arrivals[1].Duplicate, "what was not taken is no duplicate")
		require.True(t, b.arrivals[2].Duplicate)
	})

	t.Run("TakesAgainWhatNobodyWaitedFor", func(t *testing.T) {
		t.Parallel()
		b := setup(t, 0)
		id := uuid.NewString()
		gone, hangUp := context.WithCancel(t.Context())
		hangUp()
		b.take(b.request(t, id).WithContext(gone))
		require.Zero(t, b.arrivals[0].Status, "nobody heard the answer")
		require.Equal(t, http.StatusOK, b.take(b.request(t, id)))
		require.False(t, b.arrivals[1].Duplicate)
	})

	t.Run("KnowsNoOtherPath", func(t *testing.T) {
		t.Parallel()
		b := setup(t, 0)
		require.Equal(t, http.StatusNotFound, b.take(httptest.NewRequest(http.MethodPost, "/other", nil)))
		require.Empty(t, b.arrivals)
	})

	t.Run("RemembersABoundedNumber", func(t *testing.T) {
		t.Parallel()
		b := setup(t, 2)
		ids := []string{uuid.NewString(), uuid.NewString(), uuid.NewString()}
		for _, id := range append(ids, ids[2], ids[0]) {
			b.take(b.request(t, id))
		}
		require.True(t, b.arrivals[3].Duplicate)
		require.False(t, b.arrivals[4].Duplicate, "the oldest was forgotten")
	})
}

func TestConfigNamesEveryFault(t *testing.T) {
	t.Parallel()

	_, err := receiver.New(receiver.Config{})
	require.ErrorContains(t, err, "no secrets")
	_, err = receiver.New(receiver.Config{Secrets: map[string]sign.Secret{"hook": {}}, Remember: -1})
	for _, fault := range []string{`path is "hook"`, "secret of hook is empty", "Remember is -1"} {
		require.ErrorContains(t, err, fault)
	}
}

func TestPrinterWritesOneLineWhateverComes(t *testing.T) {
	t.Parallel()

	var out bytes.Buffer
	p := receiver.NewPrinter(&out)
	at := time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.UTC)
	p.Print(receiver.Arrival{At: at, Path: "/healthy", Event: "conversation.started", ID: "7", Status: 503, Took: 3 * time.Second})
	p.Print(receiver.Arrival{At: at, Path: "/slow", Event: "a\n\x1b[2J", ID: strings.Repeat("x", 500), Fault: sign.ErrNoMatch, Status: 401})
	p.Print(receiver.Arrival{At: at, Path: "/slow", Duplicate: true, Status: 200})
	p.Print(receiver.Arrival{At: at, Path: "/hanging", Took: 30 * time.Second})
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	require.Len(t, lines, 4)
	require.Contains(t, lines[0], "03:04:05.006")
	require.Contains(t, lines[0], "✓ verified, answered 503 after 3s")
	require.Contains(t, lines[1], "✗ no signature matches")
	require.NotContains(t, lines[1], "\x1b")
	require.Contains(t, lines[2], "duplicate")
	require.Contains(t, lines[3], "✓ verified, not answered: the sender hung up after 30s")
}
