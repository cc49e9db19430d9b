package api

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/outbox/wire"
	"github.com/chattosurvey/surveyhooks/projections"
)

const (
	streamPoll    = 500 * time.Millisecond
	heartbeat     = 15 * time.Second
	writeWithin   = 30 * time.Second // a client that does not read
	maxOfCompany  = 5
	maxOfAll      = 100
	reconnectHint = 1000 // ms
)

// streams bounds how many there are, since each asks the database twice a second.
type streams struct {
	stopping <-chan struct{}

	mu    sync.Mutex
	count map[uuid.UUID]int
	all   int
}

func newStreams(stopping <-chan struct{}) *streams {
	return &streams{stopping: stopping, count: map[uuid.UUID]int{}}
}

// open reports whether one more may begin; whoever opened one closes it.
func (s *streams) open(company uuid.UUID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == maxOfAll || s.count[company] == maxOfCompany {
		return false
	}
	s.all++
	s.count[company]++
	return true
}

func (s *streams) close(company uuid.UUID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all--
	if s.count[company]--; s.count[company] == 0 {
		delete(s.count, company)
	}
}

// stream brings a company's events as they are told, each as the request that a receiver would get, unsigned.
func (s *server) stream(r *request) (answer, error) {
	p := r.params()
	var types []string
	if text := p.text("types"); text != "" {
		types = strings.Split(text, ",")
	}
	for _, kind := range types {
		if !slices.Contains(outbox.Types(), outbox.Type(kind)) {
			p.fault("types", fmt.Sprintf("some of %v, with commas between them", outbox.Types()))
			break
		}
	}
	if err := p.err(); err != nil {
		return answer{}, err
	}
	cursor := p.text("after")
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		cursor = last // a client that connects again knows better than the address it once used
	}
	var events []projections.ToldEvent
	var err error
	if cursor == "" {
		cursor, err = s.history.ToldEnd(r.Context(), r.company)
	} else {
		events, err = s.history.Told(r.Context(), r.company, types, cursor)
	}
	if err != nil {
		return answer{}, err
	}
	if !s.streams.open(r.company) {
		return answer{}, refusal(http.StatusTooManyRequests, "too_many_streams",
			fmt.Sprintf("a company may have %d streams at once: close one", maxOfCompany)).after(10 * time.Second)
	}
	f := follower{server: s, types: types, cursor: cursor}
	return answer{stream: func(w http.ResponseWriter, r *request) {
		defer s.streams.close(r.company)
		f.follow(w, r, events)
	}}, nil
}

// follower is one stream and its place.
type follower struct {
	server *server
	types  []string
	cursor string
	client io.Writer
	flush  *http.ResponseController
	said   time.Time
}

// follow ends with the client, with the server, and when the database fails: the client then goes on where it was.
func (f *follower) follow(w http.ResponseWriter, r *request, events []projections.ToldEvent) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // a proxy in between must not gather it
	if r.Method == http.MethodHead {
		return
	}
	f.client, f.flush = w, http.NewResponseController(w)
	// The place before the first event: a client that loses the connection meanwhile misses nothing.
	if !f.say("retry: %d\nid: %s\n\n", reconnectHint, f.cursor) {
		return
	}
	ticker := time.NewTicker(streamPoll)
	defer ticker.Stop()
	for {
		if !f.tell(events) {
			return
		}
		if len(events) == 0 {
			select {
			case <-ticker.C:
			case <-r.Context().Done():
				return
			case <-f.server.streams.stopping:
				return
			}
		}
		if time.Since(f.said) >= heartbeat && !f.say(": still here\n\n") {
			return
		}
		var err error
		if events, err = f.look(r); err != nil {
			if r.Context().Err() == nil {
				f.server.logger.Error("stream broke off", "request_id", r.id, "error", err)
			}
			return
		}
	}
}

// look asks for what came, in a turn of the company's.
func (f *follower) look(r *request) ([]projections.ToldEvent, error) {
	end, err := access.NextTurn(r.Context())
	if err != nil {
		return nil, err
	}
	defer end()
	return f.server.history.Told(r.Context(), r.company, f.types, f.cursor)
}

// say writes at once; false means that nobody reads any more.
func (f *follower) say(format string, args ...any) bool {
	_ = f.flush.SetWriteDeadline(time.Now().Add(writeWithin)) // the server's own is for answers that end
	if _, err := fmt.Fprintf(f.client, format, args...); err != nil {
		return false
	}
	f.said = time.Now()
	return f.flush.Flush() == nil
}

// sent is the request that a receiver would get.
type sent struct {
	Headers map[string]string `json:"headers"`
	Body    []byte            `json:"body_base64"`
}

func (f *follower) tell(events []projections.ToldEvent) bool {
	for _, e := range events {
		f.cursor = e.Cursor
		if e.Data == nil {
			continue
		}
		// The time of the fan-out and not now: the same event has the same bytes, however often it is streamed.
		body := wire.Body(wire.Event{ID: e.EventID, Type: e.EventType, CreatedAt: e.CreatedAt, Data: e.Data}, e.FannedOutAt)
		data, err := json.Marshal(sent{Headers: headers(e), Body: body})
		if err != nil || !f.say("id: %s\nevent: webhook\ndata: %s\n\n", e.Cursor, data) {
			return false
		}
	}
	return true
}

// headers are those of a receiver's request, without the signature and what belongs to a connection.
func headers(e projections.ToldEvent) map[string]string {
	all := map[string]string{}
	for _, h := range (wire.Request{ID: e.EventID, Type: e.EventType, Timestamp: time.Now().Unix()}).Fields() {
		if h.Name != wire.AcceptEncoding && h.Name != wire.Signature {
			all[h.Name] = h.Value
		}
	}
	return all
}
