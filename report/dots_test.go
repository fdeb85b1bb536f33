package report

import (
	"fmt"
	"image"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gonum.org/v1/plot/vg"
)

// dotted draws one panel of two rows, "a" and "b", and returns it with the tile that the layout must have given it.
func dotted(t *testing.T, p DotPanel) (image.Image, dotPlace) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dots.png")
	if err := Dots(path, 3, []string{"a", "b"}, []DotPanel{p}); err != nil {
		t.Fatal(err)
	}
	img, css := decode(t, path)
	if img.Bounds().Dx() != pixelRatio*css {
		t.Errorf("%d pixels wide, shown at %d", img.Bounds().Dx(), css)
	}
	tile := dotPlace{dotTile: newDotTile(p)}
	tile.width, tile.height = dotPanelWidth, 2*max(18, dotStep*float64(len(p.Series))+9)
	tile.left = float64(css) - margin - dotPanelWidth
	tile.top = float64(img.Bounds().Dy())/pixelRatio - margin/2 - dotPanelFooter - tile.height
	return img, tile
}

// dotPlace is where a tile must be in a figure, in CSS pixels from the top left.
type dotPlace struct {
	dotTile
	left, top, width, height float64
}

func (t dotPlace) right() float64  { return t.left + t.width }
func (t dotPlace) bottom() float64 { return t.top + t.height }

// place returns where series k of n has its dot in a row, from the view alone.
func (t dotPlace) place(v float64, row, k, n int) (x, y float64) {
	lo, hi := t.view.XMin, t.view.XMax
	if t.log {
		v, lo, hi = math.Log(v), math.Log(lo), math.Log(hi)
	}
	return t.left + t.width*(v-lo)/(hi-lo), t.top + t.height/4*float64(1+2*row) + dotStep*(float64(k)-float64(n-1)/2)
}

func TestDotsLieWhereTheDataAre(t *testing.T) {
	for _, log := range []bool{false, true} {
		p := DotPanel{Log: log, Series: []DotSeries{{Name: "one", X: []float64{1, 20}}, {Name: "two", X: []float64{100, 3}}, {Name: "three", X: []float64{7, math.NaN()}}}}
		img, tile := dotted(t, p)
		for k, s := range p.Series {
			for row, v := range s.X {
				if x, y := tile.place(v, row, k, 3); finite(v) && !near(img, x, y, 0, series[k]) {
					t.Errorf("log %v: no dot of series %d in row %d at %g", log, k, row, v)
				}
			}
		}
		_, y := tile.place(1, 1, 2, 3)
		for x := tile.left; x < tile.right(); x++ {
			if near(img, x, y, 1, series[2]) {
				t.Fatalf("log %v: a dot stands for NaN", log)
			}
		}
		if x, y := tile.place(20, 0, 0, 3); near(img, x, y, 1, series[0]) {
			t.Errorf("log %v: the dot of row 1 is in row 0 too", log)
		}
	}
}

func TestDotsErrorBarsAndLines(t *testing.T) {
	p := DotPanel{Series: []DotSeries{{Name: "one", X: []float64{10, 20}, Err: []float64{4, math.NaN()}}},
		Lines: []DotLine{{X: 14.5, Label: "exact"}, {X: math.NaN(), Label: "none"}}}
	img, tile := dotted(t, p)
	blueness := func(v float64, row int) int {
		x, y := tile.place(v, row, 0, 1)
		c := rgb(img.At(int(x*pixelRatio), int(y*pixelRatio)))
		return int(c[2]) - int(c[0])
	}
	for _, c := range []struct {
		v    float64
		row  int
		want bool
	}{{6.3, 0, true}, {13.7, 0, true}, {5.7, 0, false}, {17, 0, false}, {18.8, 1, false}} {
		if got := blueness(c.v, c.row) > 50; got != c.want {
			t.Errorf("row %d at %g: bar %v, want %v", c.row, c.v, got, c.want)
		}
	}
	column := func(v float64) (n int) {
		x, _ := tile.place(v, 0, 0, 1)
		for y := tile.top; y < tile.bottom(); y++ {
			if near(img, x, y, 1, ink) {
				n++
			}
		}
		return n
	}
	if n := column(14.5); n < int(tile.height)/2 || n == int(tile.height) {
		t.Errorf("the dashed line covers %d of %g", n, tile.height)
	}
	if n := column(16.5); n > 0 {
		t.Errorf("%d pixels of a line where there is none", n)
	}
}

// On a logarithmic axis a bar that reaches below 0 ends with the axis.
func TestDotsErrorBarTo0(t *testing.T) {
	img, tile := dotted(t, DotPanel{Log: true, Series: []DotSeries{{Name: "one", X: []float64{1, 100}, Err: []float64{0, 150}}}})
	_, y := tile.place(1, 1, 0, 1)
	for _, c := range []struct {
		x    float64
		want bool
	}{{tile.left + 1, true}, {tile.left + 40, true}, {tile.left - 4, false}, {tile.right() + 2, false}} {
		if p := rgb(img.At(int(c.x*pixelRatio), int(y*pixelRatio))); int(p[2])-int(p[0]) > 50 != c.want {
			t.Errorf("the colour at %g of [%g, %g] is %v, bar %v", c.x, tile.left, tile.right(), p, c.want)
		}
	}
}

// Values far from all others do not stretch the axis: an arrow points to them.
func TestDotsBeyondTheAxis(t *testing.T) {
	far := DotPanel{Series: []DotSeries{{Name: "one", X: []float64{-2.8, -2.7}}, {Name: "two", X: []float64{-2.6, -1e6}}, {Name: "three", X: []float64{-2.75, 1e6}}}}
	img, tile := dotted(t, far)
	if tile.view.XMin < -4 || tile.view.XMax > -1 || !tile.cut {
		t.Errorf("the view is [%g, %g], cut %v", tile.view.XMin, tile.view.XMax, tile.cut)
	}
	_, left := tile.place(0, 1, 1, 3)
	_, right := tile.place(0, 1, 2, 3)
	if !near(img, tile.left+5, left, 1, series[1]) || near(img, tile.right()-5, left, 1, series[1]) {
		t.Error("no arrow at the left end for −1e6")
	}
	if !near(img, tile.right()-5, right, 1, series[2]) || near(img, tile.left+5, right, 1, series[2]) {
		t.Error("no arrow at the right end for 1e6")
	}
}

func TestDotViews(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	panel := func(x, err []float64, log bool, lines ...DotLine) DotPanel {
		return DotPanel{Log: log, Series: []DotSeries{{X: x, Err: err}}, Lines: lines}
	}
	tenth := math.Pow(1e4, 0.05)
	for name, c := range map[string]struct {
		panel    DotPanel
		min, max float64
	}{
		"room":                       {panel([]float64{10, nan, 20}, nil, false), 9.5, 20.5},
		"from 0":                     {panel([]float64{1, 20, inf}, nil, false), 0, 20.95},
		"bars":                       {panel([]float64{10, 20}, []float64{3, 1}, false), 6.3, 21.7},
		"a bar without end":          {panel([]float64{10, 20}, []float64{inf, nan}, false), 9.5, 20.5},
		"reference":                  {panel([]float64{10, 20}, nil, false, DotLine{X: 30}), 9, 31},
		"log":                        {panel([]float64{1, 1e4}, nil, true), 1 / tenth, 1e4 * tenth},
		"log, bar to 0":              {panel([]float64{1e4, 1}, []float64{0, 2}, true), 1 / tenth, 1e4 * tenth},
		"log, reference at 0":        {panel([]float64{1, 1e4}, nil, true, DotLine{X: 0}), 1 / tenth, 1e4 * tenth},
		"no log with 0":              {panel([]float64{0, 20}, nil, true), 0, 21},
		"no log with −10":            {panel([]float64{-10, 10}, nil, true), -11, 11},
		"far of four":                {panel([]float64{1, 2, 3, 1000}, nil, false), 0, 1049.95},
		"far of five":                {panel([]float64{1, 2, 3, 4, 14.1}, nil, false), 0, 4.15},
		"far below":                  {panel([]float64{-14.1, 1, 2, 3, 4, 4}, nil, false), 0, 4.15},
		"not far below":              {panel([]float64{-14, 1, 2, 3, 4, 4}, nil, false), -14.9, 4.9},
		"not far of five":            {panel([]float64{1, 2, 3, 4, 13.9}, nil, false), 0, 14.545},
		"far of five, log":           {panel([]float64{1, 10, 100, 1000, 1e40}, nil, true), 1 / math.Pow(1e3, 0.05), 1e3 * math.Pow(1e3, 0.05)},
		"far, a bar that is farther": {panel([]float64{1, 2, 3, 4, 4}, []float64{0, 0, 0, 0, 1e9}, false), -9.1, 15.1},
		"far, most are alike":        {panel([]float64{1, 1, 1, 1, 1000}, nil, false), 0, 1049.95},
	} {
		tile := newDotTile(c.panel)
		lo, hi := tile.view.XMin, tile.view.XMax
		if !tile.ok || math.Abs(lo-c.min) > 1e-9*(1+math.Abs(c.min)) || math.Abs(hi-c.max) > 1e-9*math.Abs(c.max) {
			t.Errorf("%s: view [%g, %g], ok %v, want [%g, %g]", name, lo, hi, tile.ok, c.min, c.max)
		}
	}
	if tile := newDotTile(panel([]float64{nan, inf}, nil, true)); tile.ok {
		t.Error("a panel without numbers is not empty")
	}
	dotted(t, panel([]float64{nan, inf}, nil, true)) // is drawn all the same
}

func TestDotTicks(t *testing.T) {
	for _, c := range []struct {
		lo, hi float64
		log    bool
		want   string
	}{
		{0, 0.83, false, "0 0.2 0.4 0.6 0.8"}, {-7.3, 0.1, false, "−6 −4 −2 0"}, {0.08, 40, true, "0.1 1 10"},
		{9e3, 1.1e7, true, "10k 100k 1M 10M"}, {10_100, 11_900, false, "10.5k 11.0k 11.5k"}, {9e3, 2e5, true, "10k 20k 50k 100k 200k"}, {3e5, 7e7, true, "1M 10M"}, {0.03, 1.2, true, "0.05 0.1 0.2 0.5 1"},
		{0.4, 7, true, "0.5 1 2 5"}, {100.1, 102.6, false, "100.5 101.5 102.5"},
		{-12.36, -12.24, false, "−12.36 −12.32 −12.28 −12.24"}, // labels that would touch are left out
	} {
		tile := dotTile{log: c.log, frame: newFrame(newCanvas(dotPanelWidth, 20), Rect{c.lo, c.hi, 1, 0}, c.log, false)}
		got := tile.xTicks()
		end := vg.Length(-100)
		for _, k := range got {
			if half := tickText.Width(k.Label) / 2; tile.x(k.Value)-half < end {
				t.Errorf("[%g, %g]: the label %s touches the one before", c.lo, c.hi, k.Label)
			} else {
				end = tile.x(k.Value) + half + 5
			}
		}
		if d := cmp.Diff(c.want, labels(got)); d != "" {
			t.Errorf("[%g, %g]: %s", c.lo, c.hi, d)
		}
	}
}

// The legend explains what is drawn and nothing else.
func TestDotKey(t *testing.T) {
	var tiles []dotTile
	for _, c := range []struct {
		panel DotPanel
		want  string
	}{
		{DotPanel{Series: []DotSeries{{Name: "b", X: []float64{1}}, {Name: "a", X: []float64{1}, Err: []float64{0}}}}, "b, a"},
		{DotPanel{Series: []DotSeries{{Name: "a", X: []float64{1}}}, Lines: []DotLine{{1, "exact"}, {2, "exact"}, {math.NaN(), "none"}}}, "b, a, exact"},
		{DotPanel{Series: []DotSeries{{Name: "c", X: []float64{1, 2, 3, 4, 1e9}}}}, "b, a, c, exact, beyond the axis"},
		{DotPanel{Series: []DotSeries{{Name: "a", X: []float64{1}, Err: []float64{1}}}}, "b, a, c, exact, ± standard error, beyond the axis"},
	} {
		tiles = append(tiles, newDotTile(c.panel))
		var got []string
		for _, e := range keyOf(tiles).legend() {
			got = append(got, e.label)
		}
		if d := cmp.Diff(c.want, strings.Join(got, ", ")); d != "" {
			t.Error(d)
		}
	}
}

// A name has one colour in all panels, in whatever order it comes there.
func TestDotsColours(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dots.png")
	one, two := DotSeries{Name: "one", X: []float64{1}}, DotSeries{Name: "two", X: []float64{2}}
	if err := Dots(path, 2, []string{"a"}, []DotPanel{{Series: []DotSeries{one, two}}, {Series: []DotSeries{two, one}}}); err != nil {
		t.Fatal(err)
	}
	img, css := decode(t, path)
	tile := dotPlace{dotTile: newDotTile(DotPanel{Series: []DotSeries{two, one}}), width: dotPanelWidth, height: 2 * (2*dotStep + 9)} // place counts on two rows
	tile.left = float64(css) - margin - dotPanelWidth
	tile.top = float64(img.Bounds().Dy())/pixelRatio - margin/2 - dotPanelFooter - tile.height/2
	for k, want := range []int{1, 0} {
		if x, y := tile.place(float64(2-k), 0, k, 2); !near(img, x, y, 0, series[want]) {
			t.Errorf("series %d of the second panel has not the colour that it has in the first", k)
		}
	}
}

// Six panels in four columns are two lines of panels, as high as their rows need.
func TestDotsLayout(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dots.png")
	var panels []DotPanel
	for i := range 6 {
		panels = append(panels, DotPanel{Title: fmt.Sprint(i), Note: "lower is better", Series: []DotSeries{{Name: "run", X: []float64{1, 2, 3}}}})
	}
	if err := Dots(path, 4, []string{"", "", ""}, panels); err != nil {
		t.Fatal(err)
	}
	img, _ := decode(t, path)
	want := image.Pt(2*margin+10+4*dotPanelWidth+3*dotPanelGap, margin+legendLine+8+2*(40+3*18+dotPanelFooter)+margin/2).Mul(pixelRatio)
	if got := img.Bounds().Size(); got != want {
		t.Errorf("size %v, want %v", got, want)
	}
	for i := range 6 {
		x, y := margin+10+float64(i%4)*(dotPanelWidth+dotPanelGap), float64(margin+legendLine+8+i/4*(40+3*18+dotPanelFooter))
		if !near(img, x+4, y+10, 10, ink) {
			t.Errorf("panel %d has no title", i)
		}
	}
	if x := float64(margin + 10 + 2*(dotPanelWidth+dotPanelGap) + dotPanelWidth/2); near(img, x, float64(img.Bounds().Dy())/pixelRatio-60, 20, series[0]) {
		t.Error("there is a seventh panel")
	}
}

func TestDotsErrors(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "dots.png")
	rows := []string{"a", "b"}
	for want, err := range map[string]error{
		"0 panels of 2 rows":       Dots(path, 1, rows, nil),
		"1 panels of 0 rows":       Dots(path, 1, nil, []DotPanel{{}}),
		"in 0 columns":             Dots(path, 0, rows, []DotPanel{{}}),
		`panel "KL", series "run"`: Dots(path, 1, rows, []DotPanel{{Title: "KL", Series: []DotSeries{{Name: "run", X: []float64{1}}}}}),
		"2 x and 1 err":            Dots(path, 1, rows, []DotPanel{{Series: []DotSeries{{X: []float64{1, 2}, Err: []float64{1}}}}}),
		"no such file":             Dots(filepath.Join(dir, "missing", "dots.png"), 1, rows, []DotPanel{{}}),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	if got := names(t, dir); got != "" {
		t.Errorf("the folder holds %q", got)
	}
}
