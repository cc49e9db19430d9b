package relay

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// metrics have bounded labels: never an endpoint, never a URL.
type metrics struct {
	attempts *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
	lanes    prometheus.Gauge
	waiting  *prometheus.GaugeVec
	breakers *prometheus.CounterVec
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
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "surveyhooks_inflight", Help: "Requests under way."}),
		lanes:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "surveyhooks_lanes", Help: "Endpoints that this relay serves."}),
		waiting: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "surveyhooks_lanes_waiting",
			Help: "Endpoints of this relay that cannot be sent anything, by cause: sealed (a key is missing or a value altered), config.",
		}, []string{"cause"}),
		breakers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "surveyhooks_breaker_changes_total", Help: "Changes of breakers, by the new state.",
		}, []string{"state"}),
	}
	if reg != nil {
		reg.MustRegister(m.attempts, m.duration, m.inFlight, m.lanes, m.waiting, m.breakers)
	}
	return m
}

func (m *metrics) attempted(a *fact.Attempt, took time.Duration) {
	m.attempts.WithLabelValues(string(a.Reason), string(a.Trigger)).Inc()
	outcome := "failed"
	if a.Reason == fact.OK {
		outcome = "succeeded"
	}
	m.duration.WithLabelValues(outcome).Observe(took.Seconds())
}
