package vision

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/oracle"
)

func picture(t testing.TB, name string) RGB {
	t.Helper()
	m, err := png.Decode(bytes.NewReader(golden.Read(t, "pictures/"+name)))
	if err != nil {
		t.Fatal(err)
	}
	return FromImage(m)
}

func numbers(t testing.TB) map[string]checkpoint.Tensor {
	t.Helper()
	f, err := checkpoint.Load(golden.Path("pictures/vision.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	return f.Tensors
}

// Up and down, along one axis and along both, to the byte.
func TestResizeIsPillows(t *testing.T) {
	files, err := filepath.Glob(golden.Path("pictures/*x*.png"))
	if err != nil || len(files) != 24 {
		t.Fatalf("%d pictures, want 15; err = %v", len(files), err)
	}
	for _, path := range files {
		name := filepath.Base(path)
		want := picture(t, name)
		if got := picture(t, name[:1]+".png").Resize(want.Height, want.Width); !slices.Equal(got.Pixels, want.Pixels) {
			t.Errorf("%s: pixels differ", name)
		}
	}
}

// What the models take, at the sides of the tiny CLIP and ImageReward and at an odd one. Both sides are float32 arithmetic in the same order.
func TestPrepare(t *testing.T) {
	all := numbers(t)
	for n := range 3 {
		p := picture(t, fmt.Sprintf("%d.png", n))
		for _, side := range []int{32, 48, 51} {
			want, got := all[fmt.Sprintf("%d.%d", n, side)].F32, p.Prepare(side)
			for y := range side {
				for x := range side {
					for c := range 3 {
						if g, w := got[(y*side+x)*3+c], want[(c*side+y)*side+x]; g != w {
							t.Fatalf("picture %d, side %d: [%d, %d, %d] is %g, want %g", n, side, y, x, c, g, w)
						}
					}
				}
			}
		}
	}
}

func TestFit(t *testing.T) {
	for _, c := range []struct{ in, want [4]int }{
		{[4]int{512, 512, 224}, [4]int{224, 224, 0, 0}},
		{[4]int{80, 96, 48}, [4]int{48, 57, 0, 4}},      // 9/2 to even
		{[4]int{131, 67, 48}, [4]int{93, 48, 22, 0}},    // 45/2
		{[4]int{100, 103, 100}, [4]int{100, 103, 0, 2}}, // 3/2
		{[4]int{101, 100, 100}, [4]int{101, 100, 0, 0}}, // 1/2
	} {
		var got [4]int
		got[0], got[1], got[2], got[3] = Fit(c.in[0], c.in[1], c.in[2])
		if got != c.want {
			t.Errorf("%v: %v, want %v", c.in, got, c.want)
		}
	}
}

// The resize without rounding, as two matrices. The reference computes its weights in float32.
func TestMatrix(t *testing.T) {
	all := numbers(t)
	for _, name := range []string{"up", "down"} {
		x, want := all[name+".image"], all[name+".resized"]
		height, width := x.Shape[1], x.Shape[2]
		tall, wide, top, left := Fit(height, width, 48)
		rows, columns := Matrix(height, tall), Matrix(width, wide)
		for c := range 3 {
			for i := range 48 {
				for j := range 48 {
					var sum float64
					for y := range height {
						for z := range width {
							sum += float64(rows[(top+i)*height+y]) * float64(columns[(left+j)*width+z]) * float64(x.F32[(c*height+y)*width+z])
						}
					}
					oracle.Near(t, name, sum, float64(want.F32[(c*48+i)*48+j]), 5e-6)
				}
			}
		}
	}
}

func TestFromSample(t *testing.T) {
	all := numbers(t)
	x := all["sample"].F32[:4095]
	got := FromSample(x, 65, 21)
	for i, v := range got.Pixels {
		if want := all["sample.bytes"].I64[i]; int64(v) != want {
			t.Fatalf("%g is %d, want %d", x[i], v, want)
		}
	}
	bad := FromSample([]float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))}, 1, 1)
	if !slices.Equal(bad.Pixels, []uint8{0, 255, 0}) {
		t.Errorf("NaN, ∞, −∞ are %v", bad.Pixels)
	}
}

// Colours pass through images and back, from any corner; what is transparent is on white.
func TestImages(t *testing.T) {
	p := picture(t, "1.png")
	if got := FromImage(p.Image()); got.Height != 57 || got.Width != 40 || !slices.Equal(got.Pixels, p.Pixels) {
		t.Error("colours change on the way to an image and back")
	}
	m := image.NewNRGBA(image.Rect(5, 7, 7, 8))
	m.SetNRGBA(5, 7, color.NRGBA{10, 20, 30, 128})
	m.SetNRGBA(6, 7, color.NRGBA{40, 50, 60, 0})
	if got := FromImage(m); got.Height != 1 || got.Width != 2 || !slices.Equal(got.Pixels, []uint8{132, 137, 142, 255, 255, 255}) {
		t.Errorf("colours %v", got)
	}
}

func TestPanics(t *testing.T) {
	for name, f := range map[string]func(){
		"size":     func() { FromSample(make([]float32, 5), 1, 2) },
		"no side":  func() { RGB{1, 1, []uint8{1, 2, 3}}.Resize(0, 1) },
		"no image": func() { RGB{}.Prepare(224) },
		"side":     func() { RGB{1, 1, []uint8{1, 2, 3}}.Prepare(0) },
		"pixels":   func() { RGB{2, 1, []uint8{1, 2, 3}}.Resize(1, 1) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}
