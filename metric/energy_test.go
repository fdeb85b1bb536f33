package metric

import (
	"math"
	"slices"
	"testing"
)

// meanDistance is the obvious double loop.
func meanDistance(x, y []float32, dim int) float64 {
	var sum float64
	n, m := len(x)/dim, len(y)/dim
	for i := range n {
		for j := range m {
			var d2 float64
			for k := range dim {
				d2 += math.Pow(float64(x[i*dim+k])-float64(y[j*dim+k]), 2)
			}
			sum += math.Sqrt(d2)
		}
	}
	return sum / float64(n*m)
}

func TestEnergyDistanceAgainstDoubleLoop(t *testing.T) {
	for _, c := range []struct {
		n, m int
		mean []float64
	}{{1, 1, []float64{2}}, {37, 90, []float64{1}}, {33, 64, []float64{0, 1}}, {100, 1, []float64{1, 2, 3}}, {65, 70, make([]float64, 9)}} {
		dim := len(c.mean)
		x, y := normal(1, c.n, make([]float64, dim)...), normal(2, c.m, c.mean...)
		want := 2*meanDistance(x, y, dim) - meanDistance(x, x, dim) - meanDistance(y, y, dim)
		if got := EnergyDistance(x, y, dim); math.Abs(got-want) > 1e-12*float64(dim+1) {
			t.Errorf("n %d, m %d, dim %d: %.15f, want %.15f", c.n, c.m, dim, got, want)
		}
	}
}

// In one dimension the energy distance is 2∫(F−G)², with the empirical distribution functions (Székely 2003).
func TestEnergyDistanceIsCramerInOneDimension(t *testing.T) {
	x, y := normal(1, 301, 0), normal(2, 500, 0.4)
	all := slices.Concat(x, y)
	slices.Sort(all)
	below := func(s []float32, at float32) (c float64) {
		for _, v := range s {
			if v <= at {
				c++
			}
		}
		return c / float64(len(s))
	}
	var want float64
	for i := range len(all) - 1 {
		d := below(x, all[i]) - below(y, all[i])
		want += 2 * d * d * (float64(all[i+1]) - float64(all[i]))
	}
	if got := EnergyDistance(x, y, 1); math.Abs(got-want) > 1e-10 {
		t.Errorf("got %.12f, want %.12f", got, want)
	}
}

// N(0,1) against N(1.5,1): X−Y ~ N(1.5,2), X−X' ~ N(0,2), and E|N(μ,σ²)| = σ√(2/π)e^(−μ²/2σ²) + μ·erf(μ/σ√2).
func TestEnergyDistanceOfGaussians(t *testing.T) {
	const n, mu = 8000, 1.5
	s := math.Sqrt2
	cross := s*math.Sqrt(2/math.Pi)*math.Exp(-mu*mu/(2*s*s)) + mu*math.Erf(mu/(s*math.Sqrt2))
	want := 2*cross - 2*s*math.Sqrt(2/math.Pi)
	// The derivative in the mean shift is about 1, whose standard error is √(2/n) = 0.016; the floor 2E|X−X'|/n is 0.0003.
	if got := EnergyDistance(normal(1, n, 0), normal(2, n, mu), 1); math.Abs(got-want) > 0.05 {
		t.Errorf("got %.4f, want %.4f ± 0.05", got, want)
	}
}

func TestEnergyDistanceOfOneLaw(t *testing.T) {
	const n = 400
	x := normal(1, n, 0, 0)
	if got := EnergyDistance(x, shuffled(2, x, 2), 2); got > 1e-12 {
		t.Errorf("a set is at distance %g from itself in another order", got)
	}
	// The mean over repetitions is the documented floor, E|X−X'|·2/n with E|X−X'| = √π in two dimensions; one repetition
	// spreads by less than that mean, so 40 of them give it to 16 %: four of those are 64 %, of which 50 % is asked.
	var sum float64
	for r := range uint64(40) {
		sum += EnergyDistance(normal(100+r, n, 0, 0), normal(200+r, n, 0, 0), 2) / 40
	}
	if want := math.Sqrt(math.Pi) * 2 / n; math.Abs(sum-want) > 0.5*want {
		t.Errorf("mean distance of two samples of one law is %.5f, want %.5f ± 50 %%", sum, want)
	}
}

func TestEnergyDistanceEdges(t *testing.T) {
	x, y := normal(1, 130, 0, 0), normal(2, 99, 1, 0)
	sameForAnyWorkers(t, func() float64 { return EnergyDistance(x, y, 2) })
	if got := EnergyDistance(x, nil, 2); !math.IsNaN(got) {
		t.Errorf("an empty set is at distance %g, want NaN", got)
	}
	x[5] = float32(math.NaN())
	if got := EnergyDistance(x, y, 2); !math.IsNaN(got) {
		t.Errorf("a NaN sample gives %g, want NaN", got)
	}
}

func BenchmarkEnergyDistance(b *testing.B) {
	x, y := normal(1, 10_000, 0, 0), normal(2, 10_000, 0, 0)
	for b.Loop() {
		EnergyDistance(x, y, 2)
	}
}
