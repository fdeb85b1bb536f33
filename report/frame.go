package report

import "math"

// frame maps a view of the data to a rectangle of a canvas and draws its axes.
type frame struct {
	left, top, width, height float64 // CSS pixels
	view                     Rect
	logY                     bool
}

// Rect is a view of the data. The zero Rect stands for one that holds all of it.
type Rect struct{ XMin, XMax, YMin, YMax float64 }

func (f frame) right() float64  { return f.left + f.width }
func (f frame) bottom() float64 { return f.top + f.height }

// x and y return the place of a value, kept within reach of the canvas.
func (f frame) x(v float64) float64 {
	return f.left + f.width*(v-f.view.XMin)/(f.view.XMax-f.view.XMin)
}

func (f frame) y(v float64) float64 {
	lo, hi := f.view.YMin, f.view.YMax
	if f.logY {
		v, lo, hi = math.Log(v), math.Log(lo), math.Log(hi)
	}
	return f.bottom() - f.height*(v-lo)/(hi-lo)
}

func (f frame) yTicks(n int) []tick {
	if f.logY {
		return logTicks(f.view.YMin, f.view.YMax)
	}
	return linearTicks(f.view.YMin, f.view.YMax, n, 0)
}

// gridLines draws a light line at every y tick.
func (f frame) gridLines(c canvas, ticks []tick) {
	for _, t := range ticks {
		y := crisp(f.y(t.at))
		c.segment(f.left, y, f.right(), y, grid, 1, nil)
	}
}

// yLabels writes the ticks left of the frame, xLabels below it with a short mark each.
func (f frame) yLabels(c canvas, ticks []tick) {
	for _, t := range ticks {
		c.text(f.left-6, f.y(t.at)+0.36*tickText.size, t.label, tickText, 1)
	}
}

func (f frame) xLabels(c canvas, ticks []tick) {
	for _, t := range ticks {
		x := crisp(f.x(t.at))
		c.segment(x, f.bottom(), x, f.bottom()+3.5, axis, 0.75, nil)
		c.text(x, f.bottom()+15, t.label, tickText, 0.5)
	}
}

// box draws the four sides.
func (f frame) box(c canvas) {
	l, r, t, b := crisp(f.left), crisp(f.right()), crisp(f.top), crisp(f.bottom())
	c.line([]float64{l, r, r, l, l}, []float64{t, t, b, b, t}, axis, 0.75, nil)
}

// baseline draws the bottom side alone.
func (f frame) baseline(c canvas) {
	y := crisp(f.bottom())
	c.segment(f.left, y, f.right(), y, axis, 0.75, nil)
}

// crisp moves a coordinate to the middle of an image pixel, where a thin line is not smeared over two.
func crisp(v float64) float64 { return (math.Floor(v*pixelRatio) + 0.5) / pixelRatio }
