package oracle

import (
	"math"
	"testing"
)

// integrate is the trapezoidal rule on [-15, 15], exact to rounding for the smooth, decaying integrands here.
func integrate(f func(x float64) float64) (sum float64) {
	const n, step = 30_000, 1e-3
	for i := -n / 2; i <= n/2; i++ {
		sum += step * f(step*float64(i))
	}
	return sum
}

func TestGaussiansByIntegration(t *testing.T) {
	tilt := func(x float64) float64 { return math.Exp(Prior.LogDensity(x) + Reward.At(x)) }
	z := integrate(tilt)
	mean := integrate(func(x float64) float64 { return x * tilt(x) }) / z
	Near(t, "∫p", integrate(func(x float64) float64 { return math.Exp(Prior.LogDensity(x)) }), 1, 1e-12)
	Near(t, "log Z", Reward.LogZ(Prior), math.Log(z), 1e-12)
	Near(t, "tilted mean", Tilted.Mean, mean, 1e-12)
	Near(t, "tilted sd", Tilted.SD, math.Sqrt(integrate(func(x float64) float64 { return (x - mean) * (x - mean) * tilt(x) })/z), 1e-12)

	Near(t, "tilted mean", Tilted.Mean, 0.923, 5e-4) // as the comments say
	Near(t, "tilted sd", Tilted.SD, 0.499, 5e-4)
	Near(t, "log Z", Reward.LogZ(Prior), -0.935, 5e-4)
	Near(t, "log Z of the density", Reward.LogZ(Prior)+Reward.Density().LogDensity(Reward.Goal), -1.344, 5e-4)

	const gamma, nu = 0.6, 0.8
	diffused, y := Prior.Diffuse(gamma, nu), 0.7
	want := integrate(func(x float64) float64 {
		return math.Exp(Prior.LogDensity(x) + Gaussian{gamma * x, nu}.LogDensity(y))
	})
	Near(t, "log p_t", diffused.LogDensity(y), math.Log(want), 1e-12)
	Near(t, "score", diffused.Score(y), (diffused.LogDensity(y+1e-5)-diffused.LogDensity(y-1e-5))/2e-5, 1e-8)
}

// record is a test that fails without failing this one.
type record struct{ failures int }

func (*record) Helper()                 {}
func (r *record) Errorf(string, ...any) { r.failures++ }

func TestNear(t *testing.T) {
	for _, c := range []struct {
		got, want, tolerance float64
		near                 bool
	}{
		{1, 1, 0, true}, {1.5, 1, 0.5, true}, {0.5, 1, 0.5, true}, {1.5, 1, 0.49, false}, {0.5, 1, 0.49, false},
		{math.NaN(), 1, math.Inf(1), false}, {1, math.NaN(), math.Inf(1), false}, {math.NaN(), math.NaN(), 1, false},
	} {
		var r record
		Near(&r, "x", c.got, c.want, c.tolerance)
		Near(&r, "x", float32(c.got), c.want, c.tolerance)
		if want := map[bool]int{true: 0, false: 2}[c.near]; r.failures != want {
			t.Errorf("%v: %d failures, want %d", c, r.failures, want)
		}
	}
}

func TestOpen(t *testing.T) {
	if got, want := Open(t).Name, OpenOn(t, "go").Name; got == want || want != "go" {
		t.Errorf("opened %s and %s, want the default and go", got, want)
	}
}
