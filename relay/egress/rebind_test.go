package egress

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/chattosurvey/surveyhooks/relay/relaytest"
)

// answer is what the name server below says to one question.
type answer struct {
	addrs  []string
	alias  string // a CNAME before the addresses
	rcode  dnsmessage.RCode
	silent bool
}

// nameServer is a DNS server on loopback, and the Resolve that asks it.
func nameServer(t *testing.T, say func(host string, kind dnsmessage.Type) answer) Resolve {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			if reply := dnsReply(buf[:n], say); reply != nil {
				_, _ = server.WriteTo(reply, from)
			}
		}
	}()
	t.Cleanup(func() { _ = server.Close(); <-done })
	// Go's resolver waits on for a silent server after its caller has gone: the end of the test ends that too.
	resolver := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "udp", server.LocalAddr().String())
		if err == nil {
			context.AfterFunc(t.Context(), func() { _ = c.Close() })
		}
		return c, err
	}}
	return func(ctx context.Context, host string) ([]netip.Addr, error) {
		return resolver.LookupNetIP(ctx, "ip", host+".")
	}
}

func dnsReply(packet []byte, say func(string, dnsmessage.Type) answer) []byte {
	var m dnsmessage.Message
	if m.Unpack(packet) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	a := say(strings.TrimSuffix(q.Name.String(), "."), q.Type)
	if a.silent {
		return nil
	}
	m.Response, m.RecursionAvailable, m.RCode, m.Additionals = true, true, a.rcode, nil
	name := q.Name
	if a.alias != "" {
		name = dnsmessage.MustNewName(a.alias + ".")
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 0}, Body: &dnsmessage.CNAMEResource{CNAME: name},
		})
	}
	for _, text := range a.addrs {
		addr := netip.MustParseAddr(text)
		head := dnsmessage.ResourceHeader{Name: name, Class: q.Class, TTL: 0}
		switch {
		case addr.Is4() && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: addr.As4()}})
		case addr.Is6() && q.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}})
		}
	}
	reply, err := m.Pack()
	if err != nil {
		return nil
	}
	return reply
}

// inside is the address that the tests below call private: real listeners can stand on it and on 127.0.0.1, which the
// development switch makes as good as public. Deny is one of the guard's own rules, and the switch does not lift it.
const inside = "127.0.0.2"

func insideIsDenied() Policy {
	return Policy{Insecure: true, Deny: []netip.Prefix{netip.MustParsePrefix(inside + "/32")}}
}

// B17 and B18, and the flips of F49: one name, one port, a listener outside and one inside.
func TestNameThatTurnsInwardsIsNeverConnectedTo(t *testing.T) {
	t.Parallel()
	hello := func(c *net.TCPConn) { relaytest.Write("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")(c) }
	out := []string{"127.0.0.1"}
	for name, turns := range map[string][]answer{
		"B17_NameOfAPrivateAddress": {{addrs: []string{inside}}},
		"B18_PublicThenPrivate":     {{addrs: out}, {addrs: []string{inside}}, {addrs: out}, {addrs: []string{inside}}},
		"F49_MixedPublicFirst":      {{addrs: []string{"127.0.0.1", inside}}},
		"F49_MixedPrivateFirst":     {{addrs: []string{inside, "127.0.0.1"}}},
		"F49_MixedFamilies":         {{addrs: []string{"127.0.0.1", "fd00:ec2::254"}}},
		"F49_MappedPrivate":         {{addrs: []string{"::ffff:" + inside}}},
		"F49_CNAMEToInternal":       {{alias: "db.corp.internal", addrs: []string{inside}}},
		"F49_CNAMEThenMixed":        {{addrs: out}, {alias: "db.corp.internal", addrs: []string{"127.0.0.1", inside}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			public := relaytest.NewBeast(t, hello)
			private := relaytest.NewBeastAt(t, net.JoinHostPort(inside, strconv.Itoa(public.Addr.Port)), hello)
			var mu sync.Mutex
			turn := 0
			client := NewClient(Config{Policy: insideIsDenied(), Timeout: plenty, Resolve: nameServer(t, func(string, dnsmessage.Type) answer {
				mu.Lock()
				defer mu.Unlock()
				return turns[turn]
			})})
			t.Cleanup(client.Close)
			u := &url.URL{Scheme: "http", Host: net.JoinHostPort("rebind.example.com", strconv.Itoa(public.Addr.Port)), Path: "/"}
			reached := 0
			for i, says := range turns {
				mu.Lock()
				turn = i
				mu.Unlock()
				got := client.Do(t.Context(), &Request{URL: u})
				if len(says.addrs) == 1 && says.addrs[0] == "127.0.0.1" {
					require.Equal(t, http.StatusOK, got.Status, "turn %d: %s", i, got.Detail)
					reached++
					continue
				}
				require.Equal(t, FaultBlocked.String(), got.Fault.String(), "turn %d", i)
				require.Equal(t, "destination not allowed", got.Detail, "what the customer reads names no address")
				require.Empty(t, got.RemoteAddr)
				var blocked *BlockedError
				require.ErrorAs(t, got.Err, &blocked)
				require.Contains(t, strings.Join(says.addrs, " "), blocked.Addr.String())
				require.ErrorContains(t, got.Err, blocked.Addr.String(), "the operator's log names the address")
			}
			require.Equal(t, reached, public.Connections(), "a mixed answer opens no socket at all")
			require.Zero(t, private.Connections(), "the inside was never connected to")
		})
	}
}

// The production policy, a name for each special address, and the loopback listener that all of them would mean.
func TestB17_PrivateAnswersAreRefusedByTheRealPolicy(t *testing.T) {
	t.Parallel()
	at, met := listen(t)
	for _, private := range []string{
		"127.0.0.1", "::1", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "0.0.0.0", "::", "10.0.0.1", "169.254.169.254",
	} {
		policy := Policy{Ports: []int{int(at.Port())}}
		client := NewClient(Config{Policy: policy, Resolve: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr(private)}, nil
		}})
		t.Cleanup(client.Close)
		u, err := policy.ParseURL("https://rebind.example.com:" + portOf(at))
		require.NoError(t, err, "it may be saved")
		require.Equal(t, FaultBlocked, client.Do(t.Context(), &Request{URL: u}).Fault, private)
	}
	requireUntouched(t, met)
}

func portOf(at netip.AddrPort) string { return strconv.Itoa(int(at.Port())) }

// B18: a connection from before the flip does not stay warm for ever.
func TestB18_WarmConnectionEndsWithTheIdleTimeout(t *testing.T) {
	t.Parallel()
	require.Equal(t, 30*time.Second, Config{}.WithDefaults().IdleTimeout)
	closed := make(chan struct{}, 1)
	keepAlive := relaytest.NewBeast(t, func(c *net.TCPConn) {
		relaytest.WriteHold("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")(c)
		closed <- struct{}{}
	})
	client := NewClient(Config{Policy: Policy{Insecure: true}, IdleTimeout: 50 * time.Millisecond})
	t.Cleanup(client.Close)
	u, err := Policy{Insecure: true}.ParseURL(keepAlive.URL)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, client.Do(t.Context(), &Request{URL: u}).Status)
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		require.Fail(t, "the idle connection is still open")
	}
}

func TestF49_NamesThatDoNotResolve(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		says   answer
		within time.Duration
		detail string
	}{
		"NXDOMAIN":  {answer{rcode: dnsmessage.RCodeNameError}, plenty, "the name does not exist or has no address (NXDOMAIN)"},
		"NoAddress": {answer{}, plenty, "the name does not exist or has no address (NXDOMAIN)"},
		"SERVFAIL":  {answer{rcode: dnsmessage.RCodeServerFailure}, plenty, "the name servers answered with a failure (SERVFAIL)"},
		"Silent":    {answer{silent: true}, limit, "the name servers did not answer in time"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := NewClient(Config{ConnectTimeout: tc.within, Resolve: nameServer(t, func(string, dnsmessage.Type) answer { return tc.says })})
			t.Cleanup(client.Close)
			client.dialer.dial = func(context.Context, string, string) (net.Conn, error) { panic("dialled") }
			u, err := Policy{}.ParseURL("https://hooks.example.com/")
			require.NoError(t, err)
			got := client.Do(t.Context(), &Request{URL: u})
			require.Equal(t, FaultDNS.String(), got.Fault.String())
			require.Equal(t, tc.detail, got.Detail)
			require.Less(t, got.Timing.Total, min(tc.within+slack, atOnce))
			require.False(t, got.Fault.Ours())
		})
	}
}

// An endpoint can be older than the policy: what ParseURL refuses today is refused at the dial too, before DNS is asked.
func TestOldEndpointIsHeldToTodaysPolicy(t *testing.T) {
	t.Parallel()
	client := NewClient(Config{Policy: Policy{Hosts: []string{"own.example"}}, Resolve: func(context.Context, string) ([]netip.Addr, error) {
		panic("asked for")
	}})
	t.Cleanup(client.Close)
	for name, raw := range map[string]string{
		"B1_PlainHTTP":    "http://hooks.example.com/",
		"B2_Scheme":       "ftp://hooks.example.com/",
		"B3_Userinfo":     "https://user:pw@hooks.example.com/",
		"B6_Localhost":    "https://localhost/",
		"B6_TrailingDot":  "https://LOCALHOST./",
		"B6_Internal":     "https://metadata.google.internal/",
		"B6_SingleLabel":  "https://intranet/",
		"B7_Literal":      "https://10.0.0.1/",
		"B8_Literal":      "https://[::1]/",
		"B11_Numeric":     "https://2130706433/",
		"B11_Hexadecimal": "https://0x7f.0.0.1/",
		"B14_Zone":        "https://[fe80::1%25lo]/",
		"B15_Port":        "https://8.8.8.8:25/",
		"B23_OwnHost":     "https://api.own.example/",
	} {
		u, err := url.Parse(raw)
		require.NoError(t, err)
		got := client.Do(t.Context(), &Request{URL: u})
		require.Equal(t, FaultBlocked.String(), got.Fault.String(), name)
		require.NotContains(t, got.Detail, "10.0.0.1")
	}
}
