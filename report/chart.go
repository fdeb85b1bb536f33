package report

import (
	"fmt"
	"math"
)

// Chart is one chart of [Charts]: lines over a common x axis.
type Chart struct {
	Title, XLabel, YLabel string
	LogY                  bool // values ≤ 0 are gaps
	Series                []Series
	HLines                []HLine
	YMin, YMax            float64 // the view, if YMin < YMax; else all data are in view
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

func (c Chart) check() error {
	for _, s := range c.Series {
		if len(s.X) != len(s.Y) || s.Err != nil && len(s.Err) != len(s.Y) {
			return fmt.Errorf("chart %q, series %q: %d x, %d y and %d err values, want as many of each (or no err)", c.Title, s.Name,
				len(s.X), len(s.Y), len(s.Err))
		}
		for i, x := range s.X {
			if !finite(x) {
				return fmt.Errorf("chart %q, series %q: x[%d] is %g, want a finite number", c.Title, s.Name, i, x)
			}
		}
	}
	return nil
}

// shows reports whether v has a place on the y axis.
func (c Chart) shows(v float64) bool {
	return finite(v) && (!c.LogY || v > 0)
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// extent returns the range of the data, with room above and below, and whether there is any.
func (c Chart) extent() (r Rect, whole, ok bool) {
	r = Rect{math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)}
	y := func(v float64) {
		if c.shows(v) {
			r.YMin, r.YMax = min(r.YMin, v), max(r.YMax, v)
		}
	}
	whole = true
	for _, s := range c.Series {
		for i, v := range s.Y {
			if !c.shows(v) {
				continue
			}
			ok = true
			r.XMin, r.XMax = min(r.XMin, s.X[i]), max(r.XMax, s.X[i])
			whole = whole && s.X[i] == math.Trunc(s.X[i])
			y(v)
			if s.Err != nil && finite(s.Err[i]) {
				y(v - s.Err[i])
				y(v + s.Err[i])
			}
		}
	}
	for _, h := range c.HLines {
		y(h.Y)
	}
	if r.XMin == r.XMax {
		r.XMin, r.XMax = r.XMin-1, r.XMax+1
	}
	if c.YMin < c.YMax && !(c.LogY && c.YMin <= 0) {
		r.YMin, r.YMax = c.YMin, c.YMax
		return r, whole, ok
	}
	r.YMin, r.YMax = c.room(r.YMin, r.YMax)
	return r, whole, ok
}

// room widens a range by a twentieth at either end, on the axis' own scale. A range that comes close to 0 starts there.
func (c Chart) room(lo, hi float64) (float64, float64) {
	if c.LogY {
		by := max(math.Pow(hi/lo, 0.05), 1.1)
		return lo / by, hi * by
	}
	by := 0.05 * (hi - lo)
	if by == 0 {
		by = max(0.1*math.Abs(hi), 1e-3)
	}
	if lo >= 0 && lo < 0.3*hi {
		return 0, hi + by
	}
	return lo - by, hi + by
}

// runs returns the ranges [from, to) of s without a gap.
func (c Chart) runs(s Series) (runs [][2]int) {
	for i := 0; i < len(s.Y); i++ {
		from := i
		for i < len(s.Y) && c.shows(s.Y[i]) {
			i++
		}
		if i > from {
			runs = append(runs, [2]int{from, i})
		}
	}
	return runs
}
