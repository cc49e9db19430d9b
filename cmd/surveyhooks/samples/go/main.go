// A webhook receiver on Go's standard library alone:
//
//	WEBHOOK_SECRET=whsec_… PORT=3000 go run .
//
// It verifies the signature, takes each event once, answers 200, and works afterwards.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	maxBody   = 1 << 20         // an event has at most 256 KiB of data
	tolerance = 5 * time.Minute // an older request may be a replay
)

type event struct {
	ID        string          `json:"id"`
	Event     string          `json:"event"`
	CreatedAt string          `json:"created_at"` // in RFC 3339, to the second
	Data      json.RawMessage `json:"data"`       // read by the worker: what is odd in it is no reason to have the event again
}

type data struct {
	Conversation struct {
		ID string `json:"id"`
	} `json:"conversation"`
	Response struct {
		Answer json.RawMessage `json:"answer"`
	} `json:"response"`
	Responses []json.RawMessage `json:"responses"`
}

func main() {
	text, ok := strings.CutPrefix(os.Getenv("WEBHOOK_SECRET"), "whsec_")
	key, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(key) < 24 {
		log.Fatal("set WEBHOOK_SECRET to the signing secret of your endpoint: whsec_…")
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "3000"
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		log.Fatal(err)
	}
	in := &inbox{key: key, taken: make(map[string]bool), work: make(chan event, 1000)}
	go in.process()
	mux := http.NewServeMux()
	mux.Handle("POST /webhooks/chattosurvey", in)
	fmt.Printf("listening on http://%s/webhooks/chattosurvey\n", listener.Addr())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.Serve(listener))
}

// inbox takes each event once. In production it is one database table with a unique key on the id: inserting the event
// is taking it, and a worker reads the rows. Then nothing that was answered 200 is lost when this process dies.
type inbox struct {
	key  []byte
	work chan event

	mu    sync.Mutex
	taken map[string]bool
}

func (in *inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "body not read", http.StatusBadRequest)
		return
	}
	if !in.verify(r.Header, body) {
		http.Error(w, "invalid signature", http.StatusUnauthorized)
		return
	}
	var e event
	if err := json.Unmarshal(body, &e); err != nil {
		http.Error(w, "body is no event", http.StatusBadRequest)
		return
	}
	if !in.take(e) {
		http.Error(w, "too much at once", http.StatusServiceUnavailable) // it comes again
		return
	}
	w.WriteHeader(http.StatusOK)
}

// verify wants the body's bytes as they came: JSON that was parsed and written again is other bytes.
func (in *inbox) verify(h http.Header, body []byte) bool {
	timestamp := h.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > tolerance {
		return false
	}
	mac := hmac.New(sha256.New, in.key)
	mac.Write([]byte(h.Get("webhook-id") + "." + timestamp + "."))
	mac.Write(body)
	want := []byte("v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	// During a rotation there are two signatures; one of them has to fit.
	for candidate := range strings.SplitSeq(h.Get("webhook-signature"), " ") {
		if hmac.Equal([]byte(candidate), want) {
			return true
		}
	}
	return false
}

// take reports whether the event was taken, now or before.
func (in *inbox) take(e event) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.taken[e.ID] {
		return true
	}
	select {
	case in.work <- e:
		in.taken[e.ID] = true
		return true
	default:
		return false
	}
}

func (in *inbox) process() {
	for e := range in.work {
		if err := processEvent(e); err != nil {
			// It was answered 200 and will not come again. In production: keep it, and look at it.
			log.Printf("could not process %s %s: %v", e.ID, e.Event, err)
		}
	}
}

func processEvent(e event) error {
	var d data
	if err := json.Unmarshal(e.Data, &d); err != nil {
		return err
	}
	switch e.Event {
	case "conversation.started":
		fmt.Printf("processed %s %s conversation=%s\n", e.ID, e.Event, d.Conversation.ID)
	case "conversation.completed":
		fmt.Printf("processed %s %s responses=%d\n", e.ID, e.Event, len(d.Responses))
	case "question_response.upserted":
		fmt.Printf("processed %s %s answer=%s\n", e.ID, e.Event, d.Response.Answer)
	default: // test.webhook, and what will come one day
		fmt.Printf("processed %s %s\n", e.ID, e.Event)
	}
	return nil
}
