package egress

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// ownRefresh is how long the list of this host's addresses is believed: they come and go with containers, leases and
// failovers.
const ownRefresh = 10 * time.Second

// errNoInterfaces is a fault of this machine: a sandbox without netlink, or no descriptors.
var errNoInterfaces = errors.New("egress: this host's addresses cannot be listed: a sandbox must allow AF_NETLINK")

// ownAddrs knows the addresses of this host's interfaces. A public one among them is as much a way in as a private one:
// what listens there trusts its neighbours. Safe for concurrent use.
type ownAddrs struct {
	list func() ([]net.Addr, error)

	mu    sync.Mutex
	known map[netip.Addr]bool
	until time.Time
}

// contains reads the interfaces again when the list is old. An old list serves while they cannot be read; without any
// list nothing can be said, and the caller must not dial.
func (o *ownAddrs) contains(a netip.Addr) (bool, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if now := time.Now(); now.After(o.until) {
		found, err := o.list()
		switch {
		case err == nil:
			o.known, o.until = addrSet(found), now.Add(ownRefresh)
		case o.known == nil:
			return false, errors.Join(errNoInterfaces, err)
		}
	}
	return o.known[a.Unmap()], nil
}

func addrSet(found []net.Addr) map[netip.Addr]bool {
	set := make(map[netip.Addr]bool, len(found))
	for _, f := range found {
		if p, err := netip.ParsePrefix(f.String()); err == nil {
			set[p.Addr().Unmap().WithZone("")] = true
		}
	}
	return set
}
