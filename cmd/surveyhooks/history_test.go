package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// serving runs serve until the end of the test.
func (s shell) serving(flags ...string) {
	s.t.Helper()
	relay := s.serve(flags...)
	s.t.Cleanup(func() { require.Equal(s.t, exitOK, relay.stop(), relay.log) })
}

// page is a writer that one goroutine fills and another reads.
type page struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (p *page) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(b)
}

func (p *page) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// has waits for words.
func (p *page) has(t *testing.T, words string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(p.String(), words) }, 20*time.Second, 20*time.Millisecond, "want %q", words)
}

// following runs a verb that goes on until it is stopped, from when it says so.
func (s shell) following(args ...string) (out *page, stop func() int) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	out, talk := &page{}, &page{}
	code := make(chan int, 1)
	go func() { code <- run(ctx, args, process{env: s.env, stdout: out, stderr: talk}) }()
	talk.has(s.t, "Ctrl-C ends it")
	return out, func() int {
		cancel()
		return <-code
	}
}

// TestAttemptsGetAndDeliveriesTail follow a delivery that is refused once.
func TestAttemptsGetAndDeliveriesTail(t *testing.T) {
	t.Parallel()

	var asked atomic.Int32
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Why", "asked too early")
		if asked.Add(1) == 1 {
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.WriteString(w, "short and stout")
		}
	}))
	t.Cleanup(receiver.Close)
	s := newShell(t).with("SURVEYHOOKS_INSECURE_ENDPOINTS=1")
	s.ok("endpoints", "create", "--company", company, "--url", receiver.URL+"/?token=planted", "--header", "X-Key: planted")
	s.serving("--first-retry", "100ms")

	every, stopEvery := s.following("deliveries", "tail")
	over, stopOver := s.following("deliveries", "tail", "--state", "delivered", "-o", "jsonl")
	other, stopOther := s.following("deliveries", "tail", "--company", "5b2f4f0e-9b1d-4c0f-8f4e-2a6c5f7f8d11")
	event, _ := s.object("publish", "--company", company, "--type", "conversation.started", "--sample")["event_id"].(string)
	over.has(t, `"state":"delivered"`)
	require.Contains(t, over.String(), event)
	every.has(t, "\tdelivered\tconversation.started\t")
	for _, stop := range []func() int{stopEvery, stopOver, stopOther} {
		require.Equal(t, exitOK, stop())
	}
	require.Equal(t, 1, strings.Count(over.String(), "\n"), "what it was before was not asked for")
	require.Empty(t, other.String())

	id := number(int64(decode(t, over.String())["delivery_id"].(float64)))
	got := s.object("attempts", "get", id, "1")
	attempt, _ := got["attempt"].(map[string]any)
	request, _ := got["request"].(map[string]any)
	require.EqualValues(t, http.StatusTeapot, attempt["status"])
	require.Equal(t, "short and stout", attempt["response_body"])
	require.Equal(t, true, request["exact"])
	body, _ := request["body"].(string)
	require.Equal(t, event, decode(t, body)["id"])
	require.Contains(t, request["curl"], "--data-binary")

	for _, text := range []string{s.ok("attempts", "get", id, "1"), s.ok("attempts", "get", id, "1", "-o", "table")} {
		for _, words := range []string{"webhook-signature: v1,", body, "HTTP 418", "X-Why: asked too early", "short and stout", "first byte", "X-Key: ***"} {
			require.Contains(t, text, words)
		}
		require.Contains(t, text, "\n\n"+body+"\n\nHTTP 418\n")
		require.NotContains(t, text, "planted")
	}
	for args, code := range map[string]int{
		id + " 9": exitNotFound, "987654 1": exitNotFound, id + " 0": exitUsage, id + " 40000": exitUsage, id: exitUsage, "x 1": exitUsage,
	} {
		require.Equal(t, code, s.run(append([]string{"attempts", "get"}, strings.Fields(args)...)...).code, args)
	}
	require.Equal(t, exitUsage, s.run("deliveries", "tail", "--state", "lost").code)
	require.Contains(t, s.run("deliveries", "tail", "--compny", company).stderr, "did you mean --company?")
}
