package sign

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func whsec(n int) string {
	return secretPrefix + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xfb}, n))
}

func TestParseSecret(t *testing.T) {
	t.Parallel()

	for _, n := range []int{24, 25, 26, 32, 64} {
		t.Run(fmt.Sprintf("Accepts%dBytes", n), func(t *testing.T) {
			t.Parallel()
			secret, err := ParseSecret(whsec(n))
			require.NoError(t, err)
			require.False(t, secret.IsZero())
			require.Equal(t, whsec(n), secret.Reveal())
		})
	}

	good := whsec(32)
	refused := map[string]struct{ input, says string }{
		"Empty":            {"", `begin with "whsec_"`},
		"NoPrefix":         {strings.TrimPrefix(good, secretPrefix), `begin with "whsec_"`},
		"WrongCasePrefix":  {"WHSEC_" + strings.TrimPrefix(good, secretPrefix), `begin with "whsec_"`},
		"PublicKeyPrefix":  {"whpk_" + strings.TrimPrefix(good, secretPrefix), `begin with "whsec_"`},
		"LeadingSpace":     {" " + good, `begin with "whsec_"`},
		"TrailingNewline":  {good + "\n", "padded standard base64"},
		"NewlineInside":    {good[:12] + "\n" + good[12:], "padded standard base64"},
		"Unpadded":         {strings.TrimRight(good, "="), "padded standard base64"},
		"URLAlphabet":      {strings.ReplaceAll(strings.ReplaceAll(good, "+", "-"), "/", "_"), "padded standard base64"},
		"StrayTrailingBit": {secretPrefix + strings.Repeat("A", 42) + "B=", "padded standard base64"},
		"NoKey":            {secretPrefix, "24 to 64 bytes, it is 0"},
		"Only23Bytes":      {whsec(23), "24 to 64 bytes, it is 23"},
		"65Bytes":          {whsec(65), "24 to 64 bytes"},
		"OneMegabyte":      {whsec(1 << 20), "it is longer"},
	}
	for name, tc := range refused {
		t.Run("B30_Refuses"+name, func(t *testing.T) {
			t.Parallel()
			secret, err := ParseSecret(tc.input)
			require.ErrorIs(t, err, ErrSecret)
			require.ErrorContains(t, err, tc.says)
			require.True(t, secret.IsZero())
			if body := strings.TrimPrefix(strings.TrimSpace(tc.input), secretPrefix); len(body) > 8 {
				require.NotContains(t, err.Error(), body[:8])
			}
		})
	}
}

func TestNewSecretIsFreshAndParses(t *testing.T) {
	t.Parallel()

	a, b := NewSecret(), NewSecret()
	require.NotEqual(t, a.Reveal(), b.Reveal())
	require.NotEqual(t, a.Fingerprint(), b.Fingerprint())
	require.Len(t, a.bytes(), 32)

	again, err := ParseSecret(a.Reveal())
	require.NoError(t, err)
	require.Equal(t, a.Reveal(), again.Reveal())
	require.Equal(t, a.Fingerprint(), again.Fingerprint())
	require.Regexp(t, `^[0-9a-f]{12}$`, a.Fingerprint())
}

func TestZeroSecretRevealsNothing(t *testing.T) {
	t.Parallel()

	require.True(t, Secret{}.IsZero())
	require.Empty(t, Secret{}.Reveal())
	require.Empty(t, Secret{}.Fingerprint())
	require.Equal(t, redacted, Secret{}.String())
}

func TestSecretNeverPrints(t *testing.T) {
	t.Parallel()

	key := []byte("correct-horse-battery-staple")
	secret, err := ParseSecret(secretPrefix + base64.StdEncoding.EncodeToString(key))
	require.NoError(t, err)

	type visible struct{ Secret Secret }
	type hidden struct{ secret Secret }
	values := []any{
		secret, &secret,
		visible{secret},
		&visible{secret},
		hidden{secret},
		&hidden{secret},
		[]Secret{secret},
		map[string]Secret{"k": secret},
	}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c", "%T %v"} {
		for _, v := range values {
			if verb == "%T %v" {
				fmt.Fprintf(&out, verb+"\n", v, v)
				continue
			}
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	text := slog.New(slog.NewTextHandler(&out, nil))
	asJSON := slog.New(slog.NewJSONHandler(&out, nil))
	for _, v := range values {
		text.Info("probe", "value", v)
		asJSON.Info("probe", "value", v)
		encoded, err := json.Marshal(v)
		require.NoError(t, err)
		out.Write(encoded)
	}

	for _, leak := range []string{
		string(key), fmt.Sprintf("%x", key), fmt.Sprintf("%X", key),
		base64.StdEncoding.EncodeToString(key), strings.Trim(fmt.Sprintf("%d", key), "[]"),
		fmt.Sprintf("%#v", key), strings.Trim(fmt.Sprintf("%o", key), "[]"), strings.Trim(fmt.Sprintf("%b", key), "[]"),
	} {
		require.NotContains(t, out.String(), leak, "the key leaks as %.16s…", leak)
	}
	require.Equal(t, "whsec_***", fmt.Sprint(secret))
	require.Equal(t, "whsec_***", fmt.Sprintf("%#v", secret))
	encoded, err := json.Marshal(visible{secret})
	require.NoError(t, err)
	require.JSONEq(t, `{"Secret":"whsec_***"}`, string(encoded))
}

// FuzzSecret reads any text as a secret: what is accepted has one spelling and signs, and what is refused is not quoted.
func FuzzSecret(f *testing.F) {
	for _, seed := range []string{
		"", secretPrefix, whsec(23), whsec(24), whsec(32), whsec(64), whsec(65),
		whsec(32) + "\n", "whsec_****", "whsec_=", "whsec_" + strings.Repeat("A", 42) + "B=",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		secret, err := ParseSecret(text)
		if err != nil {
			require.ErrorIs(t, err, ErrSecret)
			require.True(t, secret.IsZero())
			require.Less(t, len(err.Error()), 200, "an error does not repeat what it refuses")
			return
		}
		require.Equal(t, text, secret.Reveal())
		n := len(secret.bytes())
		require.True(t, n >= minKeyBytes && n <= maxKeyBytes, "%d bytes", n)
		_, err = NewSigner(secret)
		require.NoError(t, err)
	})
}
