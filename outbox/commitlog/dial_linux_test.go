package commitlog_test

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox/commitlog"
)

// The kernel is told to give a server up that vanished, long before the lease of a relay ends.
func TestConnectionIsGivenUpWhenItsServerVanishes(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		address := map[string]string{"tcp": "127.0.0.1:0", "unix": t.TempDir() + "/s"}[network]
		listener, err := net.Listen(network, address)
		require.NoError(t, err)
		conn, err := commitlog.Dialer().DialTimeout(network, listener.Addr().String(), time.Minute)
		require.NoError(t, err)
		if tcp, ok := conn.(*net.TCPConn); ok {
			raw, err := tcp.SyscallConn()
			require.NoError(t, err)
			var bound int
			var fault error
			require.NoError(t, raw.Control(func(fd uintptr) {
				bound, fault = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, 0x12) // TCP_USER_TIMEOUT
			}))
			require.NoError(t, fault)
			require.Equal(t, 20*time.Second, time.Duration(bound)*time.Millisecond)
		}
		require.NoError(t, conn.Close())
		require.NoError(t, listener.Close())
	}
}
