package relay_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/egress"
	"github.com/chattosurvey/surveyhooks/relay/relaytest"
	"github.com/chattosurvey/surveyhooks/relay/retry"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// animal is one hostile receiver, and what the journal has to say of the first attempt at it.
type animal struct {
	name   string
	url    string
	reason fact.Reason
	status int
	state  fact.State
	detail string
	// When the next attempt is due after the first; no bounds: never again.
	from, to time.Duration
	body     int // bytes of the answer that are kept
	cut      bool
	hangs    bool // it is a clock of ours that ends the attempt
}

// The schedule of the zoo: one retry an hour later, with at most a fifth of jitter, and a minute for busy machines.
const (
	hour     = time.Hour
	hourLate = 72*time.Minute + time.Minute
)

const (
	okHead   = "HTTP/1.1 200 OK\r\n"
	inside   = "127.0.0.2" // denied by the relay's policy; 127.0.0.1 is as good as public
	maxAsked = 24 * hour
)

// hostile is a receiver that gives no answer; the delivery is due again by the schedule.
func hostile(t *testing.T, name string, reason fact.Reason, detail string, handle func(*net.TCPConn)) animal {
	t.Helper()
	return animal{
		name: name, url: relaytest.NewBeast(t, handle).URL, reason: reason, state: fact.Retrying, detail: detail, from: hour, to: hourLate,
	}
}

// says is a receiver that answers with a head of its own.
func says(t *testing.T, name, head string, reason fact.Reason, status int) animal {
	t.Helper()
	a := hostile(t, name, reason, "", relaytest.Write("HTTP/1.1 "+head+"\r\nContent-Length: 0\r\n\r\n"))
	a.status = status
	return a
}

// hangs is one whose attempt our clocks have to end.
func hangs(a animal) animal {
	a.hangs = true
	return a
}

// answers is a receiver whose 2xx stands, whatever comes behind it.
func answers(t *testing.T, name, detail string, body int, handle func(*net.TCPConn)) animal {
	t.Helper()
	return animal{
		name: name, url: relaytest.NewBeast(t, handle).URL, reason: fact.OK, status: 200, state: fact.Delivered, detail: detail, body: body, cut: true,
	}
}

// asks is a receiver that names a time for the next attempt.
func asks(t *testing.T, name, status, header string, from, to time.Duration) animal {
	t.Helper()
	reason := map[string]fact.Reason{"429": fact.StatusThrottled, "503": fact.StatusServer, "500": fact.StatusServer}[status]
	code, err := strconv.Atoi(status)
	require.NoError(t, err)
	a := says(t, name, status+" x\r\nRetry-After: "+header, reason, code)
	a.from, a.to = from, to
	return a
}

func zoo(t *testing.T) []animal {
	t.Helper()
	block := strings.Repeat("a", 8192)
	later := time.Now().Add(5 * hour)
	selfSigned := httptest.NewUnstartedServer(http.NotFoundHandler())
	selfSigned.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	selfSigned.StartTLS()
	t.Cleanup(selfSigned.Close)
	tlsFault := func(name, detail string, handle func(*net.TCPConn)) animal {
		a := hostile(t, name, fact.TLS, detail, handle)
		a.url = strings.Replace(relaytest.NewMute(t, handle).URL, "http:", "https:", 1)
		return a
	}
	named := func(name, host string, reason fact.Reason, detail string) animal {
		return animal{name: name, url: "http://" + host, reason: reason, state: fact.Retrying, detail: detail, from: hour, to: hourLate}
	}
	local := named("F57_OurResolverIsDown", "down.example.com:1", fact.Local, "our resolver cannot be reached")
	local.state, local.from, local.to = fact.Pending, time.Second, time.Minute
	untrusted := hostile(t, "F48_SelfSigned", fact.TLS, "the TLS certificate is self-signed", relaytest.Hold)
	untrusted.url = selfSigned.URL
	gone := says(t, "F52_Gone", "410 Gone", fact.StatusGone, 410)
	return []animal{
		hangs(hostile(t, "F38_AcceptsAndNeverAnswers", fact.Timeout, "answered nothing within 6 s", relaytest.Hold)),
		hangs(hostile(t, "F40_DripsTheHeaders", fact.Timeout, "head was not complete", relaytest.Drip(okHead+"X-A: ", "a"))),
		hangs(answers(t, "F40_DripsTheBody", "body was not complete", -1, relaytest.Drip(okHead+"\r\n", "a"))),
		hostile(t, "F41_SwitchesProtocols", fact.Protocol, "101 Switching Protocols",
			relaytest.WriteHold("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")),
		answers(t, "F42_EndlessBody", "", 16<<10, relaytest.Flood(okHead+"\r\n", block)),
		answers(t, "F42_OneGigabyte", "", 16<<10, relaytest.Flood(okHead+"Content-Length: 1000000000\r\n\r\n", block)),
		answers(t, "F43_GzipStaysGzip", "", 16<<10, relaytest.Flood(okHead+"Content-Encoding: gzip\r\n\r\n", "\x1f\x8b"+block)),
		hostile(t, "F44_HeaderBomb", fact.HeaderTooLarge, "larger than 64 KiB", relaytest.Flood(okHead, "X-A: "+block+"\r\n")),
		hostile(t, "F45_NotHTTP", fact.Protocol, "not an HTTP answer", relaytest.Write("SSH-2.0-OpenSSH_9.6\r\n\r\n")),
		hostile(t, "F45_Status000", fact.Protocol, "status 000", relaytest.Write("HTTP/1.1 000 x\r\nContent-Length: 0\r\n\r\n")),
		hostile(t, "F45_Status999", fact.Protocol, "status 999", relaytest.Write("HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n")),
		answers(t, "F45_BadChunk", "not valid HTTP", 0, relaytest.Write(okHead+"Transfer-Encoding: chunked\r\n\r\nzz\r\n")),
		hostile(t, "F46_ResetsBeforeTheStatus", fact.Reset, "before it answered", relaytest.Reset("")),
		answers(t, "F46_ClosesInTheBody", "in the middle of the answer's body", 3, relaytest.Write(okHead+"Content-Length: 100\r\n\r\nabc")),
		says(t, "F47_Redirects", "302 Found\r\nLocation: http://"+inside+"/", fact.StatusRedirect, 302),
		untrusted,
		hangs(tlsFault("F48_StalledHandshake", "the TLS handshake did not end within 3 s", relaytest.Hold)),
		tlsFault("F48_PlainHTTPBehindTLS", "does not speak TLS", relaytest.Write("HTTP/1.1 400 Bad Request\r\n\r\n")),
		named("F49_NXDOMAIN", "nxdomain.example.com:1", fact.DNS, "NXDOMAIN"),
		named("F49_SERVFAIL", "servfail.example.com:1", fact.DNS, "SERVFAIL"),
		hangs(named("F49_SilentResolver", "silent.example.com:1", fact.DNS, "did not answer within 2 s")),
		local,
		asks(t, "F51_Seconds", "503", "7200", 2*hour, 2*hour+time.Minute),
		asks(t, "F51_SecondsThrottled", "429", "7200", 2*hour, 2*hour+time.Minute),
		asks(t, "F51_Date", "429", later.UTC().Format(http.TimeFormat), 5*hour-time.Minute, 5*hour+time.Minute),
		asks(t, "F51_DateInThePast", "503", "Wed, 06 Mar 2024 12:00:00 GMT", hour, hourLate),
		asks(t, "F51_SoonerThanTheSchedule", "503", "1", hour, hourLate),
		asks(t, "F51_AThousandMillionSeconds", "503", "1000000000", maxAsked, maxAsked+time.Minute),
		asks(t, "F51_YearTenThousand", "429", "Fri, 31 Dec 9999 23:59:59 GMT", maxAsked, maxAsked+time.Minute),
		asks(t, "F51_1e9", "503", "1e9", hour, hourLate),
		asks(t, "F51_Negative", "503", "-1", hour, hourLate),
		asks(t, "F51_NaN", "429", "NaN", hour, hourLate),
		asks(t, "F51_Garbage", "429", "soon, please", hour, hourLate),
		asks(t, "F51_OnAnotherStatus", "500", "7200", hour, hourLate),
		gone,
	}
}

// resolve is the zoo's DNS.
func resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	switch strings.Split(host, ".")[0] {
	case "nxdomain":
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	case "servfail":
		return nil, &net.DNSError{Err: "server misbehaving", Name: host, IsTemporary: true}
	case "silent":
		<-ctx.Done()
		return nil, ctx.Err()
	case "down":
		return nil, &net.DNSError{Err: "read udp 10.9.8.7:5->10.9.8.6:53: read: connection refused", Name: host}
	}
	return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
}

// zooSetup has clocks that end no attempt before the test is given up: on a busy machine a handshake takes seconds.
func zooSetup(t *testing.T, resolve egress.Resolve) *testBundle {
	t.Helper()
	b := setup(t)
	b.cfg.Retry = retry.Policy{First: hour, Factor: 1.1}
	b.cfg.Egress = egress.Config{
		Policy:  egress.Policy{Insecure: true, Deny: []netip.Prefix{netip.MustParsePrefix(inside + "/32")}, Hosts: []string{"own.example"}},
		Timeout: within, ConnectTimeout: within, HandshakeTimeout: within, Resolve: resolve,
	}
	return b
}

// in is the bundle as a subtest uses it.
func (b *testBundle) in(t *testing.T) *testBundle {
	t.Helper()
	sub := *b
	sub.t = t
	return &sub
}

// attempts are the journal's facts about one endpoint's attempts.
func (b *testBundle) attempts(endpointID uuid.UUID) []fact.Attempt {
	b.t.Helper()
	rows, err := b.Query(`SELECT data FROM webhooks.journal WHERE fact IN ('attempt.failed', 'attempt.succeeded')
		AND data->>'endpoint_id' = $1 ORDER BY transaction_id, position`, endpointID.String())
	require.NoError(b.t, err)
	defer rows.Close()
	var list []fact.Attempt
	for rows.Next() {
		var data []byte
		require.NoError(b.t, rows.Scan(&data))
		var a fact.Attempt
		require.NoError(b.t, json.Unmarshal(data, &a))
		list = append(list, a)
	}
	require.NoError(b.t, rows.Err())
	return list
}

// awaitAttempt is the endpoint's first attempt.
func (b *testBundle) awaitAttempt(endpointID uuid.UUID) fact.Attempt {
	b.t.Helper()
	b.await(1, `SELECT least(count(*), 1) FROM webhooks.journal WHERE fact IN ('attempt.failed', 'attempt.succeeded')
		AND data->>'endpoint_id' = $1`, endpointID.String())
	return b.attempts(endpointID)[0]
}

// TestZooIsRecorded sends one event to every hostile receiver that ends its attempt itself, from one relay, and reads what
// the journal says.
func TestZooIsRecorded(t *testing.T) {
	t.Parallel()
	b := zooSetup(t, resolve)
	animals := slices.DeleteFunc(zoo(t), func(a animal) bool { return a.hangs })
	ids := b.feed(animals)
	for i, a := range animals {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			a.recorded(t, b.in(t).awaitAttempt(ids[i]))
		})
	}
	t.Run("F52_GoneDisablesAndHolds", func(t *testing.T) {
		t.Parallel()
		b, gone := b.in(t), ids[len(ids)-1]
		b.await(1, `SELECT count(*) FROM webhooks.endpoints WHERE endpoint_id = $1 AND state = 'disabled' AND state_reason = 'gone'`, gone)
		b.await(1, `SELECT count(*) FROM webhooks.pending WHERE endpoint_id = $1`, gone)
	})
}

// TestZooThatHangsIsCutOff does so for those that would never end: whichever clock is meant ends them, soon after its time.
func TestZooThatHangsIsCutOff(t *testing.T) {
	t.Parallel()
	b := zooSetup(t, resolve)
	b.cfg.Egress.Timeout, b.cfg.Egress.HandshakeTimeout, b.cfg.Egress.ConnectTimeout = 6*time.Second, 3*time.Second, 2*time.Second
	animals := slices.DeleteFunc(zoo(t), func(a animal) bool { return !a.hangs })
	ids := b.feed(animals)
	for i, a := range animals {
		t.Run(a.name, func(t *testing.T) {
			t.Parallel()
			got := b.in(t).awaitAttempt(ids[i])
			a.recorded(t, got)
			require.Less(t, got.Total, (2 * b.cfg.Egress.Timeout).Microseconds())
		})
	}
}

// feed runs a relay and sends one event to each animal, and to a healthy receiver, which gets it whatever they do. It
// returns the ids of their endpoints.
func (b *testBundle) feed(animals []animal) []uuid.UUID {
	b.t.Helper()
	ids := make([]uuid.UUID, len(animals))
	for i, a := range animals {
		e, _ := b.endpoint(a.url)
		ids[i] = e.ID
	}
	healthy := relaytest.NewReceiver(b.t)
	b.endpoint(healthy.URL)
	b.run()
	b.publish(b.started())
	healthy.Await(b.t, 1, within)
	return ids
}

// recorded holds what the journal says of the first attempt to what it has to.
func (a animal) recorded(t *testing.T, got fact.Attempt) {
	t.Helper()
	require.Equal(t, a.reason, got.Reason, got.Detail)
	require.Equal(t, a.status, got.Status)
	require.Equal(t, a.state, got.State)
	require.Contains(t, got.Detail, a.detail)
	require.NotContains(t, got.Detail, "127.0.0.1")
	require.NotContains(t, got.Detail, "10.9.8", "no address of ours")
	require.LessOrEqual(t, len(got.Body), 16<<10)
	require.Equal(t, a.cut, got.Truncated)
	if a.body >= 0 {
		require.Len(t, got.Body, a.body)
	}
	charged := 1
	if !a.reason.Charged() {
		charged = 0
	}
	require.Equal(t, charged, got.Completed)
	if a.from == 0 {
		require.Nil(t, got.NextAttemptAt)
		return
	}
	require.NotNil(t, got.NextAttemptAt)
	wait := got.NextAttemptAt.Sub(got.StartedAt)
	require.GreaterOrEqual(t, wait, a.from)
	require.LessOrEqual(t, wait, a.to)
}

// about is the canonical line of an endpoint's attempt.
func (l *log) about(endpointID uuid.UUID) string {
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, "delivery.attempted") && strings.Contains(line, endpointID.String()) {
			return line
		}
	}
	return ""
}

// TestBlockedDestinationIsTheEnd: B17, B18, B23 and F49. The first attempt that would lead inside is the last, though the
// name leads outside again a moment later; the customer reads no address, the operator reads the exact one.
func TestBlockedDestinationIsTheEnd(t *testing.T) {
	t.Parallel()
	hello := relaytest.Write(okHead + "Content-Length: 0\r\nConnection: close\r\n\r\n")
	public := relaytest.NewBeast(t, hello)
	port := strconv.Itoa(public.Addr.Port)
	own := relaytest.NewBeast(t, hello)
	private := relaytest.NewBeastAt(t, net.JoinHostPort(inside, port), hello)
	var asked atomic.Int64
	b := zooSetup(t, func(_ context.Context, host string) ([]netip.Addr, error) {
		in, out := netip.MustParseAddr(inside), netip.MustParseAddr("127.0.0.1")
		switch {
		case host == "mixed.example.com":
			return []netip.Addr{out, in}, nil
		case asked.Add(1) == 1:
			return []netip.Addr{in}, nil
		default:
			return []netip.Addr{out}, nil // never asked for, if a refusal is final
		}
	})
	b.cfg.Retry = retry.Policy{First: time.Millisecond, Factor: 1.01}
	b.cfg.Egress.Policy.Listeners = []netip.AddrPort{own.Addr.AddrPort()}
	var lines log
	b.cfg.Logger = slog.New(slog.NewJSONHandler(&lines, nil))
	mixed, _ := b.endpoint("http://mixed.example.com:" + port)
	rebinding, _ := b.endpoint("http://rebinding.example.com:" + port)
	literal, _ := b.endpoint("http://" + inside + ":" + port)
	ourselves, _ := b.endpoint(own.URL)
	ourName, _ := b.endpoint("http://api.own.example")
	b.run()
	b.publish(b.started())
	for id, cause := range map[uuid.UUID]string{
		mixed.ID:     inside + " is " + inside + "/32 (denied by configuration)",
		rebinding.ID: inside + " is " + inside + "/32 (denied by configuration)",
		literal.ID:   inside + " is " + inside + "/32 (denied by configuration)",
		ourselves.ID: "127.0.0.1 is a listener of this process (this host)",
		ourName.ID:   `host "api.own.example" (name policy)`,
	} {
		got := b.awaitAttempt(id)
		require.Equal(t, fact.BlockedDestination, got.Reason)
		require.Equal(t, fact.Exhausted, got.State)
		require.Equal(t, "destination not allowed", got.Detail)
		require.Empty(t, got.RemoteAddr)
		require.Nil(t, got.NextAttemptAt)
		got.URL = "" // the customer's own words
		text, err := json.Marshal(got)
		require.NoError(t, err)
		require.NotContains(t, string(text), inside, "no fact says where a refused name led")
		require.Eventually(t, func() bool { return lines.about(id) != "" }, within, time.Millisecond)
		var entry struct{ Cause string }
		require.NoError(t, json.Unmarshal([]byte(lines.about(id)), &entry))
		require.Contains(t, entry.Cause, cause, "the operator reads what was refused, and by which rule")
	}
	b.await(0, `SELECT count(*) FROM webhooks.pending`)
	require.Equal(t, int64(1), asked.Load(), "the name was not asked for again")
	require.Zero(t, own.Connections(), "nothing was fed back to us")
	require.Zero(t, public.Connections(), "a refusal does not turn into a success")
	require.Zero(t, private.Connections(), "no socket was opened to the inside")
}
