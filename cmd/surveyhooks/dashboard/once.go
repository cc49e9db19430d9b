package dashboard

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

const (
	answerLife = time.Minute // how long a form that is sent again is answered as the first time
	maxAnswers = 4096        // kept at once; past it the oldest is forgotten
	maxNonce   = 64
)

// newNonce names one showing of a form.
func newNonce() string { return rand.Text() }

// onceOnly carries out a form one time, however often a nervous hand sends it, and answers every time alike. Its memory is
// this process's: where several serve one company, what remains is that a URL is registered once and that each change
// names the version that it was made from.
type onceOnly struct {
	now func() time.Time

	mu      sync.Mutex
	answers map[onceKey]*answer
	order   []onceKey // the oldest first
}

// onceKey keeps one caller from reading another's answer, since a nonce alone is no credential; and a form that went
// back, was changed and is sent again from being taken for the first one.
type onceKey struct {
	company uuid.UUID
	actor   string
	path    string
	form    [sha256.Size]byte // the nonce among its fields
}

// answer is a response that is kept; done is closed when it is whole.
type answer struct {
	done chan struct{}
	at   time.Time

	status int
	header http.Header
	body   bytes.Buffer
}

func newOnce(now func() time.Time) *onceOnly {
	return &onceOnly{now: now, answers: map[onceKey]*answer{}}
}

// once carries the page out for a form with a nonce that was not sent before; others are given its answer.
func (p page) once() page {
	return func(q *request) error {
		nonce := q.r.PostForm.Get("nonce")
		if nonce == "" || len(nonce) > maxNonce {
			return p(q)
		}
		key := onceKey{q.caller.CompanyID, q.caller.Actor, q.r.URL.Path, sha256.Sum256([]byte(q.r.PostForm.Encode()))}
		kept, first := q.forms.claim(key)
		if first {
			kept.record(q.w.Header(), func(rec *answer) {
				inner := *q
				inner.w = rec
				if err := p(&inner); err != nil {
					inner.fail(err)
				}
			})
			if kept.status >= http.StatusBadRequest {
				q.forms.forget(key) // nothing was done: whoever tries again means it
			}
		}
		select {
		case <-kept.done:
			kept.replay(q.w)
		case <-q.r.Context().Done():
		}
		return nil
	}
}

// claim returns the answer to a form, and whether the caller is the one who has to make it.
func (o *onceOnly) claim(key onceKey) (kept *answer, first bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.now()
	for len(o.order) > 0 {
		oldest := o.answers[o.order[0]]
		if len(o.order) < maxAnswers && now.Sub(oldest.at) < answerLife {
			break
		}
		delete(o.answers, o.order[0])
		o.order = o.order[1:]
	}
	if kept, ok := o.answers[key]; ok {
		return kept, false
	}
	kept = &answer{done: make(chan struct{}), at: now}
	o.answers[key] = kept
	o.order = append(o.order, key)
	return kept, true
}

func (o *onceOnly) forget(key onceKey) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.answers, key)
	o.order = slices.DeleteFunc(o.order, func(k onceKey) bool { return k == key })
}

// record makes the answer; a panic leaves one, too, or the second sender would wait for ever.
func (a *answer) record(header http.Header, act func(*answer)) {
	defer close(a.done)
	a.header = header.Clone()
	a.status = http.StatusInternalServerError
	act(a)
}

var _ http.ResponseWriter = (*answer)(nil)

// Header of the answer.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader keeps the status.
func (a *answer) WriteHeader(status int) { a.status = status }

// Write keeps the body.
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }

func (a *answer) replay(w http.ResponseWriter) {
	header := w.Header()
	maps.Copy(header, a.header)
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body.Bytes()) // a reader that went away is its own fault
}
