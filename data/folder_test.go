package data

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/doob-diffusion/doob/vision"
)

// paint writes a picture of columns of colours, each so many pixels wide.
func paint(t *testing.T, path string, each, height int, columns ...color.NRGBA) {
	t.Helper()
	m := image.NewNRGBA(image.Rect(0, 0, each*len(columns), height))
	for y := range height {
		for x := range each * len(columns) {
			m.SetNRGBA(x, y, columns[x/each])
		}
	}
	var file bytes.Buffer
	if err := png.Encode(&file, m); err != nil {
		t.Fatal(err)
	}
	save(t, path, file.Bytes())
}

func save(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o666); err != nil {
		t.Fatal(err)
	}
}

var red, green, blue, glass = color.NRGBA{255, 0, 0, 255}, color.NRGBA{0, 255, 0, 255}, color.NRGBA{0, 0, 255, 255}, color.NRGBA{0, 0, 0, 0}

// A picture of the right size is what it was, to the bit; of another, its middle is left, scaled; what is transparent is white, and half so half white.
func TestReadFitted(t *testing.T) {
	half := color.NRGBA{0, 0, 0, 102} // black, of which 60 % of white are left
	gray := color.NRGBA{51, 51, 51, 255}
	level := func(v float64) float32 { return float32(v/127.5 - 1) }
	for name, c := range map[string]struct {
		each, high    int // of the picture
		columns       []color.NRGBA
		height, width int
		channels      int
		want          []float32 // of the first row; NaN is not looked at
	}{
		"as it is":     {1, 1, []color.NRGBA{red, gray}, 1, 2, 3, []float32{1, -1, -1, level(51), level(51), level(51)}},
		"transparent":  {1, 1, []color.NRGBA{glass, half}, 1, 2, 3, []float32{1, 1, 1, level(153), level(153), level(153)}},
		"gray":         {1, 1, []color.NRGBA{gray, glass}, 1, 2, 1, []float32{level(51), 1}},
		"wide, down":   {24, 24, []color.NRGBA{red, green, blue}, 6, 6, 3, append(slices.Repeat([]float32{nan}, 6), -1, 1, -1, -1, 1, -1)},
		"wide, up":     {2, 2, []color.NRGBA{red, green, blue}, 8, 8, 3, append(slices.Repeat([]float32{nan}, 9), -1, 1, -1, -1, 1, -1)},
		"not a square": {8, 8, []color.NRGBA{red, green, blue}, 4, 12, 3, []float32{1, -1, -1, 1, -1, -1}},
	} {
		path := filepath.Join(t.TempDir(), "a.png")
		paint(t, path, c.each, c.high, c.columns...)
		im, err := ReadFitted(path, c.height, c.width, c.channels)
		if err != nil || im.N != 1 || len(im.Pixels) != c.height*c.width*c.channels || im.Height != c.height || im.Width != c.width || im.Channels != c.channels {
			t.Errorf("%s: %d numbers of %d images [%d, %d, %d], %v", name, len(im.Pixels), im.N, im.Height, im.Width, im.Channels, err)
			continue
		}
		for i, w := range c.want {
			if got := im.Pixels[i]; w == w && math.Abs(float64(got-w)) > 1e-6 {
				t.Errorf("%s: number %d is %g, want %g", name, i, got, w)
			}
		}
	}
}

var nan = float32(math.NaN())

// A folder is read in the order of names, without what is no picture; where it has folders only, those are.
func TestReadFolder(t *testing.T) {
	dir := t.TempDir()
	paint(t, filepath.Join(dir, "classes/b/2.png"), 1, 1, green)
	paint(t, filepath.Join(dir, "classes/b/1.PNG"), 1, 1, blue)
	paint(t, filepath.Join(dir, "classes/a/9.png"), 3, 5, red)
	paint(t, filepath.Join(dir, "classes/a/.hidden.png"), 1, 1, green)
	save(t, filepath.Join(dir, "classes/a/notes.txt"), []byte("no picture"))
	want := []float32{1, -1, -1, -1, -1, 1, -1, 1, -1} // red, blue, green
	im, err := ReadFolder(filepath.Join(dir, "classes"), 1, 1, 3)
	if err != nil || im.N != 3 || !slices.Equal(im.Pixels, want) {
		t.Errorf("%d images, %v, %v", im.N, im.Pixels, err)
	}
	if im, err = ReadFolder(filepath.Join(dir, "classes/b"), 1, 1, 3); err != nil || im.N != 2 || !slices.Equal(im.Pixels, want[3:]) {
		t.Errorf("%d images, %v, %v", im.N, im.Pixels, err)
	}
	im, names, err := ReadClasses(filepath.Join(dir, "classes"), 1, 1, 3)
	if err != nil || !slices.Equal(names, []string{"a", "b"}) || !slices.Equal(im.Labels, []int{0, 1, 1}) || !slices.Equal(im.Pixels, want) {
		t.Errorf("classes %v, labels %v, %v, %v", names, im.Labels, im.Pixels, err)
	}

	// A file of 65 bytes that declares more than any memory has.
	part := func(kind string, body []byte) []byte {
		whole := append([]byte(kind), body...)
		return binary.BigEndian.AppendUint32(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), whole...), crc32.ChecksumIEEE(whole))
	}
	size := []byte{0, 1, 0x86, 0xa0, 0, 1, 0x86, 0xa0, 8, 2, 0, 0, 0} // 100000×100000
	bomb := slices.Concat([]byte("\x89PNG\r\n\x1a\n"), part("IHDR", size), part("IDAT", nil), part("IEND", nil))
	whole, err := os.ReadFile(filepath.Join(dir, "classes/a/9.png"))
	if err != nil {
		t.Fatal(err)
	}
	save(t, filepath.Join(dir, "bomb/a.png"), bomb)
	save(t, filepath.Join(dir, "cut/a.png"), whole[:len(whole)-20])
	save(t, filepath.Join(dir, "text/a.png"), []byte("no picture"))
	save(t, filepath.Join(dir, "none/a.txt"), []byte("no picture"))
	for name, c := range map[string]struct {
		err   error
		words []string
	}{
		"nowhere": {ErrMissing, []string{"nowhere"}}, "none": {vision.ErrPicture, []string{"none", "1 other files", ".png"}}, "text": {vision.ErrPicture, []string{"a.png", "PNG, JPEG"}},
		"cut": {vision.ErrPicture, []string{"a.png", "ends too early"}}, "bomb": {vision.ErrPicture, []string{"a.png", "100000×100000", "67"}},
	} {
		_, err := ReadFolder(filepath.Join(dir, name), 1, 1, 3)
		for _, w := range c.words {
			if !errors.Is(err, c.err) || !strings.Contains(err.Error(), w) {
				t.Errorf("%s: error %v, want one that wraps %v, with %q", name, err, c.err, w)
			}
		}
	}
	_, _, err = ReadClasses(filepath.Join(dir, "classes/a"), 1, 1, 3)
	if !errors.Is(err, vision.ErrPicture) || !strings.Contains(err.Error(), "folders for 0 classes") {
		t.Errorf("no classes: %v", err)
	}
}
