package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// maxURL bounds a stored URL in bytes, in its raw and in its canonical form.
const maxURL = 2048

// Policy says which URLs an endpoint may have. The zero value is the
// production policy. It is a value: safe to copy and to share.
type Policy struct {
	// Insecure is the development switch: it allows plain HTTP, any port,
	// loopback and private addresses with their names, and the addresses of this
	// host. It lifts nothing else.
	Insecure bool
	// Ports allowed; empty means 443 and 8443.
	Ports []int
	// Hosts that are refused with their subdomains, such as the names of our own
	// API and dashboard, so that an endpoint cannot feed back into us.
	Hosts []string
	// Deny lists further addresses that are never dialled, such as those of the
	// load balancer before us or of a NAT64 with a prefix of its own. Insecure
	// does not lift it.
	Deny []netip.Prefix
	// Listeners are where this process itself listens; an unspecified address
	// stands for every address of this host. Insecure does not lift it: an
	// endpoint that is our own API would feed on what it is told.
	Listeners []netip.AddrPort
}

// Validate reports every value that cannot be meant, joined.
func (p Policy) Validate() error {
	var errs []error
	for _, n := range p.Ports {
		if n < 1 || n > 65535 {
			errs = append(errs, fmt.Errorf("egress: port %d: want 1 to 65535", n))
		}
	}
	for _, h := range p.Hosts {
		if name, err := asciiHost(h); err != nil || name != h {
			errs = append(errs, fmt.Errorf("egress: host %q: want a name in lower case such as hooks.example.com, xn-- where it is international", h))
		}
	}
	for _, d := range p.Deny {
		if !d.IsValid() || d.Addr().Is4In6() {
			errs = append(errs, fmt.Errorf("egress: address %s: want a block such as 203.0.113.0/24 or 2001:db8::/32", d))
		}
	}
	for _, l := range p.Listeners {
		if !l.IsValid() {
			errs = append(errs, errors.New("egress: a listener has no address"))
		}
	}
	return errors.Join(errs...)
}

// URLError refuses a URL that a customer wrote.
type URLError struct {
	// Code is stable: invalid_url, too_long, https_required, userinfo_forbidden,
	// fragment_forbidden, host_forbidden, numeric_host, idn_invalid or
	// port_forbidden.
	Code string
	// Message says what is wrong and what would be right, without the URL.
	Message string
}

// Error returns the message, which is safe to show to the customer.
func (e *URLError) Error() string { return e.Message }

// ParseURL checks raw and returns it in canonical form: scheme and host in
// lower case, the host in punycode without a trailing dot, no default port,
// a path. A canonical URL parses to itself. Every error is a *URLError.
//
// It is a courtesy at the time of writing; what protects us is the check of the
// resolved address when the Client dials.
func (p Policy) ParseURL(raw string) (*url.URL, error) {
	if len(raw) > maxURL {
		return nil, tooLong()
	}
	u, err := split(raw)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !p.Insecure) {
		return nil, &URLError{"https_required", "the URL must start with https://"}
	}
	if u.User != nil {
		return nil, &URLError{"userinfo_forbidden", "the URL must not hold a user name or password; use a header instead"}
	}
	host, err := p.host(u.Hostname())
	if err != nil {
		return nil, err
	}
	port, n, err := p.port(u)
	if err != nil {
		return nil, err
	}
	if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil && p.listensAt(netip.AddrPortFrom(addr, n), nil) {
		return nil, forbidden()
	}
	canonical := &url.URL{
		Scheme:   u.Scheme,
		Host:     host + port,
		Path:     u.Path,
		RawPath:  u.RawPath,
		RawQuery: escapeQuery(u.RawQuery),
	}
	if canonical.Path == "" {
		canonical.Path = "/"
	}
	// One more parse makes Path and RawPath those of the text we store.
	text := canonical.String()
	if len(text) > maxURL {
		return nil, tooLong()
	}
	canonical, err = url.Parse(text)
	if err != nil {
		return nil, invalid("the URL cannot be read")
	}
	return canonical, nil
}

// split parses raw more strictly than net/url does: other programs read a
// backslash, a blank or an escape in the host differently from Go, and a check
// that reads another host than the connection is no check.
func split(raw string) (*url.URL, error) {
	if !utf8.ValidString(raw) {
		return nil, invalid("the URL must be valid UTF-8")
	}
	for _, r := range raw {
		if r <= ' ' || r == 0x7f || r == '\\' {
			return nil, invalid("the URL must not hold blanks, control characters or backslashes")
		}
	}
	if strings.Contains(raw, "#") {
		return nil, &URLError{"fragment_forbidden", "the URL must not hold a # part; it would never be sent"}
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, invalid("the URL cannot be read; it should look like https://example.com/hooks")
	}
	if u.Scheme == "" {
		return nil, invalid("the URL must start with https://")
	}
	if u.Opaque != "" || u.Hostname() == "" {
		if u.Scheme != "https" && u.Scheme != "http" {
			return nil, &URLError{"https_required", "the URL must start with https://"}
		}
		return nil, invalid("the URL must name a host, as in https://example.com/hooks")
	}
	_, rest, _ := strings.Cut(raw, "//")
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		rest = rest[:i]
	}
	if at := strings.LastIndexByte(rest, '@'); strings.Contains(rest[at+1:], "%") {
		return nil, invalid("the host must not hold a % sign")
	}
	return u, nil
}

// host returns the canonical host as it stands in a URL.
func (p Policy) host(raw string) (string, error) {
	if strings.Contains(raw, ":") {
		addr, err := netip.ParseAddr(raw)
		if err != nil || addr.Zone() != "" {
			return "", invalid("the IPv6 address cannot be read")
		}
		return "[" + addr.String() + "]", p.literal(addr)
	}
	name, err := asciiHost(strings.TrimSuffix(strings.ToLower(raw), "."))
	if err != nil {
		return "", err
	}
	if looksNumeric(name) {
		addr, err := netip.ParseAddr(name)
		if err != nil {
			return "", &URLError{"numeric_host", "the host must be a name, not a number"}
		}
		return name, p.literal(addr)
	}
	return name, p.name(name)
}

func (p Policy) literal(addr netip.Addr) error {
	if newGuard(p).check(addr) != nil {
		return forbidden()
	}
	return nil
}

// name refuses names that by their form belong to a private network.
func (p Policy) name(name string) error {
	for _, own := range p.Hosts {
		if isOrUnder(name, strings.ToLower(own)) {
			return forbidden()
		}
	}
	if isOrUnder(name, "internal") { // cloud metadata lives here
		return forbidden()
	}
	if p.Insecure {
		return nil
	}
	if !strings.Contains(name, ".") {
		return forbidden()
	}
	for _, zone := range []string{"localhost", "local", "localdomain", "lan", "home.arpa", "onion"} {
		if isOrUnder(name, zone) {
			return forbidden()
		}
	}
	return nil
}

// dials refuses a host whose URL ParseURL would refuse today: an endpoint can be older than the policy. Addresses are the
// guard's.
func (p Policy) dials(host string) error {
	if looksNumeric(host) || p.name(host) != nil {
		return &BlockedError{Block: "host " + strconv.Quote(host), Registry: "name policy"}
	}
	return nil
}

// port returns ":n", or nothing for the scheme's own port, and n.
func (p Policy) port(u *url.URL) (string, uint16, error) {
	normal := 443
	if u.Scheme == "http" {
		normal = 80
	}
	n := normal
	if s := u.Port(); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil || n < 1 || n > 65535 {
			return "", 0, &URLError{"port_forbidden", "the port must be a number from 1 to 65535"}
		}
	}
	if !p.allowsPort(n) {
		return "", 0, &URLError{"port_forbidden", fmt.Sprintf("port %d is not allowed; use one of %s", n, p.portList())}
	}
	if n == normal {
		return "", uint16(n), nil
	}
	return ":" + strconv.Itoa(n), uint16(n), nil
}

// listensAt tells whether this process itself would answer. isOwn tells this host's addresses; nil knows loopback only.
func (p Policy) listensAt(ap netip.AddrPort, isOwn func(netip.Addr) bool) bool {
	for _, l := range p.Listeners {
		at := l.Addr().Unmap()
		if l.Port() == ap.Port() && (at == ap.Addr().Unmap() ||
			at.IsUnspecified() && (ap.Addr().Unmap().IsLoopback() || isOwn != nil && isOwn(ap.Addr().Unmap()))) {
			return true
		}
	}
	return false
}

func (p Policy) ports() []int {
	if len(p.Ports) == 0 {
		return []int{443, 8443}
	}
	return p.Ports
}

func (p Policy) allowsPort(n int) bool { return p.Insecure || slices.Contains(p.ports(), n) }

func (p Policy) portList() string {
	words := make([]string, 0, 2)
	for _, n := range p.ports() {
		words = append(words, strconv.Itoa(n))
	}
	return strings.Join(words, ", ")
}

// asciiHost turns a lower-case name into the one that DNS sees. It refuses
// rather than maps: a name that a mapping changes (full-width digits, a
// zero-width blank) is not the name that its reader sees.
func asciiHost(name string) (string, error) {
	if name == "" || len(name) > 253 {
		return "", invalid("the host name is empty or too long")
	}
	ascii := name
	if !isASCII(name) || strings.HasPrefix(name, "xn--") || strings.Contains(name, ".xn--") {
		var err error
		ascii, err = idna.New(idna.ValidateForRegistration(), idna.BidiRule()).ToASCII(name)
		if err != nil || (isASCII(name) && ascii != name) {
			return "", &URLError{"idn_invalid", "the international host name is not valid; write it in its plain or xn-- form"}
		}
	}
	for label := range strings.SplitSeq(ascii, ".") {
		if !isLabel(label) {
			return "", invalid("the host name is not valid")
		}
	}
	return ascii, nil
}

func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// looksNumeric is the WHATWG rule: a host whose last label is a number is an
// IPv4 address to somebody (the C resolver reads 0x7f000001 as 127.0.0.1).
func looksNumeric(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(last, "0123456789") == ""
}

// escapeQuery escapes what net/url leaves raw in a query.
func escapeQuery(q string) string {
	if isASCII(q) {
		return q
	}
	var b strings.Builder
	for i := range len(q) {
		if q[i] < utf8.RuneSelf {
			b.WriteByte(q[i])
			continue
		}
		fmt.Fprintf(&b, "%%%02X", q[i])
	}
	return b.String()
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

func isOrUnder(name, zone string) bool {
	rest, ok := strings.CutSuffix(name, zone)
	return ok && zone != "" && (rest == "" || strings.HasSuffix(rest, "."))
}

func invalid(message string) error { return &URLError{"invalid_url", message} }

func forbidden() error {
	return &URLError{"host_forbidden", "destination not allowed; the host must be reachable from the internet"}
}

func tooLong() error {
	return &URLError{"too_long", fmt.Sprintf("the URL must be at most %d bytes long", maxURL)}
}
