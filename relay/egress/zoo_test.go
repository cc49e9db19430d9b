package egress

import (
	"bytes"
	"compress/gzip"
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/chattosurvey/surveyhooks/relay/relaytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	ok = "HTTP/1.1 200 OK\r\n"
	// limit is the wall clock where it has to decide. clock_test.go proves the real one.
	limit = 300 * time.Millisecond
	// plenty is the wall clock where it must not decide, on a busy machine either.
	plenty = 20 * time.Second
	// atOnce is less than plenty and more than a busy machine adds.
	atOnce = 10 * time.Second
	// slack is what a busy machine may add to limit; no receiver comes to an end by itself in that time.
	slack = 5 * time.Second
)

// clockFor is the time that an attempt gets, and the time it may take: only a detail that names the limit is decided by it.
func clockFor(detail string) (timeout, bound time.Duration) {
	if strings.Contains(detail, limit.String()) {
		return limit, limit + slack
	}
	return plenty, atOnce
}

func urlOf(t *testing.T, b *relaytest.Beast) *url.URL {
	t.Helper()
	u, err := Policy{Insecure: true}.ParseURL(b.URL + "/hooks?token=s3cret")
	require.NoError(t, err)
	return u
}

func insecureClient(t *testing.T, timeout time.Duration) *Client {
	t.Helper()
	client := NewClient(Config{Policy: Policy{Insecure: true}, Timeout: timeout})
	t.Cleanup(client.Close)
	return client
}

// TestHostileReceiverIsAFaultWithinBounds: no answer, for each reason there can be.
func TestHostileReceiverIsAFaultWithinBounds(t *testing.T) {
	t.Parallel()
	switching := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"
	const closed, reset = "the endpoint closed the connection", "the endpoint reset the connection"
	cases := []struct {
		name   string
		handle func(*net.TCPConn)
		fault  Fault
		detail string
	}{
		{"F38_AcceptsAndNeverAnswers", relaytest.Hold, FaultTimeout, "the endpoint answered nothing within 300ms"},
		{"F40_DripsTheHeaders", relaytest.Drip(ok+"X-A: ", "a"), FaultTimeout, "the answer's head was not complete within 300ms"},
		{"F40_DripsTheStatusLine", relaytest.Drip("HTTP/1.1 2", "0"), FaultTimeout, "the answer's head was not complete within 300ms"},
		{"F40_StopsInTheHead", relaytest.WriteHold(ok + "X-A: b\r\n"), FaultTimeout, "the answer's head was not complete within 300ms"},
		{"F41_SwitchesProtocolsAndHolds", relaytest.WriteHold(switching), FaultProtocol, "the endpoint answered 101 Switching Protocols"},
		{"F41_SwitchesProtocolsAndFloods", relaytest.Flood(switching, "x"), FaultProtocol, "the endpoint answered 101 Switching Protocols"},
		{"F44_HeaderBomb", relaytest.Flood(ok, "X-A: "+strings.Repeat("a", 1000)+"\r\n"), FaultHeaderTooLarge, "larger than 64 KiB"},
		{"F44_OneEndlessHeader", relaytest.Flood(ok+"X-A: ", strings.Repeat("a", 1000)), FaultHeaderTooLarge, "larger than 64 KiB"},
		{"F44_EarlyHintsFlood", relaytest.Flood("", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"), FaultHeaderTooLarge, "larger than 64 KiB"},
		{"F44_ContinueFlood", relaytest.Flood("", "HTTP/1.1 100 Continue\r\n\r\n"), FaultHeaderTooLarge, "larger than 64 KiB"},
		{"F44_BigEarlyHintsFlood", relaytest.Flood("", "HTTP/1.1 103 Early Hints\r\nLink: "+strings.Repeat("a", 8000)+"\r\n\r\n"), FaultHeaderTooLarge, "larger than 64 KiB"},
		{"F45_NotHTTP", relaytest.Write("SSH-2.0-OpenSSH_9.6\r\n\r\n"), FaultProtocol, "not an HTTP answer"},
		{"F45_HTTP09", relaytest.Write("<html>hello</html>\r\n\r\n"), FaultProtocol, "not an HTTP answer"},
		{"F45_HTTP2Preface", relaytest.Write("\x00\x00\x00\x04\x00\x00\x00\x00\x00\r\n\r\n"), FaultProtocol, "not an HTTP answer"},
		{"F45_Status000", relaytest.Write("HTTP/1.1 000 x\r\nContent-Length: 0\r\n\r\n"), FaultProtocol, "status 000"},
		{"F45_Status099", relaytest.Write("HTTP/1.1 099 x\r\nContent-Length: 0\r\n\r\n"), FaultProtocol, "status 099"},
		{"F45_Status600", relaytest.Write("HTTP/1.1 600 x\r\nContent-Length: 0\r\n\r\n"), FaultProtocol, "status 600"},
		{"F45_Status999", relaytest.Write("HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n"), FaultProtocol, "status 999"},
		{"F45_StatusNegative", relaytest.Write("HTTP/1.1 -20 x\r\n\r\n"), FaultProtocol, "not an HTTP answer"},
		{"F45_StatusFourDigits", relaytest.Write("HTTP/1.1 2000 x\r\n\r\n"), FaultProtocol, "not an HTTP answer"},
		{"F45_BadContentLength", relaytest.Write(ok + "Content-Length: ten\r\n\r\n"), FaultProtocol, "Content-Length"},
		{"F45_NegativeContentLength", relaytest.Write(ok + "Content-Length: -1\r\n\r\n"), FaultProtocol, "Content-Length"},
		{"F45_TwoContentLengths", relaytest.Write(ok + "Content-Length: 1\r\nContent-Length: 2\r\n\r\na"), FaultProtocol, "Content-Length"},
		{"F45_BadHeaderLine", relaytest.Write(ok + "no colon here\r\n\r\n"), FaultProtocol, "not an HTTP answer"},
		{"F45_BadTransferCoding", relaytest.Write(ok + "Transfer-Encoding: zip\r\n\r\n"), FaultProtocol, "transfer encoding"},
		{"F46_ClosesAtOnce", relaytest.Write(""), FaultReset, closed + " before it answered"},
		{"F46_ClosesInTheHead", relaytest.Write(ok + "X-A: b"), FaultReset, closed + " in the middle of the answer's head"},
		{"F46_ClosesInTheStatusLine", relaytest.Write("HTTP/1.1 2"), FaultReset, closed + " in the middle of the answer's head"},
		{"F46_ClosesInAHeaderName", relaytest.Write(ok + "Dat"), FaultReset, closed + " in the middle of the answer's head"},
		{"F46_ResetsInAHeaderName", resetAfterReading(ok + "Dat"), FaultReset, reset + " in the middle of the answer's head"},
		{"F46_ResetsBeforeTheStatus", relaytest.Reset(""), FaultReset, reset + " before it answered"},
		{"F46_ResetsInTheHead", resetAfterReading(ok + "X-A: b"), FaultReset, " the connection in the middle of the answer's head"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			u := urlOf(t, relaytest.NewBeast(t, tc.handle))
			timeout, bound := clockFor(tc.detail)
			got := insecureClient(t, timeout).Do(t.Context(), &Request{URL: u, Body: []byte("{}")})
			require.Equal(t, tc.fault.String(), got.Fault.String(), got.Detail)
			require.Contains(t, got.Detail, tc.detail)
			require.Zero(t, got.Status)
			require.Less(t, got.Timing.Total, bound)
			require.NotContains(t, got.Detail, "s3cret")
			require.NotContains(t, got.Detail, "127.0.0.1", "no address of ours")
			require.LessOrEqual(t, len(got.Detail), maxDetail+64)
			require.False(t, got.Fault.Ours())
		})
	}
}

// resetAfterReading gives the other side the time to read text before the RST throws it away.
func resetAfterReading(text string) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		relaytest.Write(text)(c)
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
		relaytest.Hold(c)
		_ = c.SetLinger(0)
	}
}

func TestStatusStandsWhateverTheBodyDoes(t *testing.T) {
	t.Parallel()
	const late = "the answer's body was not complete within 300ms"
	cases := []struct {
		name      string
		handle    func(*net.TCPConn)
		body      int // -1: any
		truncated bool
		detail    string
	}{
		{"F40_DripsTheBody", relaytest.Drip(ok+"\r\n", "a"), -1, true, late},
		{"F40_NeverSendsTheBody", relaytest.WriteHold(ok + "Content-Length: 5\r\n\r\n"), 0, true, late},
		{"F42_EndlessBody", relaytest.Flood(ok+"\r\n", strings.Repeat("a", 8192)), MaxBody, true, ""},
		{"F42_EndlessChunks", relaytest.Flood(ok+"Transfer-Encoding: chunked\r\n\r\n", "1\r\na\r\n"), MaxBody, true, ""},
		{"F42_OneGigabyte", relaytest.Flood(ok+"Content-Length: 1000000000\r\n\r\n", strings.Repeat("a", 8192)), MaxBody, true, ""},
		{"F43_GzipBomb", relaytest.Write(gzipBomb()), MaxBody, true, ""},
		{"F45_BadChunk", relaytest.Write(ok + "Transfer-Encoding: chunked\r\n\r\nzz\r\nabc"), 0, true, "the answer's body is not valid HTTP"},
		{"F46_ResetsAfterTheHead", relaytest.Reset(ok + "Content-Length: 100\r\n\r\n"), -1, true, " the connection in the middle of the answer's body"},
		{"F46_ResetsInTheBody", resetAfterReading(ok + "Content-Length: 100\r\n\r\nabc"), -1, true, "reset the connection in the middle of the answer's body"},
		{"F46_ClosesInTheBody", relaytest.Write(ok + "Content-Length: 100\r\n\r\nabc"), 3, true, "closed the connection in the middle of the answer's body"},
		{"ExactlyTheCap", relaytest.Write(ok + "Connection: close\r\n\r\n" + strings.Repeat("a", MaxBody)), MaxBody, false, ""},
		{"LengthAtTheCap", relaytest.Write(ok + "Content-Length: 16384\r\n\r\n" + strings.Repeat("a", MaxBody)), MaxBody, false, ""},
		{"OneAboveTheCap", relaytest.Write(ok + "Content-Length: 16385\r\n\r\n" + strings.Repeat("a", MaxBody+1)), MaxBody, true, ""},
		{"Empty", relaytest.Write(ok + "Content-Length: 0\r\n\r\n"), 0, false, ""},
		{"ShortUntilClose", relaytest.Write(ok + "Connection: close\r\n\r\nhello"), 5, false, ""},
		{"ChunksThenTrailer", relaytest.Write(ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-A: b\r\n\r\n"), 5, false, ""},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			u := urlOf(t, relaytest.NewBeast(t, tc.handle))
			timeout, bound := clockFor(tc.detail)
			got := insecureClient(t, timeout).Do(t.Context(), &Request{URL: u, Body: []byte("{}")})
			if strings.HasPrefix(tc.name, "F46_Resets") && got.Fault == FaultReset {
				return // the RST threw the head away before it was read: then there was no answer
			}
			require.Equal(t, FaultNone.String(), got.Fault.String(), got.Detail)
			require.Equal(t, http.StatusOK, got.Status)
			require.Equal(t, tc.truncated, got.Truncated)
			require.Contains(t, got.Detail, tc.detail)
			if tc.body >= 0 {
				require.Len(t, got.Body, tc.body)
			}
			require.LessOrEqual(t, cap(got.Body), 2*MaxBody)
			require.Less(t, got.Timing.Total, bound)
		})
	}
}

// gzipBomb is an answer of 32 KiB that would unpack to 32 MiB.
func gzipBomb() string {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, 32<<20))
	_ = z.Close()
	return ok + "Content-Encoding: gzip\r\nConnection: close\r\n\r\n" + bomb.String()
}

// To the inside, to the outside, to itself.
func TestB19_F47_RedirectIsAnAnswerAndNotFollowed(t *testing.T) {
	t.Parallel()
	at, met := listen(t)
	for _, status := range []string{"300", "301", "302", "303", "305", "307", "308"} {
		for _, location := range []string{"http://" + at.String() + "/", "https://169.254.169.254/", "/hooks", "//" + at.String(), "http://%zz"} {
			beast := relaytest.NewBeast(t, relaytest.Write("HTTP/1.1 "+status+" Moved\r\nLocation: "+location+"\r\nContent-Length: 0\r\n\r\n"))
			got := insecureClient(t, plenty).Do(t.Context(), &Request{URL: urlOf(t, beast)})
			require.Equal(t, FaultNone.String(), got.Fault.String(), got.Detail)
			require.Equal(t, status, strconv.Itoa(got.Status))
			require.Equal(t, location, got.Header.Get("Location"))
			require.Equal(t, 1, beast.Connections())
		}
	}
	requireUntouched(t, met)
}

func TestReceiverThatReadsNothingEnds(t *testing.T) {
	t.Parallel()
	u := urlOf(t, relaytest.NewMute(t, func(c *net.TCPConn) { // the kernel takes what fits
		_ = c.SetReadBuffer(4 << 10)
		<-t.Context().Done()
	}))
	got := insecureClient(t, limit).Do(t.Context(), &Request{URL: u, Body: make([]byte, 16<<20)})
	require.Equal(t, FaultTimeout, got.Fault)
	require.Equal(t, "the endpoint did not take the request within 300ms", got.Detail)
	require.Less(t, got.Timing.Total, limit+slack)
}

func TestRefusedConnection(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	u := &url.URL{Scheme: "http", Host: l.Addr().String(), Path: "/"}
	require.NoError(t, l.Close())
	got := insecureClient(t, plenty).Do(t.Context(), &Request{URL: u})
	require.Equal(t, FaultConnect, got.Fault)
	require.Equal(t, "the connection was refused: nothing listens on that port", got.Detail)
}

// F39 with a real socket: a listener whose queue is full lets the kernel drop what comes next, as a blackhole does.
func TestF39_SYNBlackholeIsAConnectTimeout(t *testing.T) {
	t.Parallel()
	at := fullListener(t)
	client := NewClient(Config{Policy: Policy{Insecure: true}, ConnectTimeout: limit})
	t.Cleanup(client.Close)
	got := client.Do(t.Context(), &Request{URL: &url.URL{Scheme: "http", Host: at, Path: "/"}})
	require.Equal(t, FaultConnectTimeout.String(), got.Fault.String(), got.Detail)
	require.Equal(t, "no connection within 300ms", got.Detail)
	require.Less(t, got.Timing.Total, limit+slack)
	require.Empty(t, got.RemoteAddr)
}

// A name with a blackhole and a good address is not held up by the first.
func TestF39_SecondAddressIsTriedBesideASilentOne(t *testing.T) {
	t.Parallel()
	d := newDialer(Config{Policy: Policy{Insecure: true}}.WithDefaults(), t.Context())
	d.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasPrefix(address, inside) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return d.net.DialContext(ctx, network, address)
	}
	good := relaytest.NewBeast(t, relaytest.Hold).Addr.AddrPort()
	silent := netip.AddrPortFrom(netip.MustParseAddr(inside), good.Port())
	c, err := d.race(t.Context(), []netip.AddrPort{silent, good})
	require.NoError(t, err)
	require.NoError(t, c.Close())
}
