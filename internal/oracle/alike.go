package oracle

import (
	"math"
	"testing"
)

// Alike wants every number of got within a part of the largest entry of want, and returns the largest such part.
func Alike(t testing.TB, name string, got, want []float32, tolerance float64) (worst float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d numbers, want %d", name, len(got), len(want))
		return math.Inf(1)
	}
	var largest float64
	for _, w := range want {
		largest = max(largest, math.Abs(float64(w)))
	}
	for i, w := range want {
		if d := math.Abs(float64(got[i]) - float64(w)); d > 0 || d != d {
			worst = max(worst, d/largest) // NaN stays
		}
	}
	if !(worst <= tolerance) {
		t.Errorf("%s: off by %.1e of the largest entry %g, want at most %.1e", name, worst, largest, tolerance)
	}
	return worst
}
