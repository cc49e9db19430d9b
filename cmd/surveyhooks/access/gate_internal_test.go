package access

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

func TestATokenDoesNotPrint(t *testing.T) {
	t.Parallel()

	token := newToken(keyToken)
	require.Regexp(t, `^whk_[A-Za-z0-9_-]{49}$`, token.Reveal())
	require.NotEqual(t, token.Reveal(), newToken(keyToken).Reveal())
	inside := struct{ Token, hidden any }{token, struct{ token Token }{token}}
	encoded, err := json.Marshal(inside)
	require.NoError(t, err)
	var logged strings.Builder
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "token", token, "inside", inside)
	printed := string(encoded) + logged.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		printed += fmt.Sprintf(verb, token) + fmt.Sprintf(verb, inside) + fmt.Sprintf(verb, &inside)
	}
	require.Contains(t, printed, "whk_***")
	require.NotContains(t, printed, token.Reveal()[4:12])
	require.NotContains(t, printed, fmt.Sprintf("%x", token.Reveal()[4:12]))
}

// Every single changed, lost or added character is found without a look at the database.
func TestAMistypedTokenIsFound(t *testing.T) {
	t.Parallel()

	text := newToken(linkToken).Reveal()
	_, err := parseToken(linkToken, text)
	require.NoError(t, err)
	for i := range text {
		for _, typo := range []string{text[:i] + string(text[i]^1) + text[i+1:], text[:i] + text[i+1:], text[:i] + "x" + text[i:]} {
			_, err := parseToken(linkToken, typo)
			require.ErrorIs(t, err, errMalformed, typo)
		}
	}
	_, err = parseToken(keyToken, text)
	require.ErrorIs(t, err, errMalformed, "a link is no key")
}

func TestAnAddressHasSoManyFailures(t *testing.T) {
	t.Parallel()

	synctest.Test(t, func(t *testing.T) {
		l := newLimiter()
		ip, other := netip.MustParseAddr("203.0.113.9"), netip.MustParseAddr("203.0.113.10")
		for range failureBurst {
			require.True(t, l.admits(ip))
			require.True(t, l.failed(ip))
		}
		require.False(t, l.failed(ip))
		require.True(t, l.failed(other), "others are not charged")

		for range spareLookups {
			require.True(t, l.admits(ip), "a good token is not locked out by its neighbours")
		}
		require.False(t, l.admits(ip), "and the database is spared")
		require.True(t, l.admits(other))

		time.Sleep(failureEvery)
		require.True(t, l.failed(ip), "one comes back")
		require.False(t, l.failed(ip))

		six := netip.MustParseAddr("2001:db8::1")
		for range failureBurst {
			l.failed(six)
		}
		require.False(t, l.failed(netip.MustParseAddr("2001:db8::ffff:2")), "one customer has 64 bits")
		require.True(t, l.failed(netip.MustParseAddr("2001:db8:0:1::1")))
	})
}

func TestTheLimiterForgetsTheOldestAddresses(t *testing.T) {
	t.Parallel()

	l := newLimiter()
	first := netip.MustParseAddr("10.0.0.0")
	ip := first
	for range 10 * maxAddresses {
		l.failed(ip)
		l.failed(first) // who goes on failing is not forgotten
		require.LessOrEqual(t, len(l.young)+len(l.aged), 2*maxAddresses)
		ip = ip.Next()
	}
	require.False(t, l.failed(first))
}

func TestForwardedForIsBelievedOfTrustedProxiesAlone(t *testing.T) {
	t.Parallel()

	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for name, tt := range map[string]struct {
		peer      string
		forwarded []string
		trusted   []netip.Prefix
		want      string
	}{
		"NoProxy":       {"203.0.113.9:1", nil, trusted, "203.0.113.9"},
		"NoneTrusted":   {"10.0.0.1:1", []string{"198.51.100.1"}, nil, "10.0.0.1"},
		"Untrusted":     {"203.0.113.9:1", []string{"198.51.100.1"}, trusted, "203.0.113.9"},
		"One":           {"10.0.0.1:1", []string{"198.51.100.1"}, trusted, "198.51.100.1"},
		"Forged":        {"10.0.0.1:1", []string{"1.2.3.4, 198.51.100.1"}, trusted, "198.51.100.1"},
		"ForgedAsProxy": {"10.0.0.1:1", []string{"1.2.3.4, 198.51.100.1, 10.0.0.2"}, trusted, "198.51.100.1"},
		"TwoHeaders":    {"10.0.0.1:1", []string{"1.2.3.4", "198.51.100.1"}, trusted, "198.51.100.1"},
		"Nonsense":      {"10.0.0.1:1", []string{"198.51.100.1, nonsense"}, trusted, "10.0.0.1"},
		"Empty":         {"10.0.0.1:1", []string{""}, trusted, "10.0.0.1"},
		"Six":           {"[fd00::1%eth0]:1", []string{"2001:db8::7"}, trusted, "2001:db8::7"},
		"Mapped":        {"[::ffff:10.0.0.1]:1", []string{"::ffff:198.51.100.1"}, trusted, "198.51.100.1"},
		"AllProxies":    {"10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, trusted, "10.0.0.3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = tt.peer
			for _, value := range tt.forwarded {
				r.Header.Add("X-Forwarded-For", value)
			}
			var got Client
			Located(tt.trusted, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				got = ClientOf(r.Context())
			})).ServeHTTP(httptest.NewRecorder(), r)
			require.Equal(t, tt.want, got.IP.String())
		})
	}
}

// lasting is a gate that asks again every few milliseconds, before a stream that tells how it ended.
func lasting(t *testing.T) (*Store, *httptest.Server, chan error) {
	t.Helper()

	store, err := NewStore(Options{DB: schematest.New(t).DB})
	require.NoError(t, err)
	gate := NewGate(store, slog.New(slog.DiscardHandler))
	gate.recheck = 5 * time.Millisecond
	ended := make(chan error, 1)
	stream := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		ended <- r.Context().Err()
	})
	mux := http.NewServeMux()
	mux.Handle("/v1/", gate.RequireKey(stream))
	mux.Handle("/", gate.RequireSession(stream))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return store, server, ended
}

func open(t *testing.T, url, header, value string) io.Closer {
	t.Helper()

	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	r.Header.Set(header, value)
	w, err := http.DefaultTransport.RoundTrip(r)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, w.StatusCode)
	return w.Body
}

func TestAStreamEndsWithItsKeyOrSession(t *testing.T) {
	t.Parallel()

	us := Caller{Role: Operator, Actor: "cli"}
	t.Run("Key", func(t *testing.T) {
		t.Parallel()

		store, server, ended := lasting(t)
		key, token, err := store.CreateKey(t.Context(), us, NewKey{Name: "x"})
		require.NoError(t, err)
		body := open(t, server.URL+"/v1/x", "Authorization", "Bearer "+token.Reveal())
		require.Empty(t, ended)
		require.NoError(t, store.RevokeKey(t.Context(), us, key.ID))
		require.Error(t, <-ended)
		require.NoError(t, body.Close())
	})
	t.Run("Session", func(t *testing.T) {
		t.Parallel()

		store, server, ended := lasting(t)
		_, link, err := store.MintLink(t.Context(), us, NewLink{CompanyID: uuid.New(), Role: Viewer, Person: "ada"})
		require.NoError(t, err)
		token, _, _, err := store.signIn(t.Context(), link, Token{})
		require.NoError(t, err)
		body := open(t, server.URL+"/x", "Cookie", cookieName+"="+token.Reveal())
		require.Empty(t, ended)
		require.NoError(t, store.signOut(t.Context(), token))
		require.Error(t, <-ended)
		require.NoError(t, body.Close())
	})
}
