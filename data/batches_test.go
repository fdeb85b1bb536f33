package data

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/doob-diffusion/doob/noise"
)

func TestBatchesGolden(t *testing.T) {
	got := make([]int, 18)
	NewBatches(noise.New(1).Sub("batches"), 6).Next(got)
	// A change here changes what every seed and every resumed run means.
	want := []int{3, 4, 2, 5, 1, 0, 2, 5, 4, 1, 3, 0, 5, 2, 4, 0, 1, 3}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("three epochs of 6 (-want +got):\n%s", d)
	}
}

func TestBatchesVisitEveryIndexOncePerEpoch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 20).Draw(t, "n")
		size := rapid.IntRange(1, 30).Draw(t, "batch size")
		b := NewBatches(noise.New(rapid.Uint64().Draw(t, "seed")), n)
		var all []int
		for range n { // n batches end with an epoch
			dst := make([]int, size)
			b.Next(dst)
			all = append(all, dst...)
		}
		if want := (Position{Epoch: size}); b.Position() != want {
			t.Fatalf("position = %v, want %v", b.Position(), want)
		}
		for epoch := range slices.Chunk(all, n) {
			sorted := slices.Sorted(slices.Values(epoch))
			for i, v := range sorted {
				if i != v {
					t.Fatalf("an epoch of %d holds %v", n, epoch)
				}
			}
		}
	})
}

func TestBatchesResume(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 20).Draw(t, "n")
		key := noise.New(rapid.Uint64().Draw(t, "seed"))
		whole := NewBatches(key, n)
		whole.Next(make([]int, rapid.IntRange(0, 50).Draw(t, "before")))

		resumed := NewBatches(key, n)
		resumed.Next(make([]int, rapid.IntRange(0, 5).Draw(t, "elsewhere"))) // Seek must not depend on where it starts
		if err := resumed.Seek(whole.Position()); err != nil {
			t.Fatal(err)
		}
		want, got := make([]int, 45), make([]int, 45)
		whole.Next(want)
		for part := range slices.Chunk(got, rapid.IntRange(1, 45).Draw(t, "batch size")) {
			resumed.Next(part) // nor on how the indices are cut into batches
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("resumed run (-want +got):\n%s", d)
		}
	})
}

func TestBatchesEpochsDiffer(t *testing.T) {
	b := NewBatches(noise.New(3), 1000)
	first, second := make([]int, 1000), make([]int, 1000)
	b.Next(first)
	b.Next(second)
	if slices.Equal(first, second) || slices.IsSorted(first) {
		t.Error("epochs are not shuffled anew")
	}
}

func TestBatchesSeekRefuses(t *testing.T) {
	b := NewBatches(noise.New(3), 10)
	for _, p := range []Position{{0, 10}, {0, -1}, {-1, 0}} {
		if err := b.Seek(p); err == nil {
			t.Errorf("Seek(%v) gave no error", p)
		}
	}
	if b.Position() != (Position{}) {
		t.Error("a refused Seek moved the position")
	}
}
