package egress

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestBadURLIsRefusedWithItsCode has a subtest for each kind of bad URL. What a name resolves to is no matter of ParseURL:
// see rebind_test.go.
func TestBadURLIsRefusedWithItsCode(t *testing.T) {
	t.Parallel()
	const https, invalid, host, numeric = "https_required", "invalid_url", "host_forbidden", "numeric_host"
	policy := Policy{
		Hosts: []string{"own.example"}, Deny: []netip.Prefix{netip.MustParsePrefix("8.8.4.0/24")},
		Listeners: []netip.AddrPort{netip.MustParseAddrPort("8.8.8.8:8443")},
	}
	cases := []struct {
		name, code string
		urls       []string
	}{
		{"B1_PlainHTTP", https, []string{"http://example.com/", "HTTP://example.com", "http://example.com:443/"}},
		{"B2_OtherSchemes", https, []string{
			"ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "javascript:alert(1)", "data:text/html,x",
			"ws://example.com/", "mailto:a@example.com", "httpss://example.com/",
		}},
		{"B2_NoSchemeOrHost", invalid, []string{
			"", "/hooks", "hooks", "example.com/hooks", "//example.com/", "https:example.com", "https:///p", "https://", "https:", "https://:443/",
			"https://?a", "://example.com/",
		}},
		{"B3_Userinfo", "userinfo_forbidden", []string{
			"https://user:pw@h.com/", "https://good.com@127.0.0.1/", "https://@h.com/", "https://user@h.com/", "https://:@h.com/",
			"https://good.com%40evil.com@h.com/",
		}},
		{"B4_Fragment", "fragment_forbidden", []string{"https://127.0.0.1#@good.com/", "https://a.com/#", "https://a.com/#x", "https://#@a.com/"}},
		{"B5_BackslashBlankControl", invalid, []string{
			`https://good.com\@127.0.0.1/`, `https:\\a.com/`, `https://a.com\b`, "https://a b.com/", "https://a.com/a b", " https://a.com/",
			"https://a.com/ ", "https://a.com/\r\n", "https://a.com/\r\nHost: b", "https://a.com\n/", "https://a.com/\x00", "https://a.com\t/",
			"https://a.com/\x7f", "https://a%00.com/", "https://%31%32%37.0.0.1/", "https://b%C3%BC.example/", "https://a.com/\xff",
		}},
		{"B6_LocalNames", host, []string{
			"https://localhost/", "https://LOCALHOST./", "https://a.localhost/", "https://a.b.localhost./", "https://metadata.google.internal/",
			"https://METADATA.google.INTERNAL./", "https://internal/", "https://printer.local/", "https://intranet/", "https://com./",
			"https://router.lan/", "https://nas.home.arpa/", "https://a.localdomain/", "https://a.onion/",
		}},
		{"B6_BadLabels", invalid, []string{
			"https://a..com/", "https://.a.com/", "https://a.com../", "https://./", "https://-a.com/", "https://a-.com/", "https://a,b.com/",
			"https://a_b$.com/", "https://" + strings.Repeat("a", 64) + ".com/", "https://" + strings.Repeat("a.", 127) + "com/",
		}},
		{"B7_SpecialIPv4", host, []string{
			"https://127.0.0.1/", "https://127.255.255.254/", "https://10.1.2.3/", "https://172.16.0.1/", "https://192.168.1.1/",
			"https://169.254.169.254/latest/meta-data", "https://0.0.0.0/", "https://100.64.0.1/", "https://100.100.100.200/",
			"https://192.0.0.192/", "https://192.0.2.1/", "https://198.18.0.1/", "https://198.51.100.1/", "https://203.0.113.1/",
			"https://192.88.99.1/", "https://224.0.0.1/", "https://240.0.0.1/", "https://255.255.255.255/", "https://168.63.129.16/",
			"https://127.0.0.1./", "https://8.8.4.4/",
		}},
		{"B8_SpecialIPv6", host, []string{
			"https://[::]/", "https://[::1]/", "https://[::ffff:8.8.8.8]/", "https://[::ffff:7f00:1]/", "https://[::127.0.0.1]/",
			"https://[64:ff9b::808:808]/", "https://[64:ff9b:1::1]/", "https://[100::1]/", "https://[2001::1]/", "https://[2001:db8::1]/",
			"https://[2002:7f00:1::]/", "https://[3fff::1]/", "https://[5f00::1]/", "https://[fc00::1]/", "https://[fd00:ec2::254]/",
			"https://[fe80::1]/", "https://[fec0::1]/", "https://[ff02::1]/", "https://[2606:4700::5efe:7f00:1]/",
		}},
		{"B11_NumericHosts", numeric, []string{
			"https://127.1/", "https://0x7f000001/", "https://0X7F000001/", "https://2130706433/", "https://0177.0.0.1/", "https://0/",
			"https://0x7f.0.0.1/", "https://017700000001/", "https://1.2.3.4.5/", "https://1.2.3.256/", "https://example.0x1/", "https://0x/",
			"https://127.0.0.0x1/", "https://127.1./", "https://00000000000000000000000000000000000000000000000000000000000000.1/",
		}},
		{"B13_InternationalNames", "idn_invalid", []string{
			"https://ex\u200bample.com/", "https://ex\u00adample.com/", "https://ex\u2060ample.com/", "https://\ufeffexample.com/",
			"https://１２７.0.0.1/", "https://ⓔxample.com/", "https://xn--a.com/", "https://xn--.com/", "https://a。com/", "https://xn--example-.com/",
			"https://ex\u202eample.com/", "https://①②⑦.0.0.1/",
		}},
		{"B14_Zones", invalid, []string{
			"https://[fe80::1%25lo]/", "https://[fe80::1%lo]/", "https://[2606:4700::1%25eth0]/", "https://[::1", "https://[1.2.3.4]:443/", "https://::1/",
			"https://[::1]a/", "https://[2606:4700::1111]:/x y",
		}},
		{"B15_Ports", "port_forbidden", []string{
			"https://a.com:0/", "https://a.com:99999/", "https://a.com:65536/", "https://a.com:22/", "https://a.com:25/", "https://a.com:6379/",
			"https://a.com:5432/", "https://a.com:80/", "https://a.com:99999999999999999999/", "https://8.8.8.8:22/",
		}},
		{"B15_NotAPort", invalid, []string{"https://a.com:+443/", "https://a.com:-1/", "https://a.com:4 43/", "https://a.com:99x/", "https://a.com:0x1bb/"}},
		{"B23_OurselvesByName", host, []string{"https://own.example/", "https://OWN.example./", "https://hooks.own.example/"}},
		{"B23_OurselvesByAddress", host, []string{"https://8.8.8.8:8443/"}},
		{"TooLong", "too_long", []string{"https://a.com/" + strings.Repeat("a", maxURL), "https://a.com/" + strings.Repeat("ü", maxURL/4)}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for _, raw := range tc.urls {
				_, err := policy.ParseURL(raw)
				var refused *URLError
				require.ErrorAs(t, err, &refused, raw)
				require.Equal(t, tc.code, refused.Code, raw)
				require.NotEmpty(t, refused.Message)
				require.NotContains(t, refused.Message, "127.0", "the refusal does not repeat an address")
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

func TestOurOwnListenersAreRefusedInDevelopmentToo(t *testing.T) {
	t.Parallel()
	policy := Policy{Insecure: true, Listeners: []netip.AddrPort{
		netip.MustParseAddrPort("127.0.0.1:9090"), netip.MustParseAddrPort("0.0.0.0:8080"), netip.MustParseAddrPort("[::]:8081"),
	}}
	for raw, refused := range map[string]bool{
		"http://127.0.0.1:9090/": true, "http://127.0.0.1:9091/": false, "http://127.0.0.2:9090/": false,
		"http://127.0.0.1:8080/": true, "http://127.9.9.9:8080/": true, "http://[::1]:8080/": true, "http://[::1]:8081/": true,
		"http://10.0.0.1:8080/": false,
	} {
		_, err := policy.ParseURL(raw)
		require.Equal(t, refused, err != nil, raw)
	}
}

func TestPolicyValidateNamesEveryFault(t *testing.T) {
	t.Parallel()
	require.NoError(t, Policy{
		Ports: []int{1, 65535}, Hosts: []string{"own.example", "xn--bcher-kva.example"},
		Deny: []netip.Prefix{netip.MustParsePrefix("8.8.8.8/32")}, Listeners: []netip.AddrPort{netip.MustParseAddrPort("[::]:1")},
	}.Validate())
	err := Policy{
		Ports: []int{0, 65536}, Hosts: []string{"", "OWN.example", "https://a.com", "bücher.example", ".a.com"},
		Deny:      []netip.Prefix{{}, netip.MustParsePrefix("::ffff:8.8.8.8/128")},
		Listeners: []netip.AddrPort{{}},
	}.Validate()
	for _, part := range []string{
		"port 0:", "port 65536:", `host "":`, `host "OWN.example":`, `host "https://a.com":`, `host "bücher.example":`, `host ".a.com":`,
		"address invalid Prefix:", "address ::ffff:8.8.8.8/128:", "a listener has no address",
	} {
		require.ErrorContains(t, err, part)
	}
}

// FuzzURLPolicy: what ParseURL lets pass is what everybody reads in it. The host is read a second time as the C library
// would, since another program on the way may.
func FuzzURLPolicy(f *testing.F) {
	for _, seed := range []string{
		"https://example.com/a?b", "https://bücher.example:8443", "https://good.com@127.0.0.1/", "https://[fe80::1%25lo]/",
		"https://127.1/", `https://a\b/`, "https://a.com/%zz?%", "https://xn--a/", "//h", "https:h", "https://a.com:443/ü",
		"https://0x7f.1/", "https://0177.0.0.1/", "https://[::ffff:127.0.0.1]/", "https://8.8.8.8./", "https://a.com/%2f..%2f?x=%0d%0a",
	} {
		f.Add(seed)
	}
	g := newGuard(Policy{})
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
		require.LessOrEqual(t, len(text), maxURL)
		require.Nil(t, u.User)
		require.Empty(t, u.Fragment)
		require.True(t, strings.HasPrefix(u.Path, "/"))
		require.NotContains(t, u.Host, "%")
		again, err := Policy{}.ParseURL(text)
		require.NoError(t, err, text)
		require.Equal(t, text, again.String(), "a canonical URL parses to itself")

		host := u.Hostname()
		if literal, err := netip.ParseAddr(host); err == nil {
			require.NoError(t, g.check(literal), "a literal that the guard refuses")
			return
		}
		_, isNumber := inetAton(host)
		require.False(t, isNumber, "the C library reads %s as an address", host)
		require.NoError(t, Policy{}.dials(host), "a name that the dialer refuses")
		require.Contains(t, host, ".")
	})
}

// inetAton reads an IPv4 address as inet_aton(3) does: one to four parts, each decimal, octal or hexadecimal, the last of
// which fills what is left.
func inetAton(s string) (netip.Addr, bool) {
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var sum uint64
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 0, 33)
		if err != nil || strings.ContainsAny(part, "_bo") {
			return netip.Addr{}, false
		}
		room := uint64(8)
		if i == len(parts)-1 {
			room = uint64(8 * (5 - len(parts)))
		}
		if n >= 1<<room {
			return netip.Addr{}, false
		}
		sum = sum<<room | n
	}
	return netip.AddrFrom4([4]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}), true
}

func TestInetAtonReadsWhatTheCLibraryReads(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"127.0.0.1", "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "0x7f.1", "017700000001", "127.0.1"} {
		got, ok := inetAton(text)
		require.True(t, ok, text)
		require.Equal(t, "127.0.0.1", got.String(), text)
	}
	for _, text := range []string{"a.com", "1.2.3.4.5", "1.2.3.256", "4294967296", "", "0b1", "1_0.0.0.1"} {
		_, ok := inetAton(text)
		require.False(t, ok, text)
	}
}
