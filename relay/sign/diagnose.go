package sign

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// RefusedError is why a receiver refuses a request, with what most often causes it.
type RefusedError struct {
	Reason error  // of [Verify]
	Hint   string // the cause, and what to do about it
	Signed bool   // the signature fits the secret and the body: the time alone is wrong
}

// Error is the reason and the hint.
func (r *RefusedError) Error() string { return r.Reason.Error() + ": " + r.Hint }

// Unwrap is the reason.
func (r *RefusedError) Unwrap() error { return r.Reason }

var _ error = (*RefusedError)(nil)

// Diagnose checks a request as [Verify] does; of one that is refused it returns a *[RefusedError]. It never shows the
// signature that would be right: whoever pastes the answer somewhere should not paste a valid one.
func Diagnose(secret Secret, h Headers, body []byte, now time.Time) error {
	err := Verify(secret, h, body, now)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNoMatch):
		return &RefusedError{Reason: err, Hint: mismatch(secret, h, body, now)}
	case errors.Is(err, ErrTooOld), errors.Is(err, ErrTooNew):
		return untimely(err, secret, h, body)
	case errors.Is(err, ErrHeaders):
		return &RefusedError{Reason: err, Hint: "webhook-id, webhook-timestamp and webhook-signature come with every request, as they were sent; " +
			"a proxy or a framework may have dropped or changed one"}
	default:
		return &RefusedError{Reason: err, Hint: "give the endpoint's secret as it was shown, whsec_ and all"}
	}
}

// mismatch tries what receivers most often do to a body.
func mismatch(secret Secret, h Headers, body []byte, now time.Time) string {
	if !strings.HasPrefix(h.Signature, "v1,") && !strings.Contains(h.Signature, " v1,") {
		return `webhook-signature has no entry that begins with "v1,": give all of the header's value`
	}
	if len(body) == 0 {
		return "the body is empty: read the bytes of the request before anything else consumes them"
	}
	fits := func(other []byte) bool {
		return !bytes.Equal(other, body) && Verify(secret, h, other, now) == nil
	}
	var compact bytes.Buffer
	switch {
	case fits(bytes.TrimRight(body, "\r\n")):
		return "the body ends in a line break that was not sent: keep the bytes as received"
	case fits(bytes.TrimSpace(body)):
		return "the body has white space around it that was not sent: keep the bytes as received"
	case fits(bytes.ReplaceAll(body, []byte("\r\n"), []byte("\n"))):
		return "the body's line breaks were changed: keep the bytes as received"
	case json.Compact(&compact, body) == nil && fits(compact.Bytes()):
		return "the body is not the bytes as received: JSON was parsed and written again with other white space; " +
			"verify the bytes first, and parse them afterwards"
	default:
		return "the secret is another endpoint's, or the body is not the bytes as received (parsing JSON and writing it again changes them)"
	}
}

// untimely says of a request at the wrong time whether at least its signature fits.
func untimely(reason error, secret Secret, h Headers, body []byte) error {
	seconds, _ := strconv.ParseInt(h.Timestamp, 10, 64) // read by Verify before
	if seconds > latestUnix {
		return &RefusedError{Reason: reason, Hint: "webhook-timestamp counts seconds; these look like milliseconds"}
	}
	sent := time.Unix(seconds, 0)
	r := &RefusedError{Reason: reason, Signed: Verify(secret, h, body, sent) == nil}
	r.Hint = fmt.Sprintf("it says %s, at most %s from now are allowed; is it a replay, or a clock that is wrong?",
		sent.UTC().Format(time.RFC3339), Tolerance)
	if r.Signed {
		r.Hint += " The signature itself fits"
	} else {
		r.Hint += " Nor does the signature fit: " + mismatch(secret, h, body, sent)
	}
	return r
}
