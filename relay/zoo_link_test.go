package relay_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/relay/relaytest"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// TestF58_BadLinesStayTheirOwnTrouble: I6, an endpoint behind a slow, lossy or breaking line costs the others nothing;
// and I7, what it cost is given back while the relay runs on. goleak counts the goroutines at the end of all tests.
func TestF58_BadLinesStayTheirOwnTrouble(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.cfg.Egress.IdleTimeout = 100 * time.Millisecond
	const events, latency = 20, 2 * time.Second
	lines := map[string]relaytest.Weather{
		"Latency":   {Latency: latency},
		"Loss":      {Piece: 200, StallEach: 3, Stall: 100 * time.Millisecond},
		"Bandwidth": {Piece: 100, Latency: 5 * time.Millisecond},
		"SlowClose": {SlowClose: 300 * time.Millisecond},
		"Breaks":    {CutAfter: 20},
	}
	links, receivers := map[string]*relaytest.Link{}, map[string]*relaytest.Receiver{}
	for name, weather := range lines {
		receivers[name] = relaytest.NewReceiver(t)
		links[name] = relaytest.NewLink(t, receivers[name].URL, weather)
	}
	receivers["SlowClose"].Answer(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") })
	healthy := relaytest.NewReceiver(t)
	b.endpoint(healthy.URL)
	for name, link := range links {
		if name != "Breaks" {
			b.endpoint(link.URL)
		}
	}
	broken, _ := b.endpoint(links["Breaks"].URL)
	b.run()
	published := make([]outbox.Event, events)
	for i := range published {
		published[i] = b.started()
	}
	b.publish(published...)

	last := healthy.Await(t, events, within)[events-1].At
	for name, receiver := range receivers {
		if name != "Breaks" {
			arrivals := receiver.Await(t, events, within)
			require.Len(t, arrivals, events, "%s: a bad line is no reason to send twice", name)
		}
	}
	require.True(t, last.Before(receivers["Latency"].Arrivals()[0].At), "the healthy one had everything before the slow line carried one request")

	first := b.attempts(broken.ID)
	require.Eventually(t, func() bool { first = b.attempts(broken.ID); return len(first) > 0 }, within, 10*time.Millisecond)
	require.Equal(t, fact.Reset, first[0].Reason, "%s", first[0].Detail)
	b.await(0, `SELECT count(*) FROM webhooks.pending WHERE endpoint_id <> $1`, broken.ID)
	for name, link := range links {
		if name != "Breaks" { // its breaker may be probing
			require.Eventually(t, func() bool { return link.Open() == 0 }, within, 10*time.Millisecond, "%s: connections stay open", name)
		}
	}
}
