package metric

import (
	"math"
	"testing"

	"github.com/doob-diffusion/doob/noise"
	"pgregory.net/rapid"
)

var directions = noise.New(11).Sub("directions")

// A set against its own shift by s: W₂² along θ is ⟨θ,s⟩², whose mean over the sphere is |s|²/d and whose variance is
// |s|⁴·(3/(d(d+2)) − 1/d²).
func TestSlicedW2OfAShift(t *testing.T) {
	const n, many = 200, 4000
	for _, shift := range [][]float64{{2}, {3, -1}, {1, 2, 2}, {1, 0, 0, 0, 0, 1, 0, 3}} {
		d := float64(len(shift))
		zero := make([]float64, len(shift))
		x, y := normal(1, n, zero...), normal(1, n, shift...)
		var s2 float64
		for _, v := range shift {
			s2 += v * v
		}
		band := 4*s2*math.Sqrt((3/(d*(d+2))-1/(d*d))/many) + 1e-5 // four standard errors; float32 rounding
		got := SlicedW2(x, y, len(shift), many, directions)
		if math.Abs(got*got-s2/d) > band {
			t.Errorf("shift %v: squared distance %.5f, want %.5f ± %.5f", shift, got*got, s2/d, band)
		}
	}
}

// Two different samples of N(0, I) and N(s, I) in two dimensions: SW₂ = |s|/√2. Four standard errors are 0.11 for the
// directions, |s|²·√(1/8)/√2000 over twice the distance, and 0.06 for the means, √(2/n)/√2.
func TestSlicedW2OfTwoSamples(t *testing.T) {
	const n = 4000
	got := SlicedW2(normal(1, n, 0, 0), normal(2, n, 3, 4), 2, 2000, directions)
	if want, band := math.Sqrt(12.5), 0.13; math.Abs(got-want) > band {
		t.Errorf("got %.4f, want %.4f ± %.2f", got, want, band)
	}
}

func TestSlicedW2OfScaledGaussians(t *testing.T) { // W₂(N(0,1), N(0,4)) = 1 in one dimension
	x, y := normal(1, 50_000, 0), normal(2, 50_000, 0)
	for i := range y {
		y[i] *= 2
	}
	if got := SlicedW2(x, y, 1, 0, directions); math.Abs(got-1) > 0.03 { // 4·√((1+4)/(2·50,000))
		t.Errorf("got %.4f, want 1 ± 0.03", got)
	}
}

func TestSlicedW2IsAMetricOnSets(t *testing.T) {
	x, y, z := normal(3, 300, 0, 0, 0), normal(4, 300, 1, 0, 0), normal(5, 170, 0, 2, 0)
	w := func(a, b []float32) float64 { return SlicedW2(a, b, 3, 64, directions) }
	if got := w(x, shuffled(9, x, 3)); got != 0 {
		t.Errorf("a set is at distance %g from itself in another order", got)
	}
	if a, b := w(x, y), w(shuffled(9, x, 3), shuffled(8, y, 3)); a != b {
		t.Errorf("distance %g becomes %g when the rows are permuted", a, b)
	}
	if a, b := w(x, z), w(z, x); math.Abs(a-b) > 1e-12*a {
		t.Errorf("not symmetric: %g and %g", a, b)
	}
	if w(x, z) > w(x, y)+w(y, z) {
		t.Error("the triangle inequality fails")
	}
}

// Repeating every row does not change a distribution, so unequal sizes must agree with equal ones.
func TestUnequalSizesAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.Float32Range(-5, 5)
		x := rapid.SliceOfN(value, 1, 12).Draw(t, "x")
		y := rapid.SliceOfN(value, 1, 12).Draw(t, "y")
		repeat := func(v []float32, times int) (r []float32) {
			for range times {
				r = append(r, v...)
			}
			return r
		}
		got := SlicedW2(x, y, 1, 1, noise.Key{})
		want := SlicedW2(repeat(x, len(y)), repeat(y, len(x)), 1, 1, noise.Key{})
		if math.Abs(got-want) > 1e-9 {
			t.Fatalf("sizes %d and %d: %.12f, want %.12f", len(x), len(y), got, want)
		}
	})
}

func TestSlicedW2Workers(t *testing.T) {
	x, y := normal(1, 500, 0, 0), normal(2, 400, 0, 0)
	sameForAnyWorkers(t, func() float64 { return SlicedW2(x, y, 2, 33, directions) })
}

func TestSlicedW2Edges(t *testing.T) {
	if got := SlicedW2(nil, normal(1, 3, 0, 0), 2, 8, directions); !math.IsNaN(got) {
		t.Errorf("an empty set is at distance %g, want NaN", got)
	}
	bad := normal(1, 3, 0, 0)
	bad[2] = float32(math.NaN())
	if got := SlicedW2(bad, normal(1, 3, 0, 0), 2, 8, directions); !math.IsNaN(got) {
		t.Errorf("a NaN sample gives %g, want NaN", got)
	}
	mustPanic(t, "half a row", func() { SlicedW2(make([]float32, 3), make([]float32, 4), 2, 8, directions) })
	mustPanic(t, "no direction", func() { SlicedW2(make([]float32, 4), make([]float32, 4), 2, 0, directions) })
}

func BenchmarkSlicedW2(b *testing.B) {
	x, y := normal(1, 10_000, 0, 0), normal(2, 10_000, 0, 0)
	for b.Loop() {
		SlicedW2(x, y, 2, 128, directions)
	}
}
