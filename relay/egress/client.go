package egress

import (
	"context"
	"errors"
	"net"
	"net/url"
	"time"
)

// MaxHead bounds an answer's head in bytes as it is read.
const MaxHead = 64 << 10

// Client sends requests. One serves the whole process: it shares warm
// connections among all endpoints. Safe for concurrent use.
type Client struct {
	cfg    Config
	dialer *dialer
	idle   *pool
	spare  buffers
	close  context.CancelFunc
	closed context.Context //nolint:containedctx // the client's own life, not a call's
}

// NewClient returns a Client that opens nothing until it is used.
func NewClient(cfg Config) *Client {
	cfg = cfg.WithDefaults()
	closed, cancel := context.WithCancel(context.Background())
	return &Client{cfg: cfg, dialer: newDialer(cfg, closed), idle: newPool(cfg), close: cancel, closed: closed}
}

// Close ends dials under way and closes idle connections. Requests on a
// connection of theirs run on; later ones fail with FaultLocal. Idempotent.
func (c *Client) Close() {
	c.close()
	c.idle.close()
}

// Request is one POST.
type Request struct {
	// URL as ParseURL returned it, parsed once by the caller and only read.
	URL *url.URL
	// Header is sent as it is written and in its order, after Host and before
	// Content-Length, which come from the other fields. Nothing is added to it.
	Header []Field
	// Body is only read, and not after Do has returned.
	Body []byte
}

// Field is one header.
type Field struct{ Name, Value string }

// Timing is what the parts of an attempt took. DNS, Connect and TLS are zero when
// a warm connection served it.
type Timing struct {
	DNS, Connect, TLS time.Duration
	// FirstByte is from the start of Do to the complete head of the answer.
	FirstByte time.Duration
	// Total is from the start of Do to its end.
	Total time.Duration
}

// Do sends one POST and reads what comes back, bounded by Config.Timeout and by
// ctx. It returns when the answer's body is read, cut or given up.
func (c *Client) Do(ctx context.Context, r *Request) Response {
	start := time.Now()
	out := c.do(ctx, r, start)
	out.Timing.Total = time.Since(start)
	return out
}

func (c *Client) do(ctx context.Context, r *Request, start time.Time) Response {
	if err := c.admit(r.URL); err != nil {
		return c.failed(ctx, err, nil)
	}
	head := c.spare.head()
	defer c.spare.heads.Put(head)
	var err error
	if *head, err = appendHead((*head)[:0], r); err != nil {
		return Response{Err: err, Fault: FaultLocal, Detail: "the request cannot be sent: " + err.Error()}
	}
	for {
		k, err := c.connect(ctx, r.URL, start.Add(c.cfg.Timeout))
		if err != nil {
			return c.failed(ctx, err, nil)
		}
		reused := k.reused // after the exchange it may be another one's
		out, x := c.exchange(ctx, k, *head, r.Body, start)
		if reused && x.untouched() && ctx.Err() == nil {
			continue // the endpoint closed it just when we wrote
		}
		out.RemoteAddr, out.Reused = k.remote, reused
		if !reused {
			out.Timing.DNS, out.Timing.Connect, out.Timing.TLS = k.timing.dns, k.timing.connect, k.timing.tls
		}
		return out
	}
}

// connect returns a connection of the request's own until deadline: a warm one, or a new one.
func (c *Client) connect(ctx context.Context, u *url.URL, deadline time.Time) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	host := hostKey{u.Scheme, u.Host}
	for k := c.idle.get(host); k != nil; k = c.idle.get(host) {
		if k.SetDeadline(deadline) == nil && k.quiet() {
			k.reused = true
			return k, nil
		}
		_ = k.Close()
	}
	bounded, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	k, err := c.dialer.connect(bounded, u)
	if err != nil && bounded.Err() != nil {
		return nil, &dialError{fault: FaultTimeout, detail: "there was no connection within " + seconds(c.cfg.Timeout), err: err}
	}
	if err != nil {
		return nil, err
	}
	k.host = host
	if err := k.SetDeadline(deadline); err != nil {
		_ = k.Close()
		return nil, err
	}
	return k, nil
}

// exchange sends a request on k, reads the answer, and keeps k if another request may follow.
func (c *Client) exchange(ctx context.Context, k *conn, head, body []byte, start time.Time) (Response, *exchange) {
	x := &exchange{conn: k, left: MaxHead}
	untie := context.AfterFunc(ctx, k.cut)
	x.send(head, body)
	reader := c.spare.reader(x)
	out, whole, err := x.receive(reader, start, c.cfg.Timeout)
	c.spare.keepReader(reader)
	if uncut := untie(); uncut && whole && x.sent() && k.drained() {
		c.idle.put(k)
		return out, x
	}
	_ = k.Close()
	x.wait()
	switch {
	case err != nil:
		out = c.failed(ctx, err, x)
	case out.Err != nil && ctx.Err() != nil:
		out.Detail = "canceled in the middle of the answer's body"
	}
	return out, x
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

// address is host and port of a URL, as it is dialled.
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
	case u.User != nil: // it is no way to hand over credentials
		return &dialError{fault: FaultBlocked, detail: "the URL must not hold a user name or password", err: errUserinfo}
	}
	return nil
}

var (
	errNoURL    = errors.New("egress: request without URL")
	errNotHTTPS = errors.New("egress: scheme is not https")
	errUserinfo = errors.New("egress: URL with a user name or password")
)

// failed says why there is no answer. x is nil if there was no connection.
func (c *Client) failed(ctx context.Context, err error, x *exchange) Response {
	out := Response{Err: err}
	if dial, ok := errors.AsType[*dialError](err); ok {
		out.Timing = Timing{DNS: dial.timing.dns, Connect: dial.timing.connect, TLS: dial.timing.tls}
	}
	if ctx.Err() != nil {
		out.Fault, out.Detail = FaultCanceled, "canceled before the answer"
	} else {
		out.Fault, out.Detail = sendError(err, x, c.cfg.Timeout)
	}
	return out
}
