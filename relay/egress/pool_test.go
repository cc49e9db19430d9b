package egress

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/relaytest"
)

// serve answers every request on a connection with text, until either side ends it.
func serve(c net.Conn, text string) {
	for reader := bufio.NewReader(c); ; {
		r, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		if _, err := io.WriteString(c, text); err != nil {
			return
		}
	}
}

const empty = ok + "Content-Length: 0\r\n\r\n"

func to(host string) *Request {
	return &Request{URL: &url.URL{Scheme: "http", Host: host, Path: "/"}}
}

func TestIdleConnectionIsClosedAfterItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var open atomic.Int32
		client := bubble(t, func(c net.Conn) {
			open.Add(1)
			serve(c, empty)
			open.Add(-1)
		})
		require.False(t, client.Do(t.Context(), to(hookHost)).Reused)
		time.Sleep(29 * time.Second)
		require.True(t, client.Do(t.Context(), to(hookHost)).Reused)
		time.Sleep(15 * time.Second)
		require.False(t, client.Do(t.Context(), to("second.example.com")).Reused)
		require.EqualValues(t, 2, open.Load())
		time.Sleep(15*time.Second + time.Millisecond)
		synctest.Wait()
		require.EqualValues(t, 1, open.Load(), "30 s after its last request the first is closed, and not the second")
		time.Sleep(15 * time.Second)
		synctest.Wait()
		require.Zero(t, open.Load())
		require.False(t, client.Do(t.Context(), to(hookHost)).Reused)
		client.Close()
		synctest.Wait()
		require.Zero(t, open.Load(), "a client that is closed keeps none")
	})
}

func TestIdleConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var open atomic.Int32
		answer := make(chan struct{})
		client := bubble(t, func(c net.Conn) {
			open.Add(1)
			afterRequest(func(c net.Conn) {
				<-answer
				_, _ = io.WriteString(c, empty)
				serve(c, empty)
			})(c)
			open.Add(-1)
		})
		client.idle.all, client.idle.perHost = 5, 3
		together := func(host string, n int) {
			for range n {
				go client.Do(t.Context(), to(host))
			}
			synctest.Wait()
			for range n {
				answer <- struct{}{}
			}
			synctest.Wait()
		}
		together("a.example.com", 4)
		require.EqualValues(t, 3, open.Load(), "of each host")
		together("b.example.com", 3)
		require.EqualValues(t, 5, open.Load(), "in all")
		for range 3 {
			require.True(t, client.Do(t.Context(), to("b.example.com")).Reused, "the oldest one went")
		}
	})
}

// An endpoint may close an idle connection whenever it likes: no attempt is lost by it.
func TestConnectionThatWasClosedWhileIdleIsNotUsed(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*net.TCPConn){
		"Closed":     func(*net.TCPConn) {},
		"Reset":      func(c *net.TCPConn) { _ = c.SetLinger(0) },
		"Chattering": func(c *net.TCPConn) { _, _ = io.WriteString(c, empty); relaytest.Hold(c) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			over := make(chan struct{}, 2)
			beast := relaytest.NewBeast(t, func(c *net.TCPConn) {
				_, _ = io.WriteString(c, empty)
				<-over
				end(c)
			})
			client := insecureClient(t, plenty)
			request := &Request{URL: urlOf(t, beast), Body: []byte("{}")}
			first := client.Do(t.Context(), request)
			require.Equal(t, http.StatusOK, first.Status, first.Detail)
			over <- struct{}{}
			kept := client.idle.hosts[hostKey{request.URL.Scheme, request.URL.Host}][0]
			require.Eventually(t, func() bool { return !kept.quiet() }, plenty, time.Millisecond)
			over <- struct{}{} // for the second connection
			second := client.Do(t.Context(), request)
			require.Equal(t, http.StatusOK, second.Status, second.Detail)
			require.False(t, second.Reused)
			require.Equal(t, 2, beast.Connections())
		})
	}
}

// once is a connection on which one request can be written.
type once struct {
	net.Conn
	wrote bool
	fails error
}

func (c *once) Write(p []byte) (int, error) {
	if c.wrote {
		return 0, c.fails
	}
	c.wrote = true
	return c.Conn.Write(p)
}

// An endpoint may close a connection just as we write: then nothing of the request left, and it is sent on another one. No
// other fault of writing is as harmless.
func TestRequestThatDidNotLeaveIsSentOnAnotherConnection(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fails  error
		status int
	}{
		"ClosedByTheEndpoint": {&net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.EPIPE)}, http.StatusOK},
		"AFaultOfOurs":        {&net.OpError{Op: "write", Err: os.NewSyscallError("write", syscall.ENOBUFS)}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				client := bubble(t, func(c net.Conn) { serve(c, empty) })
				pipe := client.dialer.dial
				client.dialer.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
					c, err := pipe(ctx, network, address)
					return &once{Conn: c, fails: tc.fails}, err
				}
				require.Equal(t, http.StatusOK, client.Do(t.Context(), to(hookHost)).Status)
				got := client.Do(t.Context(), to(hookHost))
				require.Equal(t, tc.status, got.Status, got.Detail)
				require.Equal(t, tc.status == 0, got.Reused)
			})
		})
	}
}

// What was taken is never sent twice within an attempt, even if the answer to it was only that the connection ended.
func TestRequestThatLeftIsNotSentAgain(t *testing.T) {
	t.Parallel()
	requests := make(chan struct{}, 8)
	beast := relaytest.NewBeast(t, func(c *net.TCPConn) {
		requests <- struct{}{}
		_, _ = io.WriteString(c, empty)
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			requests <- struct{}{}
		}
	})
	client := insecureClient(t, plenty)
	request := &Request{URL: urlOf(t, beast)}
	require.Equal(t, http.StatusOK, client.Do(t.Context(), request).Status)
	got := client.Do(t.Context(), request)
	require.Equal(t, FaultReset.String(), got.Fault.String())
	require.True(t, got.Reused)
	require.Len(t, requests, 2)
	require.Equal(t, 1, beast.Connections())
}

// F46: an endpoint may refuse a large request after its head, and read no more.
func TestAnswerBeforeTheRequestIsReadCounts(t *testing.T) {
	t.Parallel()
	beast := relaytest.NewMute(t, func(c *net.TCPConn) {
		_ = c.SetReadBuffer(4 << 10)
		_, _ = io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\n\r\nlarge")
		<-t.Context().Done()
	})
	got := insecureClient(t, plenty).Do(t.Context(), &Request{URL: urlOf(t, beast), Body: make([]byte, 16<<20)})
	require.Equal(t, http.StatusRequestEntityTooLarge, got.Status, got.Detail)
	require.Equal(t, "large", string(got.Body))
	require.Less(t, got.Timing.Total, atOnce)
}

func TestCallersCancelCutsAnAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client := bubble(t, afterRequest(func(c net.Conn) {
			_, _ = io.WriteString(c, ok+"\r\n")
			each(c)
		}))
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		got := client.Do(ctx, to(hookHost))
		require.Equal(t, http.StatusOK, got.Status, "the status stands")
		require.True(t, got.Truncated)
		require.Equal(t, "aaa", string(got.Body))
		require.Equal(t, "canceled in the middle of the answer's body", got.Detail)
		require.Equal(t, 2500*time.Millisecond, got.Timing.Total)
		require.Empty(t, client.idle.hosts)
	})
}

// Who has given an attempt up before it began must not have sent it, on a connection that waits for it either.
func TestCanceledRequestIsNotSentOnAnIdleConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var requests atomic.Int32
		client := bubble(t, func(c net.Conn) {
			for reader := bufio.NewReader(c); ; requests.Add(1) {
				if _, err := http.ReadRequest(reader); err != nil {
					return
				}
				_, _ = io.WriteString(c, empty)
			}
		})
		require.Equal(t, http.StatusOK, client.Do(t.Context(), to(hookHost)).Status)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		got := client.Do(ctx, to(hookHost))
		synctest.Wait()
		require.Equal(t, FaultCanceled.String(), got.Fault.String())
		require.EqualValues(t, 1, requests.Load())
		require.True(t, client.Do(t.Context(), to(hookHost)).Reused, "and the connection waits for the next one")
	})
}
