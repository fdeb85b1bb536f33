package report

import (
	"fmt"
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// DotPanel is one panel of [Dots]: one quantity, a dot for each series in every row.
type DotPanel struct {
	Title, Note string
	Log         bool // a logarithmic axis, if all values are positive
	Series      []DotSeries
	Lines       []DotLine
}

// DotSeries is what stands under one name. Series of the same name have the same colour in all panels of a figure.
type DotSeries struct {
	Name   string
	X, Err []float64 // one for each row; an X that is not finite is no dot; Err are standard errors, or nil
}

// DotLine is a reference value, such as what exact samples reach.
type DotLine struct {
	X     float64
	Label string
}

// The measures of a figure of dots, in CSS pixels.
const (
	dotPanelWidth  = 150
	dotPanelGap    = 22
	dotPanelFooter = 30
	dotStep        = 7 // between the series of a row
	dotSize        = 2.9
	barWidth       = 1.75
	fewValues      = 5 // from this many values on, a panel may leave out those far from all others
)

var rowBand = color.RGBA{0xf6, 0xf7, 0xf8, 0xff}

// Dots writes panels side by side, in the given number of columns, whose rows are the same: one label at the left of
// every row, such as a method, and a dot for every series, such as a run. So that one value far from all others does not
// hide how these differ, it may lie outside of its panel, where an arrow points to it.
func Dots(path string, columns int, rows []string, panels []DotPanel) error {
	if len(panels) == 0 || len(rows) == 0 || columns < 1 {
		return fmt.Errorf("report: figure %s: %d panels of %d rows in %d columns, want at least 1 of each", path, len(panels), len(rows), columns)
	}
	l := layout{columns: columns, width: dotPanelWidth, gap: dotPanelGap, footer: dotPanelFooter}
	tiles, most := make([]dotTile, len(panels)), 1
	for i, p := range panels {
		if err := p.check(len(rows)); err != nil {
			return fmt.Errorf("report: figure %s: %w", path, err)
		}
		tiles[i] = newDotTile(p)
		most = max(most, len(p.Series))
		l.notes = l.notes || p.Note != ""
	}
	for _, r := range rows {
		l.left = max(l.left, ceil(rowText.Width(fit(r, rowText, widestLabel)))+10)
	}
	key := keyOf(tiles)
	l.legend = key.legend()
	l.height = vg.Length(len(rows) * max(18, dotStep*most+9))
	f := l.figure(len(panels))
	for i, t := range tiles {
		t.view.YMin = float64(len(rows)) // each of height 1, the first on top
		t.frame = f.place(i, t.Title, t.view, t.log, false)
		t.above(noteText, 9, t.Note, l.width)
		for j, r := range rows {
			if i%f.Cols == 0 {
				t.text(rowText, t.Min.X-10, t.y(float64(j)+0.5)-0.36*rowText.Font.Size, fit(r, rowText, widestLabel), draw.XRight)
			}
			if low, high := t.y(float64(j)+1), t.y(float64(j)); j%2 == 0 {
				t.FillPolygon(rowBand, []vg.Point{{X: t.Min.X, Y: low}, {X: t.Max.X, Y: low}, {X: t.Max.X, Y: high}, {X: t.Min.X, Y: high}})
			}
		}
		t.draw(key)
	}
	return f.write(path)
}

func (p DotPanel) check(rows int) error {
	for _, s := range p.Series {
		if len(s.X) != rows || s.Err != nil && len(s.Err) != rows {
			return fmt.Errorf("panel %q, series %q: %d x and %d err values, want one for each of %d rows (or no err)", p.Title, s.Name,
				len(s.X), len(s.Err), rows)
		}
	}
	return nil
}

// dotTile is a panel in its place.
type dotTile struct {
	DotPanel
	frame
	log, ok     bool // there are data
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

// arrow is a small triangle that points to the right (1) or left (−1), to something beyond its place.
type arrow vg.Length

func (a arrow) DrawGlyph(c *draw.Canvas, sty draw.GlyphStyle, p vg.Point) {
	tip, back := p.X-vg.Length(a), p.X-vg.Length(a)*7
	c.FillPolygon(sty.Color, []vg.Point{{X: tip, Y: p.Y}, {X: back, Y: p.Y - 3.2}, {X: back, Y: p.Y + 3.2}})
}

func (a arrow) Thumbnail(c *draw.Canvas) {
	a.DrawGlyph(c, draw.GlyphStyle{Color: soft}, vg.Point{X: c.Max.X, Y: c.Center().Y})
}

// dotKey is what the legend of a figure of dots explains.
type dotKey struct {
	series, lines nameList
	cut, barred   bool
}

func keyOf(tiles []dotTile) (k dotKey) {
	for _, t := range tiles {
		for _, s := range t.Series {
			k.series.index(s.Name)
		}
		for _, l := range t.Lines {
			if t.shows(l.X) {
				k.lines.index(l.Label)
			}
		}
		k.cut, k.barred = k.cut || t.cut, k.barred || t.barred
	}
	return k
}

// legend lists the series, the lines, and what bars and arrows mean.
func (k dotKey) legend() (l legend) {
	for i, n := range k.series {
		l = append(l, entry{n, 8, []plot.Thumbnailer{&plotter.Scatter{GlyphStyle: dot(colour(i), dotSize+0.4)}}})
	}
	for i, label := range k.lines {
		l = append(l, lineEntry(label, reference(i)))
	}
	if k.barred {
		e := lineEntry("± standard error", draw.LineStyle{Color: faded(soft, 0.5), Width: barWidth})
		e.marks = append(e.marks, &plotter.Scatter{GlyphStyle: dot(soft, dotSize)})
		l = append(l, e)
	}
	if k.cut {
		l = append(l, entry{"beyond the axis", 8, []plot.Thumbnailer{arrow(1)}})
	}
	return l
}
