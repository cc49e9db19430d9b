package dashboard

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/access"
	"github.com/chattosurvey/surveyhooks/outbox/wire"
)

var errBusy = errors.New("too many names are being looked up")

// Whoever types a URL asks the resolver with each pause: so many may be asked at once, of a company and of all, and so many
// by one person in a minute. What is above is told that nobody looked, and saves all the same.
const (
	looksPerCompany = 4
	looksOfAll      = 16
	looksPerMinute  = 30

	// lookWithin bounds a look; and no bad news comes before it.
	lookWithin = 2 * time.Second
)

// Looker finds out whether the relay would connect to a URL's host as it resolves now, and connects to nothing. An error
// says that it cannot be told.
type Looker interface {
	Look(ctx context.Context, u *url.URL) (bool, error)
}

// destination is where a URL's name leads.
type destination int

const (
	notLookedAt destination = iota
	publicly                // to where the relay would connect
	nowhere                 // anywhere else, or nowhere
)

// lookouts looks where URLs lead, for people who wait for the answer. Safe for concurrent use.
//
// What it says must not make us a resolver for the network that we run in: whoever may type any name here, and reads that
// one does not exist and another leads to a private address, has listed our inner names by the evening. So both are
// nowhere, in the same words; and both are told after the same time, since an inner name is answered sooner than one
// that has to be asked for outside. An attempt at a saved endpoint says more (its reason is dns or blocked_destination,
// which who has to mend it must know), but is ten tests a minute at most for a company, each on record with its name.
type lookouts struct {
	looker Looker
	now    func() time.Time
	gate   *gate

	mu    sync.Mutex
	since time.Time
	asked map[person]int // since then
}

type person struct {
	company uuid.UUID
	actor   string
}

func newLookouts(l Looker, now func() time.Time) *lookouts {
	return &lookouts{looker: l, now: now, gate: newGate(looksPerCompany, looksOfAll), asked: map[person]int{}}
}

// where is told within lookWithin. It is notLookedAt for who asks too much, and when the caller is gone.
func (l *lookouts) where(ctx context.Context, by person, u *url.URL) destination {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	if !l.counts(by) {
		return notLookedAt
	}
	leads, err := l.look(ctx, by, u)
	switch {
	case err != nil:
		return notLookedAt
	case leads:
		return publicly
	}
	<-ctx.Done() // until the time of all bad news
	return nowhere
}

// look holds a place only while the resolver is asked.
func (l *lookouts) look(ctx context.Context, by person, u *url.URL) (bool, error) {
	if !l.gate.enter(by.company) {
		return false, errBusy
	}
	defer l.gate.leave(by.company)
	return l.looker.Look(ctx, u)
}

// counts reports whether the person has a look left in this minute.
func (l *lookouts) counts(by person) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := l.now(); now.Sub(l.since) >= time.Minute {
		l.since = now
		clear(l.asked)
	}
	l.asked[by]++
	return l.asked[by] <= looksPerMinute
}

const nowhereWords = "Its name does not lead to a public address now: there may be no such name yet, or it leads to where we do " +
	"not connect. That keeps nobody from saving it: it is looked up again at every attempt."

// urlCheck is the verdict about a URL, while it is typed and after it was saved.
type urlCheck struct {
	URL   string // as it will be stored, without what a viewer must not see
	Fault string
	Leads string // where to, in words
	Kind  string // of mark: ok, hold, wait or fail
}

// checkURL says what is wrong with a URL, how it will be stored, and whether it leads where the relay would connect.
func (q *request) checkURL() error {
	if err := q.mustChange(); err != nil {
		return err
	}
	raw := strings.TrimSpace(q.r.URL.Query().Get("url"))
	if raw == "" {
		return q.fragment("endpoint_form", "check", view{})
	}
	check := q.check(raw)
	return q.fragment("endpoint_form", "check", view{Data: &check})
}

// check gives the turn at the database back: a look asks the resolver alone, and takes as long as bad news does.
func (q *request) check(raw string) urlCheck {
	q.end()
	u, err := q.URLs.ParseURL(raw)
	if err != nil {
		return urlCheck{Kind: "fail", Fault: sentence(err.Error())}
	}
	c := urlCheck{URL: wire.MaskQuery(u.String()), Kind: "ok", Leads: "Its name leads to a public address."}
	switch q.lookouts.where(q.r.Context(), person{q.caller.CompanyID, q.caller.Actor}, u) {
	case publicly:
		if q.URLs.Insecure {
			c.Leads = "Its name leads to an address that may be called here."
		}
	case nowhere:
		c.Kind, c.Leads = "hold", nowhereWords
	case notLookedAt:
		c.Kind, c.Leads = "wait", "Where its name leads could not be looked up just now; it is at every attempt."
	}
	return c
}

// warned is the check of a URL that was just saved, if there is something to say about it: a name may be made after its
// endpoint, so that it is no reason to refuse. What follows has a turn again.
func (q *request) warned(saved string) *urlCheck {
	c := q.check(saved)
	if end, err := access.NextTurn(q.r.Context()); err == nil { // else nobody waits for the answer
		q.end = end
	}
	if c.Kind == "hold" {
		return &c
	}
	return nil
}
