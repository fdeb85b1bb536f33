package report

import (
	"fmt"
	"math"
	"strings"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Panel is one picture of [Panels]: samples, an exact density, or both.
type Panel struct {
	Title, Note string
	Points      []float32                  // [n, dim]
	Density     func(x, y float64) float64 // exact density, up to a factor in two dimensions; y is 0 in one dimension
}

// PanelOptions says how a figure of panels is laid out. All but Contour are required.
type PanelOptions struct {
	Dim     int                        // 1 or 2
	View    Rect                       // common to all panels; in one dimension y is unused
	Columns int                        // at least 1
	Contour func(x, y float64) float64 // the exact target, drawn over every panel of samples, or nil; in one dimension as a curve
}

// pointLimit is how many points are drawn in a panel of two dimensions, evenly chosen.
const pointLimit = 4000

// The measures of a figure of panels, in whole CSS pixels.
const (
	panelWidth  = 212
	panelGap    = 20
	panelLeft   = 34
	panelFooter = 10
)

// contourMasses are the shares of the exact density's mass that its contours enclose.
var contourMasses = []float64{0.5, 0.9, 0.99}

// Panels writes a grid of panels of one common view: the exact densities filled, the samples over the contours of the
// exact target. In one dimension samples are histograms and densities are curves.
func Panels(path string, panels []Panel, opt PanelOptions) error {
	if opt.Dim == 1 {
		opt.View.YMin, opt.View.YMax = 0, 1 // until the histograms are counted
	}
	if err := opt.check(panels); err != nil {
		return fmt.Errorf("report: figure %s: %w", path, err)
	}
	l := layout{columns: opt.Columns, width: panelWidth, height: 150, left: panelLeft, gap: panelGap, footer: panelFooter, legend: opt.key(panels)}
	fill := opt.scatters
	if opt.Dim == 1 {
		fill = opt.histograms
		opt.View.YMin, opt.View.YMax = 0, 1.08*opt.highest(panels)
	} else {
		aspect := (opt.View.YMax - opt.View.YMin) / (opt.View.XMax - opt.View.XMin)
		l.height = vg.Length(math.Round(panelWidth * min(2, max(0.4, aspect))))
	}
	notes := make([]string, len(panels))
	for i, p := range panels {
		notes[i] = p.Note
		if out := opt.outside(p.Points); out > 0 {
			notes[i] = strings.TrimPrefix(p.Note+" · "+thousands(out)+" outside the view", " · ")
		}
		l.notes = l.notes || notes[i] != ""
	}
	fig := l.figure(len(panels))
	frames := make([]frame, len(panels))
	for i, p := range panels {
		frames[i] = fig.place(i, p.Title, opt.View, false, false)
		frames[i].above(noteText, 9, notes[i], panelWidth)
	}
	fill(frames, panels)
	for i, f := range frames {
		if i%fig.Cols == 0 {
			f.yLabels(linearTicks(opt.View.YMin, opt.View.YMax, 4, 0))
		}
		if i+fig.Cols >= len(panels) {
			f.xLabels(linearTicks(opt.View.XMin, opt.View.XMax, 5, 0))
		}
		f.box()
	}
	return fig.write(path)
}

// key returns what the panels show.
func (o PanelOptions) key(panels []Panel) (key legend) {
	most, densities := 0, false
	for _, p := range panels {
		most = max(most, len(p.Points)/o.Dim)
		densities = densities || p.Density != nil
	}
	curve, target := draw.LineStyle{Color: exact, Width: 1.5}, most > 0 && o.Contour != nil
	if o.Dim == 1 {
		if most > 0 {
			key = append(key, rampEntry("samples", ramp{barFill, barFill}))
		}
		if densities || target {
			key = append(key, lineEntry("exact density", curve))
		}
		return key
	}
	if most > 0 {
		label := "samples, darker where dense"
		if most > pointLimit {
			label += fmt.Sprintf(" (%s of %s drawn)", thousands(pointLimit), thousands(most))
		}
		key = append(key, rampEntry(label, sampleRamp))
	}
	if densities {
		key = append(key, rampEntry("exact density", exactRamp))
	}
	if target {
		key = append(key, lineEntry("exact target: contours hold 50, 90 and 99 % of it", curve))
	}
	return key
}

func (o PanelOptions) check(panels []Panel) error {
	if len(panels) == 0 || o.Columns < 1 || o.Dim != 1 && o.Dim != 2 {
		return fmt.Errorf("%d panels of dimension %d in %d columns, want at least 1 of dimension 1 or 2", len(panels), o.Dim, o.Columns)
	}
	for _, p := range panels {
		if len(p.Points)%o.Dim != 0 {
			return fmt.Errorf("panel %q: %d values are no whole number of points of dimension %d", p.Title, len(p.Points), o.Dim)
		}
	}
	if v := o.View; !(v.XMin < v.XMax && v.YMin < v.YMax) {
		return fmt.Errorf("the view [%g, %g] × [%g, %g] is empty", v.XMin, v.XMax, v.YMin, v.YMax)
	}
	return nil
}

// outside counts the points that are not in view, those that are not finite among them.
func (o PanelOptions) outside(points []float32) (n int) {
	for i := 0; i < len(points); i += o.Dim {
		y := (o.View.YMin + o.View.YMax) / 2
		if o.Dim == 2 {
			y = float64(points[i+1])
		}
		if !o.View.holds(float64(points[i]), y) {
			n++
		}
	}
	return n
}
