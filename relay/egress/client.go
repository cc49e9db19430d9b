package egress

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"
)

// MaxHead bounds an answer's head in bytes as it is read.
const MaxHead = 64 << 10

// grace is how much later than the context the connection's own deadline
// comes: it is a second rope and should never be the one that holds.
const grace = time.Second

// Client sends requests. One serves the whole process: it shares warm
// connections among all endpoints. Safe for concurrent use.
type Client struct {
	cfg       Config
	dialer    *dialer
	transport *http.Transport
	close     context.CancelFunc
	closed    context.Context //nolint:containedctx // the client's own life, not a call's
}

// NewClient returns a Client that opens nothing until it is used.
func NewClient(cfg Config) *Client {
	cfg = cfg.WithDefaults()
	closed, cancel := context.WithCancel(context.Background())
	d := newDialer(cfg, closed)
	return &Client{cfg: cfg, dialer: d, close: cancel, closed: closed, transport: &http.Transport{
		Proxy:                  nil, // a proxy would hide the address from the guard
		DialContext:            d.dialPlain,
		DialTLSContext:         d.dialTLS,
		TLSClientConfig:        d.tls,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConns:           cfg.Idle,
		MaxIdleConnsPerHost:    cfg.IdlePerHost,
		IdleConnTimeout:        cfg.IdleTimeout,
		MaxResponseHeaderBytes: MaxHead,
		HTTP2: &http.HTTP2Config{
			// A peer that vanished would else swallow one attempt after another.
			SendPingTimeout: 15 * time.Second,
			PingTimeout:     10 * time.Second,
		},
	}}
}

// Close ends dials under way and closes idle connections. Requests on a
// connection of theirs run on; later ones fail with FaultLocal. Idempotent.
func (c *Client) Close() {
	c.close()
	c.transport.CloseIdleConnections()
}

// Request is one POST.
type Request struct {
	// URL as ParseURL returned it, parsed once by the caller and only read.
	URL *url.URL
	// Header is sent as it is, so its keys must be canonical. It is only read,
	// but must rest until Do returns. Content-Length and Host come from the
	// other fields; User-Agent is the caller's; Accept-Encoding is identity
	// unless set.
	Header http.Header
	// Body is sent as one, in order. With a single part the bytes are not copied
	// and must never change afterwards: net/http may still read them after Do
	// has returned.
	Body [][]byte
}

// Timing is what the parts of an attempt took. DNS, Connect and TLS are zero when
// a warm connection served it.
type Timing struct {
	DNS, Connect, TLS time.Duration
	// FirstByte is from the start of Do to the complete head of the answer.
	FirstByte time.Duration
	// Total is from the start of Do to its end.
	Total time.Duration
}

// call is what one Do learns from net/http, which may tell it from another
// goroutine.
type call struct {
	trace    httptrace.ClientTrace
	deadline time.Time
	timeout  time.Duration
	conn     atomic.Pointer[conn]
	reused   atomic.Bool
	wrote    atomic.Bool // the whole request
	read     atomic.Bool // the answer's first byte
}

func newCall(deadline time.Time, timeout time.Duration) *call {
	a := &call{deadline: deadline.Add(grace), timeout: timeout}
	a.trace.GotConn = a.gotConn
	a.trace.WroteRequest = func(info httptrace.WroteRequestInfo) { a.wrote.Store(info.Err == nil) }
	a.trace.GotFirstResponseByte = func() { a.read.Store(true) }
	return a
}

func (a *call) gotConn(info httptrace.GotConnInfo) {
	raw := info.Conn
	if t, ok := raw.(*tls.Conn); ok {
		raw = t.NetConn()
	}
	if own, ok := raw.(*conn); ok {
		own.allow(a.deadline, a.timeout)
		a.conn.Store(own)
	}
	a.reused.Store(info.Reused)
}

// Do sends one POST and reads what comes back, bounded by Config.Timeout and by
// ctx. It returns when the answer's body is read, cut or given up. It calls
// the Transport and not an http.Client, because redirects and cookies are
// the latter's.
func (c *Client) Do(ctx context.Context, r *Request) Response {
	start := time.Now()
	deadline := start.Add(c.cfg.Timeout)
	if err := c.admit(r.URL); err != nil {
		return refuse(err, start)
	}
	bounded, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	a := newCall(deadline, c.cfg.Timeout)
	res, err := c.transport.RoundTrip(newRequest(httptrace.WithClientTrace(bounded, &a.trace), r))
	var out Response
	if err != nil {
		out = c.failed(ctx, bounded, err, a)
	} else {
		out = answered(res)
		out.Timing.FirstByte = time.Since(start)
		if why := out.readBody(res); why != nil {
			out.Err, out.Detail = why, bodyWords(why, bounded.Err() != nil, c.cfg.Timeout)
		}
	}
	if used := a.conn.Load(); used != nil {
		out.RemoteAddr = used.remote
		if out.Reused = a.reused.Load(); !out.Reused {
			out.Timing.DNS, out.Timing.Connect, out.Timing.TLS = used.timing.dns, used.timing.connect, used.timing.tls
		}
	}
	out.Timing.Total = time.Since(start)
	return out
}

// Look reports whether Do would connect to the URL's host as it resolves now, by the same rules, and connects to nothing.
// Whether a name does not exist or leads to where nobody may connect is one answer: who may ask for any name must not
// learn which names our own network has. An error means that it cannot be told: ctx has ended, the client is closed, or
// this machine cannot list its own addresses.
func (c *Client) Look(ctx context.Context, u *url.URL) (bool, error) {
	if err := c.admit(u); err != nil {
		return false, c.closed.Err()
	}
	bounded, cancel := c.dialer.bound(ctx, c.cfg.ConnectTimeout)
	defer cancel()
	_, _, err := c.dialer.resolve(bounded, address(u))
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, errNoInterfaces), errors.Is(ctx.Err(), context.Canceled), c.closed.Err() != nil:
		return false, err
	default:
		return false, nil
	}
}

// address is host and port of a URL, as net/http dials it.
func address(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// admit repeats at the time of sending what ParseURL said about the URL, for an
// endpoint can be older than the policy. Host and port are the dialer's.
func (c *Client) admit(u *url.URL) error {
	switch {
	case c.closed.Err() != nil:
		return &dialError{fault: FaultLocal, detail: "client closed", err: c.closed.Err()}
	case u == nil || u.Host == "":
		return &dialError{fault: FaultLocal, detail: "the request has no URL", err: errNoURL}
	case u.Scheme != "https" && (u.Scheme != "http" || !c.cfg.Policy.Insecure):
		return &dialError{fault: FaultBlocked, detail: "the URL must start with https://", err: errNotHTTPS}
	case u.User != nil: // net/http would send it as credentials
		return &dialError{fault: FaultBlocked, detail: "the URL must not hold a user name or password", err: errUserinfo}
	}
	return nil
}

var (
	errNoURL    = errors.New("egress: request without URL")
	errNotHTTPS = errors.New("egress: scheme is not https")
	errUserinfo = errors.New("egress: URL with a user name or password")
)

func refuse(err error, start time.Time) Response {
	out := Response{Err: err}
	out.Fault, out.Detail = sendError(err, nil)
	out.Timing.Total = time.Since(start)
	return out
}

func (c *Client) failed(ctx, bounded context.Context, err error, a *call) Response {
	out := Response{Err: err}
	var dial *dialError
	if errors.As(err, &dial) {
		out.Timing = Timing{DNS: dial.timing.dns, Connect: dial.timing.connect, TLS: dial.timing.tls}
	}
	switch {
	case dial == nil && ctx.Err() != nil:
		out.Fault, out.Detail = FaultCanceled, "canceled before the answer"
	case dial == nil && bounded.Err() != nil:
		out.Fault, out.Detail = FaultTimeout, timeoutWords(a)
	default:
		out.Fault, out.Detail = sendError(err, a)
	}
	return out
}

// newRequest builds the request by hand: http.NewRequest would parse the URL again.
func newRequest(ctx context.Context, r *Request) *http.Request {
	header := r.Header
	if len(header["Accept-Encoding"]) == 0 {
		header = make(http.Header, len(r.Header)+1)
		maps.Copy(header, r.Header)
		header["Accept-Encoding"] = []string{"identity"}
	}
	req := &http.Request{
		Method: http.MethodPost,
		URL:    r.URL,
		Host:   r.URL.Host,
		Proto:  "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header,
	}
	if body := splice(r.Body); len(body) > 0 {
		req.ContentLength = int64(len(body))
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		// A plain bytes.Reader, because net/http then sends head and body in one
		// write; with a reader of our own over the parts it would need two.
		req.Body = io.NopCloser(bytes.NewReader(body))
	} else {
		req.Body = http.NoBody
	}
	return req.WithContext(ctx)
}

// splice joins the parts. Its result is not pooled: net/http may still be
// sending it when an early answer ends Do.
func splice(parts [][]byte) []byte {
	if len(parts) == 1 {
		return parts[0]
	}
	return bytes.Join(parts, nil)
}

var _ net.Conn = (*conn)(nil)
