package seal

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"
)

const keyBytes = 32 // AES-256

var idForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,31}$`)

// Key is a key-encryption key and its id. It does not print: fmt, slog and encoding/json all give the id and "***".
// The zero value is no key. A Key is immutable and safe for concurrent use.
type Key struct {
	id string
	// Two pointers deep, because fmt calls no methods on unexported fields and follows one pointer for some verbs.
	material *material
}

type material struct{ bytes *[]byte }

// NewKey makes a key at random. The error says what is wrong with the id.
func NewKey(id string) (Key, error) {
	if !idForm.MatchString(id) {
		return Key{}, fmt.Errorf("key id is %.40q: %s", id, wantID)
	}
	bytes := make([]byte, keyBytes)
	// Since Go 1.24 it never returns an error: it ends the program instead.
	_, _ = rand.Read(bytes)
	return Key{id: id, material: &material{&bytes}}, nil
}

const wantID = "want 1 to 32 of a-z 0-9 . _ - that begin with a letter or digit"

// parseKey reads id:base64. Its errors quote an id that is one, and nothing else: the rest may be the key.
func parseKey(text string) (Key, error) {
	id, encoded, ok := strings.Cut(text, ":")
	if !ok {
		return Key{}, errors.New("it has no colon: want id:base64")
	}
	if !idForm.MatchString(id) {
		return Key{}, fmt.Errorf("what stands before the colon is no id: %s", wantID)
	}
	bytes, err := base64.StdEncoding.DecodeString(encoded)
	// The decoder skips line breaks and stray bits; each key has one spelling.
	if err != nil || base64.StdEncoding.EncodeToString(bytes) != encoded {
		return Key{}, fmt.Errorf("after %q it must be padded standard base64 (A-Z a-z 0-9 + / =)", id+":")
	}
	if len(bytes) != keyBytes {
		return Key{}, fmt.Errorf("after %q it must be the base64 of %d bytes, it is that of %d", id+":", keyBytes, len(bytes))
	}
	return Key{id: id, material: &material{&bytes}}, nil
}

// IsZero tells whether k is no key.
func (k Key) IsZero() bool { return k.material == nil }

// Reveal gives the key as a keyring holds it, id:base64, or "" for the zero Key. It is for whoever keeps the keyring;
// nowhere else.
func (k Key) Reveal() string {
	if k.IsZero() {
		return ""
	}
	return k.id + ":" + base64.StdEncoding.EncodeToString(k.bytes())
}

func (k Key) bytes() []byte { return *k.material.bytes }

// String gives the id and "***".
func (k Key) String() string { return k.id + ":***" }

// GoString gives the id and "***".
func (k Key) GoString() string { return k.String() }

// Format writes the id and "***" for every verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// LogValue gives the id and "***".
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalText gives the id and "***", for encoding/json and every other encoder.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

var (
	_ fmt.Formatter  = Key{}
	_ fmt.GoStringer = Key{}
	_ fmt.Stringer   = Key{}
	_ slog.LogValuer = Key{}
)
