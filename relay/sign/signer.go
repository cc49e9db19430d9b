package sign

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash"
	"strconv"
	"sync"
)

// maxSecrets is two: the new secret, and the old one while a rotation overlaps.
const maxSecrets = 2

const signatureLen = len("v1,") + (sha256.Size+2)/3*4

// Signer signs requests with one secret, or with two while a rotation
// overlaps. It is immutable and safe for concurrent use.
type Signer struct {
	secrets int
	states  sync.Pool // of *state
}

// state is one signing in progress. Setting up an HMAC hashes its key twice;
// a reused one resets to a saved point instead. The buffers live here because
// what is handed to a hash.Hash escapes to the heap.
type state struct {
	macs   []hash.Hash
	prefix []byte
	sum    [sha256.Size]byte
}

// NewSigner makes a Signer from one or two secrets, newest first. The error
// names the fault: no secret, too many, or an empty one.
func NewSigner(secrets ...Secret) (*Signer, error) {
	if len(secrets) < 1 || len(secrets) > maxSecrets {
		return nil, fmt.Errorf("make signer: need 1 to %d secrets, have %d", maxSecrets, len(secrets))
	}
	keys := make([][]byte, len(secrets))
	for i, secret := range secrets {
		if secret.IsZero() {
			return nil, fmt.Errorf("make signer: secret %d is empty: parse or make it first", i)
		}
		keys[i] = secret.bytes()
	}
	s := &Signer{secrets: len(keys)}
	s.states.New = func() any {
		st := &state{macs: make([]hash.Hash, len(keys)), prefix: make([]byte, 0, 64)}
		for i, key := range keys {
			st.macs[i] = hmac.New(sha256.New, key)
		}
		return st
	}
	return s, nil
}

// Len is the number of bytes [Signer.AppendSignature] appends, for sizing dst.
func (s *Signer) Len() int { return s.secrets*(signatureLen+1) - 1 }

// AppendSignature appends the value of the webhook-signature header to dst:
// one "v1,<base64>" per secret, newest first, separated by a space.
//
// unixSeconds is the attempt's time, the value of webhook-timestamp. The body
// may come in parts, which are signed as if joined. id must not contain ".",
// since the signed text could then be split in two ways; event ids are UUIDs.
func (s *Signer) AppendSignature(dst []byte, id string, unixSeconds int64, body ...[]byte) []byte {
	st := s.states.Get().(*state) //nolint:forcetypeassert // The pool holds nothing else.
	st.prefix = append(st.prefix[:0], id...)
	st.prefix = append(st.prefix, '.')
	st.prefix = strconv.AppendInt(st.prefix, unixSeconds, 10)
	st.prefix = append(st.prefix, '.')
	for i, mac := range st.macs {
		mac.Reset()
		mac.Write(st.prefix)
		for _, part := range body {
			mac.Write(part)
		}
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = append(dst, "v1,"...)
		dst = base64.StdEncoding.AppendEncode(dst, mac.Sum(st.sum[:0]))
	}
	s.states.Put(st)
	return dst
}
