package tensorboard

import (
	"bytes"
	"encoding/hex"
	"errors"
	"image"
	"image/png"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/internal/oracle"
)

// at is a clock that stands still.
func at(seconds int64) func() time.Time { return func() time.Time { return time.Unix(seconds, 5e8) } }

func write(t *testing.T, l *Log) []oracle.BoardEvent {
	t.Helper()
	if err := l.Write(); err != nil {
		t.Fatal(err)
	}
	return oracle.Board(t, l.Dir)
}

// told are times, steps and numbers, after the version.
func told(events []oracle.BoardEvent) (out [][3]float64) {
	for _, ev := range events[1:] {
		out = append(out, [3]float64{ev.Time, float64(ev.Step), ev.Scalars["x"]})
	}
	return out
}

// The sum of RFC 3720, B.4, of 32 zeros is 8a9136aa; the first record of any file is known.
func TestRecord(t *testing.T) {
	sum := uint32(0x8a9136aa)
	if got, want := masked(make([]byte, 32)), (sum>>15|sum<<17)+0xa282ead8; got != want {
		t.Errorf("masked sum of 32 zeros is %#x, want %#x", got, want)
	}
	got := hex.EncodeToString(version())
	if want := hex.EncodeToString([]byte("\x1a\x0dbrain.Event:2")); got != want {
		t.Errorf("version is %s, want %s", got, want)
	}
	whole := frame(frame(nil, []byte("one")), []byte("another"))
	for n := range len(whole) { // torn anywhere, or one bit wrong
		damaged := bytes.Clone(whole)
		damaged[n] ^= 4
		for _, text := range [][]byte{whole[:n], damaged} {
			if got, want := len(unframe(text)), n/(len("one")+16); got > want {
				t.Errorf("byte %d: %d records, want %d", n, got, want)
			}
		}
	}
	if d := cmp.Diff([][]byte{[]byte("one"), []byte("another")}, unframe(whole)); d != "" {
		t.Errorf("records (-want +got)\n%s", d)
	}
}

func TestValues(t *testing.T) {
	var picture bytes.Buffer
	if err := png.Encode(&picture, image.NewGray(image.Rect(0, 0, 300, 2))); err != nil {
		t.Fatal(err)
	}
	l := New(filepath.Join(t.TempDir(), "a", "b"))
	read := func() ([]byte, error) { return picture.Bytes(), nil }
	missing := func() ([]byte, error) { return nil, fs.ErrNotExist }
	l.Add("s", 1<<40, Scalar("x", -0.1), Scalar("nan", math.NaN()), Scalar("inf", math.Inf(1)), Text("note", "κ = **1**\n"), PNG("p", read), PNG("q", missing))
	got := write(t, l)
	want := []oracle.BoardEvent{{Version: "brain.Event:2"}, {Step: 1 << 40, Scalars: map[string]float64{"x": float64(float32(-0.1))},
		Texts: map[string]string{"note": "κ = **1**\n"}, PNGs: map[string]string{"p": picture.String()}}}
	for i := range got {
		if d := time.Since(time.Unix(0, int64(got[i].Time*1e9))); d < 0 || d > time.Minute {
			t.Errorf("event %d was written %v ago", i, d)
		}
		got[i].Time = 0
	}
	if d := cmp.Diff(want, got, cmp.FilterValues(func(a, b map[string]string) bool { return len(a)+len(b) == 0 }, cmp.Ignore()),
		cmp.FilterValues(func(a, b map[string]float64) bool { return len(a)+len(b) == 0 }, cmp.Ignore())); d != "" {
		t.Errorf("events (-want +got)\n%s", d)
	}
	broken := errors.New("the disk is gone")
	l.Add("s", 1, PNG("p", func() ([]byte, error) { return nil, broken }))
	if err := l.Write(); !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
}

// What was written is appended to; a step that comes again takes the place of it and of the later ones, of its series only.
func TestSteps(t *testing.T) {
	l := New(t.TempDir())
	l.now = at(10)
	l.Add("a", 1, Scalar("x", 1))
	l.Add("a", 2, Scalar("x", 2))
	first := write(t, l)
	l.now = at(20)
	l.Add("b", 1, Scalar("x", 7))
	before := l.file
	if d := cmp.Diff([][3]float64{{10.5, 1, 1}, {10.5, 2, 2}, {20.5, 1, 7}}, told(write(t, l))); d != "" {
		t.Errorf("appended (-want +got)\n%s", d)
	}
	if l.file != before {
		t.Errorf("appending has made %s of %s", l.file, before)
	}
	l.now = at(30)
	l.Add("a", 2, Scalar("x", 3))
	l.Add("a", 3, Scalar("x", 4))
	if d := cmp.Diff([][3]float64{{10.5, 1, 1}, {20.5, 1, 7}, {30.5, 2, 3}, {30.5, 3, 4}}, told(write(t, l))); d != "" {
		t.Errorf("again (-want +got)\n%s", d)
	}
	if l.file <= before {
		t.Errorf("the new file %s is not after %s", l.file, before)
	}
	before = l.file // in the same second
	l.Add("b", 1, Scalar("x", 8))
	if write(t, l); l.file <= before {
		t.Errorf("the new file %s is not after %s", l.file, before)
	}
	if first[0].Version == "" {
		t.Error("the file does not begin with a version")
	}
}

// Whatever a killed process has left, the next says what it knows, and keeps the times of what was there.
func TestNextProcess(t *testing.T) {
	for name, spoil := range map[string]func(text []byte) []byte{
		"whole":   func(text []byte) []byte { return text },
		"torn":    func(text []byte) []byte { return text[:len(text)-3] },
		"damaged": func(text []byte) []byte { text[len(text)-6] ^= 1; return text },
		"empty":   func(text []byte) []byte { return nil },
		"foreign": func(text []byte) []byte { return []byte("not at all what it should be") },
	} {
		dir := t.TempDir()
		old := New(dir)
		old.now = at(10)
		for step := 1; step <= 3; step++ {
			old.Add("a", step, Scalar("x", float64(step)))
		}
		write(t, old)
		if err := os.WriteFile(old.file, spoil([]byte(oracle.Read(t, old.file))), 0o666); err != nil {
			t.Fatal(err)
		}
		l := New(dir)
		l.Add("a", 1, Scalar("x", 1))
		l.Add("a", 2, Scalar("x", 2.5))
		l.now = at(40)
		kept := 10.5
		if name == "empty" || name == "foreign" {
			kept = 40.5
		}
		if d := cmp.Diff([][3]float64{{kept, 1, 1}, {40.5, 2, 2.5}}, told(write(t, l))); d != "" {
			t.Errorf("%s (-want +got)\n%s", name, d)
		}
		if l.file <= old.file {
			t.Errorf("%s: the new file %s is not after %s", name, l.file, old.file)
		}
	}
}
