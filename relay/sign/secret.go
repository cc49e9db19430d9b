package sign

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

const (
	secretPrefix = "whsec_"
	redacted     = secretPrefix + "***"

	// The bounds of Standard Webhooks 1.0.0. Its Go library accepts any
	// length, so they hold only because they are enforced here.
	minKeyBytes = 24
	maxKeyBytes = 64
	newKeyBytes = 32
)

// ErrSecret is wrapped by every error of [ParseSecret].
var ErrSecret = errors.New("signing secret is malformed")

// Secret is a symmetric signing key. It does not print: fmt, slog and
// encoding/json all give "whsec_***". The zero value holds no key, and
// [NewSigner] refuses it. A Secret is immutable and safe for concurrent use.
type Secret struct {
	// Two pointers deep, because fmt calls no methods on unexported fields:
	// in another struct's dump it shows an address, and for a verb that does
	// not fit a pointer it follows one of them, but never both.
	key *sealed
}

type sealed struct{ bytes *[]byte }

func seal(key []byte) Secret { return Secret{key: &sealed{bytes: &key}} }

// bytes is the key itself; s must not be zero and the result not be changed.
func (s Secret) bytes() []byte { return *s.key.bytes }

// ParseSecret reads "whsec_" followed by the padded standard base64 of 24 to 64
// bytes. Its errors wrap [ErrSecret], say what would be right and never quote
// the input.
func ParseSecret(s string) (Secret, error) {
	encoded, ok := strings.CutPrefix(s, secretPrefix)
	if !ok {
		return Secret{}, fmt.Errorf("%w: it must begin with %q", ErrSecret, secretPrefix)
	}
	if len(encoded) > base64.StdEncoding.EncodedLen(maxKeyBytes) {
		return Secret{}, fmt.Errorf("%w: the key must be %d to %d bytes, it is longer",
			ErrSecret, minKeyBytes, maxKeyBytes)
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	// The decoder skips line breaks and stray trailing bits; comparing with
	// the canonical form leaves each key exactly one spelling.
	if err != nil || base64.StdEncoding.EncodeToString(key) != encoded {
		return Secret{}, fmt.Errorf("%w: after %q it must be padded standard base64 (A-Z a-z 0-9 + / =)",
			ErrSecret, secretPrefix)
	}
	if len(key) < minKeyBytes || len(key) > maxKeyBytes {
		return Secret{}, fmt.Errorf("%w: the key must be %d to %d bytes, it is %d",
			ErrSecret, minKeyBytes, maxKeyBytes, len(key))
	}
	return seal(key), nil
}

// NewSecret makes a secret of 32 bytes from the system's secure random source.
func NewSecret() Secret {
	key := make([]byte, newKeyBytes)
	// Since Go 1.24 it never returns an error: it ends the program instead.
	_, _ = rand.Read(key)
	return seal(key)
}

// IsZero tells whether s holds no key.
func (s Secret) IsZero() bool { return s.key == nil }

// Reveal gives the secret as its owner writes it, "whsec_" and base64, or ""
// for the zero Secret. Its result goes to the encrypting store and, once, to
// the endpoint's owner; nowhere else.
func (s Secret) Reveal() string {
	if s.IsZero() {
		return ""
	}
	return secretPrefix + base64.StdEncoding.EncodeToString(s.bytes())
}

// Fingerprint is a short one-way name of the secret, 12 hex digits, for logs
// and the audit trail. The zero Secret has none: "".
func (s Secret) Fingerprint() string {
	if s.IsZero() {
		return ""
	}
	h := sha256.New()
	// The label keeps this hash apart from any other use of the key.
	h.Write([]byte("surveyhooks/sign fingerprint\x00"))
	h.Write(s.bytes())
	return hex.EncodeToString(h.Sum(nil)[:6])
}

// String gives "whsec_***".
func (s Secret) String() string { return redacted }

// GoString gives "whsec_***".
func (s Secret) GoString() string { return redacted }

// Format writes "whsec_***" for every verb: without it %d would reach the key.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue gives "whsec_***".
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON gives "whsec_***" as a JSON string.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText gives "whsec_***", for encoders other than JSON.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

var (
	_ fmt.Formatter  = Secret{}
	_ fmt.GoStringer = Secret{}
	_ fmt.Stringer   = Secret{}
	_ slog.LogValuer = Secret{}
)
