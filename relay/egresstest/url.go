// Package egresstest has URLs that no endpoint may have, for the tests of every door that a URL can come through.
//
// It promises that each is refused under [Policy]; which others are is a matter of package egress. It is never part of
// the product.
package egresstest

import (
	"net/netip"

	"github.com/chattosurvey/surveyhooks/relay/egress"
)

// BadURL is a URL that no endpoint may have, and how each door must refuse it.
type BadURL struct {
	Name  string // of the subtest: the row of bad input (see laws_test.go), and what is special
	URL   string
	Code  string // of the field url
	Words string // that the refusal says, wherever it is read
}

// BadURLs has one URL of each kind. Package egress tries many more of each.
func BadURLs() []BadURL {
	const https, invalid, host = "https_required", "invalid_url", "host_forbidden"
	const notAllowed, noBlanks = "destination not allowed", "must not hold blanks, control characters or backslashes"
	return []BadURL{
		{"B1_PlainHTTP", "http://example.com/", https, "must start with https://"},
		{"B2_Scheme", "javascript:alert(1)", https, "must start with https://"},
		{"B2_NoHost", "https:///p", invalid, "must name a host"},
		{"B3_Userinfo", "https://good.com@127.0.0.1/", "userinfo_forbidden", "must not hold a user name"},
		{"B4_Fragment", "https://127.0.0.1#@good.com/", "fragment_forbidden", "must not hold a # part"},
		{"B5_Backslash", `https://good.com\@127.0.0.1/`, invalid, noBlanks},
		{"B5_LineBreak", "https://good.com/\r\nHost: b", invalid, noBlanks},
		{"B6_LocalName", "https://metadata.google.internal./", host, notAllowed},
		{"B7_IPv4", "https://169.254.169.254/", host, notAllowed},
		{"B8_IPv6", "https://[::ffff:127.0.0.1]/", host, notAllowed},
		{"B11_Number", "https://2130706433/", "numeric_host", "must be a name, not a number"},
		{"B13_HiddenSpace", "https://ex\u200bample.com/", "idn_invalid", "international host name is not valid"},
		{"B14_Zone", "https://[fe80::1%25lo]/", invalid, "must not hold a % sign"},
		{"B15_Port", "https://example.com:6379/", "port_forbidden", "port 6379 is not allowed; use one of 443, 8443"},
		{"B23_OurName", "https://api.own.example/", host, notAllowed},
		{"B23_OurAddress", "https://8.8.8.8/", host, notAllowed},
	}
}

// Policy is what serve has without switches, on a host that is known as own.example and 8.8.8.8.
func Policy() egress.Policy {
	return egress.Policy{Hosts: []string{"own.example"}, Deny: []netip.Prefix{netip.MustParsePrefix("8.8.8.8/32")}}
}
