package report

import (
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat"
)

// field is a density on a grid of points over a frame, one every CSS pixel; between them its logarithm is interpolated,
// which is smooth even where a narrow mode falls off. It is painted pixel by pixel: gonum's heat maps do not interpolate,
// and its contours come in the order of a map, so that where two of them touch a figure would differ from run to run.
type field struct {
	w, h int
	logs []float64 // [h, w], top row first
	peak float64   // the largest log density
}

// sampled evaluates a density over a frame.
func sampled(density func(x, y float64) float64, f frame) field {
	width, height := f.Size().X, f.Size().Y
	g := field{w: int(width) + 1, h: int(height) + 1, peak: math.Inf(-1)}
	for j := range g.h {
		y := f.view.YMax - (f.view.YMax-f.view.YMin)*float64(j)/float64(height)
		for i := range g.w {
			x := f.view.XMin + (f.view.XMax-f.view.XMin)*float64(i)/float64(width)
			l := math.Log(density(x, y))
			if math.IsNaN(l) {
				l = math.Inf(-1)
			}
			g.logs = append(g.logs, l)
			g.peak = max(g.peak, l)
		}
	}
	for i, l := range g.logs { // interpolation needs finite values
		g.logs[i] = max(l, g.peak-200)
	}
	return g
}

// levels returns, for each mass, the log density above which that share of the mass in view lies.
func (g field) levels(masses []float64) (levels []float64) {
	sorted := slices.Sorted(slices.Values(g.logs))
	weights := make([]float64, len(sorted))
	for i, l := range sorted {
		weights[i] = math.Exp(l - g.peak)
	}
	for _, m := range masses {
		levels = append(levels, stat.Quantile(1-m, stat.Empirical, sorted, weights))
	}
	return levels
}

// at returns the log density at image pixel (i, j) of the frame and its slope per image pixel.
func (g field) at(i, j int) (log, slope float64) {
	x, y := (float64(i)+0.5)/pixelRatio, (float64(j)+0.5)/pixelRatio
	a, b := min(int(x), g.w-2), min(int(y), g.h-2)
	u, v := x-float64(a), y-float64(b)
	p := g.logs[b*g.w+a:]
	nw, ne, sw, se := p[0], p[1], p[g.w], p[g.w+1]
	dx := (ne-nw)*(1-v) + (se-sw)*v
	dy := (sw-nw)*(1-u) + (se-ne)*u
	return (nw*(1-u)+ne*u)*(1-v) + (sw*(1-u)+se*u)*v, math.Hypot(dx, dy) / pixelRatio
}

// heat fills the frame: the colour is the root of the density relative to its peak, so that light modes stay visible.
func (g field) heat(f frame) {
	f.eachPixel(func(i, j, x, y int) {
		l, _ := g.at(i, j)
		f.img.SetRGBA(x, y, exactRamp.at(math.Exp((l-g.peak)/2)))
	})
}

// contours draws the lines of the given log densities, all of one width: a pixel is covered as far as its distance to
// the line, the difference over the slope, allows.
func (g field) contours(f frame, levels []float64, colour color.RGBA, width, opacity float64) {
	f.eachPixel(func(i, j, x, y int) {
		l, slope := g.at(i, j)
		nearest := math.Inf(1)
		for _, level := range levels {
			nearest = min(nearest, math.Abs(l-level)/max(slope, 1e-9))
		}
		if cover := min(1, width*pixelRatio/2+0.5-nearest); cover > 0 {
			f.img.SetRGBA(x, y, mix(f.img.RGBAAt(x, y), colour, cover*opacity))
		}
	})
}

// eachPixel calls paint with every image pixel of the frame: (i, j) counts from its top left corner, (x, y) from the
// image's.
func (f frame) eachPixel(paint func(i, j, x, y int)) {
	left, top := int(f.Min.X)*pixelRatio, f.img.Rect.Max.Y-int(f.Max.Y)*pixelRatio
	for j := range int(f.Size().Y) * pixelRatio {
		for i := range int(f.Size().X) * pixelRatio {
			paint(i, j, left+i, top+j)
		}
	}
}
