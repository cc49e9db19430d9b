package egress

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPolicyRefusesWithStableCodes(t *testing.T) {
	t.Parallel()
	cases := map[string][]string{
		"https_required": {
			"http://example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/",
			"javascript:alert(1)", "data:text/html,x", "HTTP://example.com",
		},
		"invalid_url": {
			"", "/hooks", "//example.com/", "https:example.com", "https:///p", "https://", "https://:443/",
			`https://good.com\@127.0.0.1/`, "https://a b.com/", "https://a.com/a b", " https://a.com/", "https://a.com/\r\n",
			"https://a.com/\x00", "https://a%00.com/", "https://a.com\n/", "https://%31%32%37.0.0.1/", "https://b%C3%BC.example/",
			"https://[fe80::1%25lo]/", "https://[::1", "https://[1.2.3.4]:443/", "https://a..com/", "https://.a.com/", "https://a.com../",
			"https://-a.com/", "https://" + strings.Repeat("a", 64) + ".com/", "https://a.com:+443/", "https://a.com:4 43/",
			"https://a,b.com/", "https://a.com:99x/", "https://a.com/\xff",
		},
		"userinfo_forbidden": {"https://user:pw@h.com/", "https://good.com@127.0.0.1/", "https://@h.com/", "https://user@h.com/"},
		"fragment_forbidden": {"https://127.0.0.1#@good.com/", "https://a.com/#", "https://a.com/#x"},
		"host_forbidden": {
			"https://localhost/", "https://LOCALHOST./", "https://a.localhost/", "https://metadata.google.internal/",
			"https://printer.local/", "https://intranet/", "https://router.lan/", "https://nas.home.arpa/",
			"https://127.0.0.1/", "https://10.1.2.3/", "https://169.254.169.254/latest", "https://[::1]/", "https://[::ffff:8.8.8.8]/",
			"https://[64:ff9b::808:808]/", "https://[fd00:ec2::254]/", "https://hooks.own.example/", "https://own.example./",
		},
		"numeric_host": {
			"https://127.1/", "https://0x7f000001/", "https://2130706433/", "https://0177.0.0.1/", "https://0/", "https://1.2.3.4.5/",
			"https://example.0x1/", "https://0x/", "https://1.2.3.256/",
		},
		"idn_invalid": {
			"https://ex\u200bample.com/", "https://ex\u00adample.com/", "https://１２７.0.0.1/", "https://xn--a.com/", "https://a。com/",
		},
		"port_forbidden": {
			"https://a.com:0/", "https://a.com:99999/", "https://a.com:22/", "https://a.com:25/", "https://a.com:6379/",
			"https://a.com:5432/", "https://a.com:80/", "https://a.com:99999999999999999999/",
		},
		"too_long": {"https://a.com/" + strings.Repeat("a", maxURL)},
	}
	policy := Policy{Hosts: []string{"own.example"}}
	for code, urls := range cases {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			for _, raw := range urls {
				_, err := policy.ParseURL(raw)
				var refused *URLError
				require.ErrorAs(t, err, &refused, raw)
				require.Equal(t, code, refused.Code, raw)
				require.NotEmpty(t, refused.Message)
			}
		})
	}
}

func TestPolicyStoresTheCanonicalForm(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"https://Example.COM":                 "https://example.com/",
		"HTTPS://example.com:443/a?b=c":       "https://example.com/a?b=c",
		"https://example.com.:8443/a/../b":    "https://example.com:8443/a/../b",
		"https://example.com:0443/":           "https://example.com/",
		"https://example.com:":                "https://example.com/",
		"https://example.com/?":               "https://example.com/",
		"https://bücher.example/ü?ü":          "https://xn--bcher-kva.example/%C3%BC?%C3%BC",
		"https://BÜCHER.example/":             "https://xn--bcher-kva.example/",
		"https://xn--bcher-kva.example/":      "https://xn--bcher-kva.example/",
		"https://8.8.8.8/":                    "https://8.8.8.8/",
		"https://[2606:4700:0:0::1111]:8443/": "https://[2606:4700::1111]:8443/",
		"https://a_b.example.com/%2F?token=%": "https://a_b.example.com/%2F?token=%",
		"https://r3---sn.example.com/":        "https://r3---sn.example.com/",
		"https://localhost.example.com/":      "https://localhost.example.com/",
	} {
		u, err := Policy{}.ParseURL(raw)
		require.NoError(t, err, raw)
		require.Equal(t, want, u.String())
	}
}

func TestPolicyInsecureLiftsNoMoreThanItSays(t *testing.T) {
	t.Parallel()
	policy := Policy{Insecure: true, Hosts: []string{"own.example"}}
	for _, raw := range []string{"http://localhost:3000/", "http://127.0.0.1:9/", "http://app/", "https://[::1]:1/", "http://10.0.0.1/"} {
		_, err := policy.ParseURL(raw)
		require.NoError(t, err, raw)
	}
	for raw, code := range map[string]string{
		"http://u@localhost/":             "userinfo_forbidden",
		"http://localhost/#":              "fragment_forbidden",
		"http://169.254.169.254/":         "host_forbidden",
		"http://metadata.google.internal": "host_forbidden",
		"http://own.example/":             "host_forbidden",
		"http://2130706433/":              "numeric_host",
		"ftp://localhost/":                "https_required",
		"http://localhost:0/":             "port_forbidden",
	} {
		_, err := policy.ParseURL(raw)
		var refused *URLError
		require.ErrorAs(t, err, &refused, raw)
		require.Equal(t, code, refused.Code, raw)
	}
}

func FuzzPolicyParseURL(f *testing.F) {
	for _, seed := range []string{
		"https://example.com/a?b", "https://bücher.example:8443", "https://good.com@127.0.0.1/", "https://[fe80::1%25lo]/",
		"https://127.1/", `https://a\b/`, "https://a.com/%zz?%", "https://xn--a/", "//h", "https:h", "https://a.com:443/ü",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := Policy{}.ParseURL(raw)
		if err != nil {
			var refused *URLError
			require.ErrorAs(t, err, &refused)
			return
		}
		text := u.String()
		require.Equal(t, "https", u.Scheme)
		require.True(t, isASCII(text), text)
		require.Nil(t, u.User)
		require.True(t, strings.HasPrefix(u.Path, "/"))
		require.NotContains(t, u.Host, "%")
		again, err := Policy{}.ParseURL(text)
		require.NoError(t, err, text)
		require.Equal(t, text, again.String(), "a canonical URL parses to itself")
	})
}
