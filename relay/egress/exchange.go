package egress

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
)

// largeBody is what a body has at least that is written while the answer is read: an endpoint may refuse it after the
// head, and read no more. A smaller one is written with the head, by the goroutine that then reads.
const largeBody = 16 << 10

var errHeadTooLarge = errors.New("egress: the answer's head is too large")

// buffers are kept for other requests. Safe for concurrent use.
type buffers struct{ heads, readers sync.Pool }

func (b *buffers) head() *[]byte {
	if head, ok := b.heads.Get().(*[]byte); ok {
		return head
	}
	return new([]byte)
}

func (b *buffers) reader(of io.Reader) *bufio.Reader {
	if reader, ok := b.readers.Get().(*bufio.Reader); ok {
		reader.Reset(of)
		return reader
	}
	return bufio.NewReaderSize(of, 4<<10)
}

func (b *buffers) keepReader(reader *bufio.Reader) {
	reader.Reset(nil)
	b.readers.Put(reader)
}

// exchange is one request and its answer on a connection that is the exchange's alone. Its Read is the answer's bytes.
type exchange struct {
	conn *conn
	left int   // how many bytes the answer may have until its head is complete; negative when that is so
	read bool  // a byte of the answer came
	end  error // how the connection ended, if reading came to that

	writing  chan struct{} // closed when the request is written, if that is done beside the reading
	written  int
	writeErr error
}

// Read keeps the answer's head within its bounds, and remembers how the connection ended: of a head that was cut off,
// net/http says only that its last line is wrong.
func (x *exchange) Read(p []byte) (int, error) {
	if x.left == 0 {
		x.end = errHeadTooLarge
		return 0, x.end
	}
	if x.left > 0 {
		p = p[:min(len(p), x.left)]
	}
	n, err := x.conn.Read(p)
	if x.left > 0 {
		x.left -= n
	}
	x.read = x.read || n > 0
	if err != nil && x.end == nil {
		x.end = err
	}
	return n, err
}

// send writes the head, to which a small body is appended, and a large body.
func (x *exchange) send(head, body []byte) {
	if len(body) < largeBody {
		x.written, x.writeErr = x.conn.Write(head)
		return
	}
	x.writing = make(chan struct{})
	go func() {
		defer close(x.writing)
		if x.written, x.writeErr = x.conn.Write(head); x.writeErr == nil {
			_, x.writeErr = x.conn.Write(body)
		}
	}()
}

// receive reads the answer, and reports whether it is complete and another request may follow it. A request that broke
// off may have its answer all the same; one that did not begin has none.
func (x *exchange) receive(reader *bufio.Reader, start time.Time, timeout time.Duration) (out Response, whole bool, err error) {
	if x.writing == nil && x.writeErr != nil && x.written == 0 {
		return Response{}, false, x.writeErr
	}
	res, err := x.readHead(reader) //nolint:bodyclose // see readBody
	if err != nil {
		return Response{}, false, err
	}
	out = answered(res)
	out.Timing.FirstByte = time.Since(start)
	if out.Fault != FaultNone {
		return out, false, nil
	}
	if why := out.readBody(res); why != nil {
		out.Err, out.Detail = why, bodyWords(why, timeout)
	}
	return out, !out.Truncated && !res.Close && reader.Buffered() == 0, nil
}

// readHead passes over what is said before the answer, as 103 Early Hints is.
func (x *exchange) readHead(reader *bufio.Reader) (*http.Response, error) {
	for {
		res, err := http.ReadResponse(reader, nil)
		if err != nil {
			return nil, err
		}
		if res.StatusCode < 100 || res.StatusCode > 199 || res.StatusCode == http.StatusSwitchingProtocols {
			x.left = -1
			return res, nil
		}
	}
}

// sent reports whether the whole request was written by now.
func (x *exchange) sent() bool {
	if x.writing != nil {
		select {
		case <-x.writing:
		default:
			return false
		}
	}
	return x.writeErr == nil
}

// wait returns when nothing is written any more: soon, once the connection is closed.
func (x *exchange) wait() {
	if x.writing != nil {
		<-x.writing
	}
}

// untouched reports whether the endpoint closed the connection before a byte of the request left, so that it may be sent
// on another one.
func (x *exchange) untouched() bool {
	return x.written == 0 && x.writeErr != nil && isBroken(x.writeErr) && !x.read
}

// appendHead appends the request as it is sent, but for a large body. Its errors name no value, which may be a secret.
func appendHead(b []byte, r *Request) ([]byte, error) {
	target := r.URL.RequestURI()
	if !httpguts.ValidHeaderFieldValue(target) || !httpguts.ValidHostHeader(r.URL.Host) {
		return b, errors.New("its URL holds a control character")
	}
	b = append(b, "POST "...)
	b = append(b, target...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, r.URL.Host...)
	for _, f := range r.Header {
		if !httpguts.ValidHeaderFieldName(f.Name) {
			return b, fmt.Errorf("%q is not the name of a header", f.Name)
		}
		if !httpguts.ValidHeaderFieldValue(f.Value) {
			return b, fmt.Errorf("the value of header %s holds a control character", f.Name)
		}
		b = append(b, "\r\n"...)
		b = append(b, f.Name...)
		b = append(b, ": "...)
		b = append(b, f.Value...)
	}
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(r.Body)), 10)
	b = append(b, "\r\n\r\n"...)
	if len(r.Body) < largeBody {
		b = append(b, r.Body...)
	}
	return b, nil
}

var _ io.Reader = (*exchange)(nil)
