package metric

import (
	"math"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/doob-diffusion/doob/noise"
)

// rotated returns R diag(v) Rᵀ with R a rotation of the first two axes.
func rotated(angle float64, v ...float64) *mat.SymDense {
	s := mat.NewSymDense(len(v), nil)
	for i := range v {
		s.SetSym(i, i, v[i])
	}
	sin, cos := math.Sincos(angle)
	s.SetSym(0, 0, cos*cos*v[0]+sin*sin*v[1])
	s.SetSym(1, 1, sin*sin*v[0]+cos*cos*v[1])
	s.SetSym(0, 1, cos*sin*(v[0]-v[1]))
	return s
}

func TestFrechetOfGaussians(t *testing.T) {
	// In two dimensions tr √M = √(tr M + 2√det M), so the last term is known without eigenvectors:
	// tr(ΣxΣy) and det(Σx)det(Σy) are those of M = Σx^½ Σy Σx^½.
	a, b := rotated(0.3, 4, 0.5), rotated(1.2, 1, 3)
	var ab mat.Dense
	ab.Mul(a, b)
	cross := math.Sqrt(mat.Trace(&ab) + 2*math.Sqrt(mat.Det(a)*mat.Det(b)))
	for _, c := range []struct {
		name         string
		meanX, meanY []float64
		covX, covY   *mat.SymDense
		want         float64
	}{
		{"the same", []float64{1, 2}, []float64{1, 2}, a, a, 0},
		{"means", []float64{1, 2}, []float64{4, -2}, a, a, 25},
		{"one dimension", []float64{1}, []float64{3}, mat.NewSymDense(1, []float64{4}), mat.NewSymDense(1, []float64{0.25}), 4 + 1.5*1.5},
		{"common axes", make([]float64, 3), make([]float64, 3), rotated(0.7, 1, 4, 9), rotated(0.7, 4, 16, 1), 1 + 4 + 4},
		{"other axes", make([]float64, 2), []float64{0, 1}, a, b, 4.5 + 4 - 2*cross + 1},
		{"a point", make([]float64, 2), []float64{0, 1}, a, rotated(0, 0, 0), 4.5 + 1},
		{"a line", make([]float64, 2), make([]float64, 2), rotated(0, 1, 0), rotated(math.Pi/2, 4, 0), 5},
		{"the same line", make([]float64, 2), make([]float64, 2), rotated(0.4, 1, 0), rotated(0.4, 4, 0), 1},
	} {
		forth, back := frechet(c.meanX, c.covX, c.meanY, c.covY), frechet(c.meanY, c.covY, c.meanX, c.covX)
		if !near(forth, c.want, 1e-7) || !near(back, c.want, 1e-7) {
			t.Errorf("%s: %.12f and back %.12f, want %.12f", c.name, forth, back, c.want)
		}
	}
}

func TestFrechetDistanceOfSamples(t *testing.T) {
	x := []float32{1, -2, 2, 2, 3, 0}  // mean (2, 0), covariance [1 1; 1 4]
	y := []float32{-1, -1, 0, 3, 1, 1} // mean (0, 1), the same covariance
	if got := FrechetDistance(x, y, 2); !near(got, 4+1, 1e-12) {
		t.Errorf("got %.12f, want 5", got)
	}
	z := []float32{-1, 1, 0, -3, 1, -1} // y mirrored: Σz = [1 −1; −1 4]
	// tr ΣyΣz = (1−1) + (−1+16) = 15, det = 3·3: tr √ = √(15 + 2·3).
	if got, want := FrechetDistance(y, z, 2), 4+10-2*math.Sqrt(21); !near(got, want, 1e-12) {
		t.Errorf("got %.12f, want %.12f", got, want)
	}
}

// The bias for n ≫ dim, by eigenvalues λ: of the means tr Σ(1/n + 1/m), of the covariances ½Σ_ij E(ΔΣ_ij)²/(λ_i+λ_j), where
// E(ΔΣ_ij)² = (1+δ_ij)·λ_iλ_j(1/n + 1/m). For Σ = I the second is (dim+1)/4 of the first.
func TestFrechetDistanceOfOneLaw(t *testing.T) {
	const n, m, dim, repetitions = 600, 400, 6, 40
	for _, lambda := range [][dim]float64{{1, 1, 1, 1, 1, 1}, {1, 0.7, 0.5, 0.3, 0.1, 0.02}} {
		scaled := func(seed uint64, n int) []float32 {
			x := normal(seed, n, make([]float64, dim)...)
			for i := range x {
				x[i] *= float32(math.Sqrt(lambda[i%dim]))
			}
			return x
		}
		var sum, want float64
		for r := range uint64(repetitions) {
			sum += FrechetDistance(scaled(2*r, n), scaled(2*r+1, m), dim) / repetitions
		}
		for _, a := range lambda {
			want += a + a/4 // half of δ_ij's share
			for _, b := range lambda {
				want += a * b / (a + b) / 2
			}
		}
		want *= 1./n + 1./m
		// A sum of 27 squares spreads by √(2/27) = 27 %, the mean of 40 by 4.3 %: four of those, and 3 % of higher order.
		if math.Abs(sum/want-1) > 0.2 {
			t.Errorf("mean distance of two samples of one law with eigenvalues %v is %.4f, want %.4f ± 20 %%", lambda, sum, want)
		}
	}
}

func TestFrechetDistanceDoesNotMindAxes(t *testing.T) {
	const dim = 5
	x, y := normal(1, 50, make([]float64, dim)...), normal(2, 60, 1, 0, 2, 0, 0)
	for i := range y {
		y[i] *= float32(1 + i%dim)
	}
	// A reflection through a random plane keeps all lengths.
	u := make([]float32, dim)
	noise.New(3).Normal(u, 0, 0)
	var square float64
	for _, v := range u {
		square += float64(v) * float64(v)
	}
	reflected := func(x []float32) []float32 {
		out := make([]float32, len(x))
		for i := 0; i < len(x); i += dim {
			var dot float64
			for k, v := range u {
				dot += float64(v) * float64(x[i+k])
			}
			for k, v := range u {
				out[i+k] = x[i+k] - float32(2*dot/square)*v
			}
		}
		return out
	}
	a, b := FrechetDistance(x, y, dim), FrechetDistance(reflected(x), reflected(y), dim)
	if !near(b/a, 1, 1e-5) {
		t.Errorf("distance %.6f, and %.6f with other axes", a, b)
	}
	if c := FrechetDistance(shuffled(1, x, dim), y, dim); !near(c/a, 1, 1e-12) {
		t.Errorf("distance %.12f, and %.12f in another order", a, c)
	}
	if back := FrechetDistance(y, x, dim); !near(back/a, 1, 1e-9) {
		t.Errorf("distance %.12f there, %.12f back", a, back)
	}
	if same := FrechetDistance(x, x, dim); same > 1e-6 {
		t.Errorf("a set is at distance %g from itself", same)
	}
	sameForAnyWorkers(t, func() float64 { return FrechetDistance(x, y, dim) })
}

func TestFrechetDistanceEdges(t *testing.T) {
	// Fewer vectors than dimensions: the covariance has rank n−1, and the distance is still that of the points.
	few := normal(1, 3, make([]float64, 20)...)
	if got := FrechetDistance(few, few, 20); math.Abs(got) > 1e-5 {
		t.Errorf("3 vectors of 20 dimensions are at distance %g from themselves", got)
	}
	x := normal(2, 10, 0, 0)
	for _, bad := range [][]float32{nil, x[:2]} {
		if got := FrechetDistance(bad, x, 2); !math.IsNaN(got) {
			t.Errorf("%d vectors: %g, want NaN", len(bad)/2, got)
		}
		if got := FrechetDistance(x, bad, 2); !math.IsNaN(got) {
			t.Errorf("%d vectors: %g, want NaN", len(bad)/2, got)
		}
	}
	for _, v := range []float64{math.NaN(), math.Inf(1)} {
		broken := append([]float32{float32(v)}, x[1:]...)
		if got := FrechetDistance(x, broken, 2); !math.IsNaN(got) {
			t.Errorf("with %g: %g, want NaN", v, got)
		}
	}
	large := []float32{3e38, -3e38, -3e38, 3e38, 1e38, 0}
	if got := FrechetDistance(large, x, 2); math.IsNaN(got) || got < 1e76 {
		t.Errorf("large features: %g", got)
	}
	mustPanic(t, "no whole rows", func() { FrechetDistance(x[:3], x, 2) })
}

func BenchmarkFrechetDistance(b *testing.B) {
	x, y := normal(1, 1000, make([]float64, 64)...), normal(2, 1000, make([]float64, 64)...)
	for b.Loop() {
		FrechetDistance(x, y, 64)
	}
}
