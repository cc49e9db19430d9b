package main

import (
	"bytes"
	"context"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/relaytest"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

// screen is an output that tells when a text has appeared.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
	news chan struct{} // closed at each change
}

func newScreen() *screen { return &screen{news: make(chan struct{})} }

// Write appends.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.news)
	s.news = make(chan struct{})
	return s.text.Write(p)
}

// await returns the text once each of the words has appeared.
func (s *screen) await(t *testing.T, words ...string) string {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		s.mu.Lock()
		text, news := s.text.String(), s.news
		s.mu.Unlock()
		missing := ""
		for _, word := range words {
			if !strings.Contains(text, word) {
				missing = word
			}
		}
		if missing == "" {
			return text
		}
		select {
		case <-news:
		case <-deadline:
			require.Failf(t, "not on the screen", "%q in:\n%s", missing, text)
		}
	}
}

func TestDevShowsArrivalsAndFindsItsEndpointsAgain(t *testing.T) {
	t.Parallel()

	db := schematest.New(t)
	keys := relaytest.Key(t, "dev").Reveal()
	var first string
	for range 2 {
		ctx, cancel := context.WithCancel(t.Context())
		out, talk := newScreen(), newScreen()
		a := &app{process: process{stdout: out, stderr: talk}, databaseURL: db.OwnerDSN, sealKeys: keys}
		ended := make(chan error, 1)
		go func() {
			ended <- a.dev(ctx, devOptions{receiverAddr: "127.0.0.1:0", listenAddr: "127.0.0.1:0", adminAddr: "off", pause: 20 * time.Millisecond})
		}()
		text := out.await(t, "INSECURE ENDPOINTS ARE ALLOWED", "✓ verified", "/flaky", "answered 500", "/slow", "it is never sent")
		link := regexp.MustCompile(`http://localhost:\d+/portal/sign-in\?token=whl_[\w-]+`).FindString(text)
		status, page := get(t, strings.Replace(link, "localhost", "127.0.0.1", 1))
		require.Equal(t, http.StatusOK, status, "the link on the screen works")
		require.Contains(t, page, "Continue")
		require.NotContains(t, text, "✗", "the secrets of an earlier run must still fit")
		cancel()
		require.NoError(t, <-ended)
		require.Contains(t, talk.text.String(), "the receiver got")

		_, rest, _ := strings.Cut(text, "healthy   ")
		id, _, _ := strings.Cut(rest, " ")
		require.Len(t, id, 36)
		if first == "" {
			first = id
		}
		require.Equal(t, first, id)
	}
}

func TestDevRefusesWhatOthersCouldReach(t *testing.T) {
	t.Parallel()

	for addr, word := range map[string]string{"0.0.0.0:3939": "this machine alone", "3939": "want host:port"} {
		err := devOptions{receiverAddr: addr, listenAddr: "127.0.0.1:0", pause: time.Second}.validate()
		require.ErrorContains(t, err, word)
		require.Equal(t, exitUsage, exitCode(err))
	}
}
