package main

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chattosurvey/surveyhooks/cmd/surveyhooks/operator"
	"github.com/chattosurvey/surveyhooks/schema/retention"
)

// backlog collects, whenever it is scraped, the gauges that only the database knows. Its labels are bounded: never an
// endpoint, never a URL.
type backlog struct {
	db     *sql.DB
	logger *slog.Logger

	pending, age, lagRows, lagAge, endpoints, breakers, ahead, strays *prometheus.Desc
	deliveries, retries, quarantined, relays                          *prometheus.Desc
}

var _ prometheus.Collector = (*backlog)(nil)

func newBacklog(db *sql.DB, logger *slog.Logger) *backlog {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("surveyhooks_"+name, help, labels, nil)
	}
	return &backlog{
		db: db, logger: logger,
		pending:   desc("outbox_pending", "Committed events that are not fanned out yet."),
		age:       desc("outbox_oldest_age_seconds", "Age of the oldest of them."),
		lagRows:   desc("projection_pending", "Facts that the history does not show yet."),
		lagAge:    desc("projection_lag_seconds", "Age of the oldest of them."),
		endpoints: desc("endpoints", "Endpoints by state.", "state"),
		breakers:  desc("breakers", "Endpoints by state of their breaker.", "state"),
		ahead:     desc("partition_days_ahead", "Days after today for which a log has partitions.", "log"),
		strays:    desc("default_partition_rows", "Rows that came when their day had no partition: up to 100 000.", "log"),

		deliveries:  desc("deliveries_pending", "Deliveries that are not over: up to 1 000 000."),
		retries:     desc("retries_scheduled", "Those of them that wait for the time of their next attempt."),
		quarantined: desc("quarantined_rows", "Log rows that could not be handled and were set aside."),
		relays:      desc("relays", "Relays by state: alive, drained by an operator, or silent since their lease ended.", "state"),
	}
}

// Describe sends the descriptions of all gauges.
func (b *backlog) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		b.pending, b.age, b.lagRows, b.lagAge, b.endpoints, b.breakers, b.ahead, b.strays, b.deliveries, b.retries, b.quarantined, b.relays,
	} {
		out <- d
	}
}

// Collect reads the database; while that cannot be read the gauges are absent, which an alert can tell from zero.
func (b *backlog) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	lags, err := operator.ReadLags(ctx, b.db)
	if err != nil {
		b.logger.Debug("backlog not read", "error", err)
		return
	}
	told := map[string]bool{} // a log with several readers would give a gauge twice; ours have one
	for _, l := range lags {
		if told[l.Topic] {
			continue
		}
		told[l.Topic] = true
		switch l.Topic {
		case "outbox":
			gauge(b.pending, float64(l.Rows))
			gauge(b.age, l.OldestAge)
		case "journal":
			gauge(b.lagRows, float64(l.Rows))
			gauge(b.lagAge, l.OldestAge)
		}
	}
	b.collectPartitions(ctx, gauge)
	b.collectWork(ctx, gauge)
	states, breakers, err := b.count(ctx)
	if err != nil {
		b.logger.Debug("endpoints not counted", "error", err)
		return
	}
	for state, n := range states {
		gauge(b.endpoints, n, state)
	}
	for state, n := range breakers {
		gauge(b.breakers, n, state)
	}
}

func (b *backlog) collectWork(ctx context.Context, gauge func(*prometheus.Desc, float64, ...string)) {
	var alive, silent, drained float64
	work, err := operator.ReadWork(ctx, b.db)
	if err == nil {
		err = b.db.QueryRowContext(ctx, relayLeases).Scan(&alive, &silent, &drained)
	}
	if err != nil {
		b.logger.Debug("deliveries and relays not counted", "error", err)
		return
	}
	gauge(b.deliveries, float64(work.Pending))
	gauge(b.retries, float64(work.Later()))
	gauge(b.quarantined, float64(work.Quarantined))
	gauge(b.relays, alive-drained, "alive")
	gauge(b.relays, drained, "drained")
	gauge(b.relays, silent, "silent")
}

func (b *backlog) collectPartitions(ctx context.Context, gauge func(*prometheus.Desc, float64, ...string)) {
	ahead, err := daysAhead(ctx, b.db)
	if err != nil {
		b.logger.Debug("partitions not read", "error", err)
		return
	}
	for log, days := range ahead {
		gauge(b.ahead, float64(days), log)
	}
	strays, err := retention.Strays(ctx, b.db)
	if err != nil {
		b.logger.Debug("default partitions not read", "error", err)
		return
	}
	for log, rows := range strays {
		gauge(b.strays, float64(rows), log)
	}
}

// daysAhead says for how many days after today each log has partitions: negative when not even today has one.
func daysAhead(ctx context.Context, db *sql.DB) (map[string]int, error) {
	rows, err := db.QueryContext(ctx, lastPartition)
	if err != nil {
		return nil, fmt.Errorf("read partitions: %w", err)
	}
	defer rows.Close()
	ahead := map[string]int{}
	today := time.Now().UTC().Truncate(24 * time.Hour)
	for rows.Next() {
		var log, last string
		if err := rows.Scan(&log, &last); err != nil {
			return nil, fmt.Errorf("read partitions: %w", err)
		}
		ahead[log] = -1
		if day, err := time.Parse("20060102", last); err == nil {
			ahead[log] = int(day.Sub(today) / (24 * time.Hour))
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read partitions: %w", err)
	}
	return ahead, nil
}

// count returns zero for states that no endpoint has: an absent series breaks alert rules.
func (b *backlog) count(ctx context.Context) (states, breakers map[string]float64, err error) {
	states = map[string]float64{"enabled": 0, "disabled": 0}
	breakers = map[string]float64{"closed": 0, "open": 0, "half_open": 0}
	counts, err := operator.CountEndpoints(ctx, b.db)
	if err != nil {
		return nil, nil, err
	}
	for _, c := range counts {
		states[c.State] += float64(c.Count)
		breakers[c.Breaker] += float64(c.Count)
	}
	return states, breakers, nil
}
