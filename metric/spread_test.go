package metric

import (
	"math"
	"testing"
)

// Members N(μ+b, τ²) and a truth N(μ, 1), with μ and the scale different for every entry: the squared ratio is
// τ²(m+1)/m over τ²/m + 1 + b².
func TestSpreadSkill(t *testing.T) {
	const n, dim = 4000, 3
	for _, c := range []struct {
		members   int
		bias, tau float64
	}{{2, 0, 1}, {3, 0, 1}, {20, 0, 1}, {4, 0, 2}, {4, 0, 0.5}, {10, 1, 1}} {
		m := float64(c.members)
		x, y := normal(1, n*c.members, 0, 0, 0), normal(2, n, 0, 0, 0)
		for i := range x {
			scale := float64(1 + i%dim)
			x[i] = float32(10*scale + scale*(c.bias+c.tau*float64(x[i])))
		}
		for i := range y {
			scale := float64(1 + i%dim)
			y[i] = float32(10*scale + scale*float64(y[i]))
		}
		want := math.Sqrt(c.tau * c.tau * (m + 1) / m / (c.tau*c.tau/m + 1 + c.bias*c.bias))
		// Squares of errors have relative standard error √(2·Σw²/n(Σw)²) with w = 1, 4, 9 (0.016), the variances no more
		// (two members, one degree of freedom); a ratio's is half of their sum's, at most 0.011.
		if got := SpreadSkill(x, y, c.members, dim); math.Abs(got/want-1) > 4*0.011 {
			t.Errorf("%+v: %.4f, want %.4f ± 4.4 %%", c, got, want)
		}
	}
}

func TestSpreadSkillEdges(t *testing.T) {
	// Members 1 and 3, truth 4: s² = 2, its factor 3/2, the mean is off by 2: √3/2. Members 0 and 2, truth 1 with it: √(3·2/4).
	if got := SpreadSkill([]float32{1, 3}, []float32{4}, 2, 1); !near(got, math.Sqrt(3)/2, 1e-12) {
		t.Errorf("one case: %g", got)
	}
	if got := SpreadSkill([]float32{1, 3, 0, 2}, []float32{4, 1}, 2, 1); !near(got, math.Sqrt(6.0/4), 1e-12) {
		t.Errorf("two cases: %g", got)
	}
	// The same numbers as one case of two entries, [member, entry].
	if got := SpreadSkill([]float32{1, 0, 3, 2}, []float32{4, 1}, 2, 2); !near(got, math.Sqrt(6.0/4), 1e-12) {
		t.Errorf("two entries: %g", got)
	}
	for _, x := range [][]float32{nil, {1}, {1, float32(math.NaN())}} {
		if got := SpreadSkill(x, make([]float32, min(1, len(x))), max(1, len(x)), 1); !math.IsNaN(got) {
			t.Errorf("SpreadSkill(%v) = %g, want NaN", x, got)
		}
	}
	if got := SpreadSkill([]float32{1, 3}, []float32{2}, 2, 1); !math.IsInf(got, 1) {
		t.Errorf("a mean that is exact: %g, want +∞", got)
	}
	mustPanic(t, "a member too few", func() { SpreadSkill(make([]float32, 5), make([]float32, 2), 3, 1) })
}
