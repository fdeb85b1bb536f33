package metric

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

var inf = math.Inf(1)

func near(a, b, relative float64) bool {
	return math.Abs(a-b) <= relative*max(1, math.Abs(a), math.Abs(b))
}

func TestESSOfKnownWeights(t *testing.T) {
	for _, c := range []struct {
		logW []float64
		want float64
	}{
		{nil, 0}, {[]float64{-inf, -inf}, 0}, {[]float64{-7000}, 1}, {[]float64{5, 5, 5, 5}, 4}, {[]float64{5, -inf, 5}, 2},
		{[]float64{math.Log(3), 0}, 1.6}, {[]float64{1000, 0}, 1}, // (3+1)²/(9+1)
	} {
		if got := ESS(c.logW); !near(got, c.want, 1e-12) {
			t.Errorf("ESS(%v) = %g, want %g", c.logW, got, c.want)
		}
	}
	for _, bad := range []float64{math.NaN(), inf} {
		if got := ESS([]float64{0, bad, 1}); !math.IsNaN(got) {
			t.Errorf("ESS with %g = %g, want NaN", bad, got)
		}
	}
}

func TestESSLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := rapid.SliceOfN(rapid.Float64Range(-50, 50), 1, 40).Draw(t, "logW")
		shift := rapid.Float64Range(-1e4, 1e4).Draw(t, "shift")
		ess := ESS(w)
		if ess < 1-1e-12 || ess > float64(len(w))*(1+1e-12) {
			t.Fatalf("ESS = %g is outside [1, %d]", ess, len(w))
		}
		moved := slices.Clone(w)
		for i := range moved {
			moved[i] += shift
		}
		if got := ESS(moved); !near(got, ess, 1e-9) {
			t.Fatalf("shifted by %g: ESS %g, was %g", shift, got, ess)
		}
		if got := ESS(append(slices.Clone(w), -inf)); !near(got, ess, 1e-12) {
			t.Fatalf("one weight of 0 more: ESS %g, was %g", got, ess)
		}
		if got := ESS(slices.Concat(w, w)); !near(got, 2*ess, 1e-12) {
			t.Fatalf("every weight twice: ESS %g, was %g", got, ess)
		}
	})
}

// Log-normal weights: log w ~ N(0, s²) has E[w]²/E[w²] = exp(−s²) and log E[w] = s²/2.
func TestWeightsOfALogNormal(t *testing.T) {
	const n, s = 200_000, 0.5
	logW := widen(normal(1, n, 0))
	for i := range logW {
		logW[i] *= s
	}
	if got, want := ESS(logW)/n, math.Exp(-s*s); math.Abs(got-want) > 0.01 {
		t.Errorf("ESS/n = %.4f, want %.4f ± 0.01", got, want)
	}
	if got, want, band := LogMeanExp(logW), s*s/2, 4*math.Sqrt(math.Expm1(s*s)/n); math.Abs(got-want) > band {
		t.Errorf("LogMeanExp = %.5f, want %.5f ± %.5f", got, want, band)
	}
}

func TestLogMeanExp(t *testing.T) {
	for _, c := range []struct {
		logW []float64
		want float64
	}{
		{[]float64{-inf, -inf}, -inf}, {[]float64{3}, 3}, {[]float64{-inf, 0}, -math.Ln2},
		{[]float64{math.Log(1), math.Log(2), math.Log(6)}, math.Log(3)}, {[]float64{-1e5, -1e5}, -1e5}, {[]float64{1e5, 1e5}, 1e5},
		{[]float64{inf, 0}, inf},
	} {
		if got := LogMeanExp(c.logW); got != c.want && !near(got, c.want, 1e-14) {
			t.Errorf("LogMeanExp(%v) = %g, want %g", c.logW, got, c.want)
		}
	}
	for _, w := range [][]float64{nil, {0, math.NaN()}, {-inf, math.NaN()}} {
		if got := LogMeanExp(w); !math.IsNaN(got) {
			t.Errorf("LogMeanExp(%v) = %g, want NaN", w, got)
		}
	}
}
