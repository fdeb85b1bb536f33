package finetune

import (
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
)

// varGradStep is one iteration of VarGrad with the constant control θ: its gradient and its loss.
func varGradStep(t *testing.T, p problem, kernel diffusion.Kernel, theta float64, paths, subset, seed int, visitKey noise.Key) (gradient, loss float64) {
	t.Helper()
	e := oracle.Open(t)
	h := newLearnt(e, theta)
	s := p.sampler(e, kernel, 20, h)
	o, err := NewVarGrad(s, h, plain, subset)
	if err != nil {
		t.Fatal(err)
	}
	w := p.weighted(t, s, noise.New(uint64(seed)), paths, o.Visitor(visitKey))
	loss, err = o.Fit(context.Background(), noise.New(1), w, nil)
	if err != nil {
		t.Fatal(err)
	}
	return firstGradient(e), loss
}

func variance(v []float64) float64 {
	_, se := meanSE(v)
	return se * se * float64(len(v))
}

// The gradient is that of the sample variance of ℓ with the paths held fixed. Independently: on paths driven by θ the sampler
// scores the control θ+δ off-policy, which gives ℓ as a function of δ, quadratic for a constant control; the variance is then
// a quartic, whose slope the five-point rule gives exactly.
func TestVarGradIsTheGradientOfTheVariance(t *testing.T) {
	p := gaussians(t)
	const paths, theta, seed = 512, 0.4, 3
	for _, kernel := range []diffusion.Kernel{diffusion.EulerMaruyama{}, diffusion.DDPM{}, diffusion.DDIM{Eta: 1}, diffusion.DDIM{Eta: 0.7}} {
		got, loss := varGradStep(t, p, kernel, theta, paths, 0, seed, noise.New(1))
		at := func(delta float64) float64 {
			s := p.sampler(oracle.Open(t), kernel, 20, push{theta + delta})
			s.Drive = push{theta}
			return variance(p.weighted(t, s, noise.New(seed), paths, nil).LogW) // of −ℓ
		}
		const d = 0.05
		want := (8*(at(d)-at(-d)) - (at(2*d) - at(-2*d))) / (12 * d)
		oracle.Near(t, fmt.Sprintf("%#v: gradient", kernel), got, want, 2e-3*math.Abs(want))
		oracle.Near(t, fmt.Sprintf("%#v: Var ℓ", kernel), loss, at(0), 1e-4*loss)
	}
}

// In expectation it is twice the gradient of KL(P^h‖P_tilted) = ½θ²Σ(Kσ/S)² − E r(x_0) + log Z, where θ moves the mean of x_0 by the
// chain rule through the linear chain.
func TestVarGradIsTwiceTheGradientOfKL(t *testing.T) {
	p := gaussians(t)
	const repeats, paths = 24, 1024
	for _, theta := range []float64{-0.3, 0.1, 0.4} {
		var mean, slope, energy float64 // of x_0; d mean/dθ; Σ(Kσ/S)²
		for _, st := range p.sampler(nil, diffusion.EulerMaruyama{}, 20, nil).Steps {
			alpha, sigma := diffusion.VP{}.Alpha(st.T), diffusion.VP{}.Sigma(st.T)
			at := oracle.Prior.Diffuse(alpha, sigma)
			k := sigma / (at.SD * at.SD) // ε_θ = k·(x − mean of X_t)
			mean = st.A*mean + st.K*(k*(mean-at.Mean)-sigma*theta)
			slope = (st.A+st.K*k)*slope - st.K*sigma
			energy += st.K * st.K * sigma * sigma / (st.S * st.S)
		}
		kl := theta*energy - oracle.Reward.Density().Score(mean)*slope
		gradients := make([]float64, repeats)
		for i := range gradients {
			gradients[i], _ = varGradStep(t, p, diffusion.EulerMaruyama{}, theta, paths, 0, 100+i, noise.New(1))
		}
		got, se := meanSE(gradients)
		if !(math.Abs(got-2*kl) <= 4*se) || !(se < 0.1*math.Abs(kl)) {
			t.Errorf("θ = %g: gradient %.3f ± %.3f, want 2·%.3f", theta, got, se, kl)
		}
	}
}

// A random subset of the steps gives an unbiased estimate of the gradient on the same paths.
func TestVarGradOnASubsetOfSteps(t *testing.T) {
	p := gaussians(t)
	for _, kernel := range []diffusion.Kernel{diffusion.EulerMaruyama{}, diffusion.DDIM{Eta: 1}} { // with an uncontrolled step
		full, _ := varGradStep(t, p, kernel, 0.4, 256, 0, 5, noise.New(0))
		gradients := make([]float64, 60)
		for i := range gradients {
			gradients[i], _ = varGradStep(t, p, kernel, 0.4, 256, 7, 5, noise.New(uint64(i)))
		}
		got, se := meanSE(gradients)
		if !(math.Abs(got-full) <= 4*se) || !(se < 0.1*math.Abs(full)) || gradients[0] == gradients[1] {
			t.Errorf("%#v: gradient on 7 steps %.3f ± %.3f, on all %.3f", kernel, got, se, full)
		}
	}
}

// A path that diverged is left out: of the variance and of the gradient.
func TestVarGradLeavesOutDivergedPaths(t *testing.T) {
	p := gaussians(t)
	fit := func(broken int) (gradient, loss float64, err error) {
		e := oracle.Open(t)
		h := learntMultiple{newLearnt(e, 0.5), p.optimum()}
		s := p.sampler(e, diffusion.EulerMaruyama{}, 20, h)
		o, err := NewVarGrad(s, h, plain, 0)
		if err != nil {
			t.Fatal(err)
		}
		visit := o.Visitor(noise.New(1))
		w := p.weighted(t, s, noise.New(3), 512, func(population *diffusion.Population) error {
			if population.Index == 10 && broken >= 0 {
				population.X[broken] = float32(math.NaN())
			}
			return visit(population)
		})
		loss, err = o.Fit(context.Background(), noise.New(1), w, nil)
		return firstGradient(e), loss, err
	}
	gradient, loss, err := fit(-1)
	if err != nil {
		t.Fatal(err)
	}
	got, gotLoss, err := fit(77)
	if err != nil {
		t.Fatalf("one of 512 paths diverged: %v", err)
	}
	// One path matters little to either.
	oracle.Near(t, "Var ℓ", gotLoss, loss, 0.1*loss)
	oracle.Near(t, "gradient", got, gradient, 0.2*math.Abs(gradient))
}

// At h* ℓ is constant but for the discretisation: little variance is left, and little gradient.
func TestVarGradVanishesAtTheOptimum(t *testing.T) {
	p := gaussians(t)
	at := func(scale float64) (gradient, loss float64) {
		e := oracle.Open(t)
		h := learntMultiple{newLearnt(e, scale), p.optimum()}
		s := p.sampler(e, diffusion.EulerMaruyama{}, 100, h)
		o, err := NewVarGrad(s, h, plain, 0)
		if err != nil {
			t.Fatal(err)
		}
		w := p.weighted(t, s, noise.New(1), 512, o.Visitor(noise.New(2)))
		if loss, err = o.Fit(context.Background(), noise.New(3), w, nil); err != nil {
			t.Fatal(err)
		}
		return firstGradient(e), loss
	}
	gradient, loss := at(0.5)
	best, least := at(1)
	if !(least < 0.03) || !(loss > 0.3) { // exact: 0.0142 and 0.61
		t.Errorf("Var ℓ at h* = %g, at ½h* = %g", least, loss)
	}
	if !(gradient < -0.5) || !(math.Abs(best) < 0.15) {
		t.Errorf("gradient at h* = %g, at ½h* = %g, where it should point to h*", best, gradient)
	}
}
