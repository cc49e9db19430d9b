package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func interfaces(texts ...string) func() ([]net.Addr, error) {
	return func() ([]net.Addr, error) {
		var list []net.Addr
		for _, text := range texts {
			ip, block, err := net.ParseCIDR(text)
			if err != nil {
				return nil, err
			}
			list = append(list, &net.IPNet{IP: ip, Mask: block.Mask})
		}
		return list, nil
	}
}

func TestB23_AddressesOfThisHostAreRefused(t *testing.T) {
	t.Parallel()
	own := interfaces("127.0.0.1/8", "8.8.8.8/24", "2606:4700::1111/64")
	check := func(p Policy, text string) error {
		d := newDialer(Config{Policy: p}.WithDefaults(), t.Context())
		d.own.list = own
		return d.check(netip.MustParseAddrPort(text))
	}
	var blocked *BlockedError
	for _, text := range []string{"8.8.8.8:443", "[2606:4700::1111]:443"} {
		require.ErrorAs(t, check(Policy{}, text), &blocked, text)
		require.Equal(t, ourselves, blocked.Registry)
		require.NoError(t, check(Policy{Insecure: true}, text), "a developer's own machine is what the switch is for")
	}
	require.NoError(t, check(Policy{}, "8.8.8.9:443"), "a neighbour on the same network is not this host")

	listening := Policy{Insecure: true, Listeners: []netip.AddrPort{
		netip.MustParseAddrPort("127.0.0.1:9090"), netip.MustParseAddrPort("[::]:8080"),
	}}
	for _, text := range []string{"127.0.0.1:9090", "127.0.0.1:8080", "127.0.0.5:8080", "8.8.8.8:8080", "[2606:4700::1111]:8080"} {
		require.ErrorAs(t, check(listening, text), &blocked, text)
	}
	for _, text := range []string{"127.0.0.1:3000", "8.8.8.9:8080", "10.0.0.1:8080"} {
		require.NoError(t, check(listening, text), text)
	}
}

// B23 with a real socket: the listener is told to the policy, and sees nobody.
func TestB23_OwnListenerIsNeverConnectedTo(t *testing.T) {
	t.Parallel()
	at, met := listen(t)
	client := NewClient(Config{Policy: Policy{Insecure: true, Listeners: []netip.AddrPort{at}}, Resolve: toLoopback})
	t.Cleanup(client.Close)
	for _, host := range []string{at.String(), net.JoinHostPort("localhost", portOf(at)), net.JoinHostPort("hooks.example.com", portOf(at))} {
		got := client.Do(t.Context(), &Request{URL: &url.URL{Scheme: "http", Host: host, Path: "/"}})
		require.Equal(t, FaultBlocked.String(), got.Fault.String(), host)
	}
	requireUntouched(t, met)
}

func TestOwnAddressesAreReadAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reads := 0
		o := &ownAddrs{list: func() ([]net.Addr, error) {
			reads++
			if reads == 1 {
				return interfaces("8.8.8.8/24")()
			}
			return interfaces("8.8.4.4/24")()
		}}
		has := func(text string) bool {
			found, err := o.contains(netip.MustParseAddr(text))
			require.NoError(t, err)
			return found
		}
		require.True(t, has("8.8.8.8"))
		require.False(t, has("8.8.4.4"))
		require.Equal(t, 1, reads, "not for every dial")
		time.Sleep(ownRefresh + time.Second)
		require.True(t, has("8.8.4.4"))
		require.False(t, has("8.8.8.8"), "an address that moved away is no longer ours")
		require.Equal(t, 2, reads)

		o.list = func() ([]net.Addr, error) { return nil, errors.New("no netlink") }
		time.Sleep(ownRefresh + time.Second)
		require.True(t, has("8.8.4.4"), "the last list serves while there is no newer one")
	})
}

// Without the list nobody can say that an address is not ours: nothing is dialled, and nobody is charged for it.
func TestUnknownOwnAddressesStopTheDial(t *testing.T) {
	t.Parallel()
	client := NewClient(Config{Resolve: func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("8.8.8.8")}, nil
	}})
	t.Cleanup(client.Close)
	client.dialer.own.list = func() ([]net.Addr, error) { return nil, errors.New("no netlink") }
	client.dialer.dial = func(context.Context, string, string) (net.Conn, error) { panic("dialled") }
	u, err := Policy{}.ParseURL("https://hooks.example.com/")
	require.NoError(t, err)
	got := client.Do(t.Context(), &Request{URL: u})
	require.Equal(t, FaultLocal, got.Fault)
	require.Equal(t, "our own addresses cannot be listed", got.Detail)
	require.ErrorContains(t, got.Err, "AF_NETLINK")
}

// The real interfaces of the machine that runs the test are found.
func TestInterfacesOfThisMachineAreOwn(t *testing.T) {
	t.Parallel()
	own, err := newDialer(Config{}.WithDefaults(), t.Context()).own.contains(netip.MustParseAddr("127.0.0.1"))
	require.NoError(t, err)
	require.True(t, own)
}
