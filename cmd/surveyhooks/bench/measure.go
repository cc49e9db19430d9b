package bench

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"time"
)

// onTime is how soon after the commit a healthy endpoint expects its delivery.
const onTime = time.Second

// meters are readings of what a run uses up.
type meters struct {
	at            time.Time
	relay, server float64 // CPU seconds
	receiver      float64
	wal           int64
}

func (r *run) read(ctx context.Context) (m meters, err error) {
	if err := r.admin.QueryRowContext(ctx, walPosition).Scan(&m.wal); err != nil {
		return m, fmt.Errorf("read WAL position: %w", err)
	}
	for _, c := range r.relays {
		m.relay += familyCPU(c.pid)
	}
	m.server, m.receiver, m.at = familyCPU(r.postmaster), familyCPU(r.receiver.pid), time.Now()
	return m, nil
}

// measure runs the mode. The load comes before the relays in Drain, and after them otherwise.
func (r *run) measure(ctx context.Context) (Result, error) {
	var err error
	switch r.cfg.Mode {
	case Drain:
		r.cfg.Progress("publishing %d events", r.cfg.Events)
		if err := r.publishAll(ctx, r.cfg.Events, 500, false); err != nil {
			return Result{}, err
		}
	case Throughput, Latency, Hang:
		if err := r.warm(ctx); err != nil {
			return Result{}, err
		}
	}
	warm := r.expected()
	before, err := r.read(ctx)
	if err != nil {
		return Result{}, err
	}
	switch r.cfg.Mode {
	case Drain:
		warm = 0
		r.cfg.Progress("draining")
		err = r.startRelays()
	case Throughput:
		r.cfg.Progress("publishing %d events to running relays", r.cfg.Events)
		err = r.publishAll(ctx, r.cfg.Events, r.cfg.Batch, true)
	case Latency:
		r.cfg.Progress("publishing %d events/s for %s", r.cfg.Rate, r.cfg.Duration)
		err = r.publishSteadily(ctx)
	case Hang:
		err = r.publishCalmAndHanging(ctx)
	}
	if err != nil {
		return Result{}, err
	}
	if err := r.awaitReceipts(ctx); err != nil {
		return Result{}, err
	}
	return r.conclude(ctx, before, warm)
}

func (r *run) startRelays() error {
	for _, c := range r.relays {
		if err := c.tell(struct{}{}); err != nil {
			return err
		}
	}
	return nil
}

// warm starts the relays and waits until one event for each company has arrived, so that handlers and connections are there.
func (r *run) warm(ctx context.Context) error {
	r.cfg.Progress("warming up")
	r.committed.calm = true
	if err := r.startRelays(); err != nil {
		return err
	}
	if err := r.publishAll(ctx, len(r.companies), 1, false); err != nil {
		return err
	}
	if err := r.awaitReceipts(ctx); err != nil {
		return err
	}
	r.committed.calm = r.cfg.Mode == Hang
	_, err := r.awaitHistory(ctx, r.delivered())
	return err
}

// publishCalmAndHanging publishes twice the same load: while every endpoint answers, for the baseline, and while one of ten
// hangs.
func (r *run) publishCalmAndHanging(ctx context.Context) error {
	r.cfg.Progress("publishing %d events/s for %s, while nobody hangs", r.cfg.Rate, r.cfg.Duration)
	if err := r.publishSteadily(ctx); err != nil {
		return err
	}
	r.committed.calm = false
	if err := r.awaitReceipts(ctx); err != nil {
		return err
	}
	if err := r.ask(ctx, "/hang", func(io.Reader) error { return nil }); err != nil {
		return err
	}
	r.cfg.Progress("publishing %d events/s for %s, one endpoint of %d hangs", r.cfg.Rate, r.cfg.Duration, hangEach)
	return r.publishSteadily(ctx)
}

// healthy tells whether the endpoint answers.
func (r *run) healthy(endpoint int) bool { return r.cfg.Mode != Hang || !hangs(endpoint, hangEach) }

// expected is how many deliveries to healthy endpoints were committed so far.
func (r *run) expected() int {
	return r.count(func(endpoint int, _ published) bool { return r.healthy(endpoint) })
}

// delivered is how many deliveries the history has to show: those that hang answered while all was calm.
func (r *run) delivered() int {
	return r.count(func(endpoint int, e published) bool { return r.healthy(endpoint) || e.calm })
}

func (r *run) count(counts func(endpoint int, e published) bool) (sum int) {
	r.committed.mu.Lock()
	defer r.committed.mu.Unlock()
	for _, e := range r.committed.events {
		for n := e.company * r.cfg.FanOut; n < (e.company+1)*r.cfg.FanOut; n++ {
			if counts(n, e) {
				sum++
			}
		}
	}
	return sum
}

// awaitReceipts waits until everything has arrived, or nothing has for Patience.
func (r *run) awaitReceipts(ctx context.Context) error {
	want := int64(r.expected())
	_, err := r.await(ctx, want, 20*time.Millisecond, func() (int64, error) {
		t, err := r.tally(ctx)
		return t.Unique, err
	})
	return err
}

// awaitHistory waits until the projections show n succeeded attempts, and tells when that was.
func (r *run) awaitHistory(ctx context.Context, n int) (time.Time, error) {
	return r.await(ctx, int64(n), 100*time.Millisecond, func() (count int64, err error) {
		err = r.db.QueryRowContext(ctx, succeededDeliveries).Scan(&count)
		return count, err
	})
}

// await polls a count until it is reached or stands still for Patience.
func (r *run) await(ctx context.Context, want int64, each time.Duration, count func() (int64, error)) (time.Time, error) {
	ticker := time.NewTicker(each)
	defer ticker.Stop()
	last, moved := int64(-1), time.Now()
	for {
		n, err := count()
		if err != nil {
			return time.Time{}, fmt.Errorf("count: %w", err)
		}
		now := time.Now()
		if n >= want {
			return now, nil
		}
		if n != last {
			last, moved = n, now
		}
		if now.Sub(moved) > r.cfg.Patience {
			r.cfg.Progress("%d of %d, and nothing for %s: gave up waiting", n, want, r.cfg.Patience)
			return now, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		}
	}
}

// conclude waits for the history, reads the meters and matches what was published with what arrived.
func (r *run) conclude(ctx context.Context, before meters, warm int) (Result, error) {
	r.cfg.Progress("waiting for the history")
	all := r.expected()
	done, err := r.awaitHistory(ctx, r.delivered())
	if err != nil {
		return Result{}, err
	}
	after, err := r.read(ctx)
	if err != nil {
		return Result{}, err
	}
	t, err := r.tally(ctx)
	if err != nil {
		return Result{}, err
	}
	list, err := r.arrivals(ctx)
	if err != nil {
		return Result{}, err
	}
	match := r.match(list)
	n := all - warm
	result := Result{
		Mode: r.cfg.Mode, Deliveries: n, Duplicates: int(t.Duplicates),
		Lost: all - match.known, Invented: match.invented + int(t.Faults),
		CPUPer10k:         (after.relay - before.relay + after.server - before.server) / float64(n) * 10_000,
		RelayCPUPer10k:    (after.relay - before.relay) / float64(n) * 10_000,
		PostgresCPUPer10k: (after.server - before.server) / float64(n) * 10_000,
		ReceiverCPUPer10k: (after.receiver - before.receiver) / float64(n) * 10_000,
		WALPerDelivery:    float64(after.wal-before.wal) / float64(n),
		HistoryCompleteS:  done.Sub(before.at).Seconds(),
	}
	if match.last > 0 {
		result.DeliveriesPerS = float64(n) / time.Unix(0, match.last).Sub(before.at).Seconds()
	}
	for _, c := range r.relays {
		result.RelayRSSMB += peakMB(c.pid)
	}
	if len(match.latencies) > 0 {
		result.P50Ms, result.P99Ms = percentile(match.latencies, 50), percentile(match.latencies, 99)
	}
	if len(match.calm) > 0 {
		result.P99BaselineMs = percentile(match.calm, 99)
	}
	if r.cfg.Mode == Latency || r.cfg.Mode == Hang {
		share := 100 * float64(match.onTime) / float64(n)
		result.HealthyOnTimePct = &share
	}
	return result, r.checkHistory(ctx, r.delivered(), result.Lost)
}

// checkHistory counts the deliveries themselves, now that nothing is measured any more.
func (r *run) checkHistory(ctx context.Context, want, lost int) error {
	var delivered int
	if err := r.db.QueryRowContext(ctx, deliveredDeliveries).Scan(&delivered); err != nil {
		return fmt.Errorf("count deliveries: %w", err)
	}
	if lost == 0 && delivered != want {
		return fmt.Errorf("the history shows %d deliveries as delivered: want the %d that arrived", delivered, want)
	}
	return nil
}

// matched is what arrived, compared with what was published.
type matched struct {
	known, invented int
	onTime          int
	last            int64           // Unix nanoseconds of the last receipt
	latencies       []time.Duration // sorted
	calm            []time.Duration // sorted; of what was published before an endpoint hung
}

func (r *run) match(list []arrival) matched {
	var m matched
	r.committed.mu.Lock()
	defer r.committed.mu.Unlock()
	for _, a := range list {
		e, ok := r.committed.events[a.event]
		if !ok || e.company != a.endpoint/r.cfg.FanOut {
			m.invented++
			continue
		}
		m.known++
		m.last = max(m.last, a.at)
		if e.at == 0 {
			continue
		}
		// The relay may be faster than the producer that hears of its own commit: no less than nothing.
		latency := max(0, time.Duration(a.at-e.at))
		if e.calm {
			m.calm = append(m.calm, latency)
		} else {
			m.latencies = append(m.latencies, latency)
		}
		if latency <= onTime {
			m.onTime++
		}
	}
	slices.Sort(m.latencies)
	slices.Sort(m.calm)
	return m
}

// percentile of sorted latencies, in milliseconds, by the nearest rank.
func percentile(sorted []time.Duration, p float64) *float64 {
	rank := max(1, int(math.Ceil(p/100*float64(len(sorted)))))
	ms := float64(sorted[rank-1].Microseconds()) / 1000
	return &ms
}
