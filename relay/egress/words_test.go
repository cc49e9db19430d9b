package egress

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCertificateWords(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 6, 12, 0, 0, 0, time.UTC)
	leaf := &x509.Certificate{NotBefore: now.Add(-90 * 24 * time.Hour), NotAfter: now.Add(-3 * 24 * time.Hour), DNSNames: []string{"a.example", "b.example", "c.example", "d.example"}}
	for want, cause := range map[string]error{
		"the TLS certificate expired 3 days ago":                                               x509.CertificateInvalidError{Cert: leaf, Reason: x509.Expired},
		"the TLS certificate expired 1 minute ago":                                             x509.CertificateInvalidError{Cert: &x509.Certificate{NotAfter: now.Add(-90 * time.Second)}, Reason: x509.Expired},
		"the TLS certificate is not valid yet, for another 2 hours":                            x509.CertificateInvalidError{Cert: &x509.Certificate{NotBefore: now.Add(2 * time.Hour), NotAfter: now.Add(9 * time.Hour)}, Reason: x509.Expired},
		"the TLS certificate is for a.example, b.example, c.example, …, not for hooks.example": x509.HostnameError{Certificate: leaf, Host: "hooks.example"},
		"the TLS certificate is for no host name, not for hooks.example": x509.HostnameError{
			Certificate: &x509.Certificate{IPAddresses: []net.IP{net.IPv4(10, 0, 0, 7)}}, Host: "hooks.example",
		},
		"the TLS certificate is not valid: x509: certificate specifies an incompatible key usage": x509.CertificateInvalidError{Cert: leaf, Reason: x509.IncompatibleUsage},
	} {
		require.Equal(t, want, certificateWords(&tls.CertificateVerificationError{Err: cause}, now))
	}
}

func TestWordsHoldNoAddressAndOneLine(t *testing.T) {
	t.Parallel()
	local := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 7), Port: 41234}
	remote := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 8), Port: 443}
	op := func(name string, err error) error {
		return &net.OpError{Op: name, Net: "tcp", Source: local, Addr: remote, Err: err}
	}
	odd := errors.New("malformed\r\n\x1b[31m " + strings.Repeat("é", 300) + "\xff")
	for _, words := range []string{
		connectWords(op("dial", os.NewSyscallError("connect", syscall.ECONNREFUSED))),
		connectWords(op("dial", os.NewSyscallError("connect", syscall.EHOSTUNREACH))),
		connectWords(op("dial", os.NewSyscallError("connect", syscall.ENETUNREACH))),
		connectWords(op("dial", errors.New("odd"))),
		tlsWords(op("remote error", errors.New("tls: handshake failure"))),
		tlsWords(op("read", os.NewSyscallError("read", syscall.ECONNRESET))),
		bodyWords(op("read", os.NewSyscallError("read", syscall.ECONNRESET)), time.Second),
		bodyWords(op("read", odd), time.Second),
		resetWords(op("write", os.NewSyscallError("write", syscall.EPIPE)), false),
		plain(op("read", odd)),
	} {
		require.NotContains(t, words, "10.0.0.")
		require.NotContains(t, words, "41234")
		require.LessOrEqual(t, len(words), maxDetail+64)
		require.False(t, strings.ContainsFunc(words, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\uFFFD' }), "%q", words)
	}
	require.Equal(t, "the TLS handshake failed: handshake failure", tlsWords(op("remote error", errors.New("tls: handshake failure"))))
}

func TestLimitsAreWrittenAsPeopleDo(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		30 * time.Second: "30 s", time.Second: "1 s", 300 * time.Millisecond: "300ms", 5 * time.Minute: "5m0s", 1500 * time.Millisecond: "1.5s",
	} {
		require.Equal(t, want, seconds(d))
	}
}
