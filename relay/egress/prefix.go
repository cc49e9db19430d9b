package egress

import "net/netip"

// special is one block that a customer's endpoint cannot live in.
type special struct {
	prefix   netip.Prefix
	name     string // as the registry calls it
	registry string
	// private blocks are what a developer's own machine and network use;
	// Policy.Insecure opens these and no other.
	private bool
}

const (
	iana4     = "IANA IPv4 Special-Purpose Address Registry"
	iana6     = "IANA IPv6 Special-Purpose Address Registry"
	multicast = "IANA Multicast Address Space Registry"
	ianaSpace = "IANA IPv6 Address Space"
	platform  = "cloud platform"
	// The blocks below come from no registry.
	configured = "denied by configuration"
	ourselves  = "this host"
)

// specials lists the blocks that are not global unicast, as the registries stood at the end of 2025. Of two that
// overlap, the first decides. netip's IsGlobalUnicast is the wrong tool: it is true for 100.64.0.1, 240.0.0.1,
// 64:ff9b:: and 2002::. Every form that carries an IPv4 address inside an IPv6 one is listed, whatever it carries,
// because no endpoint needs one; so are blocks that the registries call globally reachable, since what answers there is
// a piece of infrastructure and never a customer.
func specials() []special {
	p := netip.MustParsePrefix
	return []special{
		// Where clouds answer with credentials; those in 169.254.0.0/16 and 192.0.0.0/24 go with their blocks.
		{p("100.100.100.200/32"), "Alibaba Cloud metadata", platform, false},
		{p("168.63.129.16/32"), "Azure host", platform, false},
		{p("fd00:42::42/128"), "Scaleway metadata", platform, false},
		{p("fd00:ec2::/32"), "AWS metadata and its neighbours", platform, false},
		{p("fd20:ce::254/128"), "Google Cloud metadata", platform, false},

		{p("0.0.0.0/8"), "this network", iana4, false},
		{p("10.0.0.0/8"), "private use", iana4, true},
		{p("100.64.0.0/10"), "shared address space", iana4, true},
		{p("127.0.0.0/8"), "loopback", iana4, true},
		{p("169.254.0.0/16"), "link local", iana4, false},
		{p("172.16.0.0/12"), "private use", iana4, true},
		{p("192.0.0.0/24"), "IETF protocol assignments", iana4, false},
		{p("192.0.2.0/24"), "documentation", iana4, false},
		{p("192.31.196.0/24"), "AS112", iana4, false},
		{p("192.52.193.0/24"), "automatic multicast tunnelling", iana4, false},
		{p("192.88.99.0/24"), "6to4 relay anycast", iana4, false},
		{p("192.168.0.0/16"), "private use", iana4, true},
		{p("192.175.48.0/24"), "AS112", iana4, false},
		{p("198.18.0.0/15"), "benchmarking", iana4, false},
		{p("198.51.100.0/24"), "documentation", iana4, false},
		{p("203.0.113.0/24"), "documentation", iana4, false},
		{p("224.0.0.0/4"), "multicast", multicast, false},
		{p("240.0.0.0/4"), "reserved and broadcast", iana4, false},

		{p("::1/128"), "loopback", iana6, true},
		{p("::/96"), "unspecified and IPv4-compatible", iana6, false},
		{p("::ffff:0:0/96"), "IPv4-mapped", iana6, false},
		{p("64:ff9b::/96"), "IPv4-IPv6 translation", iana6, false},
		{p("64:ff9b:1::/48"), "IPv4-IPv6 translation", iana6, false},
		{p("100::/64"), "discard only", iana6, false},
		{p("100:0:0:1::/64"), "dummy", iana6, false},
		{p("2001::/23"), "IETF protocol assignments, Teredo, ORCHID", iana6, false},
		{p("2001:db8::/32"), "documentation", iana6, false},
		{p("2002::/16"), "6to4", iana6, false},
		{p("2620:4f:8000::/48"), "AS112", iana6, false},
		{p("3fff::/20"), "documentation", iana6, false},
		{p("5f00::/16"), "segment routing", iana6, false},
		{p("fc00::/7"), "unique local", iana6, true},
		{p("fe80::/10"), "link local", iana6, false},
		{p("fec0::/10"), "site local", iana6, false},
		{p("ff00::/8"), "multicast", multicast, false},
	}
}

// guard decides about addresses by what the tables and the policy say. It is immutable, and safe for concurrent use.
type guard struct {
	blocks   []special
	unicast6 netip.Prefix
	deny     []netip.Prefix
	insecure bool
}

func newGuard(p Policy) *guard {
	return &guard{
		blocks:   specials(),
		unicast6: netip.MustParsePrefix("2000::/3"),
		deny:     p.Deny,
		insecure: p.Insecure,
	}
}

// check returns nil for an address that may be dialled, else a BlockedError.
func (g *guard) check(a netip.Addr) error {
	if !a.IsValid() || a.Zone() != "" {
		return &BlockedError{Addr: a, Block: "zone", Registry: ianaSpace}
	}
	for _, d := range g.deny {
		if d.Contains(a.Unmap()) {
			return &BlockedError{Addr: a, Block: d.String(), Registry: configured}
		}
	}
	for _, s := range g.blocks {
		if !s.prefix.Contains(a) {
			continue
		}
		if s.private && g.insecure {
			return nil
		}
		return &BlockedError{Addr: a, Block: s.name, Registry: s.registry}
	}
	if a.Is6() && !g.unicast6.Contains(a) {
		return &BlockedError{Addr: a, Block: "not global unicast", Registry: ianaSpace}
	}
	if isISATAP(a) {
		return &BlockedError{Addr: a, Block: "ISATAP", Registry: "RFC 5214"}
	}
	return nil
}

// isISATAP finds the transition form that has no prefix of its own: an IPv4
// address behind 0000:5efe or 0200:5efe in the interface identifier.
func isISATAP(a netip.Addr) bool {
	b := a.As16()
	return a.Is6() && b[8]&^0x02 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe
}

// BlockedError refuses an address. Error and Unwrap tell nothing of the address,
// because text that reaches the customer must not turn the relay into a
// resolver for our own network; the fields are for the operator's log.
type BlockedError struct {
	Addr     netip.Addr
	Block    string // the block's name in its registry
	Registry string
}

// Error returns text that is safe to show to a customer.
func (*BlockedError) Error() string { return "destination not allowed" }

// Operator names the address and the rule that refused it, for logs only.
func (e *BlockedError) Operator() string {
	rule := e.Block + " (" + e.Registry + ")"
	if !e.Addr.IsValid() {
		return rule
	}
	return e.Addr.String() + " is " + rule
}
