package diffusion_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/metric"
)

// kernels are checked by the same laws. Sd is that of the base process at 50 steps: 0.9 but for the discretisation.
var kernels = []struct {
	name   string
	kernel diffusion.Kernel
	sd     float64
}{
	{"Euler–Maruyama", diffusion.EulerMaruyama{}, 0.916},
	{"DDPM", diffusion.DDPM{}, 0.847},
	{"DDIM η=1", diffusion.DDIM{Eta: 1}, 0.847},
	{"DDIM η=0.7", diffusion.DDIM{Eta: 0.7}, 0.861},
	{"DDPM, beta", diffusion.DDPM{Variance: diffusion.Beta{}}, 0.904},
	{"DDPM, analytic", diffusion.DDPM{Variance: prior}, 0.9},
	{"DDIM η=0.7, analytic", diffusion.DDIM{Eta: 0.7, Variance: prior}, 0.9},
}

func grid(k diffusion.Kernel, n int) []diffusion.Step {
	return k.Steps(diffusion.VP{}, diffusion.Times(n, 2))
}

// Every kernel converges to the data law, and under h* to the tilted law.
func TestKernelsConverge(t *testing.T) {
	for _, k := range kernels {
		oracle.Near(t, k.name+": base sd at 50 steps", chain(grid(k.kernel, 50), 0).SD, k.sd, 5e-4)
		for scale, want := range map[float64]gaussian{0: prior, 1: tilted} {
			got := chain(grid(k.kernel, 1600), scale)
			oracle.Near(t, k.name+": mean at 1600 steps", got.Mean, want.Mean, 0.001)
			oracle.Near(t, k.name+": sd at 1600 steps", got.SD, want.SD, 0.003)
		}
	}
}

// Paths of P^h reweighted by dP/dP^h have the law of the base process. E[dP/dP^h] = 1 alone would prove nothing: it holds
// with the wrong sign of ⟨D,z⟩ too, under which the reweighted moments are those of the tilted law.
func TestReweightedPathsHaveTheBaseLaw(t *testing.T) {
	for _, k := range kernels {
		t.Run(k.name, func(t *testing.T) {
			const n = 30_000
			steps := grid(k.kernel, 50)
			base := chain(steps, 0)
			oracle.Near(t, "log Z of the discretised base", base.logZ(), prior.logZ(), 0.02)
			// At ¼h* the weights are light enough for standard errors to be trusted.
			const scale = 0.25
			paths := simulate(t, steps, n, pull{scale}, nil)
			ratio := func(i int) float64 { return paths.LogRatio[i] }
			chain(steps, scale).law(t, "guided", paths.X, nil)
			base.law(t, "reweighted", paths.X, ratio)
			mean(n, nil, func(i int) float64 { return math.Exp(ratio(i)) }).near(t, "E[dP/dP^h]", 1, 0.01)
			mean(n, nil, func(i int) float64 { return paths.Energy[i] + ratio(i) }).near(t, "KL(P^h‖P) two ways, the difference", 0, 0.01)
			var sum float64
			for i, e := range paths.StepEnergy {
				if sum += e; (e == 0) != steps[i].Uncontrolled || e < 0 {
					t.Errorf("step %d, uncontrolled %v, takes an energy of %g", i, steps[i].Uncontrolled, e)
				}
			}
			oracle.Near(t, "energy of all steps", sum, mean(n, nil, func(i int) float64 { return paths.Energy[i] }).value, 1e-9)

			logW := make([]float64, n)
			for i := range logW {
				logW[i] = reward(paths.X[i]) + ratio(i)
			}
			logZ := metric.LogMeanExp(logW)
			w := mean(n, nil, func(i int) float64 { return math.Exp(logW[i] - logZ) })
			estimate{logZ, w.se}.near(t, "log Ẑ", base.logZ(), 0.01)
			want := logWeight(steps, scale)
			m := mean(n, nil, func(i int) float64 { return logW[i] })
			m.near(t, "mean of log w", want.Mean, 0.02)
			oracle.Near(t, "sd of log w", m.se*math.Sqrt(n), want.SD, 0.05*want.SD)

			// At ½h* the base is too wide for P^h (0.91² is nearly 2·0.66², where the variance of the weights is lost): the
			// errors are about 0.015 in Euler–Maruyama, 0.03 in DDIM η=0.7. With ⟨D,z⟩ added the moments are 0.93 and 0.51.
			paths = simulate(t, steps, n, pull{0.5}, nil)
			got := mean(n, ratio, func(i int) float64 { return float64(paths.X[i]) })
			oracle.Near(t, "½h*: reweighted mean", got.value, base.Mean, 0.06)
			got = mean(n, ratio, func(i int) float64 { return square(float64(paths.X[i]) - got.value) })
			oracle.Near(t, "½h*: reweighted sd", math.Sqrt(got.value), base.SD, 0.06)
		})
	}
}

// On paths of P^g the ratio of a control h is still log dP/dP^h, so that with g's own ratio on the same paths
// log dP^h/dP^g = log dP/dP^g − log dP/dP^h reweights them to P^h.
func TestOffPolicyRatios(t *testing.T) {
	for _, k := range kernels {
		t.Run(k.name, func(t *testing.T) {
			const n = 10_000
			steps := grid(k.kernel, 50)
			half := pull{0.5}
			onPolicy := simulate(t, steps, n, half, nil)
			kl := mean(n, nil, func(i int) float64 { return onPolicy.Energy[i] })

			// Base-driven: log dP/dP^h = +½Σ‖D‖²/s² − Σ⟨D,z⟩/s.
			base := simulate(t, steps, n, half, diffusion.Uncontrolled{})
			chain(steps, 0).law(t, "driven by the base", base.X, nil)
			guided := func(i int) float64 { return -base.LogRatio[i] }
			chain(steps, 0.5).law(t, "base paths reweighted to P^h", base.X, guided)
			mean(n, nil, func(i int) float64 { return math.Exp(guided(i)) }).near(t, "E_P[dP^h/dP]", 1, 0.03)
			mean(n, nil, func(i int) float64 { return base.LogRatio[i] - base.Energy[i] }).near(t, "KL(P‖P^h) two ways, the difference", 0, 0.02)
			off := mean(n, guided, func(i int) float64 { return base.Energy[i] })
			estimate{off.value - kl.value, math.Hypot(off.se, kl.se)}.near(t, "KL(P^h‖P) off-policy minus on-policy", 0, 0.02)

			// Driven by a third process: moderate, so that the weights stay so.
			third := pull{0.8}
			driven, own := simulate(t, steps, n, half, third), simulate(t, steps, n, third, nil)
			for i := range driven.X {
				if driven.X[i] != own.X[i] {
					t.Fatalf("path %d ends at %g driven by g and at %g controlled by it", i, driven.X[i], own.X[i])
				}
			}
			toHalf := func(i int) float64 { return own.LogRatio[i] - driven.LogRatio[i] }
			chain(steps, 0.8).law(t, "driven by g", driven.X, nil)
			chain(steps, 0.5).law(t, "g's paths reweighted to P^h", driven.X, toHalf)
			mean(n, nil, func(i int) float64 { return math.Exp(toHalf(i)) }).near(t, "E_g[dP^h/dP^g]", 1, 0.02)
			off = mean(n, toHalf, func(i int) float64 { return driven.Energy[i] })
			estimate{off.value - kl.value, math.Hypot(off.se, kl.se)}.near(t, "KL(P^h‖P) on g's paths minus on-policy", 0, 0.02)
		})
	}
}

// Driving by the control itself is on-policy: the very same numbers.
func TestOffPolicyByItselfIsOnPolicy(t *testing.T) {
	steps := grid(diffusion.DDPM{}, 30)
	on, off := simulate(t, steps, 100, pull{0.5}, nil), simulate(t, steps, 100, pull{0.5}, pull{0.5})
	for i := range on.X {
		if on.X[i] != off.X[i] || on.LogRatio[i] != off.LogRatio[i] || on.Energy[i] != off.Energy[i] {
			t.Fatalf("path %d: on-policy (%g, %g, %g), driven by itself (%g, %g, %g)", i,
				on.X[i], on.LogRatio[i], on.Energy[i], off.X[i], off.LogRatio[i], off.Energy[i])
		}
	}
}

// At h* log w is log Z for every path but for the discretisation, which falls as steps^−½. Of DDIM only η = 1 is a
// discretisation of the SDE (4), whose h-transform h* is: with less noise h* gives the right marginals, but not P_tilted.
func TestLogWeightIsConstantAtTheOptimum(t *testing.T) {
	for _, c := range []struct {
		kernel diffusion.Kernel
		steps  int
		sd     float64 // of log w, exact
	}{
		{diffusion.EulerMaruyama{}, 50, 0.1718}, {diffusion.EulerMaruyama{}, 200, 0.0823}, {diffusion.EulerMaruyama{}, 800, 0.0409},
		{diffusion.DDPM{}, 50, 0.2169}, {diffusion.DDPM{}, 200, 0.0894},
		{diffusion.DDIM{Eta: 1}, 50, 0.2169}, {diffusion.DDIM{Eta: 1}, 200, 0.0894},
		{diffusion.DDPM{Variance: diffusion.Beta{}}, 50, 0.1674}, {diffusion.DDPM{Variance: prior}, 50, 0.1664}, {diffusion.DDPM{Variance: prior}, 200, 0.0817},
	} {
		const n = 4000 // the standard deviation has a relative error of 1.1 % (2 % in the skewed cases)
		steps := grid(c.kernel, c.steps)
		oracle.Near(t, "exact sd", logWeight(steps, 1).SD, c.sd, 6e-5)
		paths := simulate(t, steps, n, pull{1}, nil)
		m := mean(n, nil, func(i int) float64 { return reward(paths.X[i]) + paths.LogRatio[i] })
		m.near(t, "mean of log w", logWeight(steps, 1).Mean, 0.01)
		oracle.Near(t, "sd of log w", m.se*math.Sqrt(n), c.sd, 0.08*c.sd)
	}
	rate := logWeight(grid(diffusion.EulerMaruyama{}, 400), 1).SD / logWeight(grid(diffusion.EulerMaruyama{}, 1600), 1).SD
	oracle.Near(t, "four times the steps divide the sd by", rate, 2, 0.02)
	if sd := logWeight(grid(diffusion.DDIM{Eta: 0.7}, 1600), 1).SD; sd < 0.3 {
		t.Errorf("DDIM η=0.7 at h*: sd of log w %g; it stays near 0.4 at any number of steps", sd)
	}
	// With η = 0 all noise is that of the variance, and there is less of it the more steps there are.
	for steps, sd := range map[int]float64{50: 6.26, 200: 21.2, 800: 80.1} {
		oracle.Near(t, fmt.Sprintf("DDIM η=0, analytic, %d steps, at h*: sd of log w", steps), logWeight(grid(diffusion.DDIM{Variance: prior}, steps), 1).SD, sd, 0.05)
	}
}

// DDIM with η = 1 is DDPM, but for the last step, where DDPM keeps noise.
func TestDDIMIsDDPM(t *testing.T) {
	for _, power := range []float64{1, 2} {
		times := diffusion.Times(60, power)
		ddpm, ddim := diffusion.DDPM{}.Steps(diffusion.VP{}, times), diffusion.DDIM{Eta: 1}.Steps(diffusion.VP{}, times)
		for i := range ddpm {
			a, b := ddpm[i], ddim[i]
			oracle.Near(t, "A", b.A, a.A, 1e-12*a.A)
			oracle.Near(t, "K", b.K, a.K, 1e-9*math.Abs(a.K))
			if last := i == len(ddpm)-1; last {
				oracle.Near(t, "last S of DDIM", b.S, 0, 0)
				oracle.Near(t, "last S of DDPM", a.S, diffusion.VP{}.Sigma(a.T), 1e-12) // S² = β₁ = 1−ᾱ₁
				if a.Uncontrolled || !b.Uncontrolled {
					t.Errorf("last step uncontrolled: DDPM %t, DDIM %t, want false, true", a.Uncontrolled, b.Uncontrolled)
				}
			} else {
				oracle.Near(t, "S", b.S, a.S, 1e-12)
				if a.Uncontrolled || b.Uncontrolled || !(a.S > 0) {
					t.Errorf("step %d has noise %g and should be controlled", i, a.S)
				}
			}
			if a.T != times[i] || a.Next != times[i+1] || b.T != times[i] || b.Next != times[i+1] {
				t.Errorf("step %d has times (%g, %g), (%g, %g), want (%g, %g)", i, a.T, a.Next, b.T, b.Next, times[i], times[i+1])
			}
		}
	}
}

// As the step shrinks, DDPM and DDIM η = 1 become Euler–Maruyama, and every A, K, S differs by O(d²) in relative O(d).
func TestTinyStepsAgree(t *testing.T) {
	const d = 1e-6
	for _, at := range []float64{0.1, 0.5, 0.9} {
		times := []float64{at, at - d, at - 2*d} // the first of two: not the noise-free last one
		em := diffusion.EulerMaruyama{}.Steps(diffusion.VP{}, times)[0]
		for _, k := range []diffusion.Kernel{diffusion.DDPM{}, diffusion.DDIM{Eta: 1}} {
			got := k.Steps(diffusion.VP{}, times)[0]
			oracle.Near(t, "A−1", got.A-1, em.A-1, 1e-3*(em.A-1))
			oracle.Near(t, "K", got.K, em.K, 1e-3*math.Abs(em.K))
			oracle.Near(t, "S", got.S, em.S, 1e-3*em.S)
		}
		beta := diffusion.VP{}.Diffusion(at)
		oracle.Near(t, "S²", em.S*em.S, beta*d, 1e-9*beta*d)
	}
}

func TestNewKernel(t *testing.T) {
	for name, want := range map[string]diffusion.Kernel{
		"euler-maruyama": diffusion.EulerMaruyama{}, "ddpm": diffusion.DDPM{}, "ddim": diffusion.DDIM{Eta: 0.3},
	} {
		if got, err := diffusion.NewKernel(name, 0.3, nil); err != nil || got != want {
			t.Errorf("kernel %q = %#v, %v, want %#v", name, got, err, want)
		}
	}
	for name, want := range map[string]diffusion.Kernel{
		"ddpm": diffusion.DDPM{Variance: diffusion.Beta{}}, "ddim": diffusion.DDIM{Eta: 0.3, Variance: diffusion.Beta{}},
	} {
		if got, err := diffusion.NewKernel(name, 0.3, diffusion.Beta{}); err != nil || got != want {
			t.Errorf("kernel %q = %#v, %v, want %#v", name, got, err, want)
		}
	}
	_, err := diffusion.NewKernel("euler-maruyama", 0, diffusion.Beta{})
	oracle.WantError(t, err, "no choice of variance")
	if _, err := diffusion.NewKernel("euler", 0, nil); err == nil {
		t.Error("unknown kernel: no error")
	}
	for _, eta := range []float64{-0.1, 1.1, math.NaN()} {
		if _, err := diffusion.NewKernel("ddim", eta, nil); err == nil {
			t.Errorf("eta %g: no error", eta)
		}
	}
}
