package projections

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// The grains of the rollup. No bar can be narrower than a slot; one of whole hours reads a twelfth of the rows.
const (
	slotWidth = 5 * time.Minute
	hourWidth = time.Hour
)

// Window is the stretch of time that a chart shows, in bars of one width. The last bar holds its end.
type Window struct {
	Bars  int
	Width time.Duration // a multiple of 5 minutes; bars begin at multiples of it, in UTC
	Until time.Time     // zero means now
}

// WindowOf returns the window of a name: 1h (in bars of 5 minutes), 24h (1 hour), 7d (6 hours) or 30d (1 day).
func WindowOf(name string) (Window, error) {
	switch name {
	case "1h":
		return Window{Bars: 12, Width: slotWidth}, nil
	case "24h":
		return Window{Bars: 24, Width: time.Hour}, nil
	case "7d":
		return Window{Bars: 28, Width: 6 * time.Hour}, nil
	case "30d":
		return Window{Bars: 30, Width: 24 * time.Hour}, nil
	default:
		return Window{}, fmt.Errorf("window is %.20q: want 1h, 24h, 7d or 30d", name)
	}
}

// bounds are the begin of the first bar and the end of the last.
func (w Window) bounds() (from, until time.Time) {
	if w.Until.IsZero() {
		w.Until = time.Now()
	}
	until = w.Until.UTC().Truncate(w.Width).Add(w.Width) // the zero time is a midnight, so that days begin at 00:00
	return until.Add(-time.Duration(w.Bars) * w.Width), until
}

// Bar counts the attempts that started in one bar of a chart.
type Bar struct {
	From        time.Time `json:"from"`
	Succeeded   int64     `json:"succeeded"`
	Failed      int64     `json:"failed"`
	Interrupted int64     `json:"interrupted"` // our process ended meanwhile; no fault of the endpoint
}

// Latency says how long attempts took; the fields are null without any. See Histogram.QuantileMs for their error.
type Latency struct {
	P50Ms  *float64 `json:"p50_ms"`
	P95Ms  *float64 `json:"p95_ms"`
	MaxMs  *float64 `json:"max_ms"`  // exact
	MeanMs *float64 `json:"mean_ms"` // exact
}

// StatusCount counts attempts that ended alike.
type StatusCount struct {
	Status int    `json:"status"` // 0: no answer
	Reason string `json:"reason"` // ok, or why it failed
	Count  int64  `json:"count"`
}

// Class is the status by its first digit, such as 2xx; none when there was no answer.
func (s StatusCount) Class() string {
	if s.Status == 0 {
		return "none"
	}
	return fmt.Sprintf("%dxx", s.Status/100)
}

// TypeCount counts the attempts of an event type.
type TypeCount struct {
	EventType string `json:"event_type"`
	Succeeded int64  `json:"succeeded"`
	Failed    int64  `json:"failed"`
}

// EndpointStats is how an endpoint did in a window. Everything counts attempts, by the time of their start.
type EndpointStats struct {
	Bars        []Bar         `json:"bars"` // the oldest first; each bar of the window is there
	Succeeded   int64         `json:"succeeded"`
	Failed      int64         `json:"failed"`
	Interrupted int64         `json:"interrupted"`
	ErrorRate   *float64      `json:"error_rate"` // failed of failed and succeeded; null without any
	Latency     Latency       `json:"latency"`
	ByStatus    []StatusCount `json:"by_status"`     // the commonest first
	ByEventType []TypeCount   `json:"by_event_type"` // by name
}

// EndpointStats returns how an endpoint of the company did in the window, or ErrNotFound.
func (r *Reader) EndpointStats(ctx context.Context, company, endpoint uuid.UUID, w Window) (EndpointStats, error) {
	if w.Bars < 1 || w.Bars > 366 || w.Width < slotWidth || w.Width%slotWidth != 0 {
		return EndpointStats{}, fmt.Errorf("window is %d bars of %s: want 1 to 366 bars of a multiple of %s", w.Bars, w.Width, slotWidth)
	}
	from, until := w.bounds()
	grain := slotWidth
	if w.Width%hourWidth == 0 {
		grain = hourWidth
	}
	page, err := list(ctx, r.db, all(company, selectStats, endpoint, from, until, w.Width.Seconds(), int(grain.Minutes())), noKey[tally])
	if err != nil {
		return EndpointStats{}, err
	}
	if len(page.Items) == 0 {
		return EndpointStats{}, ErrNotFound
	}
	stats := EndpointStats{Bars: make([]Bar, w.Bars), ByStatus: []StatusCount{}, ByEventType: []TypeCount{}}
	for i := range stats.Bars {
		stats.Bars[i].From = from.Add(time.Duration(i) * w.Width)
	}
	for i := range page.Items {
		stats.take(&page.Items[i], w.Width)
	}
	slices.SortFunc(stats.ByEventType, func(a, b TypeCount) int { return strings.Compare(a.EventType, b.EventType) })
	slices.SortFunc(stats.ByStatus, func(a, b StatusCount) int {
		if a.Count != b.Count {
			return int(b.Count - a.Count)
		}
		return strings.Compare(fmt.Sprint(a.Status, a.Reason), fmt.Sprint(b.Status, b.Reason))
	})
	return stats, nil
}

// take adds one row: the total, a bar, a type or a status.
func (s *EndpointStats) take(t *tally, width time.Duration) {
	switch {
	case t.bar != nil:
		b := &s.Bars[int(t.bar.Sub(s.Bars[0].From)/width)]
		b.Succeeded, b.Failed, b.Interrupted = t.succeeded, t.failed, t.interrupted
	case t.eventType != nil:
		s.ByEventType = append(s.ByEventType, TypeCount{*t.eventType, t.succeeded, t.failed})
	case t.status != nil:
		s.ByStatus = append(s.ByStatus, StatusCount{*t.status, *t.reason, t.succeeded + t.failed + t.interrupted})
	default:
		s.Succeeded, s.Failed, s.Interrupted = t.succeeded, t.failed, t.interrupted
		s.ErrorRate, s.Latency = share(t.failed, t.succeeded+t.failed), t.latency()
	}
}

// tally is a row of counts. Of bar, type and status at most one is set; without any, it is the total.
type tally struct {
	bar         *time.Time
	eventType   *string
	reason      *string
	status      *int
	succeeded   int64
	failed      int64
	interrupted int64
	totalUs     int64
	maxUs       int64
	took        Histogram
}

func (t *tally) fields() []any {
	return []any{
		&t.bar, &t.eventType, &t.reason, &t.status, &t.succeeded, &t.failed, &t.interrupted, &t.totalUs, &t.maxUs, &t.took,
	}
}

func (t *tally) times() []*time.Time { return []*time.Time{t.bar} }

func (t *tally) latency() Latency {
	n := t.succeeded + t.failed
	if n == 0 {
		return Latency{}
	}
	longest, mean := float64(t.maxUs)/1000, float64(t.totalUs)/1000/float64(n)
	l := Latency{P50Ms: t.took.QuantileMs(0.5), P95Ms: t.took.QuantileMs(0.95), MaxMs: &longest, MeanMs: &mean}
	for _, ms := range []*float64{l.P50Ms, l.P95Ms} {
		*ms = min(*ms, longest)
	}
	return l
}

func share(part, whole int64) *float64 {
	if whole == 0 {
		return nil
	}
	s := float64(part) / float64(whole)
	return &s
}
