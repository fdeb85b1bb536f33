package finetune

import (
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
)

// The buffer holds the newest Capacity samples, whatever the portions they came in.
func TestBufferIsFirstInFirstOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := Buffer{Capacity: rapid.IntRange(1, 20).Draw(t, "capacity"), Dim: rapid.IntRange(1, 3).Draw(t, "dim")}
		total := 0
		for _, n := range rapid.SliceOfN(rapid.IntRange(0, 30), 0, 8).Draw(t, "portions") {
			var x []float32
			for range n {
				x = append(x, slices.Repeat([]float32{float32(total)}, b.Dim)...)
				total++
			}
			b.Append(x)
		}
		if want := min(total, b.Capacity); b.Len() != want {
			t.Fatalf("%d samples after %d, capacity %d", b.Len(), total, b.Capacity)
		}
		if b.Len() == 0 {
			return
		}
		dst := make([]float32, 400*b.Dim) // each of at most 20 samples is missed with probability 1e-9
		if err := b.Draw(dst, noise.New(1).Rand()); err != nil {
			t.Fatal(err)
		}
		seen := map[int]bool{}
		for i := 0; i < len(dst); i += b.Dim {
			for _, v := range dst[i : i+b.Dim] {
				if v != dst[i] {
					t.Fatalf("row %v is of several samples", dst[i:i+b.Dim])
				}
			}
			seen[int(dst[i])] = true
		}
		for i := total - b.Len(); i < total; i++ {
			if !seen[i] {
				t.Errorf("sample %d of %d is gone from a buffer of %d", i, total, b.Capacity)
			}
		}
		if len(seen) != b.Len() {
			t.Errorf("drew %d samples of %d", len(seen), b.Len())
		}
	})
}

func TestEmptyBuffer(t *testing.T) {
	b := Buffer{Capacity: 3, Dim: 2}
	b.Append(nil)
	if err := b.Draw(make([]float32, 2), noise.New(1).Rand()); !errors.Is(err, ErrEmptyBuffer) {
		t.Errorf("error %v, want ErrEmptyBuffer", err)
	}
}

func TestDrawIsUniform(t *testing.T) {
	b := Buffer{Capacity: 10, Dim: 1}
	b.Append([]float32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})
	const n = 100_000
	dst := make([]float32, n)
	if err := b.Draw(dst, noise.New(2).Rand()); err != nil {
		t.Fatal(err)
	}
	counts := make([]float64, 13)
	for _, v := range dst {
		counts[int(v)]++
	}
	for i, c := range counts[3:] {
		oracle.Near(t, "share of a sample", c/n, 0.1, 4*0.3/316) // binomial standard error 0.00095
		if counts[i%3] != 0 {
			t.Errorf("drew sample %d, which was dropped", i%3)
		}
	}
}
