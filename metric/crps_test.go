package metric

import (
	"math"
	"testing"
)

func TestCRPSAgainstPairs(t *testing.T) {
	const n, members, dim = 3, 7, 4
	x, y := normal(1, n*members, 0, 1, 2, 0), normal(2, n, 0.5, 0, 2, -1)
	got := CRPS(x, y, members, dim)
	for i := range n {
		var want float64
		for k := range dim {
			at := func(j int) float64 { return float64(x[(i*members+j)*dim+k]) }
			for a := range members {
				want += math.Abs(at(a)-float64(y[i*dim+k])) / (members * dim)
				for b := range members {
					want -= math.Abs(at(a)-at(b)) / (2 * members * (members - 1) * dim)
				}
			}
		}
		if !near(got[i], want, 1e-12) {
			t.Errorf("ensemble %d: %.15f, want %.15f", i, got[i], want)
		}
	}
}

// CRPS(N(0,1), y) = y(2Φ(y) − 1) + 2φ(y) − 1/√π (Gneiting et al. 2005, eq. 5), whatever the number of members.
func TestCRPSOfAGaussian(t *testing.T) {
	const cases = 20_000
	for _, y := range []float64{0, 0.7, -2.5} {
		want := y*math.Erf(y/math.Sqrt2) + 2*math.Exp(-y*y/2)/math.Sqrt(2*math.Pi) - 1/math.Sqrt(math.Pi)
		for _, members := range []int{2, 3, 10} {
			truth := make([]float32, cases)
			for i := range truth {
				truth[i] = float32(y)
			}
			mean, se := MeanSE(CRPS(normal(uint64(members), cases*members, 0), truth, members, 1))
			if math.Abs(mean-want) > 4*se {
				t.Errorf("%d members, truth %g: %.4f ± %.4f, want %.4f", members, y, mean, se, want)
			}
		}
	}
}

func TestCRPSEdges(t *testing.T) {
	if got := CRPS([]float32{1, 1, 1}, []float32{3}, 3, 1); got[0] != 2 {
		t.Errorf("members that agree: %v, want their distance 2", got)
	}
	for _, x := range [][]float32{{1}, {1, float32(math.NaN())}, {1, float32(math.Inf(1))}} {
		if got := CRPS(x, []float32{3}, len(x), 1); len(got) != 1 || !math.IsNaN(got[0]) {
			t.Errorf("CRPS(%v) = %v, want NaN", x, got)
		}
	}
	if got := CRPS(nil, nil, 5, 3); len(got) != 0 {
		t.Errorf("no ensembles: %v", got)
	}
	mustPanic(t, "a member too few", func() { CRPS(make([]float32, 5), make([]float32, 2), 3, 1) })
	mustPanic(t, "no members", func() { CRPS(nil, make([]float32, 2), 0, 1) })
}
