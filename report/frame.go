package report

import (
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Rect is a view of the data.
type Rect struct{ XMin, XMax, YMin, YMax float64 }

// holds reports whether the point is in view; a NaN never is.
func (r Rect) holds(x, y float64) bool {
	return x >= r.XMin && x <= r.XMax && y >= r.YMin && y <= r.YMax
}

// frame is a plot whose data fill a rectangle of a figure. Its axes are drawn here, because plot.Draw takes the room for
// them from the rectangle: the frames of a figure would not be of one size.
type frame struct {
	canvas
	plot *plot.Plot
	view Rect
}

func newFrame(c canvas, view Rect, logX, logY bool) frame {
	p := plot.New()
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = view.XMin, view.XMax, view.YMin, view.YMax
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.ConstantTicks(nil), plot.ConstantTicks(nil)
	if logX {
		p.X.Scale = plot.LogScale{}
	}
	if logY {
		p.Y.Scale = plot.LogScale{}
	}
	return frame{c, p, view}
}

// x and y return the place of a value, which may lie outside.
func (f frame) x(v float64) vg.Length { return f.X(f.plot.X.Norm(v)) }
func (f frame) y(v float64) vg.Length { return f.Y(f.plot.Y.Norm(v)) }

func (f frame) plotters(p ...plot.Plotter) {
	for _, p := range p {
		p.Plot(f.Canvas, f.plot)
	}
}

// grid draws a light line at every tick.
func (f frame) grid() {
	sty := draw.LineStyle{Color: grid, Width: 1}
	f.plotters(&plotter.Grid{Horizontal: sty, Vertical: sty})
}

// yLabels writes ticks left of the frame, xLabels below it with a short mark each.
func (f frame) yLabels(ticks []plot.Tick) {
	for _, t := range ticks {
		f.text(tickText, f.Min.X-6, f.y(t.Value)-0.36*tickText.Font.Size, t.Label, draw.XRight)
	}
}

func (f frame) xLabels(ticks []plot.Tick) {
	for _, t := range ticks {
		x := f.x(t.Value)
		f.StrokeLine2(axisLine, x, f.Min.Y, x, f.Min.Y-3.5)
		f.text(tickText, x, f.Min.Y-15, t.Label, draw.XCenter)
	}
}

// box draws the four sides, baseline the bottom one alone.
func (f frame) box() {
	f.SetLineStyle(axisLine)
	f.Stroke(f.Path())
}

func (f frame) baseline() { f.StrokeLine2(axisLine, f.Min.X, f.Min.Y, f.Max.X, f.Min.Y) }

// above writes a line of text above the frame: a note, or the title over it.
func (f frame) above(sty text.Style, y vg.Length, s string, width vg.Length) {
	f.text(sty, f.Min.X, f.Max.Y+y, fit(s, sty, width), draw.XLeft)
}

func (f frame) none(what string) {
	f.text(noteText, f.Center().X, f.Center().Y, what, draw.XCenter)
}
