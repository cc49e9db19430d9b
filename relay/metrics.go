package relay

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chattosurvey/surveyhooks/outbox"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// metrics have bounded labels: never an endpoint, never a URL.
type metrics struct {
	attempts   *prometheus.CounterVec
	duration   *prometheus.HistogramVec
	deliveries *prometheus.CounterVec
	endToEnd   prometheus.Histogram
	inFlight   prometheus.Gauge
	lanes      prometheus.Gauge
	paused     prometheus.Gauge
	waiting    *prometheus.GaugeVec
	breakers   *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "surveyhooks_attempts_total", Help: "Attempts that ended, by reason and trigger.",
		}, []string{"reason", "trigger"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "surveyhooks_attempt_duration_seconds", Help: "Length of attempts.",
			Buckets: []float64{.001, .005, .01, .05, .1, .5, 1, 5, 10, 30},
		}, []string{"outcome"}),
		deliveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "surveyhooks_deliveries_total",
			Help: "Deliveries that came to an end, by result (delivered, exhausted) and event type; types outside of the catalogue are other.",
		}, []string{"result", "event"}),
		endToEnd: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "surveyhooks_delivery_end_to_end_seconds",
			Help:    "From an event's created_at to the end of the attempt that delivered it, retries and waits included; manual replays and tests are not counted.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 5, 30, 60, 300, 1800, 3600, 14400},
		}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "surveyhooks_inflight", Help: "Requests under way."}),
		lanes:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "surveyhooks_lanes", Help: "Endpoints that this relay serves."}),
		paused:   prometheus.NewGauge(prometheus.GaugeOpts{Name: "surveyhooks_paused", Help: "1 while an operator has paused all sending, else 0."}),
		waiting: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "surveyhooks_lanes_waiting",
			Help: "Endpoints of this relay that cannot be sent anything, by cause: sealed (a key is missing or a value altered), config.",
		}, []string{"cause"}),
		breakers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "surveyhooks_breaker_changes_total", Help: "Changes of breakers, by the new state.",
		}, []string{"state"}),
	}
	if reg != nil {
		reg.MustRegister(m.attempts, m.duration, m.deliveries, m.endToEnd, m.inFlight, m.lanes, m.paused, m.waiting, m.breakers)
	}
	return m
}

func (m *metrics) attempted(o *outcome, took time.Duration, now time.Time) {
	a := &o.attempt
	m.attempts.WithLabelValues(string(a.Reason), string(a.Trigger)).Inc()
	outcome := "failed"
	if a.Reason == fact.OK {
		outcome = "succeeded"
	}
	m.duration.WithLabelValues(outcome).Observe(took.Seconds())
	if !o.over {
		return
	}
	m.deliveries.WithLabelValues(string(a.State), eventLabel(a.EventType)).Inc()
	if a.State == fact.Delivered && a.Trigger == fact.Automatic {
		m.endToEnd.Observe(max(0, now.Sub(o.delivery.Event.CreatedAt).Seconds())) // the survey app's clock may be ahead
	}
}

// eventLabel bounds the label: a producer may make up types.
func eventLabel(name string) string {
	if slices.Contains(outbox.Types(), outbox.Type(name)) {
		return name
	}
	return "other"
}
