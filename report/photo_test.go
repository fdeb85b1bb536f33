package report

import (
	"bytes"
	"image"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A picture with notes is a picture like any other: a reader that checks all sums takes it, and finds the texts.
func TestPhoto(t *testing.T) {
	m := image.NewNRGBA(image.Rect(0, 0, 3, 2))
	for i := range m.Pix {
		m.Pix[i] = uint8(255 - 20*(i%4/3^1)*i)
	}
	path := filepath.Join(t.TempDir(), "x.png")
	if err := Photo(path, m, []Note{{"prompt", "two dogs"}, {"name", "Käse"}, {"empty", ""}}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for y := range 2 {
		for x := range 3 {
			if a, b := got.At(x, y), m.At(x, y); a != b {
				r1, g1, b1, a1 := a.RGBA()
				r2, g2, b2, a2 := b.RGBA()
				if r1 != r2 || g1 != g2 || b1 != b2 || a1 != a2 {
					t.Errorf("pixel %d, %d is %v, want %v", x, y, a, b)
				}
			}
		}
	}
	jpg := filepath.Join(t.TempDir(), "x.jpg")
	if err := Photo(jpg, m, []Note{{"prompt", "Käse"}, {"long", strings.Repeat("x", 1<<17)}}); err != nil {
		t.Fatal(err)
	}
	photo, err := os.ReadFile(jpg)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := jpeg.Decode(bytes.NewReader(photo)); err != nil || got.Bounds() != m.Bounds() || !strings.HasPrefix(string(photo), "\xff\xd8\xff\xfe\x00\x0fprompt: Käse\xff\xfe\xff\xfflong: x") {
		t.Errorf("a JPEG that begins with %q, %v", photo[:30], err)
	}
	for _, want := range []string{"\x00\x00\x00\x0ftEXtprompt\x00two dogs", "\x00\x00\x00\x0eiTXtname\x00\x00\x00\x00\x00Käse", "\x00\x00\x00\x06tEXtempty\x00"} {
		if !strings.Contains(string(data), want) {
			t.Errorf("there is no %q", want)
		}
	}
}
