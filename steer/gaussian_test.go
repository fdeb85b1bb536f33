package steer_test

import (
	"flag"
	"math"
	"os"
	"testing"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/gmm"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/reward"
)

// The same properties are checked on the same cases in every run, unless a seed is given.
func TestMain(m *testing.M) {
	flag.Set("rapid.seed", "1")
	flag.Set("rapid.nofailfile", "true") // the seed reproduces
	os.Exit(m.Run())
}

// problem is the tests' setting: data N(0.3, 0.9²) and the reward log N(x; 1.2, 0.6²), on the Euler–Maruyama chain of few
// steps. Its base process ends in a Gaussian that is known exactly, discretisation included, and so are log Z and the tilted law.
type problem struct {
	prior, density, tilted *gmm.Mixture
	steps                  []diffusion.Step
	logZ, mean, sd         float64 // of the discretised process
}

func gaussians(t *testing.T) problem {
	t.Helper()
	normal := func(mean, sd float64) *gmm.Mixture {
		m, err := gmm.Isotropic([]float64{1}, [][]float64{{mean}}, sd)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	p := problem{prior: normal(0.3, 0.9), density: normal(1.2, 0.6), steps: diffusion.EulerMaruyama{}.Steps(diffusion.VP{}, diffusion.Times(40, 2))}
	var err error
	if p.tilted, _, err = p.prior.Times(p.density); err != nil {
		t.Fatal(err)
	}
	mean, variance := 0.0, 1.0
	for _, st := range p.steps {
		alpha, sigma := diffusion.VP{}.Alpha(st.T), diffusion.VP{}.Sigma(st.T)
		slope := sigma / (alpha*alpha*0.81 + sigma*sigma) // ε = slope·(x − 0.3α)
		mean = (st.A+st.K*slope)*mean - st.K*slope*0.3*alpha
		variance = (st.A+st.K*slope)*(st.A+st.K*slope)*variance + st.S*st.S
	}
	end, logZ, err := normal(mean, math.Sqrt(variance)).Times(p.density)
	if err != nil {
		t.Fatal(err)
	}
	p.logZ, p.mean, p.sd = logZ, end.Mean()[0], math.Sqrt(1/(1/variance+1/0.36))
	near(t, "mean of the discretised tilted law", p.mean, 0.923, 0.01)
	near(t, "its sd", p.sd, 0.499, 0.01)
	return p
}

func (p problem) reward() reward.Mixture { return reward.Mixture{Density: p.density} }
func (p problem) base() diffusion.Model  { return diffusion.Mixture{Density: p.prior} }
func (p problem) optimum() diffusion.Control {
	return htransform.Exact{Prior: p.prior, Tilted: p.tilted}
}

func (p problem) sampler(t *testing.T, h diffusion.Control) *diffusion.Sampler {
	return &diffusion.Sampler{Engine: open(t), Steps: p.steps, Shape: []int{1}, Base: p.base(), Control: h, Batch: 500}
}

func open(t *testing.T) *engine.Engine {
	t.Helper()
	e, err := engine.Open("")
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func near(t interface {
	Helper()
	Errorf(string, ...any)
}, name string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance) {
		t.Errorf("%s = %.7g, want %.7g ± %.2g", name, got, want, tolerance)
	}
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
