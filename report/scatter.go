package report

import "math"

const (
	dotRadius  = 1.15 // CSS pixels
	dotOpacity = 0.55
)

// scatter counts, for each image pixel of a frame, the dots that cover it: where dots crowd the colour deepens, and
// a single stray one still shows. The order of the dots does not matter. (A plotter.Scatter has one colour, however many
// dots lie on one another.)
type scatter struct {
	w, h  int
	depth []float64
	drawn int
}

// scattered draws at most limit of the points [n, 2], evenly chosen along the slice.
func scattered(points []float32, limit int, f frame) scatter {
	s := scatter{w: int(f.Size().X) * pixelRatio, h: int(f.Size().Y) * pixelRatio}
	s.depth = make([]float64, s.w*s.h)
	n := len(points) / 2
	s.drawn = min(n, limit)
	const r = dotRadius * pixelRatio
	for k := range s.drawn {
		i := k * n / s.drawn
		px, py := float64(points[2*i]), float64(points[2*i+1])
		if !f.view.holds(px, py) {
			continue
		}
		cx, cy := f.plot.X.Norm(px)*float64(s.w)-0.5, (1-f.plot.Y.Norm(py))*float64(s.h)-0.5
		for y := max(0, int(cy-r)); y <= min(s.h-1, int(cy+r)+1); y++ {
			for x := max(0, int(cx-r)); x <= min(s.w-1, int(cx+r)+1); x++ {
				if cover := r + 0.5 - math.Hypot(float64(x)-cx, float64(y)-cy); cover > 0 {
					s.depth[y*s.w+x] += min(1, cover)
				}
			}
		}
	}
	return s
}

// peak is the largest depth for each dot drawn.
func (s scatter) peak() (peak float64) {
	for _, d := range s.depth {
		peak = max(peak, d)
	}
	return peak / float64(max(1, s.drawn))
}

// paint colours by the depth relative to a peak that all panels of a figure share, so that their colours compare.
func (s scatter) paint(f frame, peak float64) {
	const strength = 400 // a place with 1/400 of the deepest is already half way up the ramp
	f.eachPixel(func(i, j, x, y int) {
		d := s.depth[j*s.w+i]
		if d == 0 {
			return
		}
		u := math.Log1p(strength*d/float64(s.drawn)/peak) / math.Log1p(strength)
		f.img.SetRGBA(x, y, mix(f.img.RGBAAt(x, y), sampleRamp.at(u), 1-math.Pow(1-dotOpacity, d)))
	})
}

// scatters fills panels of two dimensions.
func (o PanelOptions) scatters(frames []frame, panels []Panel) {
	var target field
	var levels []float64
	if o.Contour != nil {
		target = sampled(o.Contour, frames[0])
		levels = target.levels(contourMasses)
	}
	dots, peak := make([]scatter, len(panels)), 0.0
	for i, p := range panels {
		dots[i] = scattered(p.Points, pointLimit, frames[i])
		peak = max(peak, dots[i].peak())
	}
	for i, p := range panels {
		if p.Density != nil {
			sampled(p.Density, frames[i]).heat(frames[i])
		}
		dots[i].paint(frames[i], peak)
		if len(p.Points) > 0 && o.Contour != nil {
			target.contours(frames[i], levels, exact, 0.9, 0.5)
		}
		if len(p.Points) == 0 && p.Density == nil {
			frames[i].none("no samples")
		}
	}
}
