package report

import (
	"fmt"
	"math"
)

// Panel is one picture of [Panels]: samples, an exact density, or both.
type Panel struct {
	Title, Note string
	Points      []float32                  // [n, dim]
	Density     func(x, y float64) float64 // exact density, up to a factor in two dimensions; y is 0 in one dimension
}

// PanelOptions says how a figure of panels is laid out.
type PanelOptions struct {
	Dim     int                        // 1 or 2; 0 means 2
	View    Rect                       // common to all panels; the zero Rect holds all points; in one dimension y is unused
	Columns int                        // 0 means 4
	Contour func(x, y float64) float64 // the exact target, drawn over every panel of samples; in one dimension as a curve
	Limit   int                        // points drawn in a panel of two dimensions, evenly chosen; 0 means 4,000
}

// The measures of a figure of panels, in whole CSS pixels.
const (
	panelWidth  = 212
	panelGap    = 20
	panelLeft   = 34
	panelFooter = 24
)

// contourMasses are the shares of the exact density's mass that its contours enclose.
var contourMasses = []float64{0.5, 0.9, 0.99}

// Panels writes a grid of panels of one common view: the exact densities filled, the samples over the contours of the
// exact target. In one dimension samples are histograms and densities are curves.
func Panels(path string, panels []Panel, opt PanelOptions) error {
	opt, err := opt.resolve(panels)
	if err != nil {
		return fmt.Errorf("report: figure %s: %w", path, err)
	}
	height := float64(150)
	if opt.Dim == 2 {
		aspect := (opt.View.YMax - opt.View.YMin) / (opt.View.XMax - opt.View.XMin)
		height = math.Round(panelWidth * min(2, max(0.4, aspect)))
	}
	header, notes := 25.0, make([]string, len(panels)) // a title, or a title and a note
	for i, p := range panels {
		notes[i] = p.Note
		if out := opt.outside(p.Points); out > 0 {
			notes[i] = join(p.Note, thousands(out)+" outside the view")
		}
		if notes[i] != "" {
			header = 40
		}
	}
	columns := min(opt.Columns, len(panels))
	rows := (len(panels) + columns - 1) / columns
	frames := make([]frame, len(panels))
	for i := range frames {
		frames[i] = frame{
			left:  margin + panelLeft + float64(i%columns)*(panelWidth+panelGap),
			top:   margin/2 + header + float64(i/columns)*(header+height+panelGap/2),
			width: panelWidth, height: height, view: opt.View,
		}
	}
	width := float64(columns)*(panelWidth+panelGap) - panelGap
	key := opt.key(panels)
	places, keyHeight := layoutKey(key, width)
	keyTop := margin + float64(rows)*(header+height+panelGap/2) + panelFooter
	c := newCanvas(2*margin+panelLeft+width, keyTop+keyHeight)
	drawKey(c, key, places, frames[0].left, keyTop)
	if opt.Dim == 1 {
		drawHistograms(c, frames, panels, opt)
	} else {
		drawScatters(c, frames, panels, opt)
	}
	for i, f := range frames {
		c.text(f.left, f.top-header+17, fit(panels[i].Title, titleText, f.width), titleText, 0)
		c.text(f.left, f.top-8, fit(notes[i], noteText, f.width), noteText, 0)
		if i%columns == 0 {
			f.yLabels(c, f.yTicks(4))
		}
		if i+columns >= len(panels) {
			f.xLabels(c, linearTicks(f.view.XMin, f.view.XMax, 5, 0))
		}
		f.box(c)
	}
	return c.write(path)
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + " · " + b
}

// resolve checks the panels and fills in the defaults.
func (o PanelOptions) resolve(panels []Panel) (PanelOptions, error) {
	if o.Dim == 0 {
		o.Dim = 2
	}
	if o.Columns == 0 {
		o.Columns = 4
	}
	if o.Limit == 0 {
		o.Limit = 4000
	}
	if len(panels) == 0 || o.Columns < 0 || o.Limit < 0 || o.Dim != 1 && o.Dim != 2 {
		return o, fmt.Errorf("%d panels of dimension %d in %d columns with at most %d points, want panels of dimension 1 or 2",
			len(panels), o.Dim, o.Columns, o.Limit)
	}
	for _, p := range panels {
		if len(p.Points)%o.Dim != 0 {
			return o, fmt.Errorf("panel %q: %d values are no whole number of points of dimension %d", p.Title, len(p.Points), o.Dim)
		}
	}
	if o.View == (Rect{}) {
		o.View = o.hull(panels)
	}
	if o.Dim == 1 {
		o.View.YMin, o.View.YMax = 0, 1 // until the histograms are counted
	}
	if v := o.View; !(v.XMin < v.XMax && v.YMin < v.YMax) {
		return o, fmt.Errorf("the view [%g, %g] × [%g, %g] is empty; give one where the panels hold no points", v.XMin, v.XMax, v.YMin, v.YMax)
	}
	return o, nil
}

// hull returns the smallest view of all finite points, a twentieth wider.
func (o PanelOptions) hull(panels []Panel) Rect {
	lo, hi := [2]float64{math.Inf(1), math.Inf(1)}, [2]float64{math.Inf(-1), math.Inf(-1)}
	for _, p := range panels {
		for i, v := range p.Points {
			if v := float64(v); finite(v) {
				lo[i%o.Dim], hi[i%o.Dim] = min(lo[i%o.Dim], v), max(hi[i%o.Dim], v)
			}
		}
	}
	for k := range lo {
		by := max(0.05*(hi[k]-lo[k]), 1e-6)
		lo[k], hi[k] = lo[k]-by, hi[k]+by
	}
	return Rect{lo[0], hi[0], lo[1], hi[1]}
}

// outside counts the points that are not in view, those that are not finite among them.
func (o PanelOptions) outside(points []float32) (n int) {
	for i := 0; i < len(points); i += o.Dim {
		y := (o.View.YMin + o.View.YMax) / 2
		if o.Dim == 2 {
			y = float64(points[i+1])
		}
		if !(frame{view: o.View}).inside(float64(points[i]), y) {
			n++
		}
	}
	return n
}
