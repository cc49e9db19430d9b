package egress

import (
	"io"
	"net/http"
	"slices"
	"strings"
)

// MaxBody is how much of an answer's body is kept, in bytes.
const MaxBody = 16 << 10

const (
	// maxHeader bounds the names and values that are kept, in bytes.
	maxHeader = 8 << 10
	// maxValue bounds one header value once the whole is too large.
	maxValue = 1 << 10
)

// Response is what one Do came to. Either Fault is FaultNone and Status is set,
// or Status is 0.
type Response struct {
	// Status is 200 to 599. What it means is the caller's verdict.
	Status int
	// Header is the answer's, without cookies and at most 8 KiB in all. What
	// it holds was written by a stranger: escape it before showing it.
	Header http.Header
	// Body is the first 16 KiB, as bytes and never decompressed.
	Body []byte
	// Truncated tells that Body is not all of it: there was more, or it broke off.
	Truncated bool
	// Reused tells that the connection had served before. A FaultReset on such a
	// one often means that the endpoint closed it just when we wrote.
	Reused bool
	// Fault says why there is no answer.
	Fault Fault
	// Detail explains Fault, or why Body broke off, in at most a line. It holds
	// no secret, no URL and no address of ours.
	Detail string
	// Err is the cause, for the operator's log only: it can name addresses. For
	// FaultBlocked errors.As finds a *BlockedError in it.
	Err error
	// RemoteAddr is the host:port that was connected to, if one was.
	RemoteAddr string
	// Timing is complete for what took place.
	Timing Timing
	// RetryAfter is that header's first value, uninterpreted, at most 64 bytes.
	RetryAfter string
}

// answered judges whether the head is one of HTTP, and keeps what it may. Go hands
// on any three digits, and a 101 with the connection still open.
func answered(res *http.Response) Response {
	if res.StatusCode < 200 || res.StatusCode > 599 {
		return Response{Fault: FaultProtocol, Detail: statusWords(res.StatusCode)}
	}
	out := Response{Status: res.StatusCode, Header: keepHeader(res.Header)}
	if v := res.Header["Retry-After"]; len(v) > 0 {
		out.RetryAfter = strings.Clone(v[0][:min(len(v[0]), 64)])
	}
	return out
}

// readBody keeps the first bytes, and leaves the others where they are: to close a body that is not at its end
// would read all of it. The status stands, whatever happens to the body; it returns why the body broke off, if it did.
func (out *Response) readBody(res *http.Response) error {
	if res.ContentLength == 0 {
		return nil
	}
	size := int64(512)
	if n := res.ContentLength; n > 0 {
		size = min(n, MaxBody) + 1
	}
	buf := make([]byte, 0, size)
	for {
		n, err := res.Body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if len(buf) > MaxBody {
			out.Truncated = true
			out.Body = buf[:MaxBody:MaxBody]
			return nil
		}
		if err == io.EOF {
			out.Body = buf
			return nil
		}
		if err != nil {
			out.Body, out.Truncated = buf, true
			return err
		}
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, min(cap(buf), MaxBody+1-cap(buf)))
		}
	}
}

// keepHeader takes over h, which is ours, and cuts it down. The usual small one
// is passed on as it is.
func keepHeader(h http.Header) http.Header {
	delete(h, "Set-Cookie")
	delete(h, "Set-Cookie2")
	total := 0
	for k, vs := range h {
		for _, v := range vs {
			total += len(k) + len(v)
		}
	}
	if total <= maxHeader {
		return h
	}
	return capHeader(h)
}

// capHeader keeps what explains an answer first, then the rest by name, until
// 8 KiB are full. It clones, because the values share the head's whole buffer.
func capHeader(h http.Header) http.Header {
	names := []string{"Retry-After", "Content-Type", "Content-Length", "Location", "Date", "Server"}
	rest := make([]string, 0, len(h))
	for k := range h {
		if !slices.Contains(names, k) {
			rest = append(rest, k)
		}
	}
	slices.Sort(rest)
	kept, room := make(http.Header), maxHeader
	for _, k := range append(names, rest...) {
		k = strings.Clone(k)
		for _, v := range h[k] {
			v = v[:min(len(v), maxValue)]
			if room -= len(k) + len(v); room < 0 {
				return kept
			}
			kept[k] = append(kept[k], strings.Clone(v))
		}
	}
	return kept
}
