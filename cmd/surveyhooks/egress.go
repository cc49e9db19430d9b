package main

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/pflag"

	"github.com/chattosurvey/surveyhooks/relay/egress"
)

// egressFlags say where endpoints may be, beyond what is refused always. Whoever stores an endpoint and whoever sends
// to it want the same ones.
type egressFlags struct {
	ports []int
	hosts []string
	deny  []string
}

func (f *egressFlags) define(flags *pflag.FlagSet) {
	flags.IntSliceVar(&f.ports, "allowed-ports", []int{443, 8443}, "`ports` that endpoints may have")
	flags.StringSliceVar(&f.hosts, "own-hosts", nil, "`names` of our own API and dashboard: refused as endpoints, subdomains too")
	flags.StringSliceVar(&f.deny, "deny-addresses", nil, "further `addresses` or blocks that are never connected to, such as our load balancer's")
}

// policy reports every value that cannot be meant.
func (f *egressFlags) policy(insecure bool) (egress.Policy, error) {
	p := egress.Policy{Insecure: insecure, Ports: f.ports}
	var faults []string
	for _, host := range f.hosts {
		host = strings.ToLower(strings.TrimSuffix(strings.TrimSpace(host), "."))
		if block, err := prefixOf(host); err == nil {
			p.Deny = append(p.Deny, block) // a public URL can be an address
			continue
		}
		p.Hosts = append(p.Hosts, host)
	}
	for _, text := range f.deny {
		block, err := prefixOf(strings.TrimSpace(text))
		if err != nil {
			faults = append(faults, fmt.Sprintf("--deny-addresses: %q: want an address or a block such as 203.0.113.7 or 2001:db8::/32", text))
			continue
		}
		p.Deny = append(p.Deny, block)
	}
	if err := p.Validate(); err != nil {
		faults = append(faults, strings.NewReplacer("egress: ", "", "\n", "; ").Replace(err.Error()))
	}
	if len(faults) > 0 {
		return p, usage("%s", strings.Join(faults, "; "))
	}
	return p, nil
}

func prefixOf(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		return addr.Unmap().Prefix(addr.Unmap().BitLen())
	}
	block, err := netip.ParsePrefix(text)
	return block.Masked(), err
}
