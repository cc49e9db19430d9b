package access

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"unicode/utf8"
)

// maxUserAgent bounds what the trail keeps of a text that anybody may make as long as a header can be.
const maxUserAgent = 200

// Client is where a request comes from, for the trail and the limits.
type Client struct {
	IP        netip.Addr // invalid for the command line
	UserAgent string     // truncated
}

type clientKey struct{}

// ClientOf returns where the request of ctx comes from; the zero Client when there is no request.
func ClientOf(ctx context.Context) Client {
	c, _ := ctx.Value(clientKey{}).(Client)
	return c
}

// Located puts the Client into the context of each request. X-Forwarded-For is read only when the connection comes from
// one of the trusted proxies: anybody can write it.
func Located(trusted []netip.Prefix, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := Client{IP: clientIP(r, trusted), UserAgent: printable(r.UserAgent())}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), clientKey{}, c)))
	})
}

// clientIP goes from our side towards the client as long as each hop is a proxy that we trust: what stands further left
// was written by somebody whom we do not.
func clientIP(r *http.Request, trusted []netip.Prefix) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	ip := peer.Addr().Unmap().WithZone("")
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && within(ip, trusted); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		ip = hop.Unmap().WithZone("")
	}
	return ip
}

func within(ip netip.Addr, prefixes []netip.Prefix) bool {
	for _, p := range prefixes {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// printable keeps a header from steering a terminal, or from being refused by PostgreSQL.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == utf8.RuneError {
			return '?'
		}
		return r
	}, text)
	if len(text) <= maxUserAgent {
		return text
	}
	cut := maxUserAgent
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut]
}
