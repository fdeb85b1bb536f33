package steer_test

import (
	"flag"
	"math"
	"os"
	"testing"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/gmm"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/reward"
)

// The same properties are checked on the same cases in every run, unless a seed is given.
func TestMain(m *testing.M) {
	flag.Set("rapid.seed", "1")
	flag.Set("rapid.nofailfile", "true") // the seed reproduces
	os.Exit(m.Run())
}

// problem is the setting of package oracle with the reward log N(x; 1.2, 0.6²), on the Euler–Maruyama chain of few steps. Its base
// process ends in a Gaussian that is known exactly, discretisation included, and so are log Z and the tilted law.
type problem struct {
	prior, density, tilted *gmm.Mixture
	steps                  []diffusion.Step
	base0, tilted0         oracle.Gaussian // of x_0 in the discretised process
	logZ                   float64         // of the same
}

func gaussians(t *testing.T) problem {
	t.Helper()
	normal := func(g oracle.Gaussian) *gmm.Mixture {
		m, err := gmm.Isotropic([]float64{1}, [][]float64{{g.Mean}}, g.SD)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	p := problem{prior: normal(oracle.Prior), density: normal(oracle.Reward.Density()), tilted: normal(oracle.Tilted),
		steps: diffusion.EulerMaruyama{}.Steps(diffusion.VP{}, diffusion.Times(40, 2))}
	mean, variance := 0.0, 1.0
	for _, st := range p.steps {
		sigma := diffusion.VP{}.Sigma(st.T)
		at := oracle.Prior.Diffuse(diffusion.VP{}.Alpha(st.T), sigma)
		slope := sigma / (at.SD * at.SD) // ε = slope·(x − mean)
		mean = (st.A+st.K*slope)*mean - st.K*slope*at.Mean
		variance = (st.A+st.K*slope)*(st.A+st.K*slope)*variance + st.S*st.S
	}
	p.base0 = oracle.Gaussian{Mean: mean, SD: math.Sqrt(variance)}
	p.tilted0 = oracle.Reward.Tilt(p.base0)
	p.logZ = oracle.Reward.LogZ(p.base0) + oracle.Reward.Density().LogDensity(oracle.Reward.Goal)
	oracle.Near(t, "mean of the discretised tilted law", p.tilted0.Mean, oracle.Tilted.Mean, 0.01)
	oracle.Near(t, "its sd", p.tilted0.SD, oracle.Tilted.SD, 0.01)
	return p
}

// tweedie returns x̂₀ = mean + slope·(x − α·mean) for the prior, and its slope dx̂₀/dx.
func tweedie(alpha, sigma, x float64) (slope, x0 float64) {
	at := oracle.Prior.Diffuse(alpha, sigma)
	slope = alpha * oracle.Prior.SD * oracle.Prior.SD / (at.SD * at.SD)
	return slope, oracle.Prior.Mean + slope*(x-at.Mean)
}

func (p problem) reward() reward.Mixture { return reward.Mixture{Density: p.density} }
func (p problem) base() diffusion.Model  { return diffusion.Mixture{Density: p.prior} }
func (p problem) optimum() diffusion.Control {
	return htransform.Exact{Prior: p.prior, Tilted: p.tilted}
}

func (p problem) sampler(t *testing.T, h diffusion.Control) *diffusion.Sampler {
	return &diffusion.Sampler{Engine: oracle.Open(t), Steps: p.steps, Shape: []int{1}, Base: p.base(), Control: h, Batch: 500}
}

// within wants the mean of repeated estimates within four of its standard errors, which may not be above limit.
func within(t *testing.T, name string, estimates []float64, want, limit float64) {
	t.Helper()
	n := float64(len(estimates))
	var mean, square float64
	for _, v := range estimates {
		mean += v / n
	}
	for _, v := range estimates {
		square += (v - mean) * (v - mean)
	}
	se := math.Sqrt(square / (n - 1) / n)
	if !(math.Abs(mean-want) <= 4*se) || !(se < limit) {
		t.Errorf("%s = %.4f ± %.4f, want %.4f (standard error below %g)", name, mean, se, want, limit)
	}
}
