package report

import (
	"image"
	"math"
	"path/filepath"
	"strings"
	"testing"
)

// flat returns n images of 28 × 28 with one grey value each.
func flat(values ...float32) (images []float32) {
	for _, v := range values {
		for range 28 * 28 {
			images = append(images, v)
		}
	}
	return images
}

func TestSampleGrid(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grid.png")
	digits := flat(-1, 0, 1)
	digits[1], digits[28], digits[28*28-1] = 1, 7, float32(math.NaN()) // of the first image: right, below, and the last pixel
	if err := SampleGrid(path, []GridRow{{"prior", digits}, {"digit 3", flat(1, -1, -9)}}, 28, 28, 1); err != nil {
		t.Fatal(err)
	}
	img, css := decode(t, path)
	left := img.Bounds().Dx() - margin*pixelRatio - 3*56 - 2*2
	if left%pixelRatio != 0 || img.Bounds().Dx() != pixelRatio*css || left < (margin+40)*pixelRatio || left > (margin+70)*pixelRatio {
		t.Fatalf("%d pixels wide, shown at %d: images begin at %d, want room for the labels", img.Bounds().Dx(), css, left)
	}
	if got, want := img.Bounds().Dy(), 2*margin*pixelRatio+2*56+8; got != want {
		t.Errorf("%d pixels high, want %d", got, want)
	}
	top := margin * pixelRatio
	black, grey, white := [3]uint8{}, [3]uint8{128, 128, 128}, [3]uint8{255, 255, 255}
	for _, c := range []struct {
		name string
		x, y int
		want [3]uint8
	}{
		{"left of the images", -1, 10, white}, {"above them", 10, -1, white}, {"first pixel", 1, 1, black},
		{"right of it", 2, 1, white}, {"right of that", 4, 1, black}, {"below, clipped", 1, 2, white}, {"below that", 1, 4, black},
		{"last pixel, a NaN", 55, 55, [3]uint8{255, 0, 255}}, {"the square of it", 54, 54, [3]uint8{255, 0, 255}}, {"before it", 53, 55, black},
		{"gap", 56, 10, white}, {"gap", 57, 10, white}, {"second image", 58, 10, grey}, {"its end", 113, 55, grey}, {"third image", 116, 10, white},
		{"between rows", 60, 56, white}, {"between rows", 60, 63, white}, {"second row", 58, 64, black}, {"third image, clipped", 171, 119, black},
		{"right of the images", 172, 119, white}, {"below them", 60, 120, white},
	} {
		if got := rgb(img.At(left+c.x, top+c.y)); got != c.want {
			t.Errorf("%s is %v, want %v", c.name, got, c.want)
		}
	}
	for j, middle := range []int{top + 28, top + 64 + 28} { // labels: ink beside their rows only, up to the gap before the images
		inked := func(x0, x1, y0, y1 int) (n int) {
			for y := y0; y < y1; y++ {
				for x := x0; x < x1; x++ {
					if rgb(img.At(x, y)) != white {
						n++
					}
				}
			}
			return n
		}
		if n := inked(margin*pixelRatio, left-labelGap*pixelRatio+1, middle-10, middle+14); n < 100 {
			t.Errorf("row %d: %d inked pixels, want a label", j, n)
		}
		if n := inked(0, left, middle-28, middle-10) + inked(0, left, middle+14, middle+28) + inked(left-(labelGap-1)*pixelRatio, left, middle-28, middle+28); n > 0 {
			t.Errorf("row %d: %d inked pixels beside the label", j, n)
		}
	}
}

// Small images are enlarged, large ones stay as they are, colours come through, and a grid may have no labels.
func TestSampleGridSizes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grid.png")
	for _, c := range []struct {
		name                    string
		height, width, channels int
		w, h                    int // of an image in the figure
	}{
		{"8 × 4, RGB", 8, 4, 3, 28, 56}, {"40 × 20", 40, 20, 1, 40, 80}, {"64 × 64", 64, 64, 3, 128, 128}, {"64 × 100", 64, 100, 1, 100, 64},
	} {
		v := make([]float32, c.height*c.width*c.channels)
		for i := range v {
			v[i] = float32(1 - i%c.channels) // 1, 0, −1
		}
		if err := SampleGrid(path, []GridRow{{"", v}}, c.height, c.width, c.channels); err != nil {
			t.Fatal(err)
		}
		img, _ := decode(t, path)
		if got, want := img.Bounds().Size(), image.Pt(2*margin*pixelRatio+c.w, 2*margin*pixelRatio+c.h); got != want {
			t.Errorf("%s: size %v, want %v", c.name, got, want)
		}
		want := [3]uint8{255, 128, 0}
		if c.channels == 1 {
			want = [3]uint8{255, 255, 255}
		}
		for _, p := range []image.Point{{0, 0}, {c.w - 1, c.h - 1}} {
			if got := rgb(img.At(margin*pixelRatio+p.X, margin*pixelRatio+p.Y)); got != want {
				t.Errorf("%s: pixel %v is %v, want %v", c.name, p, got, want)
			}
		}
	}
}

func TestSampleGridErrors(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "grid.png")
	rows := func(n ...int) (rows []GridRow) {
		for i, n := range n {
			rows = append(rows, GridRow{string(rune('a' + i)), make([]float32, n)})
		}
		return rows
	}
	for want, err := range map[string]error{
		"0 rows":                                   SampleGrid(path, nil, 2, 2, 1),
		"images of 0×2":                            SampleGrid(path, rows(4), 0, 2, 1),
		"images of 2×-1":                           SampleGrid(path, rows(4), 2, -1, 1),
		"2 channels, want 1 (grey) or 3":           SampleGrid(path, rows(8), 2, 2, 2),
		`row 1 ("b"): 7 values, want 4`:            SampleGrid(path, rows(4, 7), 2, 2, 1),
		"8 values, want 12 = 1 images × 2 × 2 × 3": SampleGrid(path, rows(12, 8), 2, 2, 3),
		`row 0 ("a"): 0 images`:                    SampleGrid(path, rows(0, 0), 2, 2, 1),
		`row 2 ("c"): 4 values, want 8 = 2 images`: SampleGrid(path, rows(8, 8, 4), 2, 2, 1),
		"no such file":                             SampleGrid(filepath.Join(dir, "missing", "grid.png"), rows(4), 2, 2, 1),
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	if got := names(t, dir); got != "" {
		t.Errorf("the folder holds %q", got)
	}
}
