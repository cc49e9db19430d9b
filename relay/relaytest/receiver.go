// Package relaytest has what tests of the relay need: a receiver that remembers what arrived, beasts that answer what no
// HTTP server would, links that are slow, lossy or cut, and keys to seal with.
//
// It owns nothing beyond its test and is never part of the product.
package relaytest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Arrival is one request as the receiver got it.
type Arrival struct {
	Path   string
	Header http.Header
	Body   []byte
	At     time.Time
}

// ID is the event's id.
func (a Arrival) ID() string { return a.Header.Get("X-Webhook-ID") }

// Receiver is an HTTP server of a customer.
type Receiver struct {
	URL string

	mu       sync.Mutex
	arrivals []Arrival
	news     chan struct{}
	answer   http.HandlerFunc
}

// NewReceiver starts a receiver that answers 200 until Answer says otherwise; it ends with the test.
func NewReceiver(t testing.TB) *Receiver {
	t.Helper()
	r := &Receiver{news: make(chan struct{})}
	server := httptest.NewServer(http.HandlerFunc(r.serve))
	r.URL = server.URL
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return r
}

// Answer changes what later requests are answered; nil means 200.
func (r *Receiver) Answer(h http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = h
}

// Arrivals are the requests so far.
func (r *Receiver) Arrivals() []Arrival {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Arrival(nil), r.arrivals...)
}

// Await returns the requests once at least n have arrived, and fails the test when that takes longer than within.
func (r *Receiver) Await(t testing.TB, n int, within time.Duration) []Arrival {
	t.Helper()
	deadline := time.After(within)
	for {
		r.mu.Lock()
		got, news := len(r.arrivals), r.news
		r.mu.Unlock()
		if got >= n {
			return r.Arrivals()
		}
		select {
		case <-news:
		case <-deadline:
			require.Failf(t, "requests are missing", "%d of %d arrived within %s", got, n, within)
		}
	}
}

func (r *Receiver) serve(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // cut by the sender: it has not arrived
	}
	r.mu.Lock()
	r.arrivals = append(r.arrivals, Arrival{Path: req.URL.Path, Header: req.Header.Clone(), Body: body, At: time.Now()})
	close(r.news)
	r.news = make(chan struct{})
	answer := r.answer
	r.mu.Unlock()
	if answer != nil {
		answer(w, req)
	}
}
