package sign_test

import (
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/sign"
)

func TestDiagnoseNamesWhatWasDoneToTheRequest(t *testing.T) {
	t.Parallel()

	key, now := sign.NewSecret(), time.Unix(1709812800, 0)
	signer, err := sign.NewSigner(key)
	require.NoError(t, err)
	const body = `{"a":1,"b":"x y"}`
	genuine := func(change func(*sign.Headers)) sign.Headers {
		h := sign.Headers{ID: "e1", Timestamp: "1709812800", Signature: string(signer.AppendSignature(nil, "e1", now.Unix(), []byte(body)))}
		if change != nil {
			change(&h)
		}
		return h
	}
	for name, c := range map[string]struct {
		secret sign.Secret
		change func(*sign.Headers)
		body   string
		now    time.Time
		reason error
		signed bool
		hint   string
	}{
		"OtherSecret":    {secret: sign.NewSecret(), body: body, reason: sign.ErrNoMatch, hint: "the secret is another endpoint's"},
		"NoSecret":       {secret: sign.Secret{}, body: body, reason: sign.ErrSecret, hint: "whsec_"},
		"LineBreak":      {secret: key, body: body + "\r\n", reason: sign.ErrNoMatch, hint: "ends in a line break"},
		"WhiteSpace":     {secret: key, body: " " + body, reason: sign.ErrNoMatch, hint: "white space around it"},
		"WrittenAgain":   {secret: key, body: "{\n  \"a\": 1,\n  \"b\": \"x y\"\n}", reason: sign.ErrNoMatch, hint: "parsed and written again"},
		"OtherBody":      {secret: key, body: `{"a":2}`, reason: sign.ErrNoMatch, hint: "not the bytes as received"},
		"Consumed":       {secret: key, body: "", reason: sign.ErrNoMatch, hint: "the body is empty"},
		"NoID":           {secret: key, body: body, change: func(h *sign.Headers) { h.ID = "" }, reason: sign.ErrHeaders, hint: "dropped"},
		"HalfASignature": {secret: key, body: body, change: func(h *sign.Headers) { h.Signature = h.Signature[3:] }, reason: sign.ErrNoMatch, hint: `begins with "v1,"`},
		"Milliseconds":   {secret: key, body: body, change: func(h *sign.Headers) { h.Timestamp += "000" }, reason: sign.ErrTooNew, hint: "milliseconds"},
		"Old":            {secret: key, body: body, now: now.Add(time.Hour), reason: sign.ErrTooOld, signed: true, hint: "The signature itself fits"},
		"OldAndOther":    {secret: key, body: body + "\n", now: now.Add(time.Hour), reason: sign.ErrTooOld, hint: "Nor does the signature fit: the body ends in a line break"},
		"Future":         {secret: key, body: body, now: now.Add(-time.Hour), reason: sign.ErrTooNew, signed: true, hint: "at most 5m0s from now"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			if c.now.IsZero() {
				c.now = now
			}
			err := sign.Diagnose(c.secret, genuine(c.change), []byte(c.body), c.now)
			refusal, ok := errors.AsType[*sign.RefusedError](err)
			require.True(t, ok)
			require.ErrorIs(t, err, c.reason)
			require.Contains(t, refusal.Hint, c.hint)
			require.Equal(t, c.signed, refusal.Signed)
			require.NotContains(t, err.Error(), genuine(nil).Signature[3:], "a refusal gives no valid signature away")
		})
	}
	t.Run("Genuine", func(t *testing.T) {
		t.Parallel()
		require.NoError(t, sign.Diagnose(key, genuine(nil), []byte(body), now))
	})
	t.Run("ChangedLineBreaks", func(t *testing.T) {
		t.Parallel()
		const lines = "{\n\"a\":1}"
		h := sign.Headers{ID: "e1", Timestamp: strconv.FormatInt(now.Unix(), 10)}
		h.Signature = string(signer.AppendSignature(nil, "e1", now.Unix(), []byte(lines)))
		require.ErrorContains(t, sign.Diagnose(key, h, []byte("{\r\n\"a\":1}"), now), "line breaks were changed")
	})
}
