package lora

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/doob-diffusion/doob/internal/golden"
)

func TestParseScaled(t *testing.T) {
	odd := filepath.Join(t.TempDir(), "v:2")
	if err := os.WriteFile(odd, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for s, want := range map[string]struct {
		path  string
		scale float64
	}{
		"a.safetensors": {"a.safetensors", 1}, "a.safetensors:0.8": {"a.safetensors", 0.8}, "a:-1": {"a", -1}, "a:b": {"a:b", 1}, "a:b:2": {"a:b", 2}, odd: {odd, 1}, odd + ":3": {odd, 3},
	} {
		if path, scale, err := ParseScaled(s); path != want.path || scale != want.scale || err != nil {
			t.Errorf("%s: %s times %g (%v), want %v", s, path, scale, err, want)
		}
	}
	for _, s := range []string{"a:NaN", "a:-Inf", odd + ":much", odd + ":"} {
		if _, _, err := ParseScaled(s); err == nil {
			t.Errorf("%s: no error", s)
		}
	}
}

// Half of an adapter changes half as much, and the whole stays as it was.
func TestScaled(t *testing.T) {
	a := read(t, golden.Path("lora/kohya/lora.safetensors"), Kohya)
	half := a.Scaled(0.5)
	for module, p := range a.UNet {
		if p.Scale != 2 || half.UNet[module].Scale != 1 {
			t.Fatalf("%s: scale %g, half of it %g, want 2 and 1", module, p.Scale, half.UNet[module].Scale)
		}
	}
}

// The difference of two pairs changes a map by the difference of what they change.
func TestLess(t *testing.T) {
	p := Pair{Rank: 1, In: 2, Out: 2, A: []float32{1, 2}, B: []float32{3, 4}, Scale: 2}
	q := Pair{Rank: 2, In: 2, Out: 2, A: []float32{1, 0, 5, 1}, B: []float32{2, 1, 0, 3}, Scale: 0.5}
	less, want := p.Less(q), p.Delta()
	for i, v := range q.Delta() {
		want[i] -= v
	}
	if !slices.Equal(less.Delta(), want) || less.Rank != 3 {
		t.Errorf("of rank %d, it changes %v, want rank 3 and %v", less.Rank, less.Delta(), want)
	}
}
