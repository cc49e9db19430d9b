package relay_test

import (
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/relay/relaytest"
	"github.com/chattosurvey/surveyhooks/schema/schematest"
)

const (
	windows      = 4  // of each kind, in turn, so that a busy spell of the machine falls on both
	windowEvents = 40 // for each endpoint
	windowPace   = 5 * time.Millisecond

	// noise is what a p99 may be whatever the baseline was: with other tests on the same cores a single stall of the
	// scheduler is tens of milliseconds, and of a disk hundreds. What isolation prevents is 30 s, or for ever.
	noise = time.Second
	// lost bounds the wait for a late delivery, which then counts as so late.
	lost = 4 * time.Second
)

// isolation measures a healthy endpoint, with and without a fault beside it, under the same load.
type isolation struct {
	*testBundle
	healthy *relaytest.Receiver
	tenant  uuid.UUID   // of the healthy endpoint
	beside  uuid.UUID   // the company whose events are published in turn with the healthy one's
	settle  func(n int) // waits until n events of it have been dealt with, once a fault is over
}

// p99 of the healthy endpoint, from commit to arrival: without the fault, and with it.
func (m *isolation) p99(fault func() (end func())) (baseline, faulty time.Duration) {
	m.t.Helper()
	m.window() // connections, plans, caches
	m.settle(windowEvents)
	var without, with []time.Duration
	for n := range windows {
		without = append(without, m.window()...)
		m.settle((2*n + 2) * windowEvents)
		end := fault()
		with = append(with, m.window()...)
		end()
		m.settle((2*n + 3) * windowEvents)
	}
	return percentile99(without), percentile99(with)
}

func percentile99(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[(len(d)*99+99)/100-1]
}

// window publishes for both in turn, and returns how long each of the healthy endpoint's deliveries took.
func (m *isolation) window() []time.Duration {
	m.t.Helper()
	before := len(m.healthy.Arrivals())
	committed := make(map[string]time.Time, windowEvents)
	tick := time.NewTicker(windowPace)
	defer tick.Stop()
	for range windowEvents {
		m.publish(outbox.NewSample(outbox.ConversationStartedType, m.beside))
		id := m.publish(outbox.NewSample(outbox.ConversationCompletedType, m.tenant))[0]
		committed[id.String()] = time.Now()
		<-tick.C
	}
	var took []time.Duration
	for deadline := time.Now().Add(lost); len(took) < windowEvents && time.Now().Before(deadline); <-tick.C {
		took = took[:0]
		for _, a := range m.healthy.Arrivals()[before:] {
			if at, ok := committed[a.ID()]; ok {
				took = append(took, max(0, a.At.Sub(at)))
			}
		}
	}
	return append(took, slices.Repeat([]time.Duration{lost}, windowEvents-len(took))...)
}

// hang lets a receiver hang, for the events of a type, until the fault ends.
func hang(r *relaytest.Receiver, eventType string) (end func()) {
	release := make(chan struct{})
	r.Answer(func(_ http.ResponseWriter, req *http.Request) {
		if req.Header.Get("X-Webhook-Event") == eventType {
			<-release
		}
	})
	return sync.OnceFunc(func() {
		r.Answer(nil)
		close(release)
	})
}

func setupIsolation(t *testing.T) *isolation {
	t.Helper()
	b := setup(t)
	b.cfg.Egress.Timeout, b.cfg.Drain = 30*time.Second, 100*time.Millisecond
	return &isolation{
		testBundle: b, healthy: relaytest.NewReceiver(t), tenant: uuid.New(), beside: uuid.New(), settle: func(int) {},
	}
}

// of makes an endpoint for another company than the bundle's.
func (m *isolation) of(company uuid.UUID, url string) {
	m.t.Helper()
	m.company = company
	m.endpoint(url)
}

func TestHealthyEndpointKeepsItsP99(t *testing.T) {
	t.Parallel()

	t.Run("BesideOneThatHangs", func(t *testing.T) {
		t.Parallel()
		m, sick := setupIsolation(t), relaytest.NewReceiver(t)
		m.of(m.tenant, m.healthy.URL)
		m.of(m.beside, sick.URL)
		m.settle = func(n int) { sick.Await(t, n, within) }
		m.run()
		baseline, faulty := m.p99(func() func() { return hang(sick, string(outbox.ConversationStartedType)) })
		t.Logf("p99 %s, beside an endpoint that hangs %s", baseline, faulty)
		require.LessOrEqual(t, faulty, max(2*baseline, noise))
	})

	t.Run("BesideATransactionLeftOpenElsewhere", func(t *testing.T) {
		t.Parallel()
		m, elsewhere := setupIsolation(t), schematest.New(t)
		m.of(m.tenant, m.healthy.URL)
		m.run()
		baseline, faulty := m.p99(func() func() {
			open, err := elsewhere.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			_, err = open.ExecContext(t.Context(), `SELECT pg_current_xact_id()`)
			require.NoError(t, err)
			return func() { require.NoError(t, open.Rollback()) }
		})
		t.Logf("p99 %s, beside an open transaction %s", baseline, faulty)
		require.LessOrEqual(t, faulty, max(2*baseline, noise))
	})

	// The measure itself: where the slots are shared (by two kinds of events to one endpoint, of which one hangs) it fails.
	t.Run("WhichTheMeasureWouldNotice", func(t *testing.T) {
		t.Parallel()
		m := setupIsolation(t)
		m.beside = m.tenant
		m.of(m.tenant, m.healthy.URL)
		m.cfg.Concurrency = 2
		m.run()
		end := hang(m.healthy, string(outbox.ConversationStartedType))
		defer end()
		require.Greater(t, percentile99(m.window()), noise)
	})
}
