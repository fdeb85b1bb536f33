package report

import (
	"fmt"
	"image/color"
	"math"
	"slices"
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
	key := dotKey{colours: map[string]color.RGBA{}}
	var tiles []dotTile
	header, most := 24.0, 1
	for _, p := range panels {
		if err := p.check(len(rows)); err != nil {
			return fmt.Errorf("report: figure %s: %w", path, err)
		}
		t := newDotTile(p)
		tiles = append(tiles, t)
		key.add(t)
		most = max(most, len(p.Series))
		if p.Note != "" {
			header = 40
		}
	}
	gutter := 0.0
	for _, r := range rows {
		gutter = max(gutter, math.Ceil(rowText.width(fit(r, rowText, widestLabel)))+10)
	}
	columns = min(columns, len(panels))
	rowHeight := float64(max(18, dotStep*most+9))
	frameHeight := rowHeight * float64(len(rows))
	width := gutter + float64(columns)*(dotPanelWidth+dotPanelGap) - dotPanelGap
	places, keyHeight := key.layout(width)
	bands := (len(panels) + columns - 1) / columns
	height := header + frameHeight + dotPanelFooter
	c := newCanvas(2*margin+width, margin+keyHeight+float64(bands)*height+margin/2)
	key.draw(c, places)
	for i, t := range tiles {
		t.left = margin + gutter + float64(i%columns)*(dotPanelWidth+dotPanelGap)
		t.top = margin + keyHeight + float64(i/columns)*height + header
		t.width, t.height = dotPanelWidth, frameHeight
		if i%columns == 0 {
			for j, r := range rows {
				y := t.top + (float64(j)+0.5)*rowHeight
				c.text(t.left-10, y+0.36*rowText.size, fit(r, rowText, widestLabel), rowText, 1)
			}
		}
		c.text(t.left, t.top-header+15, fit(t.Title, titleText, t.width), titleText, 0)
		c.text(t.left, t.top-9, fit(t.Note, noteText, t.width), noteText, 0)
		t.draw(c, key, len(rows))
	}
	return c.write(path)
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

// dotTile is a panel in its place. Its view is in the units of its axis: values, or their logarithms.
type dotTile struct {
	DotPanel
	frame
	log, empty  bool
	cut, barred bool // a value lies outside; there are standard errors
}

// newDotTile finds the view of a panel.
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
	if t.empty = len(values) == 0; t.empty {
		t.view = Rect{0, 1, 0, 1}
		return t
	}
	for i, v := range values {
		values[i] = t.at(v)
	}
	low, high := fences(values)
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, s := range p.Series {
		for i, x := range s.X {
			u := t.at(x)
			switch {
			case !finite(x):
			case u < low || u > high:
				t.cut = true
			default:
				e := s.err(i)
				t.barred = t.barred || e > 0
				left := t.at(x - e)
				if !finite(left) { // the bar reaches to 0 on a logarithmic axis
					left = u
				}
				lo, hi = min(lo, max(low, left)), max(hi, min(high, t.at(x+e)))
			}
		}
	}
	for _, l := range p.Lines {
		if u := t.at(l.X); finite(u) {
			lo, hi = min(lo, u), max(hi, u)
		}
	}
	if t.log {
		lo, hi = math.Exp(lo), math.Exp(hi)
	}
	lo, hi = Chart{LogY: t.log}.room(lo, hi)
	t.view = Rect{t.at(lo), t.at(hi), 0, 1}
	return t
}

// err returns a standard error, 0 where there is none.
func (s DotSeries) err(i int) float64 {
	if s.Err == nil || !finite(s.Err[i]) {
		return 0
	}
	return s.Err[i]
}

// at returns a value in the units of the axis; on a logarithmic one what is not positive is −Inf.
func (t dotTile) at(v float64) float64 {
	if !t.log {
		return v
	}
	return math.Log(max(v, 0))
}

// fences returns the bounds outside of which a value is far from all others: more than five times the distance between
// the quartiles away from them.
func fences(values []float64) (low, high float64) {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	q1, q3 := sorted[n/4], sorted[n-1-n/4]
	if n < fewValues || q1 == q3 {
		return math.Inf(-1), math.Inf(1)
	}
	return q1 - 5*(q3-q1), q3 + 5*(q3-q1)
}

// ticks returns the ticks at the places that x takes, with labels that do not touch.
func (t dotTile) ticks() (ticks []tick) {
	all := linearTicks(t.view.XMin, t.view.XMax, 6, 0)
	if t.log {
		all = logTicks(math.Exp(t.view.XMin), math.Exp(t.view.XMax))
	}
	end := math.Inf(-1)
	for _, k := range all {
		if unit, suffix := unitOf(k.at); t.log && unit > 1 && unit < 1e15 {
			k.label = number(k.at/unit, 0) + suffix // counts: 10k, 100k, 1M
		}
		k.at = t.at(k.at)
		half := tickText.width(k.label) / 2
		if x := t.x(k.at); x-half > end {
			ticks, end = append(ticks, k), x+half+6
		}
	}
	return ticks
}

func (t dotTile) draw(c canvas, key dotKey, rows int) {
	rowHeight := t.height / float64(rows)
	for j := 0; j < rows; j += 2 {
		x, y := []float64{t.left, t.right(), t.right(), t.left}, t.top+float64(j)*rowHeight
		c.fill(x, []float64{y, y, y + rowHeight, y + rowHeight}, rowBand)
	}
	if t.empty {
		t.baseline(c)
		c.text(t.left+t.width/2, t.top+t.height/2, "no data", noteText, 0.5)
		return
	}
	ticks := t.ticks()
	for _, k := range ticks {
		x := crisp(t.x(k.at))
		c.segment(x, t.top, x, t.bottom(), grid, 1, nil)
	}
	for _, l := range t.Lines {
		if u := t.at(l.X); finite(u) {
			x := crisp(t.x(u))
			c.segment(x, t.top, x, t.bottom(), ink, 1, key.dash(l.Label))
		}
	}
	t.xLabels(c, ticks)
	t.baseline(c)
	for k, s := range t.Series {
		colour := key.colours[s.Name]
		for j, x := range s.X {
			if !finite(x) {
				continue
			}
			y := t.top + (float64(j)+0.5)*rowHeight + dotStep*(float64(k)-float64(len(t.Series)-1)/2)
			switch u := t.at(x); {
			case u < t.view.XMin:
				c.arrow(t.left+1, y, -1, colour)
			case u > t.view.XMax:
				c.arrow(t.right()-1, y, 1, colour)
			default:
				if e := s.err(j); e > 0 {
					from, to := t.x(max(t.at(x-e), t.view.XMin)), t.x(min(t.at(x+e), t.view.XMax))
					c.segment(from, y, to, y, faded(colour, 0.5), barWidth, nil)
				}
				c.dot(t.x(u), y, dotSize, colour)
			}
		}
	}
}

// arrow fills a small triangle whose tip, at x, points to the right (1) or left (−1).
func (c canvas) arrow(x, y, direction float64, colour color.Color) {
	c.fill([]float64{x, x - direction*6, x - direction*6}, []float64{y, y - 3.2, y + 3.2}, colour)
}
