package egress

import (
	"container/list"
	"slices"
	"sync"
	"time"
)

// hostKey is what a connection leads to: requests with the same one may share it.
type hostKey struct{ scheme, host string }

// pool keeps idle connections: of each host the latest is used first, and those that nobody used for a while are closed.
// Safe for concurrent use.
type pool struct {
	all, perHost int
	ttl          time.Duration

	mu     sync.Mutex
	hosts  map[hostKey][]*conn // oldest first
	order  list.List           // all of them, oldest first
	expiry *time.Timer         // runs while there is one
	closed bool
}

func newPool(cfg Config) *pool {
	return &pool{all: cfg.Idle, perHost: cfg.IdlePerHost, ttl: cfg.IdleTimeout, hosts: make(map[hostKey][]*conn)}
}

// get returns an idle connection of host, the caller's now, or nil.
func (p *pool) get(host hostKey) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.hosts[host]
	if len(list) == 0 {
		return nil
	}
	k := list[len(list)-1]
	p.forget(k)
	return k
}

// put takes a connection over, or closes it if its host has enough. Where there are too many in all, the oldest goes.
func (p *pool) put(k *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.hosts[k.host]) >= p.perHost {
		_ = k.Close()
		return
	}
	for p.order.Len() > 0 && p.order.Len() >= p.all {
		p.drop(p.oldest())
	}
	k.idleSince = time.Now()
	k.place = p.order.PushBack(k)
	p.hosts[k.host] = append(p.hosts[k.host], k)
	if p.expiry == nil {
		p.expiry = time.AfterFunc(p.ttl, p.expire)
	}
}

// expire closes what is idle for too long, and comes back when the next one is.
func (p *pool) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expiry = nil
	for k := p.oldest(); k != nil && !p.closed; k = p.oldest() {
		if rest := p.ttl - time.Since(k.idleSince); rest > 0 {
			p.expiry = time.AfterFunc(rest, p.expire)
			return
		}
		p.drop(k)
	}
}

// close closes the idle connections, and those that would be idle later.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for k := p.oldest(); k != nil; k = p.oldest() {
		p.drop(k)
	}
	if p.expiry != nil {
		p.expiry.Stop()
	}
}

func (p *pool) oldest() *conn {
	if front := p.order.Front(); front != nil {
		k, _ := front.Value.(*conn)
		return k
	}
	return nil
}

func (p *pool) drop(k *conn) {
	p.forget(k)
	_ = k.Close()
}

func (p *pool) forget(k *conn) {
	p.order.Remove(k.place)
	list := p.hosts[k.host]
	if i := slices.Index(list, k); len(list) > 1 {
		p.hosts[k.host] = slices.Delete(list, i, i+1)
	} else {
		delete(p.hosts, k.host)
	}
}
