package report

import (
	"image"
	"image/color"
	"math"
	"path/filepath"
	"strings"
	"testing"
)

// near reports whether a figure has the colour at a point, in CSS pixels, or within reach image pixels of it.
func near(img image.Image, x, y float64, reach int, want color.RGBA) bool {
	for dy := -reach; dy <= reach; dy++ {
		for dx := -reach; dx <= reach; dx++ {
			got := rgb(img.At(int(x*pixelRatio)+dx, int(y*pixelRatio)+dy))
			off := 0.0
			for k, w := range []uint8{want.R, want.G, want.B} {
				off = max(off, math.Abs(float64(got[k])-float64(w)))
			}
			if off < 40 {
				return true
			}
		}
	}
	return false
}

// drawn draws one chart and returns it with the frame that the layout must have given it.
func drawn(t *testing.T, c Chart) (image.Image, place) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "c.png")
	if err := Charts(path, 1, []Chart{c}); err != nil {
		t.Fatal(err)
	}
	img, css := decode(t, path)
	if img.Bounds().Dx() != pixelRatio*css {
		t.Errorf("%d pixels wide, shown at %d", img.Bounds().Dx(), css)
	}
	f := place{left: float64(css) - margin - plotWidth, top: margin + 24, width: plotWidth, height: plotHeight, logY: c.LogY}
	f.view, _, _ = c.extent()
	if len(c.Series) > 1 {
		f.top += legendLine + 8
	}
	return img, f
}

// place is where a frame must be in a figure, in CSS pixels from the top left.
type place struct {
	left, top, width, height float64
	view                     Rect
	logY                     bool
}

func (p place) x(v float64) float64 {
	return p.left + p.width*(v-p.view.XMin)/(p.view.XMax-p.view.XMin)
}

func (p place) y(v float64) float64 {
	share := (v - p.view.YMin) / (p.view.YMax - p.view.YMin)
	if p.logY {
		share = math.Log(v/p.view.YMin) / math.Log(p.view.YMax/p.view.YMin)
	}
	return p.top + p.height*(1-share)
}

func TestChartDrawsLineWhereTheDataAre(t *testing.T) {
	nan := math.NaN()
	for _, logY := range []bool{false, true} {
		x, y := make([]float64, 41), make([]float64, 41)
		for i := range x {
			x[i], y[i] = float64(i), math.Exp(float64(i)/10)
		}
		for i := 16; i < 25; i++ {
			y[i] = nan
		}
		img, f := drawn(t, Chart{LogY: logY, Series: []Series{{Name: "a", X: x, Y: y}}})
		for i := range x {
			if !math.IsNaN(y[i]) && !near(img, f.x(x[i]), f.y(y[i]), 2, series[0]) {
				t.Errorf("log %v: no line at (%g, %g)", logY, x[i], y[i])
			}
		}
		for row := range int(f.height) { // the gap is empty from top to bottom
			if near(img, f.x(20), f.top+float64(row), 2, series[0]) {
				t.Errorf("log %v: the line does not stop at NaN", logY)
				break
			}
		}
	}
}

func TestChartBandLinesAndLegend(t *testing.T) {
	x := []float64{0, 1, 2, 3}
	lone := make([]float64, 2*fewPoints) // one number between gaps
	for i := range lone {
		lone[i] = math.NaN()
	}
	lone[3], lone[4] = 0.2, math.Inf(1)
	img, f := drawn(t, Chart{YMin: 0, YMax: 1, Series: []Series{
		{Name: "a", X: x, Y: []float64{0.5, 0.5, 0.5, 0.5}, Err: []float64{0.1, 0.1, math.NaN(), 0.1}},
		{Name: "b", X: x, Y: []float64{1.05, 1.05, 1.05, 1.05}}, // above the view
		{Name: "c", X: make([]float64, len(lone)), Y: lone},
	}})
	at := func(x, y float64) [3]uint8 { return rgb(img.At(int(f.x(x)*2), int(f.y(y)*2))) }
	if c := at(0.5, 0.57); c[2] <= c[0] {
		t.Errorf("above the line the colour is %v, want a blue band", c)
	}
	if at(0.5, 0.67) != [3]uint8{255, 255, 255} || at(2, 0.55) != [3]uint8{255, 255, 255} {
		t.Error("the band is wider than the error")
	}
	for dy := 1.0; dy < 12; dy++ {
		if near(img, f.x(1.5), f.top-dy, 0, series[1]) {
			t.Fatal("a line above the view is drawn outside the frame")
		}
	}
	if !near(img, f.x(0), f.y(0.2), 2, series[2]) {
		t.Error("a single point between gaps is not drawn")
	}
	for i, place := range []float64{0, 53, 106} { // keys of 22, text of about 7 and spaces of 24, along the first line
		if !near(img, margin+place+10, margin+6, 2, series[i]) || near(img, margin+place-6, margin+6, 2, series[i]) {
			t.Errorf("no key for series %d", i)
		}
	}
}

// A name has one colour in all charts.
func TestChartColours(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.png")
	a, b := Series{Name: "a", X: []float64{0, 1}, Y: []float64{1, 2}}, Series{Name: "b", X: []float64{0, 1}, Y: []float64{2, 1}}
	if err := Charts(path, 2, []Chart{{Series: []Series{a, b}}, {Series: []Series{b}}}); err != nil {
		t.Fatal(err)
	}
	img, css := decode(t, path)
	f := place{left: float64(css) - margin - plotWidth, top: margin + 24 + legendLine + 8, width: plotWidth, height: plotHeight}
	f.view, _, _ = Chart{Series: []Series{b}}.extent()
	if !near(img, f.x(0.5), f.y(1.5), 2, series[1]) {
		t.Error("the line of the second chart has not the colour that it has in the first")
	}
}

func TestChartReferenceIsInView(t *testing.T) {
	c := Chart{Series: []Series{{X: []float64{0, 1}, Y: []float64{0, 1}}}, HLines: []HLine{{Y: 5, Label: "exact"}, {Y: math.NaN(), Label: "none"}}}
	if v, _, _ := c.extent(); v.YMax < 5 {
		t.Errorf("the view ends at %g, below the reference value 5", v.YMax)
	}
	img, f := drawn(t, c)
	f.top += 16 // labels
	found := 0
	for x := range plotWidth {
		if near(img, f.left+float64(x), f.y(5), 1, ink) {
			found++
		}
	}
	if found < plotWidth/2 || found == plotWidth {
		t.Errorf("the dashed line covers %d of %d", found, plotWidth)
	}
}

func TestChartViews(t *testing.T) {
	line := func(y ...float64) []Series {
		x := make([]float64, len(y))
		for i := range x {
			x[i] = float64(i)
		}
		return []Series{{X: x, Y: y}}
	}
	for name, c := range map[string]struct {
		chart      Chart
		yMin, yMax float64
	}{
		"room":               {Chart{Series: line(10, 20)}, 9.5, 20.5},
		"from 0":             {Chart{Series: line(1, 20)}, 0, 20.95},
		"fixed":              {Chart{Series: line(1, 20), YMin: -1, YMax: 3}, -1, 3},
		"constant":           {Chart{Series: line(5, 5)}, 4.5, 5.5},
		"log skips 0 and −1": {Chart{Series: line(0, -1, 1, 1e4), LogY: true}, 1 / math.Pow(1e4, 0.05), 1e4 * math.Pow(1e4, 0.05)},
		"infinite":           {Chart{Series: line(math.Inf(1), 10, 20)}, 9.5, 20.5},
	} {
		v, _, ok := c.chart.extent()
		if !ok || math.Abs(v.YMin-c.yMin) > 1e-9 || math.Abs(v.YMax-c.yMax) > 1e-9*c.yMax {
			t.Errorf("%s: view [%g, %g], want [%g, %g]", name, v.YMin, v.YMax, c.yMin, c.yMax)
		}
	}
}

func TestChartsErrors(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "c.png")
	for want, err := range map[string]error{
		"at least 1":    Charts(path, 1, nil),
		`"loss"`:        Charts(path, 1, []Chart{{Title: "loss", Series: []Series{{X: []float64{1}, Y: []float64{1, 2}}}}}),
		"0 y and 1 err": Charts(path, 1, []Chart{{Series: []Series{{Err: []float64{1}}}}}),
		"x[0] is NaN":   Charts(path, 1, []Chart{{Series: []Series{{X: []float64{math.NaN()}, Y: []float64{1}}}}}),
		"no such file":  Charts(filepath.Join(dir, "missing", "c.png"), 1, []Chart{{Title: "a"}}),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	if got := names(t, dir); got != "" {
		t.Errorf("the folder holds %q", got)
	}
}
