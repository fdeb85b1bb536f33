package data

import (
	"bytes"
	"image"
	"image/color"
	"image/jpeg"
	"math"
	"testing"
)

// A cubic that reproduces lines, as Catmull and Rom's does, leaves a ramp a ramp: every pixel of the crop has the value
// that the photograph has at its place. That gives the scale, the middle and the directions, for any sizes.
func TestCrop(t *testing.T) {
	const side = 16
	for _, size := range []image.Point{{40, 30}, {30, 41}, {33, 33}, {16, 16}, {97, 20}, {16, 90}, {7, 5}, {5, 9}} {
		photograph := image.NewRGBA(image.Rectangle{Max: size}.Add(image.Pt(3, 2)))
		level := func(x, size float64) float64 { return 20 + 200*x/size } // at x from the edge
		for y := range size.Y {
			for x := range size.X {
				photograph.SetRGBA(3+x, 2+y, color.RGBA{
					uint8(math.Round(level(float64(x)+0.5, float64(size.X)))), uint8(math.Round(level(float64(y)+0.5, float64(size.Y)))), 77, 255,
				})
			}
		}
		short := float64(min(size.X, size.Y))
		got := crop(photograph, side)
		if got.Bounds() != image.Rect(0, 0, side, side) {
			t.Fatalf("%v: bounds are %v", size, got.Bounds())
		}
		for y := range side {
			for x := range side {
				// Where the kernel reaches beyond the photograph it sees less than a ramp.
				fromEdge := func(i, size int) (place float64, inside bool) {
					place = float64(size)/2 + (float64(i)+0.5-side/2.)*short/side
					reach := 2*max(1, short/side) + 1
					return place, place >= reach && place <= float64(size)-reach
				}
				px, inX := fromEdge(x, size.X)
				py, inY := fromEdge(y, size.Y)
				c := got.RGBAAt(x, y)
				// Rounding of the levels, of the longer side's length (half a pixel of the crop) and of the result.
				tolerance := func(size int) float64 { return 1.2 + 0.5*short/side*200/float64(size) }
				if want := level(px, float64(size.X)); inX && math.Abs(float64(c.R)-want) > tolerance(size.X) {
					t.Errorf("%v: at (%d, %d) red is %d, want %.1f", size, x, y, c.R, want)
				}
				if want := level(py, float64(size.Y)); inY && math.Abs(float64(c.G)-want) > tolerance(size.Y) {
					t.Errorf("%v: at (%d, %d) green is %d, want %.1f", size, x, y, c.G, want)
				}
				if c.B < 76 || c.B > 78 || c.A != 255 {
					t.Errorf("%v: at (%d, %d) got %v, want blue 77 and no transparency", size, x, y, c)
				}
			}
		}
	}
}

// The prepared set has these tables and halves chroma.
func TestCropJPEG(t *testing.T) {
	file, err := cropJPEG(photograph(t, 30, color.RGBA{200, 100, 50, 255}), 64)
	if err != nil {
		t.Fatal(err)
	}
	size, err := jpeg.DecodeConfig(bytes.NewReader(file))
	if err != nil || size.Width != 64 || size.Height != 64 {
		t.Errorf("got %d×%d, %v, want 64×64", size.Width, size.Height, err)
	}
	for what, want := range map[string][]byte{
		"luminance":   {0, 8, 6, 6, 7, 6, 5, 8, 7, 7, 7, 9, 9, 8, 10, 12, 20, 13, 12, 11},
		"chroma":      {1, 9, 9, 9, 12, 11, 12, 24, 13, 13, 24, 50, 33, 28, 33, 50},
		"subsampling": {3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1},
	} {
		if !bytes.Contains(file, want) {
			t.Errorf("%s: the file lacks % x", what, want)
		}
	}
}
