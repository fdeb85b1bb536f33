package metric

import (
	"math"
	"testing"
)

func TestDiversity(t *testing.T) {
	for _, c := range []struct {
		name string
		x    []float32
		want float64
	}{
		{"one direction", []float32{1, 2, 3, 6, 0.5, 1}, 0},
		{"right angle", []float32{3, 0, 0, 5}, 1},
		{"opposite", []float32{1, 1, -2, -2}, 2},
		{"three of four axes", []float32{1, 0, 0, 1, -1, 0}, 1 - (0-1.+0)/3},
		{"60 degrees", []float32{1, 0, 1, float32(math.Sqrt(3))}, 0.5},
	} {
		if got := Diversity(c.x, 2); !near(got, c.want, 1e-7) {
			t.Errorf("%s: %.9f, want %.9f", c.name, got, c.want)
		}
	}
	for _, x := range [][]float32{nil, {1, 2}, {1, 2, 0, 0}, {1, 2, float32(math.NaN()), 0}, {1, 2, float32(math.Inf(1)), 0}} {
		if got := Diversity(x, 2); !math.IsNaN(got) {
			t.Errorf("Diversity(%v) = %g, want NaN", x, got)
		}
	}
	mustPanic(t, "no whole rows", func() { Diversity([]float32{1, 2, 3}, 2) })
}

func TestDiversityAgainstPairs(t *testing.T) {
	const n, dim = 60, 7
	x := normal(1, n, 1, 2, 0, 0, 0, -1, 0.5)
	var cosines float64
	for i := range n {
		for j := range i {
			var dot, a, b float64
			for k := range dim {
				u, v := float64(x[i*dim+k]), float64(x[j*dim+k])
				dot, a, b = dot+u*v, a+u*u, b+v*v
			}
			cosines += dot / math.Sqrt(a*b) / (n * (n - 1) / 2)
		}
	}
	if got := Diversity(x, dim); !near(got, 1-cosines, 1e-12) {
		t.Errorf("got %.15f, want %.15f", got, 1-cosines)
	}
}

// Directions of N(μ, I) far from 0 are μ + noise of variance 1 in dim−1 directions across: 1 − E cos ≈ (dim−1)/|μ|².
func TestDiversityOfAGaussian(t *testing.T) {
	const n, dim, mu = 4000, 5, 50.0
	got := Diversity(normal(1, n, mu, 0, 0, 0, 0), dim)
	// A mean of squares in 4 directions: relative standard error √(2/4n) = 1.1 %, and 1 % of the next order.
	if want := (dim - 1) / (mu * mu); math.Abs(got/want-1) > 0.055 {
		t.Errorf("got %.6f, want %.6f ± 5.5 %%", got, want)
	}
}
