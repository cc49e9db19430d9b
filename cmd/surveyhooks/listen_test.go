package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/sign"
)

// streamServer is the API as listen sees it: each connection sends the events from the place that it was asked for, one
// of them, and then breaks off.
func streamServer(t *testing.T, bodies []string) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer whk_good" {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"title":"Unauthorized","detail":"want an API key","code":"unauthorized"}`)
			return
		}
		if r.URL.Path != "/v1/companies/"+company+"/stream" {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"title":"Not found","detail":"no such company","code":"not_found"}`)
			return
		}
		if r.URL.Query().Get("types") != "conversation.started,test.webhook" {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		next := 0
		if after := r.Header.Get("Last-Event-ID"); after != "" {
			_, _ = fmt.Sscanf(after, "c%d", &next)
			next++
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, ": hello\n\n")
		if next < len(bodies) {
			id := uuid.NewSHA1(uuid.Nil, []byte(bodies[next])).String()
			data, _ := json.Marshal(map[string]any{
				"headers": map[string]string{
					"Content-Type": "application/json", "X-Webhook-Event": "conversation.started", "X-Webhook-ID": id,
					"X-Webhook-Timestamp": "1", "webhook-id": id, "webhook-timestamp": "1",
				},
				"body_base64": base64.StdEncoding.EncodeToString([]byte(bodies[next])),
			})
			fmt.Fprintf(w, "id: c%d\nevent: webhook\ndata: %s\n\n", next, data)
			return
		}
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server
}

func listenArgs(api, target, key string) []string {
	return []string{
		"listen", "--company", company, "--forward-to", target, "--api-url", api, "--api-key", key,
		"--events", "conversation.started,test.webhook",
	}
}

// TestListenForwardsEveryEventOnceSigned: across connections that break off, in order, as the relay would send it.
func TestListenForwardsEveryEventOnceSigned(t *testing.T) {
	t.Parallel()

	secret := sign.NewSecret()
	bodies := []string{`{"n":1}`, `{"n":2}`, `{"n":"` + strings.Repeat("ü", 100_000) + `"}`}
	got := make(chan string, 9)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h := sign.Headers{ID: r.Header.Get("webhook-id"), Timestamp: r.Header.Get("webhook-timestamp"), Signature: r.Header.Get("webhook-signature")}
		if err := sign.Verify(secret, h, body, time.Now()); err != nil {
			got <- err.Error()
			return
		}
		got <- string(body)
		w.WriteHeader(http.StatusTeapot)
	}))
	t.Cleanup(receiver.Close)
	api := streamServer(t, bodies)
	ctx, stop := context.WithCancel(t.Context())
	out, said, code := newScreen(), newScreen(), make(chan int, 1)
	go func() {
		args := append(listenArgs(api.URL, receiver.URL, "whk_good"), "--secret", secret.Reveal(), "--print-secret")
		code <- run(ctx, args, process{stdout: out, stderr: said})
	}()
	for _, body := range bodies {
		require.Equal(t, body, <-got)
	}
	text := out.await(t, uuid.NewSHA1(uuid.Nil, []byte(bodies[2])).String())
	require.Equal(t, 3, strings.Count(text, "conversation.started"))
	require.Contains(t, text, "\t418\t")
	said.await(t, "secret "+secret.Reveal(), "goes on where it was")
	stop()
	require.Equal(t, exitOK, <-code)
	require.Empty(t, got)
}

// TestListenTellsOfAReceiverThatIsNotThere and goes on.
func TestListenTellsOfAReceiverThatIsNotThere(t *testing.T) {
	t.Parallel()

	api := streamServer(t, []string{`{}`})
	ctx, stop := context.WithCancel(t.Context())
	out, code := newScreen(), make(chan int, 1)
	go func() {
		code <- run(ctx, append(listenArgs(api.URL, "http://127.0.0.1:1/", "whk_good"), "-o", "json"), process{stdout: out, stderr: io.Discard})
	}()
	var told forwarded
	require.NoError(t, json.Unmarshal([]byte(out.await(t, "\n")), &told))
	require.Zero(t, told.Status)
	require.Contains(t, told.Error, "connection refused")
	stop()
	require.Equal(t, exitOK, <-code)
}

func TestListenStopsWhereTryingAgainIsUseless(t *testing.T) {
	t.Parallel()

	api := streamServer(t, nil)
	s := shell{t: t}
	got := s.run(listenArgs(api.URL, "http://localhost:3000/", "whk_wrong")...)
	require.Equal(t, exitFailure, got.code)
	require.Contains(t, got.stderr, "is --api-key right")
	require.NotContains(t, got.stderr, "whk_wrong")
	other := listenArgs(api.URL, "http://localhost:3000/", "whk_good")
	other[2] = uuid.NewString()
	got = s.run(other...)
	require.Equal(t, exitNotFound, got.code)
	require.Contains(t, got.stderr, "no such company")
	for right, args := range map[string][]string{
		"want the URL of a receiver":      listenArgs(api.URL, "localhost:3000", "k"),
		"want the URL of surveyhooks":     listenArgs("ftp://x", "http://localhost:3000/", "k"),
		"it must begin with \"whsec_\"":   append(listenArgs(api.URL, "http://localhost:3000/", "k"), "--secret", "short"),
		"want some of [conversation.star": append(listenArgs(api.URL, "http://localhost:3000/", "k"), "--events", "conversation.begun"),
	} {
		got := s.run(args...)
		require.Equal(t, exitUsage, got.code, got.stderr)
		require.Contains(t, got.stderr, right)
	}
}

// TestListenBringsEventsFromARunningServe goes the whole way: from the transaction to the laptop.
func TestListenBringsEventsFromARunningServe(t *testing.T) {
	t.Parallel()

	s := newShell(t)
	ctx, stop := context.WithCancel(t.Context())
	log, code := newScreen(), make(chan int, 2)
	go func() {
		args := []string{"serve", "--admin-addr", "off", "--listen-addr", "127.0.0.1:0", "--log-format", "text"}
		code <- run(ctx, args, process{env: s.env, stdout: io.Discard, stderr: log})
	}()
	api := "http://" + regexp.MustCompile(`web server listens" addr=(\S+)`).FindStringSubmatch(log.await(t, "web server listens"))[1]
	key, _ := s.object("api-keys", "create", "--name", "laptop", "--company", company, "--role", "viewer")["token"].(string)
	require.NotEmpty(t, key)

	got := make(chan string, 9)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- r.Header.Get("X-Webhook-Event") + " " + r.Header.Get("X-Webhook-ID") + " " + string(body)
	}))
	t.Cleanup(receiver.Close)
	said := newScreen()
	go func() {
		args := []string{"listen", "--company", company, "--forward-to", receiver.URL, "--api-url", api, "--events", "conversation.started"}
		code <- run(ctx, args, process{env: []string{"SURVEYHOOKS_API_KEY=" + key}, stdout: said, stderr: said})
	}()
	said.await(t, "connected")
	s.ok("publish", "--company", company, "--type", "conversation.completed", "--sample")
	s.ok("publish", "--company", uuid.NewString(), "--type", "conversation.started", "--sample")
	id, _ := s.object("publish", "--company", company, "--type", "conversation.started", "--sample")["event_id"].(string)
	request := <-got
	require.Contains(t, request, "conversation.started "+id+` {"id":"`+id+`","event":"conversation.started",`)
	require.Contains(t, request, `"metadata":{"webhook_version":"2.0","delivered_at":"`)
	require.Empty(t, got, "neither another type nor another company's")
	stop()
	require.Equal(t, exitOK, <-code)
	require.Equal(t, exitOK, <-code)
}
