package vision

import (
	"bytes"
	"errors"
	"image"
	"image/jpeg"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/doob-diffusion/doob/internal/oracle"
)

// What cannot be written is refused before anything is done, and nothing is left behind by the look.
func TestCheckOutputs(t *testing.T) {
	dir := t.TempDir()
	in := file(t, "in.png", []byte("a"))
	link := filepath.Join(dir, "link.png")
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "folder.png"), 0o777), os.Symlink(in, link)); err != nil {
		t.Fatal(err)
	}
	out := func(name string) string { return filepath.Join(dir, name) }
	for words, outputs := range map[string][]string{
		"":                          {out("a.png"), out("b.JPG"), out("c.jpeg")},
		"want a name that ends in":  {out("a.gif")},
		"written as PNG or JPEG":    {out("a")},
		"there is no folder":        {filepath.Join(dir, "no", "a.png")},
		"there is a folder":         {out("folder.png")},
		"one would replace":         {out("a.png"), dir + "/./a.png"},
		"it is the input":           {in},
		"which would be lost: want": {link},
	} {
		err := CheckOutputs([]string{in}, outputs...)
		if words == "" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		oracle.WantError(t, err, words)
		if !errors.Is(err, ErrOutput) {
			t.Errorf("%v does not wrap ErrOutput", err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if err := CheckSize("a.png", 70000, 1); err != nil {
		t.Error(err)
	}
	oracle.WantError(t, CheckSize("a.jpg", 70000, 1), "65535×65535 pixels, the result has 1×70000")
}

// A canvas is the picture of its rows, in the format of the name, however they come.
func TestCanvas(t *testing.T) {
	const height, width = 37, 21 // of more than two bands
	for _, channels := range []int{1, 3} {
		value := func(i int) uint16 { return uint16(i * 7919) }
		show := func(v uint16) uint8 { return uint8(v >> 8) }
		path := filepath.Join(t.TempDir(), "x.png")
		c, err := NewCanvas(path, height, width, channels)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for y := 0; y < height; {
			var rows []uint16
			n := min(height-y, 1+y%5)
			for i := range n * width * channels {
				rows = append(rows, value(y*width*channels+i))
			}
			if err := c.Append(rows); err != nil {
				t.Fatal(err)
			}
			y += n
		}
		if err := c.Save(path, show); err != nil {
			t.Fatal(err)
		}
		p, err := Open(path)
		if err != nil || p.Height != height || p.Width != width {
			t.Fatalf("%d×%d, %v", p.Height, p.Width, err)
		}
		for i, v := range p.Pixels {
			if want := show(value(i/3*channels + i%3%channels)); v != want {
				t.Fatalf("%d channels: level %d is %d, want %d", channels, i, v, want)
			}
		}
		jpg := filepath.Join(filepath.Dir(path), "x.jpg")
		if err := c.Save(jpg, func(uint16) uint8 { return 99 }); err != nil {
			t.Fatal(err)
		}
		if p, err := Read(jpg); err != nil || p.Format != "JPEG" || p.RGB().Pixels[0] != 99 {
			t.Errorf("as JPEG: %+v, %v", p, err)
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".doob*")); len(left) > 0 {
			t.Errorf("%v is left behind", left)
		}
	}
	if _, err := NewCanvas(filepath.Join(t.TempDir(), "x.png"), 1, 1, 2); err == nil {
		t.Error("two channels are accepted")
	}
}

func TestEncode(t *testing.T) {
	m := image.NewGray(image.Rect(0, 0, 3, 2))
	for name, decode := range map[string]func(io.Reader) (image.Image, error){"a.PNG": png.Decode, "a.jpeg": jpeg.Decode} {
		var file bytes.Buffer
		err := Encode(&file, name, m)
		if got, bad := decode(&file); errors.Join(err, bad) != nil || got.Bounds() != m.Bounds() {
			t.Errorf("%s: %v, %v, %v", name, err, bad, got)
		}
	}
	if err := Encode(io.Discard, "a.bmp", m); !errors.Is(err, ErrOutput) {
		t.Errorf("a BMP: %v", err)
	}
}

// Without room for what is made, no work is begun; where the room ends later, the error names the picture, and a picture that was there stays.
func TestCanvasWithoutRoom(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.png")
	_, err := NewCanvas(path, 1<<31, 1<<31, 3)
	oracle.WantError(t, err, "x.png", "MB are free")
	c, err := NewCanvas(path, 1<<8, 1<<8, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	c.rows.Reset(full)
	err = c.Append(make([]uint16, 3<<16))
	oracle.WantError(t, err, "x.png", "have no room")
	if !errors.Is(err, ErrOutput) {
		t.Errorf("%v does not wrap ErrOutput", err)
	}

	if err := os.WriteFile(path, []byte("old"), 0o666); err != nil {
		t.Fatal(err)
	}
	c.rows.Reset(io.Discard) // so that what is read back ends too early
	oracle.WantError(t, c.Save(path, func(uint16) uint8 { return 0 }), "reading back")
	if got := oracle.Read(t, path); got != "old" {
		t.Errorf("a picture of %d bytes has taken the place of the one before", len(got))
	}
}
