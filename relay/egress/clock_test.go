package egress

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// bubble is a client with the documented defaults, in a synctest bubble: its clock is false, and its connections are
// pipes. handle is the endpoint, behind the request's head.
func bubble(t *testing.T, handle func(c net.Conn)) *Client {
	t.Helper()
	var endpoints sync.WaitGroup
	t.Cleanup(endpoints.Wait) // they see that the other side has hung up at their next second
	client := NewClient(Config{Policy: Policy{Insecure: true}, Resolve: toLoopback})
	client.dialer.dial = func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		endpoints.Go(func() {
			defer func() { _ = far.Close() }()
			handle(far)
		})
		return near, nil
	}
	t.Cleanup(client.Close)
	return client
}

func afterRequest(answer func(c net.Conn)) func(net.Conn) {
	return func(c net.Conn) {
		if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.Copy(io.Discard, r.Body)
			answer(c)
		}
	}
}

// each writes a byte a second until the other side hangs up.
func each(c net.Conn) {
	for {
		if _, err := io.WriteString(c, "a"); err != nil {
			return
		}
		<-time.After(time.Second)
	}
}

// TestDefaultTimesByTheClock proves the documented limits to the millisecond, without waiting for them.
func TestDefaultTimesByTheClock(t *testing.T) {
	t.Parallel()
	silent := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	for name, tc := range map[string]struct {
		scheme string
		handle func(net.Conn)
		status int
		fault  Fault
		total  time.Duration
		detail string
	}{
		"F38_AcceptsAndNeverAnswers": {"http", afterRequest(silent), 0, FaultTimeout, 30 * time.Second, "the endpoint answered nothing within 30 s"},
		"F38_NeverReads":             {"http", func(net.Conn) { <-time.After(time.Hour) }, 0, FaultTimeout, 30 * time.Second, "the endpoint did not take the request within 30 s"},
		"F40_DripsTheHeaders": {"http", afterRequest(func(c net.Conn) {
			_, _ = io.WriteString(c, ok+"X-A: ")
			each(c)
		}), 0, FaultTimeout, 30 * time.Second, "the answer's head was not complete within 30 s"},
		"F40_DripsTheBody": {"http", afterRequest(func(c net.Conn) {
			_, _ = io.WriteString(c, ok+"\r\n")
			each(c)
		}), 200, FaultNone, 30 * time.Second, "the answer's body was not complete within 30 s"},
		"F40_AnswersAtTheLastSecond": {"http", afterRequest(func(c net.Conn) {
			<-time.After(29 * time.Second)
			_, _ = io.WriteString(c, ok+"Content-Length: 0\r\n\r\n")
			silent(c)
		}), 200, FaultNone, 29 * time.Second, ""},
		"F48_StalledHandshake": {"https", silent, 0, FaultTLS, 10 * time.Second, "the TLS handshake did not end within 10 s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				client := bubble(t, tc.handle)
				got := client.Do(t.Context(), &Request{URL: &url.URL{Scheme: tc.scheme, Host: hookHost, Path: "/"}, Body: make([]byte, 64<<10)})
				require.Equal(t, tc.fault.String(), got.Fault.String(), got.Detail)
				require.Equal(t, tc.status, got.Status)
				require.Equal(t, tc.detail, got.Detail)
				require.Equal(t, tc.total, got.Timing.Total)
			})
		})
	}
	t.Run("F39_SYNBlackhole", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			client := bubble(t, nil)
			client.dialer.dial = func(ctx context.Context, _, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() }
			got := client.Do(t.Context(), &Request{URL: &url.URL{Scheme: "https", Host: hookHost, Path: "/"}})
			require.Equal(t, FaultConnectTimeout.String(), got.Fault.String())
			require.Equal(t, "no connection within 10 s", got.Detail)
			require.Equal(t, 10*time.Second, got.Timing.Total)
		})
	})
	t.Run("SecondAddressAfterARefusal", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			client := bubble(t, afterRequest(func(c net.Conn) { _, _ = io.WriteString(c, ok+"Content-Length: 0\r\n\r\n") }))
			client.dialer.cfg.Resolve = func(context.Context, string) ([]netip.Addr, error) {
				return []netip.Addr{netip.MustParseAddr("127.0.0.9"), netip.MustParseAddr("127.0.0.1")}, nil
			}
			second := client.dialer.dial
			client.dialer.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				if strings.HasPrefix(address, "127.0.0.9:") {
					return nil, syscall.ECONNREFUSED
				}
				return second(ctx, network, address)
			}
			got := client.Do(t.Context(), &Request{URL: &url.URL{Scheme: "http", Host: hookHost, Path: "/"}})
			require.Equal(t, http.StatusOK, got.Status, got.Detail)
			require.Zero(t, got.Timing.Connect, "a refusal is not waited out")
		})
	})
	t.Run("F49_SilentResolver", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			client := bubble(t, nil)
			client.dialer.cfg.Resolve = func(ctx context.Context, _ string) ([]netip.Addr, error) { <-ctx.Done(); return nil, ctx.Err() }
			got := client.Do(t.Context(), &Request{URL: &url.URL{Scheme: "https", Host: hookHost, Path: "/"}})
			require.Equal(t, FaultDNS.String(), got.Fault.String())
			require.Equal(t, "the name servers did not answer within 10 s", got.Detail)
			require.Equal(t, 10*time.Second, got.Timing.Total)
		})
	})
}
