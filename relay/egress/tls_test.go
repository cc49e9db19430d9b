package egress

import (
	"bufio"
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
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/relaytest"
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
func tlsServer(t *testing.T, cfg *tls.Config) *url.URL {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Proto", r.Proto)
		w.WriteHeader(http.StatusNoContent)
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.EnableHTTP2 = true // who offers both is spoken to in HTTP/1.1
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

func tlsClient(t *testing.T, pool *x509.CertPool, handshake time.Duration) *Client {
	t.Helper()
	client := NewClient(Config{
		Policy: Policy{Insecure: true}, Resolve: toLoopback, RootCAs: pool,
		HandshakeTimeout: handshake,
	})
	t.Cleanup(client.Close)
	return client
}

func TestF48_TLSIsNeverWeakened(t *testing.T) {
	t.Parallel()
	ca, stranger := newAuthority(t), newAuthority(t)
	year := time.Now().Add(24 * time.Hour)
	good := ca.issue(t, hookHost, year)
	only := func(c tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{c}} }
	old := func(version uint16) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{good}, MinVersion: tls.VersionTLS10, MaxVersion: version}
	}
	const noSafeVersion = "the endpoint offers no TLS version that is still safe: 1.2 or 1.3 is needed"
	cases := map[string]struct {
		cfg    *tls.Config
		detail string
	}{
		"Expired":       {only(ca.issue(t, hookHost, time.Now().Add(-3*time.Hour-time.Minute))), "the TLS certificate expired 3 hours ago"},
		"WrongName":     {only(ca.issue(t, "other.example.com", year)), "the TLS certificate is for other.example.com, not for " + hookHost},
		"UnknownIssuer": {only(stranger.issue(t, hookHost, year)), "the TLS certificate is signed by an unknown authority; the chain may lack an intermediate"},
		"SelfSigned":    {only(selfSigned(t, hookHost)), "the TLS certificate is self-signed"},
		"TLS10":         {old(tls.VersionTLS10), noSafeVersion},
		"TLS11":         {old(tls.VersionTLS11), noSafeVersion},
		"WantsOurCert":  {&tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert}, "the TLS handshake failed: certificate required"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := tlsClient(t, ca.pool, 0).Do(t.Context(), &Request{URL: tlsServer(t, tc.cfg)})
			require.Equal(t, FaultTLS.String(), got.Fault.String(), got.Detail)
			require.Equal(t, tc.detail, got.Detail)
			require.Zero(t, got.Status)
		})
	}
	for name, tc := range map[string]struct {
		handle func(*net.TCPConn)
		detail string
	}{
		"StalledHandshake": {relaytest.Hold, "the TLS handshake did not end within 300ms"},
		"DrippedHandshake": {relaytest.Drip("\x16\x03\x03\x40\x00", "\x00"), "the TLS handshake did not end within 300ms"},
		"PlainHTTP":        {relaytest.Write("HTTP/1.1 400 Bad Request\r\n\r\n"), "the endpoint does not speak TLS on this port"},
		"Garbage":          {relaytest.Write("SSH-2.0-OpenSSH_9.6\r\n"), "the endpoint does not speak TLS on this port"},
		"Closes":           {relaytest.Write(""), "the connection during the TLS handshake"},
		"Resets":           {resetAfterReading(""), "the endpoint reset the connection during the TLS handshake"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mute := relaytest.NewMute(t, tc.handle)
			handshake, bound := clockFor(tc.detail)
			got := tlsClient(t, nil, handshake).Do(t.Context(), &Request{URL: hookURL(t, mute.Addr)})
			require.Equal(t, FaultTLS.String(), got.Fault.String(), got.Detail)
			require.Contains(t, got.Detail, tc.detail)
			require.Less(t, got.Timing.Total, bound)
			require.Equal(t, 1, mute.Connections(), "no second try with less")
		})
	}
}

func selfSigned(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestConnectionIsReusedAndTimedOnce(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	u := tlsServer(t, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, hookHost, time.Now().Add(time.Hour))}})
	client := tlsClient(t, ca.pool, 0)
	request := &Request{URL: u, Body: []byte(`{"a":1}`)}
	first := client.Do(t.Context(), request)
	require.Equal(t, http.StatusNoContent, first.Status, first.Detail)
	require.Equal(t, "HTTP/1.1", first.Header.Get("X-Proto"))
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
}

// An endpoint that does not speak HTTP/1.1 says so before anything of the request has left. (Go's own servers take
// HTTP/1.1 for no preference where they offer h2.)
func TestF45_EndpointWithoutHTTP1IsAFaultOfTheHandshake(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{ca.issue(t, hookHost, time.Now().Add(time.Hour))}, NextProtos: []string{"h2-alone"},
	})
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() {
		c, err := listener.Accept()
		if err == nil {
			_, err = c.Read(make([]byte, 1)) // shakes hands
			_ = c.Close()
		}
		served <- err
	}()
	t.Cleanup(func() { _ = listener.Close() })
	got := tlsClient(t, ca.pool, 0).Do(t.Context(), &Request{URL: hookURL(t, listener.Addr())})
	require.Equal(t, FaultTLS.String(), got.Fault.String(), got.Detail)
	require.Equal(t, "the endpoint does not take HTTP/1.1 (by ALPN), which is needed", got.Detail)
	require.Error(t, <-served)
}

// What an endpoint sends behind its answer may have been read with it, and wait decrypted where a look at the socket does
// not see it. It is no answer to the next request, which may be another customer's.
func TestAnswerToNoRequestThatTLSHasReadIsNotTakenForOne(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	// A record each write, as other servers write them, and an answer that is read by the whole.
	cfg := &tls.Config{Certificates: []tls.Certificate{ca.issue(t, hookHost, time.Now().Add(time.Hour))}, DynamicRecordSizingDisabled: true}
	const size = 12 << 10
	answer := ok + "Content-Length: " + strconv.Itoa(size) + "\r\n\r\n" + strings.Repeat("a", size)
	for name, behind := range map[string]string{
		"AnAnswer":     "HTTP/1.1 299 Unasked\r\nContent-Length: 0\r\n\r\n",
		"AHalfAnswer":  "HTTP/1.1 299 Unas",
		"ALineAtLeast": "\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listener, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
			require.NoError(t, err)
			t.Cleanup(func() { _ = listener.Close() })
			go func() {
				for {
					c, err := listener.Accept()
					if err != nil {
						return
					}
					go func() {
						defer func() { _ = c.Close() }()
						if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
							_, _ = io.WriteString(c, answer+behind)
							_, _ = io.Copy(io.Discard, c)
						}
					}()
				}
			}()
			client := tlsClient(t, ca.pool, 0)
			for range 2 {
				got := client.Do(t.Context(), &Request{URL: hookURL(t, listener.Addr())})
				require.Equal(t, http.StatusOK, got.Status, got.Detail)
				require.Len(t, got.Body, size)
				require.False(t, got.Reused)
			}
		})
	}
}
