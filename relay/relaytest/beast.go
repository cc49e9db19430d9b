package relaytest

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Beast is a receiver below HTTP: it says what no server of net/http would.
type Beast struct {
	URL  string // http, on loopback
	Addr *net.TCPAddr

	conns atomic.Int64
}

// NewBeast starts a receiver that runs handle once per connection, after the request's head was read; the connection
// closes when handle returns. It ends with the test.
func NewBeast(t testing.TB, handle func(c *net.TCPConn)) *Beast {
	t.Helper()
	return NewBeastAt(t, "127.0.0.1:0", handle)
}

// NewBeastAt is NewBeast on an address of the caller's choice.
func NewBeastAt(t testing.TB, address string, handle func(c *net.TCPConn)) *Beast {
	t.Helper()
	return newBeast(t, address, func(c *net.TCPConn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			handle(c)
		}
	})
}

// NewMute starts a receiver that runs handle at once, without reading.
func NewMute(t testing.TB, handle func(c *net.TCPConn)) *Beast {
	t.Helper()
	return newBeast(t, "127.0.0.1:0", handle)
}

func newBeast(t testing.TB, address string, serve func(c *net.TCPConn)) *Beast {
	t.Helper()
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address)))
	require.NoError(t, err)
	at := l.Addr().String()
	b := &Beast{URL: "http://" + at, Addr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(at))}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.AcceptTCP()
			if err != nil {
				return
			}
			b.conns.Add(1)
			go func() {
				defer func() { _ = c.Close() }()
				serve(c)
			}()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return b
}

// Connections is how many have been accepted.
func (b *Beast) Connections() int { return int(b.conns.Load()) }

// Write answers text and hangs up.
func Write(text string) func(*net.TCPConn) {
	return func(c *net.TCPConn) { _, _ = io.WriteString(c, text) }
}

// WriteHold answers text and waits until the other side hangs up.
func WriteHold(text string) func(*net.TCPConn) {
	return func(c *net.TCPConn) { Write(text)(c); Hold(c) }
}

// Hold waits until the other side hangs up.
func Hold(c *net.TCPConn) { _, _ = io.Copy(io.Discard, c) }

// Drip answers head, and then each every 10 ms until the other side hangs up.
func Drip(head, each string) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		_, _ = io.WriteString(c, head)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			if _, err := io.WriteString(c, each); err != nil {
				return
			}
		}
	}
}

// Flood answers head, and then each without end.
func Flood(head, each string) func(*net.TCPConn) {
	bytes := []byte(each) // once: a test measures what the sender allocates
	return func(c *net.TCPConn) {
		_, _ = io.WriteString(c, head)
		for {
			if _, err := c.Write(bytes); err != nil {
				return
			}
		}
	}
}

// Reset answers text and tears the connection down with a RST.
func Reset(text string) func(*net.TCPConn) {
	return func(c *net.TCPConn) {
		_, _ = io.WriteString(c, text)
		_ = c.SetLinger(0)
	}
}
