package egress

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// authority signs certificates for names.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &authority{cert: cert, key: key, pool: pool}
}

func (a *authority) issue(t *testing.T, name string, until time.Time) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &a.key.PublicKey, a.key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}
}

const hookHost = "hooks.example.com"

// tlsServer answers 204 behind cfg and returns its URL under hookHost.
func tlsServer(t *testing.T, cfg *tls.Config, h2 bool) *url.URL {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Proto", r.Proto)
		w.WriteHeader(http.StatusNoContent)
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.EnableHTTP2 = h2
	server.TLS = cfg
	server.StartTLS()
	t.Cleanup(server.Close)
	return hookURL(t, server.Listener.Addr())
}

func hookURL(t *testing.T, at net.Addr) *url.URL {
	t.Helper()
	_, port, err := net.SplitHostPort(at.String())
	require.NoError(t, err)
	u, err := Policy{Insecure: true}.ParseURL("https://" + hookHost + ":" + port + "/in")
	require.NoError(t, err)
	return u
}

func toLoopback(context.Context, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
}

func tlsClient(t *testing.T, pool *x509.CertPool) *Client {
	t.Helper()
	client := NewClient(Config{
		Policy: Policy{Insecure: true}, Resolve: toLoopback, RootCAs: pool,
		HandshakeTimeout: 300 * time.Millisecond, Timeout: 2 * time.Second,
	})
	t.Cleanup(client.Close)
	return client
}

func TestTLSIsNeverWeakened(t *testing.T) {
	t.Parallel()
	ca, stranger := newAuthority(t), newAuthority(t)
	year := time.Now().Add(24 * time.Hour)
	good := ca.issue(t, hookHost, year)
	cases := map[string]struct {
		cfg    *tls.Config
		detail string
	}{
		"Expired":       {&tls.Config{Certificates: []tls.Certificate{ca.issue(t, hookHost, time.Now().Add(-time.Hour))}}, "expired"},
		"WrongName":     {&tls.Config{Certificates: []tls.Certificate{ca.issue(t, "other.example.com", year)}}, "other.example.com"},
		"UnknownIssuer": {&tls.Config{Certificates: []tls.Certificate{stranger.issue(t, hookHost, year)}}, "unknown authority"},
		"TLS10":         {&tls.Config{Certificates: []tls.Certificate{good}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}, "protocol version"},
		"TLS11":         {&tls.Config{Certificates: []tls.Certificate{good}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, "protocol version"},
		"WantsOurCert":  {&tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert}, "certificate"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := tlsServer(t, tc.cfg, false)
			got := tlsClient(t, ca.pool).Do(t.Context(), &Request{URL: u})
			require.Equal(t, FaultTLS.String(), got.Fault.String(), got.Detail)
			require.Contains(t, got.Detail, tc.detail)
			require.NotContains(t, got.Detail, "127.0.0.1")
			require.Zero(t, got.Status)
		})
	}
}

func TestTLSHandshakeIsBounded(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel, never answers
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	got := tlsClient(t, nil).Do(t.Context(), &Request{URL: hookURL(t, l.Addr())})
	require.Equal(t, FaultTLS, got.Fault)
	require.Equal(t, "TLS handshake timed out", got.Detail)
	require.Less(t, got.Timing.Total, time.Second)
	require.Greater(t, got.Timing.TLS, 200*time.Millisecond)
}

func TestPlainHTTPBehindHTTPSIsATLSFault(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	got := tlsClient(t, nil).Do(t.Context(), &Request{URL: hookURL(t, server.Listener.Addr())})
	require.Equal(t, FaultTLS, got.Fault)
	require.Contains(t, got.Detail, "does not speak TLS")
}

func TestConnectionIsReusedAndTimedOnce(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	for name, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := tlsServer(t, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, hookHost, time.Now().Add(time.Hour))}}, h2)
			client := tlsClient(t, ca.pool)
			request := &Request{URL: u, Body: [][]byte{[]byte(`{"a":`), []byte(`1}`)}}
			first := client.Do(t.Context(), request)
			require.Equal(t, http.StatusNoContent, first.Status, first.Detail)
			require.Equal(t, name, first.Header.Get("X-Proto"))
			require.False(t, first.Reused)
			require.Positive(t, first.Timing.Connect)
			require.Positive(t, first.Timing.TLS)
			require.GreaterOrEqual(t, first.Timing.Total, first.Timing.FirstByte)
			require.Contains(t, first.RemoteAddr, "127.0.0.1:")

			second := client.Do(t.Context(), request)
			require.Equal(t, http.StatusNoContent, second.Status, second.Detail)
			require.True(t, second.Reused)
			require.Zero(t, second.Timing.TLS)
			require.Equal(t, first.RemoteAddr, second.RemoteAddr)
		})
	}
}
