package metric

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestModeWeights(t *testing.T) {
	nan := float32(math.NaN())
	centres := [][]float64{{0, 0}, {2, 0}, {0, 2}}
	x := []float32{0.1, 0, 1.9, 0.3, 1, 0 /* a tie: the first centre */, -9, 1.5, 0, 99, nan, 0, float32(math.Inf(1)), 0, 2, 0}
	want := []float64{2. / 8, 2. / 8, 2. / 8}
	if d := cmp.Diff(want, ModeWeights(x, 2, centres), cmpopts.EquateApprox(0, 1e-15)); d != "" {
		t.Error(d)
	}
	if got := ModeWeights(nil, 2, centres); !math.IsNaN(got[0]) {
		t.Errorf("weights of no samples are %v, want NaN", got)
	}
	mustPanic(t, "centre of another dimension", func() { ModeWeights(x, 2, [][]float64{{1}}) })
}

// Samples of a mixture with weights p: every weight has standard error √(p(1−p)/n).
func TestModeWeightsOfAMixture(t *testing.T) {
	const n = 20_000
	centres, p := [][]float64{{-20}, {0}, {20}}, []float64{0.1, 0.3, 0.6}
	x := normal(1, n, 0)
	for i := range x {
		switch f := float64(i) / n; {
		case f < p[0]:
			x[i] -= 20
		case f >= p[0]+p[1]:
			x[i] += 20
		}
	}
	got := ModeWeights(x, 1, centres)
	if tv := TotalVariation(got, p); tv > 1e-4 { // the split is by count, the modes 20 apart
		t.Errorf("weights %v, want %v", got, p)
	}
}

func TestTotalVariation(t *testing.T) {
	for _, c := range []struct {
		p, q []float64
		want float64
	}{
		{[]float64{1, 0}, []float64{0, 1}, 1}, {[]float64{0.5, 0.5}, []float64{0.5, 0.5}, 0},
		{[]float64{0.1, 0.2, 0.7}, []float64{0.3, 0.3, 0.4}, 0.3},
		{[]float64{0, 0}, []float64{0.5, 0.5}, 1}, {[]float64{0.25, 0.25}, []float64{0.5, 0.5}, 0.5}, // missing mass
	} {
		if got := TotalVariation(c.p, c.q); !near(got, c.want, 1e-15) {
			t.Errorf("TotalVariation(%v, %v) = %g, want %g", c.p, c.q, got, c.want)
		}
	}
	if got := TotalVariation([]float64{math.NaN(), 0}, []float64{1, 0}); !math.IsNaN(got) {
		t.Errorf("NaN weights give %g", got)
	}
	mustPanic(t, "different lengths", func() { TotalVariation([]float64{1}, nil) })
}

func TestMeanSE(t *testing.T) {
	if mean, se := MeanSE([]float64{1, 2, 3, 4}); mean != 2.5 || !near(se, math.Sqrt(5./3/4), 1e-15) {
		t.Errorf("got %g ± %g", mean, se)
	}
	if mean, se := MeanSE([]float64{1e9 + 1, 1e9 + 2, 1e9 + 3}); mean != 1e9+2 || !near(se, 1/math.Sqrt(3), 1e-12) {
		t.Errorf("far from 0: got %g ± %g", mean, se)
	}
	if mean, se := MeanSE([]float64{7}); mean != 7 || !math.IsNaN(se) {
		t.Errorf("one value: got %g ± %g, want 7 ± NaN", mean, se)
	}
	if mean, se := MeanSE(nil); !math.IsNaN(mean) || !math.IsNaN(se) {
		t.Errorf("no value: got %g ± %g, want NaN", mean, se)
	}
}

func TestAccuracy(t *testing.T) {
	if got := Accuracy([]int{1, 2, 3, 4}, []int{1, 0, 3, 4}); got != 0.75 {
		t.Errorf("got %g, want 0.75", got)
	}
	if got := Accuracy(nil, nil); !math.IsNaN(got) {
		t.Errorf("no labels: got %g, want NaN", got)
	}
	mustPanic(t, "different lengths", func() { Accuracy([]int{1}, nil) })
}
