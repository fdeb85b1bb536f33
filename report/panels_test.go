package report

import (
	"bytes"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/doob-diffusion/doob/noise"
)

func gaussian(x, y float64) float64 { return math.Exp(-(x*x + y*y) / 2) }

var square = Rect{-5, 5, -5, 5}

// A two-dimensional Gaussian has mass m where the log density is above that of its peak plus log(1−m). One grid cell
// is 10/212 = 0.05 standard deviations; at the 99 % contour, radius 3, half a cell is 0.07 in the log density.
func TestContourLevelsOfAGaussian(t *testing.T) {
	g := sampled(gaussian, newFrame(newCanvas(panelWidth, panelWidth), square, false, false))
	for k, l := range g.levels(contourMasses) {
		if want := math.Log(1 - contourMasses[k]); math.Abs(l-g.peak-want) > 0.07 {
			t.Errorf("mass %g: log density %.3f below the peak, want %.3f ± 0.07", contourMasses[k], l-g.peak, want)
		}
	}
}

func TestContoursLieOnTheirLevel(t *testing.T) {
	f := newFrame(newCanvas(panelWidth, panelWidth), square, false, false)
	g := sampled(gaussian, f)
	g.contours(f, []float64{-2}, exact, 0.9, 1) // the circle of radius 2
	var sum, n float64
	f.eachPixel(func(i, j, x, y int) {
		if rgb(f.img.At(x, y)) == [3]uint8{255, 255, 255} {
			return
		}
		dx, dy := (float64(i)+0.5)/2/panelWidth*10-5, (float64(j)+0.5)/2/panelWidth*10-5
		r := math.Hypot(dx, dy)
		if math.Abs(r-2) > 0.06 {
			t.Fatalf("a contour pixel at radius %.3f, want 2 ± 0.06", r) // 1.2 CSS pixels
		}
		sum, n = sum+r, n+1
	})
	if n < 1000 || math.Abs(sum/n-2) > 0.005 {
		t.Errorf("%g pixels of mean radius %.4f, want 2", n, sum/n)
	}
}

func TestHeatIsDarkestAtTheMode(t *testing.T) {
	f := newFrame(newCanvas(100, 100), square, false, false)
	sampled(func(x, y float64) float64 { return gaussian(x-2, y-3) }, f).heat(f)
	least, at := 256.0, [2]float64{}
	f.eachPixel(func(i, j, x, y int) {
		p := rgb(f.img.At(x, y))
		if v := float64(p[0]) + float64(p[1])/1e3; v < least {
			least, at = v, [2]float64{float64(i)/20 - 5, 5 - float64(j)/20}
		}
	})
	if math.Abs(at[0]-2) > 0.2 || math.Abs(at[1]-3) > 0.2 {
		t.Errorf("darkest at %v, want (2, 3)", at)
	}
	if corner := rgb(f.img.At(2, 197)); corner != [3]uint8{255, 255, 255} {
		t.Errorf("without mass the colour is %v, want white", corner)
	}
}

func TestScatterDrawsPointsInPlace(t *testing.T) {
	f := newFrame(newCanvas(100, 100), square, false, false)
	nan := float32(math.NaN())
	s := scattered([]float32{2, 3, 99, 0, nan, 0, -5, -5, -4, 0, -4, 0}, 100, f)
	at := func(x, y float64) float64 { return s.depth[int((100-f.y(y))*2)*s.w+int(f.x(x)*2)] }
	if at(2, 3) != 1 || at(-4, 0) != 2 || at(0, 0) != 0 {
		t.Errorf("depths %g, %g, %g, want 1, 2, 0", at(2, 3), at(-4, 0), at(0, 0))
	}
	many := make([]float32, 2*10_000)
	for i := range 10_000 {
		noise.New(1).Normal(many[2*i:2*i+2], uint64(i), 0)
	}
	a, b := scattered(many, 4000, f), scattered(many, 4000, f)
	if a.drawn != 4000 || a.peak() != b.peak() {
		t.Errorf("%d points drawn, peaks %g and %g", a.drawn, a.peak(), b.peak())
	}
	// The points are chosen along the whole slice: with the second half moved away, half of the dots move too.
	for i := 10_000; i < len(many); i++ {
		many[i] = 99
	}
	total := func(s scatter) (sum float64) {
		for _, d := range s.depth {
			sum += d
		}
		return sum
	}
	if got := total(scattered(many, 4000, f)) / total(a); math.Abs(got-0.5) > 0.05 {
		t.Errorf("%.3f of the dots are from the first half, want 0.5", got)
	}
}

func TestHistogramIsADensity(t *testing.T) {
	const n = 100_000
	x := make([]float32, n)
	for i := range x {
		noise.New(2).Normal(x[i:i+1], uint64(i), 0)
	}
	view := Rect{XMin: -2, XMax: 3}
	width := 5.0 / bins
	var mass float64
	for i, p := range histogram(x, view)[:bins] {
		d, at := p.Y, -2+(float64(i)+0.5)*width
		mass += d * width
		want := math.Exp(-at*at/2) / math.Sqrt(2*math.Pi)
		if band := 4*math.Sqrt(want/(n*width)) + 0.001; math.Abs(d-want) > band { // four standard errors; curvature in a bin
			t.Errorf("density at %.3f is %.4f, want %.4f ± %.4f", at, d, want, band)
		}
	}
	want := (math.Erf(3/math.Sqrt2) + math.Erf(2/math.Sqrt2)) / 2
	if math.Abs(mass-want) > 4*math.Sqrt(want*(1-want)/n) {
		t.Errorf("mass in view %.4f, want %.4f", mass, want)
	}
}

func TestPanelsFigure(t *testing.T) {
	dir := t.TempDir()
	panels := []Panel{{Title: "samples", Points: []float32{0, 0, 3, 3}}, {Title: "exact", Density: gaussian}, {Title: "none"}}
	var files [2][]byte
	for i := range files {
		path := filepath.Join(dir, "p.png")
		if err := Panels(path, panels, PanelOptions{Dim: 2, View: square, Columns: 3, Contour: gaussian}); err != nil {
			t.Fatal(err)
		}
		files[i], _ = os.ReadFile(path)
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("the same figure is drawn differently twice")
	}
	img, _ := decode(t, filepath.Join(dir, "p.png"))
	at := func(panel int, x, y float64) [3]uint8 {
		f := place{left: margin + panelLeft + float64(panel)*(panelWidth+panelGap), top: margin + legendLine + 8 + 24, width: panelWidth, height: panelWidth, view: square}
		return rgb(img.At(int(f.x(x)*2), int(f.y(y)*2)))
	}
	white := [3]uint8{255, 255, 255}
	if c := at(0, 3, 3); c[2] <= c[0] {
		t.Errorf("the sample at (3, 3) has colour %v, want blue", c)
	}
	if c := at(1, 0, 0); c[0] <= c[2] {
		t.Errorf("the exact density at its mode has colour %v, want orange", c)
	}
	if at(0, -3, 3) != white || at(2, 3, 3) != white {
		t.Error("an empty place is not white")
	}
	for x := range 100 { // contours belong to panels with samples, and are faint there
		if c := at(2, float64(x)/20-2.5, 0.7); c != white {
			t.Fatalf("a panel without samples has colour %v", c)
		}
	}
}

func TestPanelsOfOneDimension(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.png")
	x := make([]float32, 5000)
	for i := range x {
		noise.New(3).Normal(x[i:i+1], uint64(i), 0)
	}
	normal := func(x, _ float64) float64 { return math.Exp(-x*x/2) / math.Sqrt(2*math.Pi) }
	view := Rect{XMin: -5, XMax: 5}
	if err := Panels(path, []Panel{{Points: x}, {Points: make([]float32, 100)}}, PanelOptions{Dim: 1, View: view, Columns: 4, Contour: normal}); err != nil {
		t.Fatal(err)
	}
	img, _ := decode(t, path)
	top := 1.8 * normal(0, 0) // the second panel is a spike, which is cut off there
	f := place{left: margin + panelLeft, top: margin + legendLine + 8 + 24, width: panelWidth, height: 150, view: Rect{-5, 5, 0, 1.08 * top}}
	for _, v := range []float64{-3, -1, 0, 0.5, 2} {
		if !near(img, f.x(v), f.y(normal(v, 0)), 2, exact) {
			t.Errorf("no exact curve at %g", v)
		}
	}
	if !near(img, f.x(0.3), f.y(0.2), 0, barFill) || near(img, f.x(4.5), f.y(0.2), 0, barFill) {
		t.Error("no bars where the samples are, or bars where they are not")
	}
	f.left += panelWidth + panelGap
	for x := -0.4; x < 0.5; x += 0.04 { // the spike fills one bin, from bottom to top
		for _, v := range []float64{0.1, 1, 1.9} {
			want := x > 0 && x < 10.0/bins
			if edge := math.Min(math.Abs(x), math.Abs(x-10.0/bins)); edge > 0.03 && near(img, f.x(x), f.y(v*top/2), 0, barFill) != want {
				t.Errorf("at (%g, %g): bar %v, want %v", x, v*top/2, !want, want)
			}
		}
	}
}

func TestPanelCountsAndErrors(t *testing.T) {
	inf := float32(math.Inf(1))
	o := PanelOptions{Dim: 2, View: Rect{-1.2, 3.2, -0.5, 10.5}, Columns: 4}
	if n := o.outside([]float32{0, 0, 4, 0, 0, 11, inf, 0, 0, float32(math.NaN())}); n != 4 {
		t.Errorf("%d points outside, want 4", n)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "p.png")
	for want, err := range map[string]error{
		"no whole number": Panels(path, []Panel{{Title: "a", Points: make([]float32, 3)}}, o),
		"is empty":        Panels(path, []Panel{{Density: gaussian}}, PanelOptions{Dim: 2, Columns: 1}),
		"dimension 3":     Panels(path, make([]Panel, 1), PanelOptions{Dim: 3, Columns: 1}),
		"in 0 columns":    Panels(path, make([]Panel, 1), PanelOptions{Dim: 2, View: square}),
		"0 panels":        Panels(path, nil, o),
	} {
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	if got := names(t, dir); got != "" {
		t.Errorf("the folder holds %q", got)
	}
}

func TestRampEnds(t *testing.T) {
	r := ramp{{0, 0, 0, 255}, {100, 0, 0, 255}, {200, 0, 0, 255}}
	for u, want := range map[float64]uint8{-1: 0, 0: 0, 0.25: 50, 0.5: 100, 1: 200, 2: 200} {
		if got := r.at(u); got != (color.RGBA{want, 0, 0, 255}) {
			t.Errorf("ramp at %g is %v, want red %d", u, got, want)
		}
	}
}

func BenchmarkPanels(b *testing.B) {
	points := make([]float32, 2*10_000)
	for i := range 10_000 {
		noise.New(1).Normal(points[2*i:2*i+2], uint64(i), 0)
	}
	panels := make([]Panel, 12)
	for i := range panels {
		panels[i].Points = points
	}
	path := filepath.Join(b.TempDir(), "p.png")
	for b.Loop() {
		if err := Panels(path, panels, PanelOptions{Dim: 2, View: square, Columns: 4, Contour: gaussian}); err != nil {
			b.Fatal(err)
		}
	}
}
