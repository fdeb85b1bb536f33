package report

import (
	"fmt"
	"image/color"
	"math"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// The measures of a figure of charts, in CSS pixels.
const (
	margin      = 16
	plotWidth   = 290
	plotHeight  = 170
	chartFooter = 36
	chartGap    = 22
	legendLine  = 20
	fewPoints   = 15 // up to this many points of a line are marked, so that it shows how much it rests on
)

// Charts writes small multiples, in the given number of columns, under one legend.
func Charts(path string, columns int, charts []Chart) error {
	if len(charts) == 0 || columns < 1 {
		return fmt.Errorf("report: figure %s: %d charts in %d columns, want at least 1 of each", path, len(charts), columns)
	}
	for _, c := range charts {
		if err := c.check(); err != nil {
			return fmt.Errorf("report: figure %s: %w", path, err)
		}
	}
	columns = min(columns, len(charts))
	rows := (len(charts) + columns - 1) / columns
	tiles := make([]tile, len(charts))
	gutter, header := 0.0, 24.0 // a title, or a title and a line of labels
	for i, c := range charts {
		view, whole, ok := c.extent()
		if !ok {
			view = Rect{0, 1, 0, 1}
		}
		tiles[i] = tile{c, frame{width: plotWidth, height: plotHeight, view: view, logY: c.LogY}, whole, !ok}
		for _, t := range tiles[i].yTicks(6) {
			gutter = max(gutter, math.Ceil(tickText.width(t.label))+8)
		}
		if c.YLabel != "" || len(c.HLines) > 0 {
			header = 40
		}
	}
	width := 2*margin + float64(columns)*(gutter+plotWidth) + float64(columns-1)*chartGap
	keys := legend(charts)
	places, legendHeight := keys.layout(width - 2*margin)
	top := margin + legendHeight
	height := header + plotHeight + chartFooter
	c := newCanvas(width, top+float64(rows)*height+float64(rows-1)*chartGap/2+margin/2)
	keys.draw(c, places)
	for i, t := range tiles {
		t.left = margin + gutter + float64(i%columns)*(gutter+plotWidth+chartGap)
		t.top = top + header + float64(i/columns)*(height+chartGap/2)
		c.text(t.left, t.top-header+15, fit(t.Title, titleText, t.width), titleText, 0)
		t.draw(c, keys)
	}
	return c.write(path)
}

// tile is a chart in its place.
type tile struct {
	Chart
	frame
	whole, empty bool // all x are whole numbers; there are no data
}

func (t tile) draw(c canvas, keys keys) {
	ticks := t.yTicks(6)
	if !t.empty {
		t.gridLines(c, ticks)
	}
	label := t.references(c) - t.left
	c.text(t.left, t.top-9, fit(t.YLabel, noteText, label), noteText, 0)
	if t.empty {
		t.baseline(c)
		c.text(t.left+t.width/2, t.top+t.height/2, "no data", noteText, 0.5)
		return
	}
	least := 0.0
	if t.whole {
		least = 1
	}
	t.yLabels(c, ticks)
	t.xLabels(c, linearTicks(t.view.XMin, t.view.XMax, 5, least))
	t.baseline(c)
	c.text(t.left+t.width/2, t.bottom()+30, t.XLabel, noteText, 0.5)
	for _, s := range t.Series {
		t.band(c, s, keys[s.Name].colour)
	}
	for _, s := range t.Series {
		t.curve(c, s, keys[s.Name])
	}
}

// references draws the horizontal lines and, above the frame where no data are, what they stand for. It returns where the
// room that these leave there ends.
func (t tile) references(c canvas) (end float64) {
	right := t.right()
	for i := len(t.HLines) - 1; i >= 0; i-- {
		h, dash := t.HLines[i], dashes[1+i%(len(dashes)-1)]
		if y := t.y(h.Y); !t.empty && t.shows(h.Y) && y >= t.top-0.5 && y <= t.bottom()+0.5 {
			c.segment(t.left, crisp(y), t.right(), crisp(y), ink, 1, dash)
		}
		c.text(right, t.top-9, h.Label, noteText, 1)
		right -= noteText.width(h.Label) + 6
		c.segment(right-18, t.top-13, right, t.top-13, ink, 1, dash)
		right -= 18 + 14
	}
	return right
}

func (t tile) band(c canvas, s Series, colour color.RGBA) {
	if s.Err == nil {
		return
	}
	for _, r := range t.runs(s) {
		var outline []vg.Point
		edge := func(i int, sign float64) {
			v := s.Y[i]
			if e := s.Err[i]; finite(e) {
				v += sign * e
			}
			if t.LogY {
				v = max(v, t.view.YMin*1e-3)
			}
			outline = append(outline, vg.Point{X: vg.Length(t.x(s.X[i])), Y: vg.Length(t.y(v))})
		}
		for i := r[0]; i < r[1]; i++ {
			edge(i, 1)
		}
		for i := r[1] - 1; i >= r[0]; i-- {
			edge(i, -1)
		}
		clip := t.clip()
		x, y := split(clip.ClipPolygonXY(outline))
		c.fill(x, y, faded(colour, 0.16))
	}
}

func (t tile) curve(c canvas, s Series, k key) {
	marked := len(s.Y) <= fewPoints
	for _, r := range t.runs(s) {
		var points []vg.Point
		for i := r[0]; i < r[1]; i++ {
			points = append(points, vg.Point{X: vg.Length(t.x(s.X[i])), Y: vg.Length(t.y(s.Y[i]))})
		}
		clip := t.clip()
		for _, part := range clip.ClipLinesXY(points) {
			x, y := split(part)
			c.line(x, y, k.colour, 1.75, k.dash)
		}
		for _, p := range points {
			if (marked || len(points) == 1) && clip.Contains(p) {
				c.dot(float64(p.X), float64(p.Y), 2.4, k.colour)
			}
		}
	}
}

// clip is the frame's rectangle for gonum's clipping, which does not mind which way y points.
func (f frame) clip() draw.Canvas {
	return draw.Canvas{Rectangle: vg.Rectangle{
		Min: vg.Point{X: vg.Length(f.left), Y: vg.Length(f.top)},
		Max: vg.Point{X: vg.Length(f.right()), Y: vg.Length(f.bottom())},
	}}
}

func split(p []vg.Point) (x, y []float64) {
	for _, v := range p {
		x, y = append(x, float64(v.X)), append(y, float64(v.Y))
	}
	return x, y
}
