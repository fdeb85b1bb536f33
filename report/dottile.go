package report

import (
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// dotTile is a panel in its place.
type dotTile struct {
	DotPanel
	frame
	log, ok     bool // a logarithmic axis; there are data
	cut, barred bool // a value lies outside; there are standard errors
}

// newDotTile finds the view of a panel of rows.
func newDotTile(p DotPanel) dotTile {
	t := dotTile{DotPanel: p, log: p.Log}
	var values []float64
	for _, s := range p.Series {
		for _, x := range s.X {
			if finite(x) {
				values = append(values, x)
				t.log = t.log && x > 0
			}
		}
	}
	if t.ok = len(values) > 0; !t.ok {
		t.view, t.log = Rect{0, 1, 1, 0}, false
		return t
	}
	low, high := fences(values, t.log)
	x := newSpan(t.log)
	for _, s := range p.Series {
		for i, v := range s.X {
			switch e := at(s.Err, i); {
			case !finite(v):
			case v < low || v > high:
				t.cut = true
			default:
				t.barred = t.barred || e > 0
				x.add(v, min(high, v+e))
				if x.shows(v - e) { // else the bar reaches to 0 on a logarithmic axis
					x.add(max(low, v-e))
				}
			}
		}
	}
	for _, l := range p.Lines {
		x.add(l.X)
	}
	lo, hi := x.room()
	t.view = Rect{lo, hi, 1, 0}
	return t
}

// shows reports whether v has a place on the axis.
func (t dotTile) shows(v float64) bool { return span{log: t.log}.shows(v) }

// fences returns the bounds outside of which a value is far from all others: more than five times the distance between
// the quartiles away from them, on the axis' own scale.
func fences(values []float64, log bool) (low, high float64) {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	q1, q3 := sorted[n/4], sorted[n-1-n/4]
	switch {
	case n < fewValues || q1 == q3:
		return math.Inf(-1), math.Inf(1)
	case log:
		return q1 * math.Pow(q1/q3, 5), q3 * math.Pow(q3/q1, 5)
	}
	return q1 - 5*(q3-q1), q3 + 5*(q3-q1)
}

// xTicks returns ticks with labels that do not touch.
func (t dotTile) xTicks() (apart []plot.Tick) {
	end := vg.Length(math.Inf(-1))
	for _, k := range ticks(t.view.XMin, t.view.XMax, 6, t.log) {
		half := tickText.Width(k.Label) / 2
		if x := t.x(k.Value); x-half > end {
			apart, end = append(apart, k), x+half+6
		}
	}
	return apart
}

func (t dotTile) draw(key dotKey) {
	if !t.ok {
		t.baseline()
		t.none("no data")
		return
	}
	ticks := t.xTicks()
	t.plot.X.Tick.Marker = plot.ConstantTicks(ticks)
	t.grid()
	t.xLabels(ticks)
	t.baseline()
	for _, l := range t.Lines {
		if t.shows(l.X) {
			t.plotters(&plotter.Line{XYs: plotter.XYs{{X: l.X, Y: t.view.YMin}, {X: l.X, Y: t.view.YMax}}, LineStyle: reference(key.lines.index(l.Label))})
		}
	}
	step := dotStep / float64(t.y(0)-t.y(1))
	for k, s := range t.Series {
		colour := colour(key.series.index(s.Name))
		bars := plotter.XErrorBars{LineStyle: draw.LineStyle{Color: faded(colour, 0.5), Width: barWidth}}
		dots := plotter.Scatter{}
		var styles []draw.GlyphStyle
		dots.GlyphStyleFunc = func(i int) draw.GlyphStyle { return styles[i] }
		for j, x := range s.X {
			if !finite(x) {
				continue
			}
			p := plotter.XY{X: min(max(x, t.view.XMin), t.view.XMax), Y: float64(j) + 0.5 + step*(float64(k)-float64(len(t.Series)-1)/2)}
			sty := dot(colour, dotSize)
			switch e := at(s.Err, j); {
			case x < p.X:
				sty.Shape = arrow(-1)
			case x > p.X:
				sty.Shape = arrow(1)
			case e > 0:
				bars.XYs = append(bars.XYs, p)
				bars.XErrors = append(bars.XErrors, struct{ Low, High float64 }{x - max(x-e, t.view.XMin), min(x+e, t.view.XMax) - x})
			}
			dots.XYs, styles = append(dots.XYs, p), append(styles, sty)
		}
		t.plotters(&bars, &dots)
	}
}
