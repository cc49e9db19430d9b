package egress

import (
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
)

// goAway is a server that takes an HTTP/2 request, counts it, and sends the connection away.
func goAway(t *testing.T, certificate tls.Certificate, code http2.ErrCode, asked *atomic.Int64) net.Addr {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2"}})
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	serve := func(conn net.Conn) {
		defer conn.Close()
		if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
			return
		}
		framer := http2.NewFramer(conn, conn)
		if framer.WriteSettings() != nil {
			return
		}
		for {
			frame, err := framer.ReadFrame()
			if err != nil {
				return
			}
			if headers, ok := frame.(*http2.HeadersFrame); ok {
				asked.Add(1)
				_ = framer.WriteGoAway(headers.StreamID, code, nil) // it was taken, and will not be answered
				return
			}
		}
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return listener.Addr()
}

// TestF45_GoAwayIsAFault: the request was taken, so the transport must not send it a second time within one attempt.
func TestF45_GoAwayIsAFault(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	certificate := ca.issue(t, hookHost, time.Now().Add(time.Hour))
	for name, code := range map[string]http2.ErrCode{"NoError": http2.ErrCodeNo, "EnhanceYourCalm": http2.ErrCodeEnhanceYourCalm} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int64
			u := hookURL(t, goAway(t, certificate, code, &asked))
			got := tlsClient(t, ca.pool, 0).Do(t.Context(), &Request{URL: u, Body: [][]byte{[]byte("{}")}})
			require.Contains(t, []Fault{FaultReset, FaultProtocol}, got.Fault, got.Detail)
			require.NotEmpty(t, got.Detail)
			require.EqualValues(t, 1, asked.Load())
		})
	}
}
