package dashboard

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/chattosurvey/surveyhooks/projections"
	"github.com/chattosurvey/surveyhooks/schema/fact"
)

// chart is a diagram of stacked bars in the coordinates of its own view box. It is drawn by attributes and classes
// alone: the pages' policy allows no style in them.
type chart struct {
	Width, Height int
	Left, Right   int // of the plot
	Base          int // the line that bars stand on
	Columns       []column
	Grid          []gridLine
	Labels        []label
	Summary       string // what it shows, for those who do not see it
	Narrow        bool
}

// column is one bar: from the base up, what succeeded, what was interrupted, what failed.
type column struct {
	X, Width string
	Parts    []barPart
	Hit      int // height of the area that shows the title
	Title    string
}

type barPart struct{ Class, Y, Height string }

type gridLine struct {
	Y    int
	Text string
}

type label struct {
	X      string
	Text   string
	Anchor string
}

const (
	chartHeight = 208
	plotTop     = 12
	plotBottom  = 28 // below the base, for the labels
)

// drawChart draws an endpoint's bars, in the size of a wide screen or a narrow one.
func drawChart(bars []projections.Bar, window string, narrow bool) chart {
	c := chart{Width: 880, Height: chartHeight, Left: 44, Narrow: narrow}
	if narrow {
		c.Width = 360
	}
	c.Right, c.Base = c.Width-6, c.Height-plotBottom
	top := niceTop(tallest(bars))
	plot := float64(c.Base - plotTop)
	for _, share := range []float64{0, 0.5, 1} {
		if value := share * top; value == math.Trunc(value) {
			c.Grid = append(c.Grid, gridLine{Y: c.Base - int(share*plot), Text: grouped(int64(value))})
		}
	}
	step := float64(c.Right-c.Left) / float64(max(len(bars), 1))
	for i, b := range bars {
		x := float64(c.Left) + float64(i)*step
		col := column{X: px(x + step*0.14), Width: px(step * 0.72), Hit: c.Base - plotTop, Title: barTitle(b, window)}
		col.Parts = stack(b, plot/top, float64(c.Base))
		c.Columns = append(c.Columns, col)
	}
	c.Labels = timeLabels(bars, window, c, step)
	c.Summary = summarize(bars)
	return c
}

// drawSparkline draws the same for a list, without axes.
func drawSparkline(bars []projections.Bar) chart {
	c := chart{Width: 120, Height: 28, Right: 120, Base: 27, Summary: summarize(bars)}
	top := max(tallest(bars), 1)
	step := 120 / float64(max(len(bars), 1))
	for i, b := range bars {
		c.Columns = append(c.Columns, column{
			X: px(float64(i)*step + 0.5), Width: px(step - 1), Hit: 27, Title: barTitle(b, "24h"),
			Parts: stack(b, 26/float64(top), 27),
		})
	}
	return c
}

// stack gives what happened at all at least a pixel and a half: one failure among thousands must be seen.
func stack(b projections.Bar, scale, base float64) []barPart {
	var parts []barPart
	y := base
	for _, p := range []struct {
		class string
		n     int64
	}{{"ok", b.Succeeded}, {"hold", b.Interrupted}, {"fail", b.Failed}} {
		if p.n == 0 {
			continue
		}
		h := max(float64(p.n)*scale, 1.5)
		y -= h
		parts = append(parts, barPart{Class: p.class, Y: px(max(y, 0)), Height: px(h)})
	}
	return parts
}

func tallest(bars []projections.Bar) int64 {
	var most int64
	for _, b := range bars {
		most = max(most, b.Succeeded+b.Failed+b.Interrupted)
	}
	return most
}

// niceTop is a round number that no bar passes.
func niceTop(n int64) float64 {
	if n <= 2 {
		return 2
	}
	magnitude := math.Pow(10, math.Floor(math.Log10(float64(n))))
	for _, m := range []float64{1, 2, 4, 5, 6, 8, 10} {
		if top := m * magnitude; top >= float64(n) {
			return top
		}
	}
	return 10 * magnitude
}

func px(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }

func barTitle(b projections.Bar, window string) string {
	form := "2 Jan 15:04 UTC"
	if window == "30d" {
		form = "2 Jan"
	}
	text := fmt.Sprintf("%s: %s succeeded, %s failed", b.From.UTC().Format(form), grouped(b.Succeeded), grouped(b.Failed))
	if b.Interrupted > 0 {
		text += fmt.Sprintf(", %s interrupted by us", grouped(b.Interrupted))
	}
	return text
}

// timeLabels name as many bars as there is room for.
func timeLabels(bars []projections.Bar, window string, c chart, step float64) []label {
	form := "15:04"
	if window == "7d" || window == "30d" {
		form = "2 Jan"
	}
	every := 1
	for float64(every)*step < 62 {
		every++
	}
	if window == "7d" {
		every = (every + 3) / 4 * 4 // a day has four bars
	}
	var labels []label
	for i := 0; i < len(bars); i += every {
		x := float64(c.Left) + (float64(i)+0.5)*step
		if x > float64(c.Right)-20 {
			break
		}
		labels = append(labels, label{X: px(x), Text: bars[i].From.UTC().Format(form), Anchor: "middle"})
	}
	return labels
}

func summarize(bars []projections.Bar) string {
	var ok, failed, interrupted int64
	for _, b := range bars {
		ok, failed, interrupted = ok+b.Succeeded, failed+b.Failed, interrupted+b.Interrupted
	}
	if ok+failed+interrupted == 0 {
		return "No attempts in this time."
	}
	return fmt.Sprintf("%s succeeded, %s failed, %s.", plural(ok, "attempt", "attempts"), grouped(failed), percent(ok, ok+failed))
}

// timing is an attempt's duration, split into its steps.
type timing struct {
	Steps   []timingStep
	Total   string
	Summary string
}

type timingStep struct {
	Class, Name, Took string
	X, Width          string // of a view box of 1000
}

// drawTiming lays an attempt's steps end to end. The first byte is counted from the start, so that what came before it
// is taken off.
func drawTiming(a projections.Attempt) timing {
	t := timing{Total: milliseconds(float64(a.TotalUs) / 1000)}
	answered := a.FirstByteUs
	if answered == 0 {
		answered = a.TotalUs // there was no answer: all of the rest was waiting
	}
	wait, read := max(answered-a.DNSUs-a.ConnectUs-a.TLSUs, 0), max(a.TotalUs-answered, 0)
	switch fact.Reason(a.Reason) { //nolint:exhaustive // nobody waits for a server that was not reached: the rest is that step's
	case fact.DNS:
		a.DNSUs, wait = a.DNSUs+wait, 0
	case fact.Connect, fact.ConnectTimeout:
		a.ConnectUs, wait = a.ConnectUs+wait, 0
	case fact.TLS:
		a.TLSUs, wait = a.TLSUs+wait, 0
	}
	x, whole := 0.0, float64(max(a.TotalUs, 1))
	for _, s := range []struct {
		class, name string
		us          int64
	}{
		{"dns", "Name lookup", a.DNSUs},
		{"tcp", "Connection", a.ConnectUs},
		{"tls", "TLS", a.TLSUs},
		{"wait", "Waiting for your server", wait},
		{"read", "Reading the answer", read},
	} {
		width := 1000 * float64(s.us) / whole
		took := milliseconds(float64(s.us) / 1000)
		if s.us == 0 {
			took = "–" // it did not happen: a connection was reused, or the attempt ended before
		}
		t.Steps = append(t.Steps, timingStep{Class: s.class, Name: s.name, Took: took, X: px(x), Width: px(width)})
		x += width
		t.Summary += s.name + " " + took + ", "
	}
	t.Summary += "in all " + t.Total + "."
	return t
}

// windows are the choices of the switch above a chart.
func windows() []string { return []string{"1h", "24h", "7d", "30d"} }

func windowWords(window string) string {
	switch window {
	case "1h":
		return "Last hour"
	case "7d":
		return "Last 7 days"
	case "30d":
		return "Last 30 days"
	default:
		return "Last 24 hours"
	}
}

// ago is the time so far before now, for the forms that ask since when.
func ago(now time.Time, d time.Duration) time.Time { return now.Add(-d).UTC().Truncate(time.Minute) }
