package relay_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
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
	roundEvents = 20 // for each endpoint
	roundPace   = 5 * time.Millisecond
	// fewest and most rounds of each kind: a quiet machine is sure early, a busy one is given time.
	fewest, most = 10, 100
	// slower is what a fault may make of a healthy endpoint's latency.
	slower = 2.0
	// lost bounds the wait for a late delivery, which then counts as so late.
	lost = time.Second
)

// isolation measures a healthy endpoint, with and without a fault beside it, under the same load.
type isolation struct {
	*testBundle
	healthy *relaytest.Receiver
	tenant  uuid.UUID   // of the healthy endpoint
	beside  uuid.UUID   // the company whose events are published in turn with the healthy one's
	settle  func(n int) // waits until n events of it have been dealt with, once a fault is over
	rounds  int
}

// compare takes rounds without the fault and with it in turn, so that a busy spell of the machine falls on both, until it
// is sure of both quantiles, or for as long as it may.
func (m *isolation) compare(fault func() (end func())) (p50, p99 ratio) {
	m.t.Helper()
	m.round() // connections, plans, caches
	var s sample
	for n := 1; n <= most; n++ {
		s.without = append(s.without, m.round())
		end := fault()
		s.with = append(s.with, m.round())
		end()
		m.settle(m.rounds * roundEvents)
		if n >= fewest && n%5 == 0 {
			p50, p99 = s.ratio(50), s.ratio(99)
			if p50.sure() && p99.sure() || p50.low > slower || p99.low > slower {
				break
			}
		}
	}
	m.t.Logf("%d events: p50 %s, p99 %s", len(s.with)*roundEvents, p50, p99)
	return p50, p99
}

// round publishes for both in turn, and returns how long each of the healthy endpoint's deliveries took, from commit to
// arrival.
func (m *isolation) round() []time.Duration {
	m.t.Helper()
	m.rounds++
	before := len(m.healthy.Arrivals())
	committed := make(map[string]time.Time, roundEvents)
	tick := time.NewTicker(roundPace)
	defer tick.Stop()
	for range roundEvents {
		m.publish(outbox.NewSample(outbox.ConversationStartedType, m.beside))
		id := m.publish(outbox.NewSample(outbox.ConversationCompletedType, m.tenant))[0]
		committed[id.String()] = time.Now()
		<-tick.C
	}
	var took []time.Duration
	for deadline := time.Now().Add(lost); len(took) < roundEvents && time.Now().Before(deadline); <-tick.C {
		took = took[:0]
		for _, a := range m.healthy.Arrivals()[before:] {
			if at, ok := committed[a.ID()]; ok {
				took = append(took, max(0, a.At.Sub(at)))
			}
		}
	}
	return append(took, slices.Repeat([]time.Duration{lost}, roundEvents-len(took))...)
}

// sample is what was measured, by rounds.
type sample struct{ without, with [][]time.Duration }

// ratio is how much larger a quantile is with the fault than without: its estimate, and the ends of a 99 % interval.
type ratio struct{ low, estimate, high float64 }

func (r ratio) sure() bool { return r.high <= slower || r.low > slower }

// String shows all three.
func (r ratio) String() string {
	return fmt.Sprintf("×%.2f (%.2f to %.2f)", r.estimate, r.low, r.high)
}

// ratio is by a bootstrap over whole rounds: what disturbs the machine disturbs neighbours together, so that single
// latencies are not independent. They are sorted once; a resample says how often each round counts.
func (s sample) ratio(percent int) ratio {
	const resamples = 400
	random := rand.New(rand.NewPCG(1, 2)) // the same each time
	with, without := sortedByLatency(s.with), sortedByLatency(s.without)
	drawn := func() []int {
		times := make([]int, len(s.with))
		for range times {
			times[random.IntN(len(times))]++
		}
		return times
	}
	all := make([]float64, resamples)
	for i := range all {
		all[i] = with.quantile(percent, drawn()) / without.quantile(percent, drawn())
	}
	slices.Sort(all)
	once := slices.Repeat([]int{1}, len(s.with))
	return ratio{all[resamples/200], with.quantile(percent, once) / without.quantile(percent, once), all[resamples-1-resamples/200]}
}

// latencies are those of all rounds, the shortest first.
type latencies []latency

type latency struct {
	round int
	took  time.Duration
}

func sortedByLatency(rounds [][]time.Duration) latencies {
	var all latencies
	for i, round := range rounds {
		for _, took := range round {
			all = append(all, latency{i, took})
		}
	}
	slices.SortFunc(all, func(a, b latency) int { return cmp.Compare(a.took, b.took) })
	return all
}

// quantile is that of as many events as there are, when each round counts so often.
func (l latencies) quantile(percent int, times []int) float64 {
	rank := (len(l)*percent + 99) / 100
	for _, one := range l {
		if rank -= times[one.round]; rank <= 0 {
			return max(1, float64(one.took))
		}
	}
	panic("the rounds count less often than there are")
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
	b.cfg.Drain = 100 * time.Millisecond
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

// slow lets a receiver answer late, for the events of a type, until the fault ends.
func slow(r *relaytest.Receiver, eventType string, by time.Duration) (end func()) {
	r.Answer(func(_ http.ResponseWriter, req *http.Request) {
		if req.Header.Get("X-Webhook-Event") == eventType {
			<-time.After(by)
		}
	})
	return func() { r.Answer(nil) }
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
		p50, p99 := m.compare(func() func() { return hang(sick, string(outbox.ConversationStartedType)) })
		require.LessOrEqual(t, p50.estimate, slower)
		require.LessOrEqual(t, p99.low, slower, "no p99 that is surely worse: a few stalls of the machine make the estimate what they want")
	})

	t.Run("BesideATransactionLeftOpenElsewhere", func(t *testing.T) {
		t.Parallel()
		m, elsewhere := setupIsolation(t), schematest.New(t)
		m.of(m.tenant, m.healthy.URL)
		m.run()
		p50, p99 := m.compare(func() func() {
			open, err := elsewhere.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			_, err = open.ExecContext(t.Context(), `SELECT pg_current_xact_id()`)
			require.NoError(t, err)
			return func() { require.NoError(t, open.Rollback()) }
		})
		require.LessOrEqual(t, p50.estimate, slower)
		require.LessOrEqual(t, p99.low, slower, "no p99 that is surely worse: a few stalls of the machine make the estimate what they want")
	})

	// The measure itself: where the slots are shared (by two kinds of events to one endpoint, of which one is slow) it is
	// sure that they cost.
	t.Run("WhichTheMeasureWouldNotice", func(t *testing.T) {
		t.Parallel()
		m := setupIsolation(t)
		m.beside = m.tenant
		m.of(m.tenant, m.healthy.URL)
		m.cfg.Concurrency = 2
		m.settle = func(n int) { m.healthy.Await(t, 2*n, within) }
		m.run()
		p50, _ := m.compare(func() func() { return slow(m.healthy, string(outbox.ConversationStartedType), 80*time.Millisecond) })
		require.Greater(t, p50.low, slower)
	})
}

// TestTheMeasureOfIsolationIsSureOfWhatIsSo: on latencies of which the truth is known, with stalls of half a second that
// fall on whole rounds, as a busy machine has them.
func TestTheMeasureOfIsolationIsSureOfWhatIsSo(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		random := rand.New(rand.NewPCG(seed, 1))
		rounds := func(factor float64) (list [][]time.Duration) {
			for range most {
				var stall time.Duration
				if random.IntN(20) == 0 {
					stall = time.Duration(random.IntN(500)) * time.Millisecond
				}
				round := make([]time.Duration, roundEvents)
				for i := range round {
					round[i] = time.Duration(factor * (3 + random.ExpFloat64()*2) * float64(time.Millisecond))
					if i < 3 {
						round[i] += stall
					}
				}
				list = append(list, round)
			}
			return list
		}
		same := sample{without: rounds(1), with: rounds(1)}
		require.Less(t, same.ratio(50).high, slower)
		require.LessOrEqual(t, same.ratio(99).low, slower, "it is never sure of what is not so")
		worse := sample{without: rounds(1), with: rounds(3)}
		require.Greater(t, worse.ratio(50).low, slower)
	}
}
