// Package oracle has what tests of many packages need: a setting in which everything is known in closed form, and short
// ways to compare numbers and to open a backend. Only tests import it.
package oracle

import (
	"math"
	"testing"

	"github.com/doob-diffusion/doob/engine"
)

// TB is the part of [testing.TB] that [Near] needs, which tests of package rapid have too.
type TB interface {
	Helper()
	Errorf(format string, args ...any)
}

// Near wants |got − want| ≤ tolerance. NaN is near nothing.
func Near[F ~float32 | ~float64](t TB, name string, got F, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(float64(got)-want) <= tolerance) {
		t.Errorf("%s = %.10g, want %.10g ± %.2g", name, got, want, tolerance)
	}
}

// Open opens the default backend.
func Open(t testing.TB) *engine.Engine {
	t.Helper()
	return OpenOn(t, "")
}

// OpenOn opens a backend by the name that [engine.Open] knows it by.
func OpenOn(t testing.TB, backend string) *engine.Engine {
	t.Helper()
	e, err := engine.Open(backend)
	if err != nil {
		t.Fatal(err)
	}
	return e
}
