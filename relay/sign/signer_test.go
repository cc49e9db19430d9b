package sign

import (
	"bytes"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
)

const eventID = "018e1f6e-5c7a-7b3e-9d7a-0242ac120002"

// official asks the official library, the oracle of this package.
func official(t *testing.T, secret Secret, id string, ts int64, signatures string, body []byte) error {
	t.Helper()
	wh, err := standardwebhooks.NewWebhook(secret.Reveal())
	require.NoError(t, err)
	h := http.Header{}
	h.Set(standardwebhooks.HeaderWebhookID, id)
	h.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(ts, 10))
	h.Set(standardwebhooks.HeaderWebhookSignature, signatures)
	return wh.Verify(body, h)
}

func signed(t *testing.T, id string, ts int64, body []byte, secrets ...Secret) string {
	t.Helper()
	signer, err := NewSigner(secrets...)
	require.NoError(t, err)
	out := string(signer.AppendSignature(nil, id, ts, body))
	require.Len(t, out, signer.Len())
	return out
}

func TestSignatureMatchesThePublishedVector(t *testing.T) {
	t.Parallel()

	// The example of the Standard Webhooks and Svix documentation.
	secret, err := ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	require.NoError(t, err)
	require.Equal(t, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
		signed(t, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, []byte(`{"test": 2432232314}`), secret))
}

func TestOfficialLibraryAgrees(t *testing.T) {
	t.Parallel()

	now := time.Now()
	body := []byte("{\"id\":\"x\",\"data\":{\"name\":\"Zo\u00eb \\u0000\"}}")
	fresh, old, stranger := NewSecret(), NewSecret(), NewSecret()
	both := signed(t, eventID, now.Unix(), body, fresh, old)

	t.Run("BothKeysVerifyDuringRotation", func(t *testing.T) {
		t.Parallel()
		for _, secret := range []Secret{fresh, old} {
			require.NoError(t, official(t, secret, eventID, now.Unix(), both, body))
			require.NoError(t, Verify(secret, Headers{eventID, strconv.FormatInt(now.Unix(), 10), both}, body, now))
		}
	})
	t.Run("NewestComesFirst", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, signed(t, eventID, now.Unix(), body, fresh)+" "+signed(t, eventID, now.Unix(), body, old), both)
	})
	t.Run("BytesEqualItsOwnSignature", func(t *testing.T) {
		t.Parallel()
		wh, err := standardwebhooks.NewWebhook(fresh.Reveal())
		require.NoError(t, err)
		want, err := wh.Sign(eventID, now, body)
		require.NoError(t, err)
		require.Equal(t, want, signed(t, eventID, now.Unix(), body, fresh))
		require.NoError(t, Verify(fresh, Headers{eventID, strconv.FormatInt(now.Unix(), 10), want}, body, now))
	})
	t.Run("EmptyBody", func(t *testing.T) {
		t.Parallel()
		require.NoError(t, official(t, fresh, eventID, now.Unix(), signed(t, eventID, now.Unix(), nil, fresh), nil))
	})

	type request struct {
		secret Secret
		id     string
		ts     int64
		sig    string
		body   []byte
	}
	stale, early := now.Add(-6*time.Minute).Unix(), now.Add(6*time.Minute).Unix()
	refused := map[string]struct {
		request
		ours, theirs error
	}{
		"TamperedBody":      {request{fresh, eventID, now.Unix(), both, append([]byte(" "), body...)}, ErrNoMatch, standardwebhooks.ErrNoMatchingSignature},
		"TamperedID":        {request{fresh, eventID + "0", now.Unix(), both, body}, ErrNoMatch, standardwebhooks.ErrNoMatchingSignature},
		"TamperedTimestamp": {request{fresh, eventID, now.Unix() - 1, both, body}, ErrNoMatch, standardwebhooks.ErrNoMatchingSignature},
		"StrangersKey":      {request{stranger, eventID, now.Unix(), both, body}, ErrNoMatch, standardwebhooks.ErrNoMatchingSignature},
		"KeyRotatedAway":    {request{old, eventID, now.Unix(), signed(t, eventID, now.Unix(), body, fresh), body}, ErrNoMatch, standardwebhooks.ErrNoMatchingSignature},
		"TooOld":            {request{fresh, eventID, stale, signed(t, eventID, stale, body, fresh), body}, ErrTooOld, standardwebhooks.ErrMessageTooOld},
		"TooNew":            {request{fresh, eventID, early, signed(t, eventID, early, body, fresh), body}, ErrTooNew, standardwebhooks.ErrMessageTooNew},
		"EmptySignature":    {request{fresh, eventID, now.Unix(), "v1,", body}, ErrNoMatch, standardwebhooks.ErrNoMatchingSignature},
		"CutSignature":      {request{fresh, eventID, now.Unix(), both[:len("v1,")+8], body}, ErrNoMatch, standardwebhooks.ErrNoMatchingSignature},
		"OtherVersion":      {request{fresh, eventID, now.Unix(), "v2" + both[2:signatureLen], body}, ErrNoMatch, standardwebhooks.ErrNoMatchingSignature},
		"NoHeader":          {request{fresh, eventID, now.Unix(), "", body}, ErrHeaders, standardwebhooks.ErrRequiredHeaders},
	}
	for name, tc := range refused {
		t.Run("B35_BothRefuse"+name, func(t *testing.T) {
			t.Parallel()
			require.ErrorIs(t, official(t, tc.secret, tc.id, tc.ts, tc.sig, tc.body), tc.theirs)
			require.ErrorIs(t, Verify(tc.secret, Headers{tc.id, strconv.FormatInt(tc.ts, 10), tc.sig}, tc.body, now), tc.ours)
		})
	}
}

func TestVerifyHeaders(t *testing.T) {
	t.Parallel()

	now := time.Unix(1_709_812_800, 0)
	secret, body := NewSecret(), []byte("{}")
	good := signed(t, eventID, now.Unix(), body, secret)
	at := strconv.FormatInt(now.Unix(), 10)

	for _, ts := range []string{"", "now", "-1", "+" + at, "0" + at, " " + at, at + ".0", "1.7e9", strings.Repeat("9", 40)} {
		require.ErrorIs(t, Verify(secret, Headers{eventID, ts, good}, body, now), ErrHeaders, "timestamp %q", ts)
	}
	require.ErrorIs(t, Verify(secret, Headers{"", at, good}, body, now), ErrHeaders)
	require.ErrorIs(t, Verify(secret, Headers{eventID, strconv.FormatInt(math.MaxInt64, 10), good}, body, now), ErrTooNew)
	require.ErrorIs(t, Verify(Secret{}, Headers{eventID, at, good}, body, now), ErrSecret)

	// The same signed text, split another way: id "a" at 1709812800 with body
	// "1709812800.{}" reads like id "a.1709812800" with body "{}".
	split := signed(t, "a", now.Unix(), []byte(at+".{}"), secret)
	require.ErrorIs(t, Verify(secret, Headers{"a." + at, at, split}, body, now), ErrHeaders)

	require.NoError(t, Verify(secret, Headers{eventID, at, "v1a,AAAA v9 " + good + " v1,AAAA"}, body, now))
	require.NoError(t, Verify(secret, Headers{eventID, at, good}, body, now.Add(Tolerance)))
	require.NoError(t, Verify(secret, Headers{eventID, at, good}, body, now.Add(-Tolerance)))
	require.ErrorIs(t, Verify(secret, Headers{eventID, at, good}, body, now.Add(Tolerance+1)), ErrTooOld)
	require.ErrorIs(t, Verify(secret, Headers{eventID, at, good}, body, now.Add(-Tolerance-1)), ErrTooNew)
}

func TestSignerAppends(t *testing.T) {
	t.Parallel()

	secret := NewSecret()
	signer, err := NewSigner(secret)
	require.NoError(t, err)
	whole := signer.AppendSignature(nil, eventID, 1, []byte("headtail"))

	t.Run("PartsSignLikeTheWhole", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, whole, signer.AppendSignature(nil, eventID, 1, []byte("head"), nil, []byte("ta"), []byte("il")))
	})
	t.Run("KeepsWhatDstHeld", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, "x: "+string(whole), string(signer.AppendSignature([]byte("x: "), eventID, 1, []byte("headtail"))))
	})
	t.Run("Concurrently", func(t *testing.T) {
		t.Parallel()
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				body := bytes.Repeat([]byte{byte(i)}, 100+i)
				want := signed(t, eventID, int64(i), body, secret)
				for range 200 {
					if got := signer.AppendSignature(nil, eventID, int64(i), body); string(got) != want {
						t.Errorf("goroutine %d: got %s, want %s", i, got, want)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestNewSignerRefuses(t *testing.T) {
	t.Parallel()

	_, err := NewSigner()
	require.ErrorContains(t, err, "need 1 to 2 secrets, have 0")
	_, err = NewSigner(NewSecret(), NewSecret(), NewSecret())
	require.ErrorContains(t, err, "need 1 to 2 secrets, have 3")
	_, err = NewSigner(NewSecret(), Secret{})
	require.ErrorContains(t, err, "secret 1 is empty")
}

func BenchmarkAppendSignature(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 1024)
	for name, secrets := range map[string][]Secret{
		"OneKey":  {NewSecret()},
		"TwoKeys": {NewSecret(), NewSecret()},
	} {
		b.Run(name, func(b *testing.B) {
			signer, err := NewSigner(secrets...)
			require.NoError(b, err)
			dst := make([]byte, 0, signer.Len())
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				dst = signer.AppendSignature(dst[:0], eventID, 1_709_812_800, body[:100], body[100:900], body[900:])
			}
		})
	}
}
