package report

import (
	"math"

	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg/draw"
)

const bins = 64

// histogram returns the density of the points in each bin of the view, at its left end, and ends with the view; points
// outside count in the total.
func histogram(points []float32, view Rect) plotter.XYs {
	density := make(plotter.XYs, bins+1)
	width := (view.XMax - view.XMin) / bins
	for i := range density {
		density[i].X = view.XMin + width*float64(i)
	}
	for _, p := range points {
		if i := int(math.Floor((float64(p) - view.XMin) / width)); i >= 0 && i < bins {
			density[i].Y += 1 / (float64(len(points)) * width)
		}
	}
	return density
}

func (o PanelOptions) curve(density func(x, y float64) float64) (points plotter.XYs) {
	if density == nil {
		return nil
	}
	const n = 2 * panelWidth
	for i := range n + 1 {
		x := o.View.XMin + (o.View.XMax-o.View.XMin)*float64(i)/n
		points = append(points, plotter.XY{X: x, Y: density(x, 0)})
	}
	return points
}

// highest returns where the common y axis of panels of one dimension ends. A spike far above the exact density is cut off,
// so that the rest keeps its shape.
func (o PanelOptions) highest(panels []Panel) float64 {
	top := func(points plotter.XYs) (top float64) {
		for _, p := range points {
			top = max(top, p.Y)
		}
		return top
	}
	bars, curves := 0.0, top(o.curve(o.Contour))
	for _, p := range panels {
		bars, curves = max(bars, top(histogram(p.Points, o.View))), max(curves, top(o.curve(p.Density)))
	}
	switch {
	case curves > 0:
		return min(max(bars, curves), 1.8*curves)
	case bars > 0:
		return bars
	}
	return 1
}

// histograms fills panels of one dimension.
func (o PanelOptions) histograms(frames []frame, panels []Panel) {
	line := draw.LineStyle{Color: exact, Width: 1.5}
	for i, p := range panels {
		curve := plotter.Line{XYs: o.curve(p.Density), LineStyle: line}
		if len(p.Points) > 0 {
			bars := histogram(p.Points, o.View)
			for k := range bars { // gonum draws the steps after it has clipped the points
				bars[k].Y = min(bars[k].Y, o.View.YMax)
			}
			frames[i].plotters(&plotter.Line{XYs: bars, StepStyle: plotter.PostStep, FillColor: barFill, LineStyle: draw.LineStyle{Color: barEdge, Width: 0.75}},
				&plotter.Line{XYs: o.curve(o.Contour), LineStyle: line})
		} else {
			curve.FillColor = faded(exact, 0.25)
		}
		frames[i].plotters(&curve)
	}
}
