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

// TestLookSaysWhatDoWouldDo: for each way in which a name can lead somewhere, a look tells whether a request would come as
// far as dialling; it dials nothing itself. What does not exist and what is refused are one answer.
func TestLookSaysWhatDoWouldDo(t *testing.T) {
	t.Parallel()
	names := map[string][]string{
		"public.example": {"93.184.215.14", "2606:2800:21f::1"}, "private.example": {"10.0.0.7"}, "mixed.example": {"93.184.215.14", "127.0.0.1"},
		"metadata.example": {"169.254.169.254"}, "own.example": {"8.8.8.8"}, "empty.example": {},
	}
	resolve := func(_ context.Context, host string) ([]netip.Addr, error) {
		texts, known := names[host]
		if !known {
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		}
		var found []netip.Addr
		for _, text := range texts {
			found = append(found, netip.MustParseAddr(text))
		}
		return found, nil
	}
	for raw, want := range map[string]struct{ public, insecure bool }{
		"https://public.example/hook":         {true, true},
		"https://PUBLIC.example.:8443/":       {true, true},
		"https://93.184.215.14/":              {true, true},
		"https://[2606:2800:21f::1]/":         {true, true},
		"https://public.example:444/":         {false, true},
		"http://public.example/":              {false, true},
		"https://private.example/":            {false, true},
		"https://mixed.example/":              {false, true},
		"https://127.0.0.1/":                  {false, true},
		"https://own.example/":                {false, true},
		"https://public.example:9090/":        {false, true},
		"https://private.example:9090/":       {false, true},
		"https://127.0.0.1:9090/":             {false, false}, // a listener of ours
		"https://metadata.example/":           {false, false},
		"https://empty.example/":              {false, false},
		"https://missing.example/":            {false, false},
		"https://host.internal/":              {false, false},
		"https://2130706433/":                 {false, false},
		"https://user:secret@public.example/": {false, false},
	} {
		u, err := url.Parse(raw)
		require.NoError(t, err)
		for _, insecure := range []bool{false, true} {
			policy := Policy{Insecure: insecure, Listeners: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:9090")}}
			client := NewClient(Config{Policy: policy, Resolve: resolve})
			client.dialer.own.list = interfaces("127.0.0.1/8", "8.8.8.8/24")
			dialled := false
			client.dialer.dial = func(context.Context, string, string) (net.Conn, error) {
				dialled = true
				return nil, errors.New("far enough")
			}
			got, err := client.Look(t.Context(), u)
			require.NoError(t, err)
			require.False(t, dialled, "a look connects to nothing")
			expected := want.public
			if insecure {
				expected = want.insecure
			}
			require.Equal(t, expected, got, "%s, insecure %t", raw, insecure)
			client.Do(t.Context(), &Request{URL: u})
			require.Equal(t, dialled, got, "%s, insecure %t: a request thinks otherwise", raw, insecure)
			client.Close()
		}
	}
}

// TestALookEndsWhenItsCallerDoes, and by the time that resolving may take; what is our own fault is no answer.
func TestALookEndsWhenItsCallerDoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		silent := func(ctx context.Context, _ string) ([]netip.Addr, error) { <-ctx.Done(); return nil, ctx.Err() }
		client := NewClient(Config{Resolve: silent, ConnectTimeout: 3 * time.Second})
		u := &url.URL{Scheme: "https", Host: "slow.example", Path: "/"}
		start := time.Now()
		leads, err := client.Look(t.Context(), u)
		require.NoError(t, err)
		require.False(t, leads)
		require.Equal(t, 3*time.Second, time.Since(start))

		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err = client.Look(ctx, u)
		require.ErrorIs(t, err, context.Canceled)

		time.AfterFunc(time.Second, client.Close)
		_, err = client.Look(t.Context(), u)
		require.Error(t, err, "closed while it looked")
		_, err = client.Look(t.Context(), u)
		require.Error(t, err, "closed before")

		blind := NewClient(Config{Resolve: func(context.Context, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("93.184.215.14")}, nil
		}})
		defer blind.Close()
		blind.dialer.own.list = func() ([]net.Addr, error) { return nil, errors.New("no netlink") }
		_, err = blind.Look(t.Context(), u)
		require.ErrorIs(t, err, errNoInterfaces)
	})
}
