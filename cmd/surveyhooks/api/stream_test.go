package api

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// listener is one connection to a stream.
type listener struct {
	*testing.T

	response *http.Response
	heard    chan heard // closed at the end of the stream
}

// heard is one event, or a place without one.
type heard struct {
	id, event string
	sent      sent
}

// listen connects and reads the place that the stream begins at.
func (b *testBundle) listen(query, as, last string) *listener {
	b.Helper()
	request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, b.base+"/v1/companies/"+b.mine.String()+"/stream"+query, nil)
	require.NoError(b, err)
	request.Header.Set("Authorization", "Bearer "+as)
	if last != "" {
		request.Header.Set("Last-Event-ID", last)
	}
	response, err := b.client.Do(request)
	require.NoError(b, err)
	b.Cleanup(func() { _ = response.Body.Close() })
	require.Equal(b, http.StatusOK, response.StatusCode)
	require.Equal(b, "text/event-stream", response.Header.Get("Content-Type"))
	l := &listener{T: b.T, response: response, heard: make(chan heard, 100)}
	go l.read()
	return l
}

func (l *listener) read() {
	defer close(l.heard)
	lines := bufio.NewScanner(l.response.Body)
	lines.Buffer(nil, 1<<20)
	var h heard
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch field {
		case "id":
			h.id = value
		case "event":
			h.event = value
		case "data":
			if err := json.Unmarshal([]byte(value), &h.sent); err != nil {
				return
			}
		case "":
			if h.id != "" {
				l.heard <- h
			}
			h = heard{}
		}
	}
}

func (l *listener) next() heard {
	l.Helper()
	select {
	case h, open := <-l.heard:
		require.True(l, open, "the stream ended")
		return h
	case <-time.After(within):
		require.Fail(l, "the stream brought nothing")
		return heard{}
	}
}

// ends waits for the end of the stream, with nothing before it.
func (l *listener) ends() {
	l.Helper()
	select {
	case h, open := <-l.heard:
		require.False(l, open, "%+v", h)
	case <-time.After(within):
		require.Fail(l, "the stream did not end")
	}
}

// happens publishes an event and tells it, as the fan-out does; position is what a transaction drew, maybe long ago.
func (b *testBundle) happens(company uuid.UUID, kind string, position int64) uuid.UUID {
	b.Helper()
	id := uuid.New()
	tx, err := b.db.BeginTx(b.Context(), nil)
	require.NoError(b, err)
	defer tx.Rollback() //nolint:errcheck // a test that failed
	_, err = tx.ExecContext(b.Context(), `WITH o AS (
  INSERT INTO webhooks.outbox (event_id, event_type, company_id, data, created_at) VALUES ($1, $2, $3, '{ "n" : 1 }', '2026-03-01T12:00:00Z')
  RETURNING event_id, recorded_at, transaction_id, position)
INSERT INTO webhooks.event_ids (event_id, recorded_at, transaction_id, position) SELECT event_id, recorded_at, transaction_id, position FROM o`,
		id, kind, company)
	require.NoError(b, err)
	require.NoError(b, commitlog.Append(b.Context(), tx, fact.Fact{Name: fact.EventFannedOut, CompanyID: company, Body: fact.FannedOut{
		EventID: id, EventType: kind, CreatedAt: noon(), Position: position, Decisions: []fact.EndpointChoice{},
	}}))
	require.NoError(b, tx.Commit())
	b.project()
	return id
}

// TestTheStreamBringsWhatAReceiverWouldGet: the headers and the bytes, unsigned, and of this company alone.
func TestTheStreamBringsWhatAReceiverWouldGet(t *testing.T) {
	t.Parallel()

	b := setup(t)
	b.happens(b.mine, "conversation.started", 1) // before it listens
	l := b.listen("", "viewer", "")
	place := l.next()
	require.Empty(t, place.event, "where it begins")
	b.happens(b.theirs, "conversation.started", 2)
	id := b.happens(b.mine, "conversation.completed", 3)
	h := l.next()
	require.Equal(t, "webhook", h.event)
	timestamp := h.sent.Headers["X-Webhook-Timestamp"]
	require.Equal(t, map[string]string{
		"Content-Type": "application/json", "User-Agent": "HS-Webhook/1.0", "X-Webhook-Event": "conversation.completed",
		"X-Webhook-ID": id.String(), "X-Webhook-Timestamp": timestamp, "webhook-id": id.String(), "webhook-timestamp": timestamp,
	}, h.sent.Headers)
	want := fmt.Sprintf(`{"id":"%s","event":"conversation.completed","created_at":"2026-03-01T12:00:00Z","data":{"event_type":"conversation.completed", "n" : 1 ,"metadata":{"webhook_version":"2.0","delivered_at":"`, id)
	require.True(t, strings.HasPrefix(string(h.sent.Body), want), "%s", h.sent.Body)

	again := b.listen("?after="+place.id, "owner", "") // from the place that it began at
	again.next()
	require.Equal(t, h.sent.Body, again.next().sent.Body, "the same event has the same bytes")
}

// TestAStreamGoesOnWhereItWas: nothing is missed and nothing brought twice, whatever was passed over meanwhile.
func TestAStreamGoesOnWhereItWas(t *testing.T) {
	t.Parallel()

	b := setup(t)
	l := b.listen("?types=test.webhook,conversation.started", "owner", "")
	l.next()
	first := b.happens(b.mine, "conversation.started", 5)
	h := l.next()
	require.Equal(t, first.String(), h.sent.Headers["X-Webhook-ID"])
	require.NoError(t, l.response.Body.Close())

	b.happens(b.mine, "conversation.completed", 6) // not asked for
	var want []string
	for i := range 2*20 + 1 { // more than two pages of the history
		want = append(want, b.happens(b.mine, "test.webhook", int64(50-i)).String()) // their transactions began the other way round
	}
	l = b.listen("?types=test.webhook,conversation.started&after=ignored", "owner", h.id)
	l.next()
	var got []string
	for range want {
		got = append(got, l.next().sent.Headers["X-Webhook-ID"])
	}
	require.Equal(t, want, got)
}

// TestStreamsEndWithTheServer at once, without waiting for their clients.
func TestStreamsEndWithTheServer(t *testing.T) {
	t.Parallel()

	b := setup(t)
	l := b.listen("", "owner", "")
	l.next()
	b.stop()
	l.ends()
}

// TestStreamsOfACompanyAreBounded, and one that ends makes room.
func TestStreamsOfACompanyAreBounded(t *testing.T) {
	t.Parallel()

	b := setup(t)
	open := make([]*listener, maxOfCompany)
	for i := range open {
		open[i] = b.listen("", "owner", "")
		open[i].next()
	}
	refused := b.get("{mine}/stream")
	refused.requireProblem(429, "too_many_streams")
	require.Equal(t, "10", refused.header.Get("Retry-After"))
	require.NoError(t, open[0].response.Body.Close())
	require.Eventually(t, func() bool { return b.tryListen() == http.StatusOK }, within, 10*time.Millisecond)
	b.get("{mine}/stream?after=x").requireProblem(400, "bad_cursor")
	b.do(call{line: "GET {mine}/stream", header: map[string]string{"Last-Event-ID": "x"}}).requireProblem(400, "bad_cursor")
}

// tryListen opens a stream, closes it at once, and says how it was answered.
func (b *testBundle) tryListen() int {
	request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, b.base+"/v1/companies/"+b.mine.String()+"/stream", nil)
	require.NoError(b, err)
	request.Header.Set("Authorization", "Bearer owner")
	response, err := b.client.Do(request)
	require.NoError(b, err)
	_ = response.Body.Close()
	return response.StatusCode
}

// TestTheBoundOnStreamsCounts those of one company and all.
func TestTheBoundOnStreamsCounts(t *testing.T) {
	t.Parallel()

	s := newStreams(nil)
	company := uuid.New()
	for range maxOfCompany {
		require.True(t, s.open(company))
	}
	require.False(t, s.open(company))
	s.close(company)
	require.True(t, s.open(company))
	for s.all < maxOfAll {
		require.True(t, s.open(uuid.New()))
	}
	require.False(t, s.open(uuid.New()))
	for range maxOfCompany {
		s.close(company)
	}
	require.NotContains(t, s.count, company, "what has ended is forgotten")
}
