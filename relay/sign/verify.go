package sign

import (
	"crypto/hmac"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Tolerance is how far a request's timestamp may lie from the receiver's
// clock, in either direction, before [Verify] takes it for a replay.
const Tolerance = 5 * time.Minute

// latestUnix, the year 36812, bounds timestamps so that time arithmetic
// cannot wrap around and make a far future look current.
const latestUnix = 1 << 40

// The reasons [Verify] refuses a request; test with errors.Is.
var (
	// ErrHeaders: a header is missing or malformed.
	ErrHeaders = errors.New("signature headers are missing or malformed")
	// ErrTooOld: the timestamp lies more than [Tolerance] before now.
	ErrTooOld = errors.New("timestamp is too old")
	// ErrTooNew: the timestamp lies more than [Tolerance] after now.
	ErrTooNew = errors.New("timestamp is too far in the future")
	// ErrNoMatch: no v1 signature fits the secret and the content.
	ErrNoMatch = errors.New("no signature matches")
)

// Headers are the values of webhook-id, webhook-timestamp and
// webhook-signature as received.
type Headers struct{ ID, Timestamp, Signature string }

// Verify checks a received request: h are its headers, and body the bytes as
// received, not re-encoded. It accepts if any of the v1 signatures
// matches, compares in constant time, and ignores versions it does not know.
// Every error wraps one of this package's Err values.
func Verify(secret Secret, h Headers, body []byte, now time.Time) error {
	if secret.IsZero() {
		return fmt.Errorf("verify signature: %w: the secret is empty", ErrSecret)
	}
	// A "." in the id would let the signed text be split in another way.
	if h.ID == "" || strings.Contains(h.ID, ".") {
		return fmt.Errorf("verify signature: %w: webhook-id must be present and without \".\"", ErrHeaders)
	}
	if h.Signature == "" {
		return fmt.Errorf("verify signature: %w: webhook-signature must be present", ErrHeaders)
	}
	seconds, err := parseTimestamp(h.Timestamp)
	if err != nil {
		return fmt.Errorf("verify signature: %w", err)
	}
	if err := checkAge(seconds, now); err != nil {
		return fmt.Errorf("verify signature: %w", err)
	}
	signer, err := NewSigner(secret)
	if err != nil {
		return fmt.Errorf("verify signature: %w", err)
	}
	want := signer.AppendSignature(make([]byte, 0, signer.Len()), h.ID, seconds, body)
	for candidate := range strings.SplitSeq(h.Signature, " ") {
		// The whole entry is compared, version and all: an empty or cut
		// signature can never match.
		if hmac.Equal([]byte(candidate), want) {
			return nil
		}
	}
	return fmt.Errorf("verify signature: %w", ErrNoMatch)
}

// parseTimestamp accepts only the one canonical spelling, since the number and
// not its text is what gets signed.
func parseTimestamp(timestamp string) (int64, error) {
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || seconds < 0 || strconv.FormatInt(seconds, 10) != timestamp {
		return 0, fmt.Errorf("%w: webhook-timestamp must be whole Unix seconds", ErrHeaders)
	}
	return seconds, nil
}

func checkAge(seconds int64, now time.Time) error {
	if seconds > latestUnix {
		return ErrTooNew
	}
	age := now.Sub(time.Unix(seconds, 0))
	switch {
	case age > Tolerance:
		return ErrTooOld
	case age < -Tolerance:
		return ErrTooNew
	}
	return nil
}
