package bench

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
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

// ServeHTTP takes a webhook for the endpoint that the path names.
func (c *counter) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	_, copyErr := io.Copy(io.Discard, req.Body)
	at := time.Now().UnixNano()
	n, pathErr := strconv.Atoi(strings.TrimPrefix(req.URL.Path, "/e/"))
	id, idErr := uuid.Parse(req.Header.Get("X-Webhook-ID"))
	if copyErr != nil || pathErr != nil || idErr != nil || n < 0 || n >= len(c.inboxes) {
		c.faults.Add(1)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if hangs(n, c.hangEach) {
		if !c.hanging.Load() {
			return
		}
		timer := time.NewTimer(hangFor)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-req.Context().Done():
		}
		return
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
	ctx, cancel := o.untilEOF(ctx)
	defer cancel()

	c := newCounter(order)
	control := &http.Server{Handler: c.control(), ReadHeaderTimeout: 10 * time.Second}
	server := &http.Server{Handler: c, ReadHeaderTimeout: 10 * time.Second}
	defer control.Close()
	defer server.Close()

	failed := make(chan error, maxHosts+1)
	serve := func(s *http.Server) (string, error) {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return "", fmt.Errorf("listen on loopback: %w", err)
		}
		go func() { failed <- s.Serve(listener) }()
		return "http://" + listener.Addr().String(), nil
	}
	var answer receiverAnswer
	var err error
	if answer.Control, err = serve(control); err != nil {
		return err
	}
	hosts := make([]string, min(order.Endpoints, maxHosts))
	for i := range hosts {
		if hosts[i], err = serve(server); err != nil {
			return err
		}
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
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return fmt.Errorf("serve: %w", err)
	}
}
