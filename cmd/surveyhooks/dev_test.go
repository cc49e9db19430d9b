package main

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/receiver"
	"github.com/chattosurvey/surveyhooks/outbox"
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
		text := out.await(t, "INSECURE ENDPOINTS ARE ALLOWED", "✓ verified", "/healthy", "/failing", "answered 500", "it is never sent", "── http://localhost:")
		require.NotContains(t, text, "✗", "the secrets of an earlier run must still fit")
		guide, _, _ := strings.Cut(text, "What arrives:")
		require.NotContains(t, guide, "verified", "the guide comes first")

		links := regexp.MustCompile(`http://localhost:\d+/portal/sign-in\?token=whl_[\w-]+`).FindAllString(guide, -1)
		require.Len(t, links, 2, "the company's and the operator's")
		for _, link := range links {
			status, page := get(t, strings.Replace(link, "localhost", "127.0.0.1", 1))
			require.Equal(t, http.StatusOK, status, "the link on the screen works")
			require.Contains(t, page, "Continue")
		}
		key := regexp.MustCompile(`SURVEYHOOKS_API_KEY=(whk_[\w-]+)`).FindStringSubmatch(guide)[1]
		url := regexp.MustCompile(`SURVEYHOOKS_API_URL=http://localhost(:\d+)`).FindStringSubmatch(guide)[1]
		endpoints := url + regexp.MustCompile(`\$SURVEYHOOKS_API_URL(/v1/companies/[\w-]+/endpoints)`).FindStringSubmatch(guide)[1]
		require.Contains(t, getAs(t, "http://127.0.0.1"+endpoints, key), "/hanging", "so do the key and the address of the curl")
		port, _, _ := strings.Cut(endpoints, "/")
		status, _ := get(t, "http://127.0.0.1"+port+"/v1/openapi.json")
		require.Equal(t, http.StatusOK, status, "who writes a client has no key yet")

		began := time.Now()
		cancel()
		require.NoError(t, <-ended)
		require.Less(t, time.Since(began), 15*time.Second, "the requests that hang are let go")
		require.Contains(t, talk.text.String(), "the receiver got")

		id := regexp.MustCompile(`healthy +([\w-]{36})`).FindStringSubmatch(guide)[1]
		first = cmp.Or(first, id)
		require.Equal(t, first, id)
	}
}

func getAs(t *testing.T, url, key string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+key)
	res, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, res.StatusCode, string(body))
	return string(body)
}

func TestDemoEndpointsFailAsTheGuideSays(t *testing.T) {
	t.Parallel()

	started := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	d := demoAnswers{started: started}
	const completed = string(outbox.ConversationCompletedType)
	for name, c := range map[string]struct {
		arrival receiver.Arrival
		status  int
	}{
		"HealthyTakesAll":              {receiver.Arrival{Path: "/healthy", Event: completed, At: started.Add(outageFrom)}, 200},
		"FailingRefusesNewCompletions": {receiver.Arrival{Path: "/failing", Event: completed, At: started, Age: mended - 1}, 500},
		"FailingTakesOldCompletions":   {receiver.Arrival{Path: "/failing", Event: completed, At: started, Age: mended}, 200},
		"FailingTakesTheOthers":        {receiver.Arrival{Path: "/failing", At: started.Add(outageFrom - 1)}, 200},
		"FailingIsDown":                {receiver.Arrival{Path: "/failing", At: started.Add(outageFrom)}, 503},
		"FailingIsDownAgain":           {receiver.Arrival{Path: "/failing", At: started.Add(outageFrom + outageEach)}, 503},
		"FailingIsUpAgain":             {receiver.Arrival{Path: "/failing", At: started.Add(outageFrom + outageLife)}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.status, d.answer(t.Context(), c.arrival))
		})
	}
	t.Run("HangingAnswersNobodyUntilTheStop", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			stopping := make(chan struct{})
			d := demoAnswers{started: started, stopping: stopping}
			answered := make(chan int, 1)
			go func() { answered <- d.answer(t.Context(), receiver.Arrival{Path: "/hanging"}) }()
			synctest.Wait()
			require.Empty(t, answered)
			close(stopping)
			require.Equal(t, http.StatusServiceUnavailable, <-answered)
		})
	})
}

func TestDevRefusesWhatOthersCouldReach(t *testing.T) {
	t.Parallel()

	for addr, word := range map[string]string{"0.0.0.0:3939": "this machine alone", "3939": "want host:port"} {
		err := devOptions{receiverAddr: addr, listenAddr: "127.0.0.1:0", pause: time.Second}.validate()
		require.ErrorContains(t, err, word)
		require.Equal(t, exitUsage, exitCode(err))
	}
}
