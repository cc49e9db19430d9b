package egress

import (
	"context"
	"net"
	"net/netip"
	"testing"

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

// middleOf is the first address of a block's upper half, or its only one.
func middleOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	if i := p.Bits(); i < len(b)*8 {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// inTable says what the table as a whole says of an address, by plain reading: in a block, and whether the
// first that holds it is private.
func inTable(a netip.Addr) (blocked, private bool) {
	for _, s := range specials() {
		if s.prefix.Contains(a) {
			return true, s.private
		}
	}
	return a.Is6() && a.As16()[0]>>5 != 1, false // outside 2000::/3
}

func TestGuardBlocksEachBlockToItsEdgesAndNoFurther(t *testing.T) {
	t.Parallel()
	g, dev := newGuard(Policy{}), newGuard(Policy{Insecure: true})
	for _, s := range specials() {
		t.Run(s.prefix.String(), func(t *testing.T) {
			t.Parallel()
			first, last := s.prefix.Addr(), lastOf(s.prefix)
			require.Equal(t, s.prefix.Masked(), s.prefix, "the table names the block's first address")
			for _, in := range []netip.Addr{first, middleOf(s.prefix), last} {
				var blocked *BlockedError
				require.ErrorAs(t, g.check(in), &blocked, in.String())
				require.Equal(t, in, blocked.Addr)
				require.Equal(t, "destination not allowed", blocked.Error())
				require.Contains(t, blocked.Operator(), in.String())
				_, private := inTable(in)
				require.Equal(t, private, dev.check(in) == nil, "the development switch opens private blocks and nothing else: %s", in)
			}
			for _, out := range []netip.Addr{first.Prev(), last.Next()} {
				if !out.IsValid() {
					continue
				}
				blocked, _ := inTable(out)
				require.Equal(t, blocked, g.check(out) != nil, out.String())
			}
		})
	}
}

// TestGuardKnowsEveryRegisteredBlock lists the two special-purpose registries entry by entry, the more specific ones
// included, apart from the guard's own table, which may be shorter and must not be narrower.
func TestGuardKnowsEveryRegisteredBlock(t *testing.T) {
	t.Parallel()
	g := newGuard(Policy{})
	for name, blocks := range map[string][]string{
		"IPv4": {
			"0.0.0.0/8", "0.0.0.0/32", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
			"192.0.0.0/29", "192.0.0.8/32", "192.0.0.9/32", "192.0.0.10/32", "192.0.0.170/32", "192.0.0.171/32", "192.0.2.0/24",
			"192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.88.99.2/32", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15",
			"198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4", "255.255.255.255/32",
		},
		"IPv6": {
			"::1/128", "::/128", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "100:0:0:1::/64", "2001::/23", "2001::/32",
			"2001:1::1/128", "2001:1::2/128", "2001:1::3/128", "2001:2::/48", "2001:3::/32", "2001:4:112::/48", "2001:10::/28", "2001:20::/28",
			"2001:30::/28", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10",
		},
		"MulticastAndRetired": {"224.0.0.0/4", "ff00::/8", "fec0::/10", "::/96", "::ffff:0:0:0/96"},
		"ReservedIPv6": {
			"::/8", "100::/8", "200::/7", "400::/6", "800::/5", "1000::/4", "4000::/3", "6000::/3", "8000::/3", "a000::/3", "c000::/3",
			"e000::/4", "f000::/5", "f800::/6", "fe00::/9",
		},
		"CloudMetadata": {
			"169.254.169.254/32", "169.254.170.2/32", "169.254.42.42/32", "fd00:ec2::254/128", "fd00:ec2::23/128", "fd20:ce::254/128",
			"fd00:42::42/128", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, block := range blocks {
				p := netip.MustParsePrefix(block)
				for _, in := range []netip.Addr{p.Addr(), middleOf(p), lastOf(p)} {
					require.Error(t, g.check(in), "%s of %s", in, block)
				}
			}
		})
	}
}

// B10: what the standard library calls global unicast, and is not.
func TestB10_IsGlobalUnicastIsTheWrongTool(t *testing.T) {
	t.Parallel()
	g := newGuard(Policy{})
	for _, text := range []string{
		"100.64.0.1", "0.1.2.3", "240.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "fec0::1", "192.0.2.1", "3fff::1",
	} {
		a := netip.MustParseAddr(text)
		require.True(t, a.IsGlobalUnicast(), text)
		require.Error(t, g.check(a), text)
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

func TestDevelopmentSwitchOpensNoMetadata(t *testing.T) {
	t.Parallel()
	g := newGuard(Policy{Insecure: true})
	for _, text := range []string{"169.254.169.254", "100.100.100.200", "fd00:ec2::254", "fd20:ce::254", "fd00:42::42", "168.63.129.16", "192.0.0.192"} {
		require.Error(t, g.check(netip.MustParseAddr(text)), text)
	}
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
	d := newDialer(Config{Policy: Policy{Ports: []int{int(at.Port())}}}.WithDefaults(), t.Context())
	_, err := d.race(t.Context(), []netip.AddrPort{at})
	var blocked *BlockedError
	require.ErrorAs(t, err, &blocked)
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
