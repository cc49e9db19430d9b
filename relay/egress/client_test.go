package egress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/relaytest"
)

func server(t *testing.T, handle http.HandlerFunc) *url.URL {
	t.Helper()
	s := httptest.NewServer(handle)
	t.Cleanup(s.Close)
	u, err := Policy{Insecure: true}.ParseURL(s.URL + "/in?token=x")
	require.NoError(t, err)
	return u
}

func TestRequestArrivesAsGiven(t *testing.T) {
	t.Parallel()
	type seen struct {
		method, uri, body string
		length            int64
		header            http.Header
	}
	got := make(chan seen, 1)
	u := server(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- seen{r.Method, r.RequestURI, string(body), r.ContentLength, r.Header}
		w.Header().Set("Retry-After", "120")
		w.Header().Add("Set-Cookie", "a=b")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, "slow down")
	})
	client := insecureClient(t, plenty)
	header := []Field{{Name: "Content-Type", Value: "application/json"}, {Name: "User-Agent", Value: "surveyhooks"}}
	for range 2 { // the second would carry a cookie, were there a jar
		res := client.Do(t.Context(), &Request{URL: u, Header: header, Body: []byte(`{"a":1}`)})
		require.Equal(t, http.StatusTooManyRequests, res.Status)
		require.Equal(t, "120", res.RetryAfter)
		require.Equal(t, "slow down", string(res.Body))
		require.False(t, res.Truncated)
		require.NotContains(t, res.Header, "Set-Cookie")

		in := <-got
		require.Equal(t, seen{"POST", "/in?token=x", `{"a":1}`, 7, in.header}, in)
		require.Equal(t, http.Header{
			"Content-Type": {"application/json"}, "User-Agent": {"surveyhooks"}, "Content-Length": {"7"},
		}, in.header, "and nothing besides")
	}
}

func TestHeadersAreCappedAtEightKiB(t *testing.T) {
	t.Parallel()
	u := server(t, func(w http.ResponseWriter, _ *http.Request) {
		for i := range 40 {
			w.Header().Set(fmt.Sprintf("A-%02d", i), strings.Repeat("v", 1000))
		}
		w.Header().Set("Retry-After", strings.Repeat("9", 200))
		w.Header().Set("Location", "https://example.com/"+strings.Repeat("l", 4000))
	})
	got := insecureClient(t, plenty).Do(t.Context(), &Request{URL: u})
	require.Equal(t, http.StatusOK, got.Status)
	total := 0
	for k, vs := range got.Header {
		for _, v := range vs {
			total += len(k) + len(v)
		}
	}
	require.LessOrEqual(t, total, maxHeader)
	require.Len(t, got.Header.Get("Location"), maxValue, "what explains an answer is kept first")
	require.Len(t, got.RetryAfter, 64)
}

// B20. It cannot run in parallel: it sets the environment.
func TestB20_ProxyOfTheEnvironmentIsIgnored(t *testing.T) {
	at, met := listen(t)
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"} {
		t.Setenv(name, "http://"+at.String())
	}
	t.Setenv("NO_PROXY", "")
	client := NewClient(Config{Policy: Policy{Insecure: true}, Timeout: plenty, Resolve: toLoopback})
	t.Cleanup(client.Close)
	u := server(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	named := *u
	named.Host = "hooks.example.com:" + u.Port() // net/http never proxies loopback by itself
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, named.String(), http.NoBody)
	require.NoError(t, err)
	proxy, err := http.ProxyFromEnvironment(request)
	require.NoError(t, err)
	require.NotNil(t, proxy, "any other client of this process would use the proxy")
	require.Equal(t, http.StatusOK, client.Do(t.Context(), &Request{URL: &named}).Status)
	requireUntouched(t, met)
}

func TestSecondAddressIsTriedWhenTheFirstRefuses(t *testing.T) {
	t.Parallel()
	u := server(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	named := *u
	named.Host = "hooks.example.com:" + u.Port()
	client := NewClient(Config{Policy: Policy{Insecure: true}, Resolve: func(context.Context, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.9"), netip.MustParseAddr("127.0.0.1")}, nil
	}})
	t.Cleanup(client.Close)
	got := client.Do(t.Context(), &Request{URL: &named})
	require.Equal(t, http.StatusOK, got.Status, got.Detail)
}

// F57: what fails on our side of the network is ours, and nobody's retry is used up. There is no proxy on the way out:
// our resolver, our routes and our descriptors are what can be down.
func TestF57_OurOwnInfrastructureIsOurFault(t *testing.T) {
	t.Parallel()
	u, err := Policy{}.ParseURL("https://hooks.example.com/")
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		err    error
		detail string
	}{
		"ResolverRefuses": {&net.DNSError{Err: "read udp 10.0.0.1:5->10.0.0.2:53: read: connection refused", IsTemporary: true}, "our resolver cannot be reached"},
		"NoRoute":         {&net.DNSError{Err: "dial udp 10.0.0.2:53: connect: network is unreachable"}, "our resolver cannot be reached"},
		"NoDescriptors":   {os.NewSyscallError("socket", syscall.EMFILE), "the connection failed: too many open files"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := NewClient(Config{Resolve: func(context.Context, string) ([]netip.Addr, error) { return nil, tc.err }})
			t.Cleanup(client.Close)
			got := client.Do(t.Context(), &Request{URL: u})
			require.Equal(t, FaultLocal.String(), got.Fault.String())
			require.Equal(t, tc.detail, got.Detail, "no address of ours")
			require.True(t, got.Fault.Ours())
		})
	}
}

func TestOurErrnosAreOursOnlyWhenAllAddressesFailSo(t *testing.T) {
	t.Parallel()
	ours := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ENETUNREACH)}
	theirs := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	require.True(t, isOurs(errors.Join(ours, ours)))
	require.False(t, isOurs(errors.Join(ours, theirs)))
	require.False(t, isOurs(theirs))
}

func TestCallersCancelIsOurs(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	u := urlOf(t, relaytest.NewBeast(t, func(c *net.TCPConn) { close(arrived); relaytest.Hold(c) }))
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	got := insecureClient(t, time.Minute).Do(ctx, &Request{URL: u})
	require.Equal(t, FaultCanceled, got.Fault)
	require.True(t, got.Fault.Ours())
}

func TestClosedClientOpensNothing(t *testing.T) {
	t.Parallel()
	started := make(chan struct{})
	client := NewClient(Config{Resolve: func(ctx context.Context, _ string) ([]netip.Addr, error) {
		close(started)
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	u, err := Policy{}.ParseURL("https://hooks.example.com/")
	require.NoError(t, err)
	go func() { <-started; client.Close() }()
	require.Equal(t, FaultLocal, client.Do(t.Context(), &Request{URL: u}).Fault, "a dial under way ends")
	require.Equal(t, FaultLocal, client.Do(t.Context(), &Request{URL: u}).Fault)
	client.Close()
}

func TestUnsendableRequestIsOurs(t *testing.T) {
	t.Parallel()
	client := insecureClient(t, plenty)
	u, err := Policy{Insecure: true}.ParseURL("http://127.0.0.1:1/")
	require.NoError(t, err)
	for _, f := range []Field{{Name: "Authorization", Value: "s3cret\r\nX: y"}, {Name: "X: y\r\nZ", Value: "s3cret"}, {Value: "s3cret"}} {
		got := client.Do(t.Context(), &Request{URL: u, Header: []Field{f}})
		require.Equal(t, FaultLocal, got.Fault)
		require.Contains(t, got.Detail, "header")
		require.NotContains(t, got.Detail, "s3cret")
	}
	require.Equal(t, FaultLocal, client.Do(t.Context(), &Request{}).Fault)
}

func TestFaultNamesAreDistinct(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for f := FaultNone; f <= FaultHeaderTooLarge; f++ {
		require.NotEqual(t, "unknown", f.String())
		require.False(t, names[f.String()])
		names[f.String()] = true
	}
	require.Equal(t, "unknown", (FaultHeaderTooLarge + 1).String())
}

func TestConfigValidateJoinsFaults(t *testing.T) {
	t.Parallel()
	require.NoError(t, Config{}.Validate())
	err := Config{Policy: Policy{Ports: []int{0}}, Timeout: -1, Idle: -1}.Validate()
	require.ErrorContains(t, err, "port 0")
	require.ErrorContains(t, err, "timeouts")
	require.ErrorContains(t, err, "idle")
}
