package relaytest

import (
	"context"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Weather is what a Link does to the connections through it. TCP hides loss itself; what is seen above it are stalls
// while something is sent again.
type Weather struct {
	Latency   time.Duration // of each piece, either way
	Piece     int           // bytes passed on together; default 32 KiB
	StallEach int           // a stall before every so-manieth piece; 0: never
	Stall     time.Duration
	SlowClose time.Duration // how much later than the receiver's end of a connection the sender sees it
	CutAfter  int           // bytes of the receiver's answer after which both sides are reset; 0: never
}

// Link is a bad line to a receiver: a TCP proxy.
type Link struct {
	URL string // the receiver's, by way of the link

	weather Weather
	target  string
	ctx     context.Context //nolint:containedctx // the link's own life: the test's
	open    atomic.Int64
}

// NewLink lays a line to the receiver at rawURL; it ends with the test.
func NewLink(t testing.TB, rawURL string, weather Weather) *Link {
	t.Helper()
	to, err := url.Parse(rawURL)
	require.NoError(t, err)
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	if weather.Piece == 0 {
		weather.Piece = 32 << 10
	}
	link := &Link{URL: "http://" + l.Addr().String() + to.Path, weather: weather, target: to.Host, ctx: ctx}
	var lines sync.WaitGroup
	lines.Go(func() {
		for {
			c, err := l.AcceptTCP()
			if err != nil {
				return
			}
			lines.Go(func() { link.carry(c) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		lines.Wait()
	})
	return link
}

// Open is how many connections go through it now.
func (l *Link) Open() int { return int(l.open.Load()) }

func (l *Link) carry(near *net.TCPConn) {
	l.open.Add(1)
	defer l.open.Add(-1)
	defer near.Close()
	c, err := (&net.Dialer{}).DialContext(l.ctx, "tcp", l.target)
	if err != nil {
		return
	}
	defer c.Close()
	far, ok := c.(*net.TCPConn)
	if !ok {
		return // never: the network is tcp
	}
	stop := context.AfterFunc(l.ctx, func() { _ = near.Close(); _ = far.Close() })
	defer stop()
	var ways sync.WaitGroup
	ways.Go(func() {
		l.pump(far, near, 0)
		_ = far.CloseWrite()
	})
	ways.Go(func() {
		if l.pump(near, far, l.weather.CutAfter) {
			_ = near.SetLinger(0)
			_ = near.Close()
			_ = far.Close()
			return
		}
		l.wait(l.weather.SlowClose)
		_ = near.Close()
	})
	ways.Wait()
}

// pump passes bytes on until one side ends, or limit bytes have passed: then it returns true.
func (l *Link) pump(to, from *net.TCPConn, limit int) bool {
	buf := make([]byte, l.weather.Piece)
	for total, pieces := 0, 1; ; pieces++ {
		n, err := from.Read(buf)
		if n > 0 {
			l.wait(l.weather.Latency)
			if l.weather.StallEach > 0 && pieces%l.weather.StallEach == 0 {
				l.wait(l.weather.Stall)
			}
			if limit > 0 && total+n >= limit {
				_, _ = to.Write(buf[:limit-total])
				return true
			}
			total += n
			if _, err := to.Write(buf[:n]); err != nil {
				return false
			}
		}
		if err != nil {
			return false
		}
	}
}

func (l *Link) wait(d time.Duration) {
	if d == 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.ctx.Done():
	}
}
