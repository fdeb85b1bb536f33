package report

import (
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// decode reads a figure back, and its width in CSS pixels.
func decode(t *testing.T, path string) (image.Image, int) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(strings.NewReader(string(data))) // checks the checksum of every chunk
	if err != nil {
		t.Fatal(err)
	}
	width, err := cssWidth(data)
	if err != nil {
		t.Fatal(err)
	}
	return img, width
}

func rgb(c color.Color) [3]uint8 {
	n := color.NRGBAModel.Convert(c).(color.NRGBA)
	return [3]uint8{n.R, n.G, n.B}
}

func TestImageGrid(t *testing.T) {
	path := filepath.Join(t.TempDir(), "grid.png")
	const h, w = 2, 3
	v := make([]float32, 5*h*w)
	for i := range v {
		v[i] = -1
	}
	v[0], v[1], v[2] = 1, 0, 7                                // image 0, first row: white, grey, clipped to white
	v[4*h*w+h*w-1] = float32(math.NaN())                      // image 4, last pixel
	if err := ImageGrid(path, v, 5, h, w, 1, 3); err != nil { // enlarged 28 times
		t.Fatal(err)
	}
	img, css := decode(t, path)
	if got, want := img.Bounds().Size(), image.Pt(3*(3*28+2)+2, 2*(2*28+2)+2); got != want || css != want.X {
		t.Fatalf("size %v, %d CSS pixels wide, want %v", got, css, want)
	}
	black, white := [3]uint8{}, [3]uint8{255, 255, 255}
	for _, c := range []struct {
		name string
		x, y int
		want [3]uint8
	}{
		{"gutter", 1, 1, white}, {"first pixel", 2, 2, white}, {"second pixel", 2 + 28, 2, [3]uint8{128, 128, 128}},
		{"clipped", 2 + 3*28 - 1, 2 + 27, white}, {"second row", 2, 2 + 28, black}, {"second image", 2 + 86, 2, black},
		{"fifth image", 2 + 86, 2 + 58, black}, {"its last pixel, a NaN", 86 + 2 + 83, 58 + 2 + 55, [3]uint8{255, 0, 255}},
		{"no sixth image", 2*86 + 10, 58 + 10, white},
	} {
		if got := rgb(img.At(c.x, c.y)); got != c.want {
			t.Errorf("%s is %v, want %v", c.name, got, c.want)
		}
	}
	if err := ImageGrid(path, []float32{1, -1, 0}, 1, 1, 1, 3, 8); err != nil {
		t.Fatal(err)
	}
	img, _ = decode(t, path)
	if got, want := rgb(img.At(40, 40)), ([3]uint8{255, 0, 128}); got != want || img.Bounds().Dx() != leastWidth+2*gutter {
		t.Errorf("RGB pixel is %v, want %v, in an image of width %d", got, want, img.Bounds().Dx())
	}
}

func TestImageGridErrors(t *testing.T) {
	dir := t.TempDir()
	for name, err := range map[string]error{
		"2 channels": ImageGrid(filepath.Join(dir, "a"), make([]float32, 8), 1, 2, 2, 2, 1),
		"too short":  ImageGrid(filepath.Join(dir, "a"), make([]float32, 7), 2, 2, 2, 1, 1),
		"no images":  ImageGrid(filepath.Join(dir, "a"), nil, 0, 2, 2, 1, 1),
		"no folder":  ImageGrid(filepath.Join(dir, "b", "a"), make([]float32, 4), 1, 2, 2, 1, 1),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if got := names(t, dir); got != "" {
		t.Errorf("the folder holds %q", got)
	}
}
