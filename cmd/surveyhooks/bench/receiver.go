package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// hangFor is longer than the 30 s that an endpoint has.
const hangFor = 31 * time.Second

// maxHosts bounds the listeners. Up to there each endpoint has a host:port of its own, as customers have.
const maxHosts = 256

// receiverOrder is the receiver's only order.
type receiverOrder struct {
	Endpoints int `json:"endpoints"`
	HangEach  int `json:"hang_each"` // every how manyeth endpoint hangs; 0: none
}

// receiverAnswer says where the endpoints are.
type receiverAnswer struct {
	URLs    []string `json:"urls"`
	Control string   `json:"control"`
}

// tally is what the control address answers.
type tally struct {
	Unique     int64 `json:"unique"`
	Duplicates int64 `json:"duplicates"`
	Faults     int64 `json:"faults"` // requests that were no webhook
}

// inbox is one endpoint.
type inbox struct {
	mu    sync.Mutex
	first map[uuid.UUID]int64 // event id → Unix nanoseconds of its first arrival
}

// counter is the cheapest receiver that still notices everything: it reads the body, notes who came when, and
// answers 200.
type counter struct {
	inboxes  []inbox
	hangEach int
	hanging  atomic.Bool // until then those that will hang answer, and are counted nowhere all the same

	unique, duplicates, faults atomic.Int64
	running                    sync.WaitGroup // connections and listeners
}

func newCounter(o receiverOrder) *counter {
	c := &counter{inboxes: make([]inbox, o.Endpoints), hangEach: o.HangEach}
	for i := range c.inboxes {
		c.inboxes[i].first = map[uuid.UUID]int64{}
	}
	return c
}

// hangs tells whether the endpoint does.
func hangs(endpoint, each int) bool { return each > 0 && endpoint%each == 0 }

// serve answers on one connection, request after request. net/http's server would have a goroutine watch the connection
// during each request, and a date to write: 0.36 CPU s per 10 000 where this takes 0.31, on the cores that the relay is
// measured on (surveyhooks bench drain --events 10000, in turn, the medians of three).
func (c *counter) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	in := bufio.NewReader(conn)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return // the other end closed it, or speaks something else
		}
		answer := "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
		if !c.take(ctx, req) {
			answer = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
		}
		if _, err := io.WriteString(conn, answer); err != nil || req.Close {
			return
		}
	}
}

// take takes a webhook for the endpoint that the path names; it is false for what is none.
func (c *counter) take(ctx context.Context, req *http.Request) bool {
	_, copyErr := io.Copy(io.Discard, req.Body)
	at := time.Now().UnixNano()
	n, pathErr := strconv.Atoi(strings.TrimPrefix(req.URL.Path, "/e/"))
	id, idErr := uuid.Parse(req.Header.Get("X-Webhook-ID"))
	if copyErr != nil || pathErr != nil || idErr != nil || n < 0 || n >= len(c.inboxes) {
		c.faults.Add(1)
		return false
	}
	if hangs(n, c.hangEach) {
		if c.hanging.Load() {
			timer := time.NewTimer(hangFor)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		}
		return true
	}
	box := &c.inboxes[n]
	box.mu.Lock()
	_, again := box.first[id]
	if !again {
		box.first[id] = at
	}
	box.mu.Unlock()
	if again {
		c.duplicates.Add(1)
	} else {
		c.unique.Add(1)
	}
	return true
}

func (c *counter) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /tally", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(tally{ // a client that went away asks again
			Unique: c.unique.Load(), Duplicates: c.duplicates.Load(), Faults: c.faults.Load(),
		})
	})
	mux.HandleFunc("GET /hang", func(http.ResponseWriter, *http.Request) { c.hanging.Store(true) })
	mux.HandleFunc("GET /arrivals", func(w http.ResponseWriter, _ *http.Request) {
		for n := range c.inboxes {
			_, _ = w.Write(c.inboxes[n].appendArrivals(n)) // a short answer is noticed by who reads it
		}
	})
	return mux
}

// arrivalBytes is the size of one arrival on the control address: event id, endpoint, Unix nanoseconds.
const arrivalBytes = 16 + 4 + 8

func (b *inbox) appendArrivals(endpoint int) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]byte, 0, len(b.first)*arrivalBytes)
	for id, at := range b.first {
		out = append(out, id[:]...)
		out = binary.BigEndian.AppendUint32(out, uint32(endpoint)) //nolint:gosec // an index of a slice
		out = binary.BigEndian.AppendUint64(out, uint64(at))       //nolint:gosec // after 1970
	}
	return out
}

// ServeReceiver is the receiver's process: it reads its order from in, answers on out, and serves until in or ctx ends.
func ServeReceiver(ctx context.Context, in io.Reader, out io.Writer) error {
	o := orders{json.NewDecoder(in)}
	var order receiverOrder
	if err := o.lines.Decode(&order); err != nil {
		return fmt.Errorf("read receiver's order: %w", err)
	}
	c := newCounter(order)
	defer c.running.Wait()
	ctx, cancel := o.untilEOF(ctx)
	defer cancel()

	control := &http.Server{Handler: c.control(), ReadHeaderTimeout: 10 * time.Second}
	defer control.Close()
	failed := make(chan error, maxHosts+1)
	listener, err := listen(ctx)
	if err != nil {
		return err
	}
	go func() { failed <- control.Serve(listener) }()
	answer := receiverAnswer{Control: "http://" + listener.Addr().String()}

	hosts := make([]string, min(order.Endpoints, maxHosts))
	for i := range hosts {
		listener, err := listen(ctx)
		if err != nil {
			return err
		}
		defer listener.Close()
		hosts[i] = "http://" + listener.Addr().String()
		c.running.Go(func() { failed <- c.accept(ctx, listener) })
	}
	for i := range order.Endpoints {
		answer.URLs = append(answer.URLs, hosts[i%len(hosts)]+"/e/"+strconv.Itoa(i))
	}
	if err := json.NewEncoder(out).Encode(answer); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	}
}

func listen(ctx context.Context) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen on loopback: %w", err)
	}
	return listener, nil
}

// accept serves connections until the listener is closed.
func (c *counter) accept(ctx context.Context, listener net.Listener) error {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		c.running.Go(func() { c.serve(ctx, conn) })
	}
}
