package diffusion_test

import (
	"math"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/internal/oracle"
)

// α' = f·α with f = −½β defines the process; σ² = 1 − α².
func TestVPSolvesItsEquation(t *testing.T) {
	for _, s := range []diffusion.VP{{}, {Beta0: 1, Beta1: 1}, {Beta0: 0.5, Beta1: 12}} {
		oracle.Near(t, "α₀", s.Alpha(0), 1, 0)
		oracle.Near(t, "σ₀", s.Sigma(0), 0, 0)
		const d = 1e-5
		for _, at := range []float64{1e-4, 0.01, 0.3, 0.7, 1} {
			slope := (s.Alpha(at+d) - s.Alpha(at-d)) / (2 * d)
			oracle.Near(t, "α'", slope, -0.5*s.Diffusion(at)*s.Alpha(at), 1e-7)
			oracle.Near(t, "f", s.Drift(at), -0.5*s.Diffusion(at), 0)
			oracle.Near(t, "α²+σ²", square(s.Alpha(at))+square(s.Sigma(at)), 1, 1e-12)
		}
	}
	zero := diffusion.VP{}
	oracle.Near(t, "β₀", zero.Diffusion(0), 0.1, 0)
	oracle.Near(t, "β₁", zero.Diffusion(1), 20, 0)
	// Written out: α₁ = exp(−19.9/4 − 0.1/2).
	oracle.Near(t, "α₁", zero.Alpha(1), math.Exp(-5.025), 1e-15)
}

func TestVPGraphsAgainstHost(t *testing.T) {
	times := []float32{1e-6, 1e-4, 0.01, 0.2, 0.5, 1} // the noise level must keep its digits near t = 0
	for _, s := range []diffusion.VP{{}, {Beta0: 0.5, Beta1: 12}} {
		out := oracle.Run(t, "", func(in []*graph.Node) []*graph.Node {
			alpha, sigma := s.AlphaSigmaGraph(in[0])
			return []*graph.Node{alpha, sigma, s.DiffusionGraph(in[0])}
		}, times)
		for i, at := range times {
			oracle.Near(t, "α", out[0][i], s.Alpha(float64(at)), 1e-6)
			oracle.Near(t, "σ", out[1][i], s.Sigma(float64(at)), 2e-6*s.Sigma(float64(at)))
			oracle.Near(t, "β", out[2][i], s.Diffusion(float64(at)), 1e-5)
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
			oracle.Near(t, "root of the time", math.Pow(times[i], 1/power), 1-float64(i)/8, 1e-12)
		}
	}
}
