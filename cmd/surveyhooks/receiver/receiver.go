// Package receiver is a customer's server as it should be: verify, remember the id, answer, work later.
//
// It owns the verification of one request, what was seen before, and counts of it. It promises that a request is
// counted as verified only if its signature fits the secret of its endpoint and its ids agree, that the same event for
// the same endpoint is reported as a duplicate, and that its memory is bounded: what it has forgotten counts as new.
// It is the sample that customers are shown, and is no part of the sending side.
package receiver

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/chattosurvey/surveyhooks/relay/sign"
)

// maxBody is more than any webhook has: 256 KiB of data and its envelope.
const maxBody = 1 << 20

// errIDs is a request whose two id headers or whose body's id do not agree. Only webhook-id is signed.
var errIDs = errors.New("X-Webhook-ID, webhook-id and the body's id differ")

// Config of a Receiver. Secrets is needed; the rest has defaults.
type Config struct {
	// Secrets holds each endpoint's secret by the path of its URL. Other paths are answered 404.
	Secrets map[string]sign.Secret
	// Answer takes a verified event that is no duplicate, as a customer's business would, and returns the status of the
	// answer. Below 200 or above 299 the event was not taken, and is no duplicate when it comes again; nor is it when the
	// context has ended, since nobody hears the answer. Default: 200.
	Answer func(context.Context, Arrival) int
	// Arrived is told of every request once its answer is known, from several goroutines at once. Default: nobody.
	Arrived func(Arrival)
	// Remember is how many ids are remembered for deduplication. Default 100 000.
	Remember int
	// Now is the clock that timestamps are compared with. Default time.Now.
	Now func() time.Time
}

// Validate reports every fault of the configuration.
func (c Config) Validate() error {
	var faults []error
	if len(c.Secrets) == 0 {
		faults = append(faults, errors.New("receiver: no secrets: want one for each path"))
	}
	for path, secret := range c.Secrets {
		if len(path) == 0 || path[0] != '/' {
			faults = append(faults, fmt.Errorf("receiver: path is %q: want it to start with /", path))
		}
		if secret.IsZero() {
			faults = append(faults, fmt.Errorf("receiver: the secret of %s is empty", path))
		}
	}
	if c.Remember < 0 {
		faults = append(faults, fmt.Errorf("receiver: Remember is %d: want at least 0", c.Remember))
	}
	return errors.Join(faults...)
}

// Arrival is one request, judged.
type Arrival struct {
	At        time.Time
	Path      string
	ID        string // the event's
	Event     string // its type
	Fault     error  // why it is not verified; nil: it is
	Duplicate bool   // a verified request whose event this path took before
	// Age is from created_at, when the event happened, to the arrival; 0 when that cannot be told. created_at has whole
	// seconds, so it is up to a second too much.
	Age    time.Duration
	Status int           // of the answer; 0: the sender hung up before it
	Took   time.Duration // to answer
}

// Counts are what came so far.
type Counts struct {
	Requests, Verified, Duplicates, Refused int64
	Age                                     Ages // of verified requests that were no duplicates
}

// Ages sums up how old events were when they came.
type Ages struct{ Mean, Max time.Duration }

// Receiver is an http.Handler, safe for concurrent use.
type Receiver struct {
	cfg Config

	mu     sync.Mutex
	seen   memory
	counts Counts
	ages   time.Duration // their sum
}

var _ http.Handler = (*Receiver)(nil)

// New returns a receiver, or every fault of its configuration.
func New(cfg Config) (*Receiver, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Answer == nil {
		cfg.Answer = func(context.Context, Arrival) int { return http.StatusOK }
	}
	if cfg.Arrived == nil {
		cfg.Arrived = func(Arrival) {}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Receiver{cfg: cfg, seen: newMemory(cmp.Or(cfg.Remember, 100_000))}, nil
}

// ServeHTTP takes one webhook.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	secret, ok := r.cfg.Secrets[req.URL.Path]
	if !ok {
		http.Error(w, "no endpoint has this path", http.StatusNotFound)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, req.Body, maxBody))
	if err != nil {
		http.Error(w, "the body is cut short or too large", http.StatusBadRequest)
		return
	}
	a := Arrival{
		At: r.cfg.Now(), Path: req.URL.Path, ID: req.Header.Get("X-Webhook-ID"), Event: req.Header.Get("X-Webhook-Event"),
	}
	var created time.Time
	created, a.Fault = verify(secret, req.Header, body, a.At)
	if !created.IsZero() {
		a.Age = max(0, a.At.Sub(created))
	}
	r.count(&a)
	switch {
	case a.Fault != nil:
		a.Status = http.StatusUnauthorized
	case a.Duplicate:
		a.Status = http.StatusOK // it was taken; any other answer would bring it again
	default:
		a.Status = r.cfg.Answer(req.Context(), a)
		if req.Context().Err() != nil {
			a.Status = 0
		}
		if a.Status < 200 || a.Status > 299 {
			r.forget(a)
		}
	}
	a.Took = r.cfg.Now().Sub(a.At)
	r.cfg.Arrived(a)
	switch {
	case a.Fault != nil:
		http.Error(w, a.Fault.Error(), a.Status)
	case a.Status >= 300:
		http.Error(w, http.StatusText(a.Status), a.Status)
	case a.Status != 0:
		w.WriteHeader(a.Status)
	}
}

// verify checks the signature before it believes a byte of the body, and returns when the event happened.
func verify(secret sign.Secret, h http.Header, body []byte, now time.Time) (time.Time, error) {
	id := h.Get("webhook-id")
	signed := sign.Headers{ID: id, Timestamp: h.Get("webhook-timestamp"), Signature: h.Get("webhook-signature")}
	if err := sign.Verify(secret, signed, body, now); err != nil {
		return time.Time{}, fmt.Errorf("verify: %w", err)
	}
	var envelope struct {
		ID        string    `json:"id"`
		CreatedAt time.Time `json:"created_at"`
	}
	if err := json.Unmarshal(body, &envelope); err != nil {
		return time.Time{}, errors.New("the body is no webhook: want JSON with id and created_at")
	}
	if envelope.ID != id || h.Get("X-Webhook-ID") != id {
		return time.Time{}, errIDs
	}
	return envelope.CreatedAt, nil
}

func (r *Receiver) count(a *Arrival) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts.Requests++
	if a.Fault != nil {
		r.counts.Refused++ // and not remembered: a forger must not be able to suppress the real one
		return
	}
	r.counts.Verified++
	if a.Duplicate = !r.seen.add(a.Path + " " + a.ID); a.Duplicate {
		r.counts.Duplicates++
		return
	}
	r.ages += a.Age
	r.counts.Age.Max = max(r.counts.Age.Max, a.Age)
}

func (r *Receiver) forget(a Arrival) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.seen.keys, a.Path+" "+a.ID) // its place in the ring is used up, which only makes the memory shorter
}

// Counts are what came so far.
func (r *Receiver) Counts() Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.counts
	if first := c.Verified - c.Duplicates; first > 0 {
		c.Age.Mean = r.ages / time.Duration(first)
	}
	return c
}

// memory holds the newest keys of a bounded number.
type memory struct {
	keys map[string]struct{}
	ring []string
	next int
}

func newMemory(size int) memory {
	return memory{keys: map[string]struct{}{}, ring: make([]string, 0, size)}
}

// add reports whether the key is new.
func (m *memory) add(key string) bool {
	if _, ok := m.keys[key]; ok {
		return false
	}
	m.keys[key] = struct{}{}
	if len(m.ring) < cap(m.ring) {
		m.ring = append(m.ring, key)
		return true
	}
	delete(m.keys, m.ring[m.next])
	m.ring[m.next] = key
	m.next = (m.next + 1) % len(m.ring)
	return true
}
