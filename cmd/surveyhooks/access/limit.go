package access

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	failureBurst = 20              // failures that an address has at once
	failureEvery = 3 * time.Second // and it gets one back in that time
	maxAddresses = 4096            // remembered in each of two generations

	// An address that has used its failures up may be a proxy before everybody. Its callers share so many look-ups a
	// second, so that those with a good token are let in, and the database is spared.
	spareLookups = 50
)

// limiter counts failures by address, in bounded memory. It charges nobody for a token that is good.
type limiter struct {
	mu          sync.Mutex
	young, aged map[netip.Prefix]*rate.Limiter
	spare       *rate.Limiter
}

func newLimiter() *limiter {
	return &limiter{young: map[netip.Prefix]*rate.Limiter{}, spare: rate.NewLimiter(spareLookups, spareLookups)}
}

// admits reports whether the address may have a token looked up.
func (l *limiter) admits(ip netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	bucket := l.find(neighbours(ip))
	return bucket == nil || bucket.Tokens() >= 1 || l.spare.Allow()
}

// failed charges the address and reports whether it had a failure left.
func (l *limiter) failed(ip netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := neighbours(ip)
	bucket := l.find(key)
	if bucket == nil {
		bucket = rate.NewLimiter(rate.Every(failureEvery), failureBurst)
	}
	l.keep(key, bucket)
	return bucket.Allow()
}

func (l *limiter) find(key netip.Prefix) *rate.Limiter {
	if bucket := l.young[key]; bucket != nil {
		return bucket
	}
	return l.aged[key]
}

// keep forgets the aged generation when the young one is full: those who failed last are in the young one.
func (l *limiter) keep(key netip.Prefix, bucket *rate.Limiter) {
	if _, ok := l.young[key]; !ok && len(l.young) >= maxAddresses {
		l.young, l.aged = map[netip.Prefix]*rate.Limiter{}, l.young
	}
	l.young[key] = bucket
}

// neighbours is what one customer of a network gets: an IPv4 address, or 64 bits of an IPv6 one.
func neighbours(ip netip.Addr) netip.Prefix {
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	prefix, _ := ip.Prefix(bits) // fails for the zero address alone, whose callers then share one bucket
	return prefix
}
