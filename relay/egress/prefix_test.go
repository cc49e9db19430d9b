package egress

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// lastOf is the highest address of a block.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// open tells by the table alone whether an address outside block i is global.
func open(g *guard, a netip.Addr, skip int) bool {
	for i, s := range g.blocks {
		if i != skip && s.prefix.Contains(a) {
			return false
		}
	}
	return a.Is4() || g.unicast6.Contains(a)
}

func TestGuardBlocksEachBlockToItsEdgesAndNoFurther(t *testing.T) {
	t.Parallel()
	g, dev := newGuard(Policy{}), newGuard(Policy{Insecure: true})
	for i, s := range specials() {
		t.Run(s.prefix.String(), func(t *testing.T) {
			t.Parallel()
			first, last := s.prefix.Masked().Addr(), lastOf(s.prefix)
			require.Equal(t, s.prefix.Masked(), s.prefix, "the table names the block's first address")
			for _, in := range []netip.Addr{first, last} {
				var blocked *BlockedError
				require.ErrorAs(t, g.check(in), &blocked, in.String())
				require.Equal(t, in, blocked.Addr)
				require.Equal(t, "destination not allowed", blocked.Error())
				require.Contains(t, blocked.Operator(), in.String())
				if s.private {
					require.NoError(t, dev.check(in), "the development switch opens private blocks")
				} else if s.prefix.String() != "::/96" { // its last address aside, ::1 is loopback
					require.Error(t, dev.check(in), "the development switch opens nothing else")
				}
			}
			for _, out := range []netip.Addr{first.Prev(), last.Next()} {
				if !out.IsValid() {
					continue
				}
				require.Equal(t, open(g, out, i), g.check(out) == nil, out.String())
			}
		})
	}
}

func TestGuardDecidesByAddress(t *testing.T) {
	t.Parallel()
	g := newGuard(Policy{Deny: []netip.Prefix{netip.MustParsePrefix("8.8.4.0/24")}})
	for text, allowed := range map[string]bool{
		"1.1.1.1": true, "8.8.8.8": true, "9.255.255.255": true, "11.0.0.0": true, "100.63.255.255": true, "100.128.0.0": true,
		"172.15.255.255": true, "172.32.0.0": true, "192.167.255.255": true, "192.169.0.0": true, "198.17.255.255": true,
		"198.20.0.0": true, "223.255.255.255": true, "2001:200::1": true, "2606:4700::1111": true, "2a00:1450::1": true,
		"8.8.4.4": false, "100.64.0.1": false, "0.1.2.3": false, "240.0.0.1": false, "255.255.255.255": false, "168.63.129.16": false,
		"::": false, "::1": false, "::127.0.0.1": false, "::8.8.8.8": false, "::ffff:8.8.8.8": false, "::ffff:8.8.4.4": false,
		"64:ff9b::8.8.8.8": false, "64:ff9b:1::1": false, "2002:808:808::1": false, "2001:0:1::1": false, "2001:db8::1": false,
		"3fff::1": false, "4000::1": false, "5f00::1": false, "fec0::1": false, "fd00:ec2::254": false, "fe80::1": false, "ff02::1": false,
		"2606:4700::5efe:7f00:1": false, "2606:4700::200:5efe:7f00:1": false, "1fff::1": false, "100:0:0:1::1": false,
	} {
		require.Equal(t, allowed, g.check(netip.MustParseAddr(text)) == nil, text)
	}
	require.Error(t, g.check(netip.Addr{}))
	require.Error(t, g.check(netip.MustParseAddr("2606:4700::1%eth0")))
}

// listen returns a loopback listener and a channel that closes if anyone connects.
func listen(t *testing.T) (netip.AddrPort, <-chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	met := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := l.Accept(); err == nil {
			close(met)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return netip.MustParseAddrPort(l.Addr().String()), met
}

func TestSocketGuardHoldsWithoutTheResolversCheck(t *testing.T) {
	t.Parallel()
	at, met := listen(t)
	d := newDialer(Config{Policy: Policy{Ports: []int{int(at.Port())}}}.withDefaults(), t.Context())
	_, err := d.race(t.Context(), []netip.AddrPort{at})
	var blocked *BlockedError
	require.ErrorAs(t, err, &blocked)
	requireUntouched(t, met)
}

func TestNameThatTurnsInwardsIsNeverConnectedTo(t *testing.T) {
	t.Parallel()
	at, met := listen(t)
	public, inside := netip.MustParseAddr("198.51.101.1"), netip.MustParseAddr("127.0.0.1")
	answers := [][]netip.Addr{{public}, {inside}, {public, inside}, {inside, public}, {netip.MustParseAddr("::ffff:127.0.0.1")}}
	turn := 0
	policy := Policy{Ports: []int{int(at.Port())}}
	client := NewClient(Config{
		Policy: policy, ConnectTimeout: 50 * time.Millisecond, Timeout: time.Second,
		Resolve: func(context.Context, string) ([]netip.Addr, error) { turn++; return answers[turn-1], nil },
	})
	t.Cleanup(client.Close)
	u, err := policy.ParseURL("https://rebind.example.com:" + at.String()[len("127.0.0.1:"):])
	require.NoError(t, err)

	first := client.Do(t.Context(), &Request{URL: u})
	require.NotEqual(t, FaultBlocked, first.Fault, "a public answer passes the guard")
	for range answers[1:] {
		got := client.Do(t.Context(), &Request{URL: u})
		require.Equal(t, FaultBlocked, got.Fault)
		require.Equal(t, "destination not allowed", got.Detail)
		require.Empty(t, got.RemoteAddr)
		var blocked *BlockedError
		require.ErrorAs(t, got.Err, &blocked)
		require.Equal(t, inside, blocked.Addr)
	}
	requireUntouched(t, met)
}

func requireUntouched(t *testing.T, met <-chan struct{}) {
	t.Helper()
	select {
	case <-met:
		require.Fail(t, "a socket was opened to a forbidden address")
	default:
	}
}

func TestPortIsCheckedWhenDialling(t *testing.T) {
	t.Parallel()
	client := NewClient(Config{Resolve: func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("8.8.8.8")}, nil
	}})
	t.Cleanup(client.Close)
	u, err := Policy{Ports: []int{25}}.ParseURL("https://old.example.com:25/")
	require.NoError(t, err)
	require.Equal(t, FaultBlocked, client.Do(t.Context(), &Request{URL: u}).Fault)

	u, err = Policy{Insecure: true}.ParseURL("http://old.example.com/")
	require.NoError(t, err)
	require.Equal(t, FaultBlocked, client.Do(t.Context(), &Request{URL: u}).Fault, "plain HTTP is refused at dispatch too")
}
