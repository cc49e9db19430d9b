package egress

import (
	"net"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/relaytest"
)

// TestMemoryOfOneAttemptIsBounded: whatever comes back, one attempt allocates less than 2 MiB in all. It runs alone,
// since the runtime counts for the whole process.
//
//nolint:paralleltest // see above
func TestMemoryOfOneAttemptIsBounded(t *testing.T) {
	const bound = 2 << 20
	block := strings.Repeat("a", 8192)
	for name, handle := range map[string]func(*net.TCPConn){
		"F42_EndlessBody":    relaytest.Flood(ok+"\r\n", block),
		"F42_OneGigabyte":    relaytest.Flood(ok+"Content-Length: 1000000000\r\n\r\n", block),
		"F42_EndlessChunks":  relaytest.Flood(ok+"Transfer-Encoding: chunked\r\n\r\n", "2000\r\n"+block+"\r\n"),
		"F42_GiantChunk":     relaytest.Flood(ok+"Transfer-Encoding: chunked\r\n\r\n3fffffff\r\n", block),
		"F42_EndlessTrailer": relaytest.Flood(ok+"Transfer-Encoding: chunked\r\n\r\n0\r\n", "X-A: "+block+"\r\n"),
		"F43_GzipBomb":       relaytest.Write(gzipBomb()),
		"F44_HeaderBomb":     relaytest.Flood(ok, "X-A: "+block+"\r\n"),
		"F44_ManyHeaders":    relaytest.Flood(ok, "X-A: b\r\n"),
		"F44_OneHeader":      relaytest.Flood(ok+"X-A: ", block),
		"F44_EarlyHints":     relaytest.Flood("", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
		"F41_Upgraded":       relaytest.Flood("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", block),
	} {
		t.Run(name, func(t *testing.T) {
			u := urlOf(t, relaytest.NewBeast(t, handle))
			client := insecureClient(t, plenty)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got := client.Do(t.Context(), &Request{URL: u, Body: []byte("{}")})
			runtime.ReadMemStats(&after)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(bound), "fault %s, status %d", got.Fault, got.Status)
			require.LessOrEqual(t, len(got.Body), MaxBody)
			require.Less(t, got.Timing.Total, atOnce, "it is cut by its size and not by the clock")
		})
	}
}
