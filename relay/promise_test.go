package relay_test

import (
	"encoding/json"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/relay/breaker"
	"github.com/chattosurvey/surveyhooks/relay/endpoint"
	"github.com/chattosurvey/surveyhooks/relay/relaytest"
	"github.com/chattosurvey/surveyhooks/relay/sign"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// The rules of the customers' documentation and of the decisions beside it, each as a receiver sees it.

func TestB32_RotatedSecretSignsBesideTheNewOne(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	e, old := b.endpoint(receiver.URL)
	b.run()
	b.publish(b.started())
	verify(t, old, receiver.Await(t, 1, within)[0])

	ref := endpoint.Ref{Scope: endpoint.Company(b.company), ID: e.ID, Actor: "test"}
	_, fresh, err := b.store.RotateSecret(t.Context(), ref, sign.Secret{})
	require.NoError(t, err)
	// The running relay hears of it; until then it signs with the old one alone, which is still good.
	for n := 2; ; n++ {
		b.publish(b.started())
		a := receiver.Await(t, n, within)[n-1]
		verify(t, old, a)
		if len(a.Header.Get("webhook-signature")) > 60 {
			verify(t, fresh, a)
			return
		}
		require.Less(t, n, 100, "the relay did not take the new secret")
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			t.Parallel()
			b, receiver := setup(t), relaytest.NewReceiver(t)
			receiver.Answer(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "3600")
				w.WriteHeader(status)
			})
			b.endpoint(receiver.URL)
			b.run()
			b.publish(b.started())
			b.await(1, `SELECT count(*) FROM webhooks.pending WHERE completed = 1
				AND due_at BETWEEN now() + interval '55 minutes' AND now() + interval '61 minutes'`)
			require.Len(t, receiver.Arrivals(), 1)
		})
	}
}

func TestAnyOtherSuccessStatusIsSuccess(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	receiver.Answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	b.endpoint(receiver.URL)
	b.run()
	b.publish(b.started())
	receiver.Await(t, 1, within)
	b.await(0, `SELECT count(*) FROM webhooks.pending`)
	require.Len(t, b.facts("attempt.succeeded"), 1)
}

func TestSilentEndpointTimesOutAndIsCharged(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	b.cfg.Egress.Timeout, b.cfg.Retry.First = 300*time.Millisecond, time.Hour
	receiver.Answer(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	b.endpoint(receiver.URL)
	b.run()
	b.publish(b.started())
	b.await(1, `SELECT count(*) FROM webhooks.pending WHERE completed = 1 AND due_at > now() + interval '50 minutes'`)
	require.Contains(t, string(b.facts("attempt.failed")[0]), `"reason":"timeout"`)
}

func TestDeletedEndpointIsToldNothingMore(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	receiver.Answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	b.cfg.Retry.First = time.Hour
	e, _ := b.endpoint(receiver.URL)
	b.run()
	b.publish(b.started())
	b.await(1, `SELECT count(*) FROM webhooks.pending WHERE completed = 1`)
	require.NoError(t, b.store.Delete(t.Context(), endpoint.Ref{Scope: endpoint.Company(b.company), ID: e.ID, Actor: "test"}))
	b.publish(b.started())
	b.await(2, `SELECT count(*) FROM webhooks.event_ids`)
	b.await(0, `SELECT count(*) FROM webhooks.pending`)
	b.await(0, `SELECT count(*) FROM webhooks.lanes WHERE holder IS NOT NULL`)
	require.Len(t, receiver.Arrivals(), 1)
	require.Len(t, b.facts("delivery.cancelled"), 1)
}

func TestEndpointThatOnlyFailsIsDisabledAndSaysWhy(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	b.cfg.GiveUp, b.cfg.Breaker = time.Millisecond, breaker.Config{Failures: 100}
	receiver.Answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	e, _ := b.endpoint(receiver.URL)
	b.run()
	b.publish(b.started(), b.started(), b.started())
	b.await(1, `SELECT count(*) FROM webhooks.endpoints
		WHERE endpoint_id = $1 AND state = 'disabled' AND state_reason = 'failing_persistently' AND state_actor = 'relay'`, e.ID)
}

func TestF54_BreakerProbesOnceAndThenReleasesTheBacklog(t *testing.T) {
	t.Parallel()
	b, receiver := setup(t), relaytest.NewReceiver(t)
	b.cfg.Concurrency = 1
	b.cfg.Breaker = breaker.Config{Failures: 3, Open: 300 * time.Millisecond}
	var requests atomic.Int64
	receiver.Answer(func(w http.ResponseWriter, _ *http.Request) {
		if requests.Add(1) <= 3 {
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	b.endpoint(receiver.URL)
	b.run()
	b.publish(b.started(), b.started(), b.started(), b.started(), b.started())
	b.await(5, `SELECT count(*) FROM webhooks.event_ids`)
	b.await(0, `SELECT count(*) FROM webhooks.pending`)
	require.Len(t, b.facts("attempt.succeeded"), 5)
	require.Len(t, b.facts("attempt.failed"), 3)
	b.await(1, `SELECT count(*) FROM webhooks.lanes WHERE breaker = 'closed' AND not_before IS NULL`)
	for _, name := range []string{"breaker.opened", "breaker.half_opened", "breaker.closed"} {
		require.Len(t, b.facts(name), 1, name)
	}
}

// TestDeliveryDoesNotOvertakeTheChangeBeforeIt: an event that is committed after a change is sent as the change says, though
// nobody has told the relay of it yet.
func TestDeliveryDoesNotOvertakeTheChangeBeforeIt(t *testing.T) {
	t.Parallel()
	b, before, after := setup(t), relaytest.NewReceiver(t), relaytest.NewReceiver(t)
	b.cfg.Poll = time.Hour // lanes read when they are woken, and else take what they are offered
	e, _ := b.endpoint(before.URL)
	b.run()
	b.publish(b.started())
	before.Await(t, 1, within)
	_, err := b.Owner.ExecContext(t.Context(), `UPDATE webhooks.endpoints SET url = $2, version = version + 1 WHERE endpoint_id = $1`, e.ID, after.URL)
	require.NoError(t, err)
	b.publish(b.started())
	after.Await(t, 1, within)

	// Nor do those that are so many that the lane reads them, and is not offered them.
	third := relaytest.NewReceiver(t)
	_, err = b.Owner.ExecContext(t.Context(), `UPDATE webhooks.endpoints SET url = $2, version = version + 1 WHERE endpoint_id = $1`, e.ID, third.URL)
	require.NoError(t, err)
	many := make([]outbox.Event, 20)
	for i := range many {
		many[i] = b.started()
	}
	b.publish(many...)
	third.Await(t, len(many), within)
	require.Len(t, after.Arrivals(), 1)

	// Nor is it sent as before where the change cannot be taken over.
	_, err = b.Owner.ExecContext(t.Context(), `UPDATE webhooks.endpoints SET url = 'https://', version = version + 1 WHERE endpoint_id = $1`, e.ID)
	require.NoError(t, err)
	b.publish(b.started())
	b.await(1, `SELECT count(*) FROM webhooks.journal WHERE data->>'reason' = $1`, fact.Local)
	require.Len(t, before.Arrivals(), 1)
	require.Len(t, after.Arrivals(), 1)
}

// TestF56_AnAttemptKeepsTheConfigurationThatItBeganWith: what is changed while it is under way holds for the next one.
func TestF56_AnAttemptKeepsTheConfigurationThatItBeganWith(t *testing.T) {
	t.Parallel()
	b, before, after := setup(t), relaytest.NewReceiver(t), relaytest.NewReceiver(t)
	b.cfg.Retry.First = 50 * time.Millisecond
	release := make(chan struct{})
	before.Answer(func(w http.ResponseWriter, _ *http.Request) {
		<-release
		w.WriteHeader(http.StatusInternalServerError)
	})
	e, _ := b.endpoint(before.URL)
	b.run()
	b.publish(b.started())
	before.Await(t, 1, within)

	ref, moved := endpoint.Ref{ID: e.ID, Scope: endpoint.Company(b.company), Actor: "test"}, after.URL+"/moved"
	_, err := b.store.Update(t.Context(), endpoint.Update{Ref: ref, URL: &moved})
	require.NoError(t, err)
	_, err = b.store.Test(t.Context(), ref)
	require.NoError(t, err)
	after.Await(t, 1, within) // the relay has heard of the change
	close(release)
	after.Await(t, 2, within)
	require.Len(t, before.Arrivals(), 1)

	var failed struct {
		ConfigVersion int    `json:"config_version"`
		URL           string `json:"url"`
	}
	require.NoError(t, json.Unmarshal(b.facts("attempt.failed")[0], &failed))
	require.Equal(t, e.Version, failed.ConfigVersion)
	require.Contains(t, failed.URL, before.URL)
}
