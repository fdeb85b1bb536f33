package report

import "math"

const bins = 64

// histogram returns the density of the points in each bin of the view; points outside count in the total.
func histogram(points []float32, view Rect) []float64 {
	density := make([]float64, bins)
	width := (view.XMax - view.XMin) / bins
	for _, p := range points {
		if i := int(math.Floor((float64(p) - view.XMin) / width)); i >= 0 && i < bins {
			density[i]++
		}
	}
	for i := range density {
		density[i] /= float64(len(points)) * width
	}
	return density
}

// drawHistograms fills panels of one dimension and gives their frames a common y axis. A spike far above the exact
// density is cut off, so that the rest keeps its shape.
func drawHistograms(c canvas, frames []frame, panels []Panel, opt PanelOptions) {
	curve := func(f func(x, y float64) float64) (x, y []float64) {
		const n = 2 * panelWidth
		for i := range n + 1 {
			at := opt.View.XMin + (opt.View.XMax-opt.View.XMin)*float64(i)/n
			x, y = append(x, at), append(y, f(at, 0))
		}
		return x, y
	}
	counts, top, exactTop := make([][]float64, len(panels)), 0.0, 0.0
	highest := func(v []float64, top *float64) {
		for _, d := range v {
			*top = max(*top, d)
		}
	}
	for i, p := range panels {
		counts[i] = histogram(p.Points, opt.View)
		highest(counts[i], &top)
		if p.Density != nil {
			_, y := curve(p.Density)
			highest(y, &exactTop)
		}
	}
	if opt.Contour != nil {
		_, y := curve(opt.Contour)
		highest(y, &exactTop)
	}
	if exactTop > 0 {
		top = min(max(top, exactTop), 1.8*exactTop)
	}
	if !(top > 0) {
		top = 1
	}
	for i, p := range panels {
		frames[i].view.YMin, frames[i].view.YMax = 0, 1.08*top
		f := frames[i]
		if len(p.Points) > 0 {
			f.bars(c, counts[i])
		}
		if p.Density != nil {
			x, y := curve(p.Density)
			f.curve(c, x, y, len(p.Points) == 0)
		}
		if opt.Contour != nil && len(p.Points) > 0 {
			x, y := curve(opt.Contour)
			f.curve(c, x, y, false)
		}
	}
}

func (f frame) bars(c canvas, density []float64) {
	x, y := []float64{f.left}, []float64{f.bottom()}
	for i, d := range density {
		h := max(f.top, f.y(d))
		x = append(x, f.left+f.width*float64(i)/bins, f.left+f.width*float64(i+1)/bins)
		y = append(y, h, h)
	}
	x, y = append(x, f.right()), append(y, f.bottom())
	c.fill(x, y, barFill)
	c.line(x, y, barEdge, 0.75, nil)
}

func (f frame) curve(c canvas, x, y []float64, filled bool) {
	px, py := make([]float64, len(x)), make([]float64, len(y))
	for i := range x {
		px[i], py[i] = f.x(x[i]), max(f.top, f.y(y[i]))
	}
	if filled {
		c.fill(append([]float64{f.left}, append(px, f.right())...), append([]float64{f.bottom()}, append(py, f.bottom())...), faded(exact, 0.25))
	}
	c.line(px, py, exact, 1.5, nil)
}
