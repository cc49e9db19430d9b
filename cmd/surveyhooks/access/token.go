package access

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"strings"
)

// kind is what a token opens; it is the token's prefix, so that a scanner for secrets recognises one, and a key pasted
// for a link is told apart.
type kind string

const (
	keyToken     kind = "whk_"
	linkToken    kind = "whl_"
	sessionToken kind = "whs_"
)

const (
	tokenBytes  = 32 // of randomness
	randomChars = 43 // base64 of tokenBytes
	sumChars    = 6  // base64 of a CRC-32
)

// errMalformed says that a text is no token of the wanted kind. It says nothing about what exists.
var errMalformed = errors.New("the token is malformed")

// Token is a secret that opens something to whoever holds it: prefix, 32 random bytes, checksum. It does not print; fmt,
// slog and encoding/json give its prefix and "***". The zero Token opens nothing.
type Token struct {
	kind kind
	// Two pointers deep: fmt calls no methods on unexported fields of other structs, but follows one pointer.
	text **string
}

func newToken(k kind) Token {
	random := make([]byte, tokenBytes)
	_, _ = rand.Read(random) // since Go 1.24 it never returns an error
	text := string(k) + base64.RawURLEncoding.EncodeToString(random)
	text += checksum(text)
	return seal(k, text)
}

func seal(k kind, text string) Token {
	inner := &text
	return Token{kind: k, text: &inner}
}

// parseToken tells a typing error from a token that was never ours, without a look at what exists.
func parseToken(k kind, text string) (Token, error) {
	if len(text) != len(k)+randomChars+sumChars || !strings.HasPrefix(text, string(k)) {
		return Token{}, errMalformed
	}
	body := text[:len(k)+randomChars]
	if checksum(body) != text[len(body):] {
		return Token{}, errMalformed
	}
	return seal(k, text), nil
}

func checksum(body string) string {
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(body))))
}

// Reveal gives the token itself, or "" for the zero Token: to its holder, once, and to nobody else.
func (t Token) Reveal() string {
	if t.text == nil {
		return ""
	}
	return **t.text
}

// hash is what the database keeps.
func (t Token) hash() []byte {
	sum := sha256.Sum256([]byte(t.Reveal()))
	return sum[:]
}

// String gives the prefix and "***".
func (t Token) String() string { return string(t.kind) + "***" }

// GoString gives the prefix and "***".
func (t Token) GoString() string { return t.String() }

// Format writes the prefix and "***" for every verb.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) }

// LogValue gives the prefix and "***".
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalJSON gives the prefix and "***" as a JSON string.
func (t Token) MarshalJSON() ([]byte, error) { return []byte(`"` + t.String() + `"`), nil }
