package report

import (
	"fmt"
	"math"
	"slices"
)

// Chart is one chart of [Charts]: lines over a common x axis.
type Chart struct {
	Title, XLabel string
	LogY          bool // values ≤ 0 are gaps
	Series        []Series
	HLines        []HLine
	YMin, YMax    float64 // the view, if YMin < YMax; else all data are in view
}

// Series is one line of a Chart. Series of the same name have the same colour in all charts of a figure.
type Series struct {
	Name      string
	X, Y, Err []float64 // equally long; a Y that is not finite is a gap; Err is the half-width of a band, or nil
}

// HLine is a reference value, such as the exact log Z.
type HLine struct {
	Y     float64
	Label string
}

// The measures of a figure of charts, in CSS pixels.
const (
	plotWidth   = 290
	plotHeight  = 170
	chartFooter = 43
	chartGap    = 22
	fewPoints   = 15 // up to this many points of a line are marked, so that it shows how much it rests on
)

// Charts writes small multiples, in the given number of columns, under one legend.
func Charts(path string, columns int, charts []Chart) error {
	if len(charts) == 0 || columns < 1 {
		return fmt.Errorf("report: figure %s: %d charts in %d columns, want at least 1 of each", path, len(charts), columns)
	}
	var names nameList
	l := layout{columns: columns, width: plotWidth, height: plotHeight, footer: chartFooter}
	tiles := make([]chartTile, len(charts))
	for i, c := range charts {
		if err := c.check(); err != nil {
			return fmt.Errorf("report: figure %s: %w", path, err)
		}
		for _, s := range c.Series {
			names.index(s.Name)
		}
		t := chartTile{Chart: c}
		if t.view, t.whole, t.ok = c.extent(); t.ok {
			t.yTicks = ticks(t.view.YMin, t.view.YMax, 6, c.LogY)
		}
		for _, k := range t.yTicks {
			l.left = max(l.left, ceil(tickText.Width(k.Label))+8)
		}
		l.notes = l.notes || len(c.HLines) > 0
		tiles[i] = t
	}
	for i, n := range names {
		if len(names) > 1 { // one series needs no legend
			l.legend = append(l.legend, lineEntry(n, line(i, 2.25)))
		}
	}
	l.gap = l.left + chartGap
	f := l.figure(len(charts))
	for i, t := range tiles {
		t.frame = f.place(i, t.Title, t.view, false, t.LogY && t.ok)
		t.draw(names)
	}
	return f.write(path)
}

func (c Chart) check() error {
	for _, s := range c.Series {
		if len(s.X) != len(s.Y) || s.Err != nil && len(s.Err) != len(s.Y) {
			return fmt.Errorf("chart %q, series %q: %d x, %d y and %d err values, want as many of each (or no err)", c.Title, s.Name,
				len(s.X), len(s.Y), len(s.Err))
		}
		if i := slices.IndexFunc(s.X, func(x float64) bool { return !finite(x) }); i >= 0 {
			return fmt.Errorf("chart %q, series %q: x[%d] is %g, want a finite number", c.Title, s.Name, i, s.X[i])
		}
	}
	return nil
}

// extent returns the range of the data, with room above and below, whether all x are whole numbers, and whether there are
// any.
func (c Chart) extent() (view Rect, whole, ok bool) {
	x, y := newSpan(false), newSpan(c.LogY)
	whole = true
	for _, s := range c.Series {
		for i, v := range s.Y {
			if y.shows(v) {
				x.add(s.X[i])
				y.add(v, v-at(s.Err, i), v+at(s.Err, i))
				whole = whole && s.X[i] == math.Trunc(s.X[i])
			}
		}
	}
	switch {
	case x.lo > x.hi:
		return Rect{0, 1, 0, 1}, false, false
	case x.lo == x.hi:
		x.add(x.lo-1, x.lo+1)
	}
	for _, h := range c.HLines {
		y.add(h.Y)
	}
	if y.lo, y.hi = y.room(); c.YMin < c.YMax && y.shows(c.YMin) {
		y.lo, y.hi = c.YMin, c.YMax
	}
	return Rect{x.lo, x.hi, y.lo, y.hi}, whole, true
}

// Logarithmic gives a chart of positive values a logarithmic axis if they span more than a decade.
func (c Chart) Logarithmic() Chart {
	lowest, highest := math.Inf(1), 0.0
	for _, s := range c.Series {
		for _, v := range s.Y {
			lowest, highest = min(lowest, v), max(highest, v)
		}
	}
	c.LogY = lowest > 0 && highest > 10*lowest
	return c
}
