package main

import (
	"encoding/json"
	"net/http"
	"strconv"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/sign"
)

// offline has no database, and must need none.
func offline(t *testing.T) shell {
	t.Helper()
	return shell{t, nil}
}

func TestSignedHeadersSatisfyTheOfficialLibrary(t *testing.T) {
	t.Parallel()

	secret := sign.NewSecret().Reveal()
	body := `{"id":"test-1"}`
	got := offline(t).feed(body, "signature", "sign", "--secret", secret, "--id", "test-1", "--body", "-")
	require.Equal(t, exitOK, got.code, got.stderr)
	require.NotContains(t, got.stdout+got.stderr, secret)
	headers := http.Header{}
	signed := offline(t).feed(body, "signature", "sign", "--secret", secret, "--id", "test-1", "--body", "-", "-o", "json")
	require.Equal(t, exitOK, signed.code, signed.stderr)
	var values map[string]string
	require.NoError(t, json.Unmarshal([]byte(signed.stdout), &values))
	for name, value := range values {
		headers.Set(name, value)
	}
	oracle, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	require.NoError(t, oracle.Verify([]byte(body), headers))
	require.Error(t, oracle.Verify([]byte(body+" "), headers))
}

func TestVerifySaysWhatIsWrong(t *testing.T) {
	t.Parallel()

	key := sign.NewSecret()
	signer, err := sign.NewSigner(key)
	require.NoError(t, err)
	body, now := `{"a":1}`, time.Now().Unix()
	signature := func(at int64) string { return string(signer.AppendSignature(nil, "e1", at, []byte(body))) }
	old := now - 3600
	tests := map[string]struct {
		secret    string
		at        int64
		signature string
		body      string
		code      int
		want      string
	}{
		"Genuine":       {key.Reveal(), now, signature(now), body, exitOK, ""},
		"Rotated":       {key.Reveal(), now, "v1,AAAA " + signature(now), body, exitOK, ""},
		"OtherSecret":   {sign.NewSecret().Reveal(), now, signature(now), body, exitFailure, "another endpoint's"},
		"RewrittenBody": {key.Reveal(), now, signature(now), `{"a": 1}`, exitFailure, "not the bytes as received"},
		"LineBreak":     {key.Reveal(), now, signature(now), body + "\n", exitFailure, "line break"},
		"Replayed":      {key.Reveal(), old, signature(old), body, exitFailure, "at most 5m0s"},
		"NoPrefix":      {"secret", now, signature(now), body, exitUsage, "--secret"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			got := offline(t).feed(tt.body, "signature", "verify", "--secret", tt.secret, "--id", "e1",
				"--timestamp", strconv.FormatInt(tt.at, 10), "--signature", tt.signature, "--body", "-")
			require.Equal(t, tt.code, got.code, got.stderr)
			require.Contains(t, got.stderr, tt.want)
			require.NotContains(t, got.stdout+got.stderr, tt.secret+"\n")
			require.NotContains(t, got.stdout+got.stderr, signature(now), "a refusal gives no valid signature away")
		})
	}
}

func TestSignRefusesWhatNoReceiverAccepts(t *testing.T) {
	t.Parallel()

	secret := sign.NewSecret().Reveal()
	for _, args := range [][]string{{"--id", "a.b"}, {"--id", "a", "--timestamp", "-1"}} {
		got := offline(t).feed("{}", append([]string{"signature", "sign", "--secret", secret, "--body", "-"}, args...)...)
		require.Equal(t, exitUsage, got.code, got.stderr)
		require.Empty(t, got.stdout)
	}
}
