package relay_test

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/relay/breaker"
	"github.com/chattosurvey/surveyhooks/relay/relaytest"
)

// A test is watched by whoever sends it: it is one attempt, and decides nothing about the endpoint.
func TestTestIsOneAttemptAndDisablesNothing(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusGone, http.StatusInternalServerError} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			t.Parallel()
			b, receiver := setup(t), relaytest.NewReceiver(t)
			b.cfg.GiveUp, b.cfg.Breaker = time.Nanosecond, breaker.Config{Failures: 100}
			receiver.Answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
			e, _ := b.endpoint(receiver.URL)
			b.run()
			for n := range 2 {
				_, err := b.store.Test(t.Context(), b.ref(e))
				require.NoError(t, err)
				b.await(n+1, `SELECT count(*) FROM webhooks.journal WHERE fact = 'delivery.exhausted'`)
			}
			b.await(0, `SELECT count(*) FROM webhooks.pending`)
			require.Len(t, receiver.Arrivals(), 2)
			require.Len(t, b.facts("attempt.failed"), 2)
			now, err := b.store.Get(t.Context(), b.ref(e).Scope, e.ID)
			require.NoError(t, err)
			require.Equal(t, e.Version, now.Version, "nothing disabled it")
		})
	}
}

// What a person chose is not undone by an attempt that began before, and the lane goes on.
func TestGoneOfAnAttemptThatBeganBeforeAChoiceDisablesNothing(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	b.cfg.Poll = time.Hour // nothing but notices lets the lane go on
	release := make(chan struct{})
	var requests atomic.Int64
	receiver.Answer(func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1) == 1 {
			<-release
			w.WriteHeader(http.StatusGone)
		}
	})
	e, _ := b.endpoint(receiver.URL)
	b.run()
	b.publish(b.started())
	receiver.Await(t, 1, within)
	_, err := b.store.Disable(t.Context(), b.ref(e), "", "")
	require.NoError(t, err)
	enabled, err := b.store.Enable(t.Context(), b.ref(e))
	require.NoError(t, err)
	b.publish(b.started())
	receiver.Await(t, 2, within) // the relay has heard of it
	close(release)
	b.await(1, `SELECT count(*) FROM webhooks.journal WHERE fact = 'attempt.failed'`)
	b.publish(b.started())
	receiver.Await(t, 3, within)
	now, err := b.store.Get(t.Context(), b.ref(e).Scope, e.ID)
	require.NoError(t, err)
	require.Equal(t, enabled.Version, now.Version)
	require.Empty(t, b.facts("endpoint.disabled")[1:], "the person's alone")
}
