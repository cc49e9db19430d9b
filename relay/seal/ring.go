package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/google/uuid"
)

const (
	form       = 1
	checkBytes = 8
	head       = 1 + checkBytes

	// Overhead is by how many bytes a sealed value is longer than the value.
	Overhead = head + 12 + 16
)

// ErrNoKeys says that there is no key to seal with.
var ErrNoKeys = errors.New("the keyring is empty: nothing can be sealed")

// Binding says where a value belongs. It is authenticated with the value, so that a ciphertext which is copied to another
// row, another endpoint or another company does not open.
type Binding struct {
	Purpose  string // what the value is, such as "secret"
	Company  uuid.UUID
	Endpoint uuid.UUID
	Version  int // of the value
}

// additional is the binding as GCM's additional data; the lengths keep two bindings from reading the same.
func (b Binding) additional(keyID string) []byte {
	ad := append(make([]byte, 0, 160), "surveyhooks/seal\x00"...)
	ad = append(ad, form)
	ad = append(ad, b.Company[:]...)
	ad = append(ad, b.Endpoint[:]...)
	ad = binary.BigEndian.AppendUint64(ad, uint64(b.Version)) //nolint:gosec // a counter; any bits do, if they are the same again
	for _, text := range []string{b.Purpose, keyID} {
		ad = binary.BigEndian.AppendUint32(ad, uint32(len(text))) //nolint:gosec // names, not files
		ad = append(ad, text...)
	}
	return ad
}

// Ring is a keyring. A nil or zero Ring holds no key: it seals nothing and opens nothing. It is safe for concurrent
// use, and prints as the ids of its keys.
type Ring struct{ keys atomic.Pointer[[]opener] }

// opener is a key ready for use.
type opener struct {
	id    string
	check [checkBytes]byte
	aead  cipher.AEAD
}

// NewRing makes a keyring whose first key seals. The error names a key that is there twice, or is none.
func NewRing(keys ...Key) (*Ring, error) {
	openers := make([]opener, 0, len(keys))
	for _, key := range keys {
		if key.IsZero() {
			return nil, errors.New("make keyring: one of the keys is empty: parse or make it first")
		}
		o, err := newOpener(key)
		if err != nil {
			return nil, err
		}
		for _, other := range openers {
			if other.id == o.id {
				return nil, fmt.Errorf("key %q is there twice: give each key an id of its own", o.id)
			}
			if other.check == o.check {
				return nil, fmt.Errorf("keys %q and %q are the same key: remove one of them", other.id, o.id)
			}
		}
		openers = append(openers, o)
	}
	r := new(Ring)
	r.keys.Store(&openers)
	return r, nil
}

// ParseRing reads the text form of the package's doc; no key at all is an empty ring. The error names the key by its
// place, and never quotes it.
func ParseRing(text string) (*Ring, error) {
	var keys []Key
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "#") {
			continue
		}
		for field := range strings.SplitSeq(line, ",") {
			if field = strings.TrimSpace(field); field == "" {
				continue
			}
			key, err := parseKey(field)
			if err != nil {
				return nil, fmt.Errorf("key %d: %w", len(keys)+1, err)
			}
			keys = append(keys, key)
		}
	}
	return NewRing(keys...)
}

func newOpener(key Key) (opener, error) {
	block, err := aes.NewCipher(key.bytes())
	if err != nil {
		return opener{}, fmt.Errorf("prepare key %q: %w", key.id, err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return opener{}, fmt.Errorf("prepare key %q: %w", key.id, err)
	}
	o := opener{id: key.id, aead: aead}
	mac := hmac.New(sha256.New, key.bytes())
	mac.Write([]byte("surveyhooks/seal check value"))
	copy(o.check[:], mac.Sum(nil))
	return o, nil
}

// Replace takes over the keys of another ring, for all who hold this one. Values that are open stay so.
func (r *Ring) Replace(with *Ring) {
	keys := with.openers()
	r.keys.Store(&keys)
}

func (r *Ring) openers() []opener {
	if r == nil {
		return nil
	}
	if keys := r.keys.Load(); keys != nil {
		return *keys
	}
	return nil
}

// IDs names the keys; the first one seals.
func (r *Ring) IDs() []string {
	keys := r.openers()
	ids := make([]string, len(keys))
	for i, k := range keys {
		ids[i] = k.id
	}
	return ids
}

// First is the id of the key that seals, or "".
func (r *Ring) First() string {
	if ids := r.IDs(); len(ids) > 0 {
		return ids[0]
	}
	return ""
}

// String names the keys.
func (r *Ring) String() string { return "keyring [" + strings.Join(r.IDs(), " ") + "]" }

// Seal encrypts a value for its place and names the key that it needs to open. The only error is [ErrNoKeys].
func (r *Ring) Seal(value []byte, place Binding) (keyID string, sealed []byte, err error) {
	keys := r.openers()
	if len(keys) == 0 {
		return "", nil, ErrNoKeys
	}
	k := keys[0]
	sealed = append(append(make([]byte, 0, len(value)+Overhead), form), k.check[:]...)
	return k.id, k.aead.Seal(sealed, nil, value, place.additional(k.id)), nil //nolint:gosec // this AEAD draws its nonce itself
}

// Open decrypts a value that was sealed for the same place. Errors: *MissingKeyError, *WrongKeyError, *AlteredError.
func (r *Ring) Open(keyID string, sealed []byte, place Binding) ([]byte, error) {
	k, err := r.find(keyID, sealed)
	if err != nil {
		return nil, err
	}
	if len(sealed) < Overhead || sealed[0] != form {
		return nil, &AlteredError{KeyID: keyID, Place: place}
	}
	value, err := k.aead.Open(nil, nil, sealed[head:], place.additional(keyID))
	if err != nil {
		return nil, &AlteredError{KeyID: keyID, Place: place} // GCM says no more than that
	}
	return value, nil
}

// Has tells without opening it whether the ring has the key of a sealed value, of which the first 9 bytes are enough.
// Errors: *MissingKeyError, *WrongKeyError.
func (r *Ring) Has(keyID string, sealed []byte) error {
	_, err := r.find(keyID, sealed)
	return err
}

func (r *Ring) find(keyID string, sealed []byte) (opener, error) {
	for _, k := range r.openers() {
		if k.id != keyID {
			continue
		}
		// Anything but our form is not judged here: it opens with no key.
		if len(sealed) >= head && sealed[0] == form && [checkBytes]byte(sealed[1:head]) != k.check {
			return opener{}, &WrongKeyError{KeyID: keyID}
		}
		return k, nil
	}
	return opener{}, &MissingKeyError{KeyID: keyID, Have: r.IDs()}
}
