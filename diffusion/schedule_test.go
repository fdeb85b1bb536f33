package diffusion_test

import (
	"math"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
)

// γ' = −½βγ defines the schedule; ν² = 1 − γ².
func TestScheduleSolvesItsEquation(t *testing.T) {
	for _, s := range []diffusion.Schedule{{}, {Beta0: 1, Beta1: 1}, {Beta0: 0.5, Beta1: 12}} {
		near(t, "γ₀", s.Gamma(0), 1, 0)
		near(t, "ν₀", s.Nu(0), 0, 0)
		const d = 1e-5
		for _, at := range []float64{1e-4, 0.01, 0.3, 0.7, 1} {
			slope := (s.Gamma(at+d) - s.Gamma(at-d)) / (2 * d)
			near(t, "γ'", slope, -0.5*s.Beta(at)*s.Gamma(at), 1e-7)
			near(t, "γ²+ν²", square(s.Gamma(at))+square(s.Nu(at)), 1, 1e-12)
		}
	}
	zero := diffusion.Schedule{}
	near(t, "β₀", zero.Beta(0), 0.1, 0)
	near(t, "β₁", zero.Beta(1), 20, 0)
	// Written out: γ₁ = exp(−19.9/4 − 0.1/2).
	near(t, "γ₁", zero.Gamma(1), math.Exp(-5.025), 1e-15)
}

func TestScheduleGraphsAgainstHost(t *testing.T) {
	times := []float32{1e-6, 1e-4, 0.01, 0.2, 0.5, 1} // the noise level must keep its digits near t = 0
	for _, s := range []diffusion.Schedule{{}, {Beta0: 0.5, Beta1: 12}} {
		out := run(t, func(in []*graph.Node) []*graph.Node {
			gamma, nu := s.GammaNuGraph(in[0])
			return []*graph.Node{gamma, nu, s.BetaGraph(in[0])}
		}, times)
		for i, at := range times {
			near(t, "γ", float64(out[0][i]), s.Gamma(float64(at)), 1e-6)
			near(t, "ν", float64(out[1][i]), s.Nu(float64(at)), 2e-6*s.Nu(float64(at)))
			near(t, "β", float64(out[2][i]), s.Beta(float64(at)), 1e-5)
		}
	}
}

func TestTimes(t *testing.T) {
	for _, power := range []float64{1, 2, 3} {
		times := diffusion.Times(8, power)
		if len(times) != 9 || times[0] != 1 || times[8] != 0 {
			t.Fatalf("power %g: times %v, want 9 from 1 to 0", power, times)
		}
		for i := range 8 {
			near(t, "root of the time", math.Pow(times[i], 1/power), 1-float64(i)/8, 1e-12)
		}
	}
}

// run evaluates a graph function and returns its outputs as flat float32 slices.
func run(t *testing.T, fn func(in []*graph.Node) []*graph.Node, inputs ...any) [][]float32 {
	t.Helper()
	program, err := open(t).Compile(fn)
	if err != nil {
		t.Fatal(err)
	}
	tensors, err := program.Run(inputs...)
	if err != nil {
		t.Fatal(err)
	}
	out := make([][]float32, len(tensors))
	for i, tensor := range tensors {
		out[i] = make([]float32, tensor.Shape().Size())
		if err := engine.Floats(out[i], tensor); err != nil {
			t.Fatal(err)
		}
	}
	return out
}
