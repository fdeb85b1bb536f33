package oracle

import (
	"image/png"
	"os"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
)

// Run evaluates a graph function on a backend and returns its outputs, flat.
func Run(t testing.TB, backend string, fn func(in []*graph.Node) []*graph.Node, inputs ...any) [][]float32 {
	t.Helper()
	return RunOn(t, OpenOn(t, backend), fn, inputs...)
}

// RunOn is Run on an engine, with its parameters.
func RunOn(t testing.TB, e *engine.Engine, fn func(in []*graph.Node) []*graph.Node, inputs ...any) [][]float32 {
	t.Helper()
	program, err := e.Compile(fn)
	if err != nil {
		t.Fatal(err)
	}
	tensors, err := program.Run(inputs...)
	if err != nil {
		t.Fatal(err)
	}
	out := make([][]float32, len(tensors))
	for i, tensor := range tensors {
		out[i] = make([]float32, tensor.Shape().Size())
		if err := engine.Floats(out[i], tensor); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// Store runs all tests with an empty store of data and trained networks, which they share but for those that set their own.
func Store(m *testing.M) (code int) {
	dir, err := os.MkdirTemp("", "doob-store")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	os.Setenv("DOOB_DATA", dir)
	return m.Run()
}

// Read returns the contents of a file.
func Read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Picture wants a PNG of at least that size that shows something: more than one colour.
func Picture(t testing.TB, path string, width, height int) {
	t.Helper()
	m, err := png.Decode(strings.NewReader(Read(t, path)))
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	b := m.Bounds()
	if b.Dx() < width || b.Dy() < height {
		t.Errorf("%s is %v, want at least %d×%d", path, b, width, height)
	}
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			if m.At(x, y) != m.At(b.Min.X, b.Min.Y) {
				return
			}
		}
	}
	t.Errorf("%s is empty", path)
}

// WantError wants an error that says all the words.
func WantError(t testing.TB, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want one with %q", words)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q\nlacks %q", err, w)
		}
	}
}
