package diffusion_test

import (
	"math"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/oracle"
)

var (
	scaledLinear = diffusion.Betas{First: 0.00085, Last: 0.012, Steps: 1000}
	adjoint      = diffusion.Betas{First: 0.002, Last: 0.009, Steps: 1000} // of adjoint matching
	linear       = diffusion.Betas{First: 1e-4, Last: 0.02, Linear: true, Steps: 1000}
)

func discrete(t testing.TB, b diffusion.Betas) *diffusion.Discrete {
	t.Helper()
	p, err := diffusion.NewDiscrete(b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func tensors(t testing.TB, name string) map[string]checkpoint.Tensor {
	t.Helper()
	f, err := checkpoint.Load(golden.Path(name))
	if err != nil {
		t.Fatal(err)
	}
	return f.Tensors
}

// To the last bit.
func TestBarsAreThoseOfDiffusers(t *testing.T) {
	all := tensors(t, "schedulers/schedulers.safetensors")
	for name, b := range map[string]diffusion.Betas{"scaled_linear": scaledLinear, "adjoint_matching": adjoint, "linear": linear} {
		p, want := discrete(t, b), all["alphas_cumprod."+name].F32
		if p.Levels() != len(want) || p.Bar(-1) != 1 {
			t.Fatalf("%s: %d levels, ᾱ of data %g", name, p.Levels(), p.Bar(-1))
		}
		differ := 0
		for k, w := range want {
			if p.Bar(k) != float64(w) {
				differ++
			}
			at := p.LevelTime(k)
			oracle.Near(t, "α²", square(p.Alpha(at)), float64(w), 1e-14)
			oracle.Near(t, "σ²", square(p.Sigma(at)), 1-float64(w), 1e-14)
			if p.Level(at) != k || p.Level(float64(float32(at))) != k {
				t.Fatalf("level %d is at %g, where there is level %d", k, at, p.Level(at))
			}
		}
		if differ > 0 {
			t.Errorf("%s: %d of 1000 ᾱ differ", name, differ)
		}
	}
}

// Between levels it is a process as any other: α' = f·α, with steps of one interval after the other.
func TestDiscreteSolvesItsEquation(t *testing.T) {
	p := discrete(t, scaledLinear)
	const d = 1e-6
	for _, at := range []float64{0.0005, 0.0123, 0.3337, 0.9996} {
		oracle.Near(t, "α'", (p.Alpha(at+d)-p.Alpha(at-d))/(2*d), p.Drift(at)*p.Alpha(at), 1e-8)
		oracle.Near(t, "σ²'", (square(p.Sigma(at+d))-square(p.Sigma(at-d)))/(2*d), p.Diffusion(at)+2*p.Drift(at)*square(p.Sigma(at)), 1e-7)
		oracle.Near(t, "time of its ratio", p.Time(2*math.Log(p.Alpha(at)/p.Sigma(at))), at, 1e-12)
		scale, variance := p.Transition(at/3, at)
		oracle.Near(t, "scale", scale, p.Alpha(at)/p.Alpha(at/3), 1e-14)
		oracle.Near(t, "variance", variance, square(p.Sigma(at))-square(scale*p.Sigma(at/3)), 1e-14)
	}
	oracle.Near(t, "α₀", p.Alpha(0), 1, 0)
	oracle.Near(t, "σ₀", p.Sigma(0), 0, 0)
	if at := p.Time(-20); !(at > 1) {
		t.Errorf("a ratio that there is at no time is at %g, want beyond 1", at)
	}
}

func TestDiscreteGraphsAgainstHost(t *testing.T) {
	p := discrete(t, scaledLinear)
	times := []float32{0, 1e-5, 1e-3, 0.0123, 0.0127, 0.5, 0.98137, 1}
	out := oracle.Run(t, "", func(in []*graph.Node) []*graph.Node {
		alpha, sigma := p.AlphaSigmaGraph(in[0])
		return []*graph.Node{alpha, sigma, p.DiffusionGraph(in[0]), p.LevelGraph(in[0])}
	}, times)
	for i, at := range times {
		oracle.Near(t, "α", out[0][i], p.Alpha(float64(at)), 1e-6)
		oracle.Near(t, "σ", out[1][i], p.Sigma(float64(at)), 2e-5*p.Sigma(float64(at))+1e-9)
		if frac := math.Abs(float64(at)*1000 - math.Round(float64(at)*1000)); frac > 1e-3 || i == 0 { // else β jumps there
			oracle.Near(t, "β", out[2][i], p.Diffusion(float64(at)), 1e-4)
		}
		oracle.Near(t, "level", out[3][i], float64(p.Level(float64(at))), 0)
	}
}

func TestBadBetas(t *testing.T) {
	for _, b := range []diffusion.Betas{{}, {First: 0, Last: 0.1, Steps: 10}, {First: 0.2, Last: 0.1, Steps: 10}, {First: 0.1, Last: 1, Steps: 10},
		{First: 0.1, Last: 0.2}, {First: math.NaN(), Last: 0.2, Steps: 3}} {
		if _, err := diffusion.NewDiscrete(b); err == nil {
			t.Errorf("%v: no error", b)
		}
	}
	_, err := diffusion.NewDiscrete(diffusion.Betas{First: 0.9, Last: 0.9, Steps: 1000})
	oracle.WantError(t, err, "no signal")
}
