package dashboard

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

// look is a Looker that takes its time for one answer.
type look struct {
	takes time.Duration
	leads bool
	err   error
}

func (l look) Look(ctx context.Context, _ *url.URL) (bool, error) {
	select {
	case <-time.After(l.takes):
		return l.leads, l.err
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.Canceled) {
			return false, ctx.Err()
		}
		return false, nil // as one that was not resolved in time
	}
}

// TestBadNewsComesAtOneTime: a name that is known inside is answered sooner than one that has to be asked for outside. By
// when they are told, nobody can tell them apart.
func TestBadNewsComesAtOneTime(t *testing.T) {
	t.Parallel()
	u := &url.URL{Scheme: "https", Host: "a.example"}
	ada := person{uuid.New(), "portal:ada"}
	for name, c := range map[string]struct {
		looker look
		want   destination
		after  time.Duration
	}{
		"Public":         {look{30 * time.Millisecond, true, nil}, publicly, 30 * time.Millisecond},
		"InnerName":      {look{time.Millisecond, false, nil}, nowhere, lookWithin},
		"NoSuchName":     {look{time.Second, false, nil}, nowhere, lookWithin},
		"SilentResolver": {look{time.Hour, true, nil}, nowhere, lookWithin},
		"OurOwnFault":    {look{time.Millisecond, false, errors.New("no netlink")}, notLookedAt, time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				require.Equal(t, c.want, newLookouts(c.looker, time.Now).where(t.Context(), ada, u))
				require.Equal(t, c.after, time.Since(start))
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		require.Equal(t, notLookedAt, newLookouts(look{takes: time.Hour}, time.Now).where(ctx, ada, u), "nobody waits for it")
	})
}

// TestLooksAreFewAtOnceAndInAMinute: of a company, of all, and of a person; who asked too much hinders nobody else.
func TestLooksAreFewAtOnceAndInAMinute(t *testing.T) {
	t.Parallel()
	u := &url.URL{Scheme: "https", Host: "a.example"}
	synctest.Test(t, func(t *testing.T) {
		l := newLookouts(look{takes: time.Second, leads: true}, time.Now)
		var busy sync.WaitGroup
		inside := func(company uuid.UUID, actor string) {
			busy.Go(func() { require.Equal(t, publicly, l.where(t.Context(), person{company, actor}, u)) })
		}
		mine := uuid.New()
		for range looksPerCompany {
			inside(mine, "ada")
		}
		synctest.Wait()
		require.Equal(t, notLookedAt, l.where(t.Context(), person{mine, "bob"}, u), "the company's places are taken")
		for i := looksPerCompany; i < looksOfAll; i++ {
			inside(uuid.New(), "carol")
		}
		synctest.Wait()
		require.Equal(t, notLookedAt, l.where(t.Context(), person{uuid.New(), "dora"}, u), "everybody's are")
		busy.Wait()

		eve := person{uuid.New(), "eve"}
		for range looksPerMinute {
			require.True(t, l.counts(eve))
		}
		require.Equal(t, notLookedAt, l.where(t.Context(), eve, u))
		require.Equal(t, publicly, l.where(t.Context(), person{eve.company, "frank"}, u))
		time.Sleep(time.Minute) // of the bubble's clock
		require.Equal(t, publicly, l.where(t.Context(), eve, u))
		require.Len(t, l.asked, 1, "the last minute is forgotten")
	})
}

// lookAt is a Looker by a function.
type lookAt func() (bool, error)

func (l lookAt) Look(context.Context, *url.URL) (bool, error) { return l() }

// TestNobodyWaitsForTheDatabaseWhileANameIsLookedUp: a look takes 2 s, and a company has four turns at the database.
func TestNobodyWaitsForTheDatabaseWhileANameIsLookedUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		held, looked := true, 0
		s := &site{lookouts: newLookouts(lookAt(func() (bool, error) {
			require.False(t, held, "the turn is given back before")
			looked++
			return false, nil
		}), time.Now)}
		q := &request{site: s, r: httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody), end: func() { held = false }}
		require.Equal(t, "hold", q.check("https://a.example/").Kind)
		held, q.end = true, func() { held = false }
		require.NotNil(t, q.warned("https://a.example/"))
		require.Equal(t, 2, looked)
	})
}
