package egress

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// beast is a raw receiver: handle runs once per connection, after the request's
// head was read, and the connection closes when it returns.
func beast(t *testing.T, handle func(c *net.TCPConn)) *url.URL {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					handle(c.(*net.TCPConn))
				}
			}()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	u, err := Policy{Insecure: true}.ParseURL("http://" + l.Addr().String() + "/hooks?token=s3cret")
	require.NoError(t, err)
	return u
}

func insecureClient(t *testing.T, timeout time.Duration) *Client {
	t.Helper()
	client := NewClient(Config{Policy: Policy{Insecure: true}, Timeout: timeout})
	t.Cleanup(client.Close)
	return client
}

func write(text string) func(*net.TCPConn) {
	return func(c *net.TCPConn) { _, _ = io.WriteString(c, text) }
}

// hold waits until the other side hangs up.
func hold(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) }

// drip writes one byte at a time until the other side hangs up.
func drip(head, each string) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		_, _ = io.WriteString(c, head)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if _, err := io.WriteString(c, each); err != nil {
				return
			}
		}
	}
}

func flood(head, each string) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		_, _ = io.WriteString(c, head)
		for {
			if _, err := io.WriteString(c, each); err != nil {
				return
			}
		}
	}
}

func rst(head string) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		_, _ = io.WriteString(c, head)
		_ = c.SetLinger(0)
	}
}

func TestHostileReceiverIsAFaultWithinBounds(t *testing.T) {
	t.Parallel()
	const ok = "HTTP/1.1 200 OK\r\n"
	const limit = 300 * time.Millisecond
	cases := map[string]struct {
		handle func(*net.TCPConn)
		fault  Fault
		within time.Duration
	}{
		"Hang":           {hold, FaultTimeout, limit},
		"HeaderDrip":     {drip(ok+"X-A: ", "a"), FaultTimeout, limit},
		"StatusLineDrip": {drip("HTTP/1.1 2", "0"), FaultTimeout, limit},
		"Switching101Hold": {func(c *net.TCPConn) {
			write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")(c)
			hold(c)
		}, FaultProtocol, limit / 2},
		"HeaderBomb":        {flood(ok, "X-A: "+strings.Repeat("a", 1000)+"\r\n"), FaultHeaderTooLarge, limit},
		"OneEndlessHeader":  {flood(ok+"X-A: ", strings.Repeat("a", 1000)), FaultHeaderTooLarge, limit},
		"NotHTTP":           {write("SSH-2.0-OpenSSH_9.6\r\n\r\n"), FaultProtocol, limit},
		"HTTP09":            {write("<html>hello</html>\r\n\r\n"), FaultProtocol, limit},
		"Status000":         {write("HTTP/1.1 000 x\r\nContent-Length: 0\r\n\r\n"), FaultProtocol, limit},
		"Status099":         {write("HTTP/1.1 099 x\r\nContent-Length: 0\r\n\r\n"), FaultProtocol, limit},
		"Status600":         {write("HTTP/1.1 600 x\r\nContent-Length: 0\r\n\r\n"), FaultProtocol, limit},
		"Status999":         {write("HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n"), FaultProtocol, limit},
		"StatusNegative":    {write("HTTP/1.1 -20 x\r\n\r\n"), FaultProtocol, limit},
		"StatusFourDigits":  {write("HTTP/1.1 2000 x\r\n\r\n"), FaultProtocol, limit},
		"BadContentLength":  {write(ok + "Content-Length: ten\r\n\r\n"), FaultProtocol, limit},
		"TwoContentLengths": {write(ok + "Content-Length: 1\r\nContent-Length: 2\r\n\r\na"), FaultProtocol, limit},
		"BadHeaderLine":     {write(ok + "no colon here\r\n\r\n"), FaultProtocol, limit},
		"BadCoding":         {write(ok + "Transfer-Encoding: zip\r\n\r\n"), FaultProtocol, limit},
		"CloseAtOnce":       {write(""), FaultReset, limit},
		"CloseInHead":       {write(ok + "X-A: b"), FaultReset, limit},
		"RSTBeforeStatus":   {rst(""), FaultReset, limit},
		"RSTInHead":         {rst(ok + "X-A: b"), FaultReset, limit},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := beast(t, tc.handle)
			got := insecureClient(t, limit).Do(t.Context(), &Request{URL: u, Body: [][]byte{[]byte("{}")}})
			require.Equal(t, tc.fault.String(), got.Fault.String(), got.Detail)
			require.Zero(t, got.Status)
			require.Less(t, got.Timing.Total, tc.within+400*time.Millisecond, "shared machines are slow, holds are not")
			require.NotEmpty(t, got.Detail)
			require.NotContains(t, got.Detail, "s3cret")
			require.NotContains(t, got.Detail, "127.0.0.1", "no address of ours")
			require.LessOrEqual(t, len(got.Detail), maxDetail+64)
		})
	}
}

func TestInformationalFloodEnds(t *testing.T) {
	t.Parallel()
	u := beast(t, flood("", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"))
	got := insecureClient(t, 2*time.Second).Do(t.Context(), &Request{URL: u})
	require.Contains(t, []Fault{FaultProtocol, FaultHeaderTooLarge}, got.Fault, got.Detail)
	require.Less(t, got.Timing.Total, 2*time.Second)
}

func TestStatusStandsWhateverTheBodyDoes(t *testing.T) {
	t.Parallel()
	const ok = "HTTP/1.1 200 OK\r\n"
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, 32<<20))
	require.NoError(t, z.Close())
	const limit = 300 * time.Millisecond
	cases := map[string]struct {
		handle    func(*net.TCPConn)
		body      int
		truncated bool
	}{
		"BodyDrip":          {drip(ok+"\r\n", "a"), -1, true},
		"BodyNever":         {func(c *net.TCPConn) { write(ok + "Content-Length: 5\r\n\r\n")(c); hold(c) }, 0, true},
		"EndlessBody":       {flood(ok+"\r\n", strings.Repeat("a", 8192)), maxBody, true},
		"EndlessChunks":     {flood(ok+"Transfer-Encoding: chunked\r\n\r\n", "1\r\na\r\n"), maxBody, true},
		"GiantLength":       {flood(ok+"Content-Length: 1000000000000\r\n\r\n", strings.Repeat("a", 8192)), maxBody, true},
		"GzipBombStaysZip":  {write(ok + "Content-Encoding: gzip\r\nConnection: close\r\n\r\n" + bomb.String()), maxBody, true},
		"RSTAfterHead":      {rst(ok + "Content-Length: 100\r\n\r\nabc"), -1, true},
		"CloseInBody":       {write(ok + "Content-Length: 100\r\n\r\nabc"), 3, true},
		"BadChunk":          {write(ok + "Transfer-Encoding: chunked\r\n\r\nzz\r\nabc"), 0, true},
		"ExactlyTheCap":     {write(ok + "Connection: close\r\n\r\n" + strings.Repeat("a", maxBody)), maxBody, false},
		"LengthAtTheCap":    {write(ok + "Content-Length: 16384\r\n\r\n" + strings.Repeat("a", maxBody)), maxBody, false},
		"OneAboveTheCap":    {write(ok + "Content-Length: 16385\r\n\r\n" + strings.Repeat("a", maxBody+1)), maxBody, true},
		"Empty":             {write(ok + "Content-Length: 0\r\n\r\n"), 0, false},
		"ShortUntilClose":   {write(ok + "Connection: close\r\n\r\nhello"), 5, false},
		"ChunksThenTrailer": {write(ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-A: b\r\n\r\n"), 5, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := beast(t, tc.handle)
			got := insecureClient(t, limit).Do(t.Context(), &Request{URL: u, Body: [][]byte{[]byte("{}")}})
			require.Equal(t, FaultNone.String(), got.Fault.String(), got.Detail)
			require.Equal(t, http.StatusOK, got.Status)
			require.Equal(t, tc.truncated, got.Truncated)
			if tc.body >= 0 {
				require.Len(t, got.Body, tc.body)
			}
			require.LessOrEqual(t, cap(got.Body), 2*maxBody)
			require.Less(t, got.Timing.Total, limit+400*time.Millisecond)
		})
	}
}

func TestRedirectIsAnAnswerAndNotFollowed(t *testing.T) {
	t.Parallel()
	at, met := listen(t)
	for _, status := range []string{"301", "302", "303", "307", "308"} {
		u := beast(t, write("HTTP/1.1 "+status+" Moved\r\nLocation: http://"+at.String()+"/\r\nContent-Length: 0\r\n\r\n"))
		got := insecureClient(t, time.Second).Do(t.Context(), &Request{URL: u})
		require.Equal(t, FaultNone, got.Fault)
		require.Equal(t, status[0], byte('0'+got.Status/100))
		require.Contains(t, got.Header.Get("Location"), at.String())
	}
	requireUntouched(t, met)
}

func TestReceiverThatReadsNothingEnds(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // nobody accepts: the kernel takes what fits
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	u, err := Policy{Insecure: true}.ParseURL("http://" + l.Addr().String())
	require.NoError(t, err)
	got := insecureClient(t, 200*time.Millisecond).Do(t.Context(), &Request{URL: u, Body: [][]byte{make([]byte, 16<<20)}})
	require.Equal(t, FaultTimeout, got.Fault)
	require.Less(t, got.Timing.Total, time.Second)
}
