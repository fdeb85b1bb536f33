package finetune

import (
	"context"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/steer"
)

const chainSteps = 15

// online is the objective for the control θ·h*, with one gradient step per Fit.
func online(t *testing.T, p problem, kernel diffusion.Kernel, theta float64, batch int) (*engine.Engine, *Online) {
	t.Helper()
	e := oracle.Open(t)
	h := learntMultiple{newLearnt(e, theta), p.optimum()}
	s := p.sampler(e, kernel, chainSteps, h)
	o, err := NewOnline(s, h, Training{Updates: 1, Batch: batch, Optimizer: plain}, s.Steps, p.reward())
	if err != nil {
		t.Fatal(err)
	}
	return e, o
}

func fit(t *testing.T, o *Online, seed uint64) float64 {
	t.Helper()
	loss, err := o.Fit(context.Background(), noise.New(seed), Weighted{Paths: diffusion.Paths{Dim: 1}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return loss
}

// Its loss is L_SC (10): the same number that the path weights give for the same law. Its gradient is the slope of that.
func TestOnlineMinimisesLSC(t *testing.T) {
	p := gaussians(t)
	const batch, theta = 4096, 0.5
	for _, kernel := range []diffusion.Kernel{diffusion.EulerMaruyama{}, diffusion.DDPM{}, diffusion.DDIM{Eta: 1}} {
		e, o := online(t, p, kernel, theta, batch)
		loss := fit(t, o, 1)
		gradient := firstGradient(e)
		if got, want := e.NetworkCalls(), controlledCalls(o.sampler.Steps)*batch; got != want {
			t.Errorf("%#v: %d network calls, want %d", kernel, got, want)
		}
		if e.Paths() != batch {
			t.Errorf("%#v: %d paths, want %d", kernel, e.Paths(), batch)
		}

		w := p.weighted(t, o.sampler, noise.New(2), 4*batch, nil) // θ has moved by 0.001
		d := w.Certificate()
		integrand := make([]float64, w.N)
		for i := range integrand {
			integrand[i] = w.Energy[i] - w.Reward[i]
		}
		lsc, se := meanSE(integrand)
		oracle.Near(t, fmt.Sprintf("%#v: L_SC of the certificate", kernel), float64(d.LSC), lsc, 3*se)
		oracle.Near(t, fmt.Sprintf("%#v: loss", kernel), loss, lsc, 4*se*math.Sqrt(5)+0.002)

		at := func(theta float64) float64 { _, o := online(t, p, kernel, theta, batch); return fit(t, o, 1) }
		const d1 = 0.02
		slope := (at(theta+d1) - at(theta-d1)) / (2 * d1)
		oracle.Near(t, fmt.Sprintf("%#v: gradient", kernel), gradient, slope, 0.01*math.Abs(slope))
		if !(slope < -0.3) {
			t.Errorf("%#v: slope %g at ½h*, want it clearly negative", kernel, slope)
		}
		if again := fit(t, o, 1); !(again < loss) {
			t.Errorf("%#v: loss %.6f before the step, %.6f after it on the same noise", kernel, loss, again)
		}
	}
}

// A chain without a controlled step is refused.
func TestUncontrolled(t *testing.T) {
	p := gaussians(t)
	e := oracle.Open(t)
	h := newLearnt(e, 1)
	s := p.sampler(e, diffusion.DDIM{Eta: 1}, 1, h)
	if _, err := NewOnline(s, h, Training{Updates: 1, Batch: 8}, s.Steps, p.reward()); !errors.Is(err, errUncontrolled) {
		t.Errorf("backpropagation: %v", err)
	}
	if _, err := NewVarGrad(s, h, plain, 0); !errors.Is(err, errUncontrolled) {
		t.Errorf("VarGrad: %v", err)
	}
}

// A control that reads the reward's gradient is differentiated through it too: x_t depends on the parameters, and so does ∇r(x̂₀(x_t)).
func TestOnlineThroughTheRewardsGradient(t *testing.T) {
	p := gaussians(t)
	run := func(theta float64) (gradient, loss float64) {
		e := oracle.Open(t)
		h := learntMultiple{newLearnt(e, theta), steer.Guidance{Reward: p.reward(), Scale: 1}}
		s := p.sampler(e, diffusion.DDPM{}, chainSteps, h)
		o, err := NewOnline(s, h, Training{Updates: 1, Batch: 4096, Optimizer: plain}, s.Steps, p.reward())
		if err != nil {
			t.Fatal(err)
		}
		loss = fit(t, o, 1)
		return firstGradient(e), loss
	}
	const theta, d = 0.5, 0.02
	gradient, _ := run(theta)
	_, above := run(theta + d)
	_, below := run(theta - d)
	slope := (above - below) / (2 * d)
	oracle.Near(t, "gradient", gradient, slope, 0.01*math.Abs(slope))
}

func controlledCalls(steps []diffusion.Step) (n int64) {
	for _, st := range steps {
		if n++; !st.Uncontrolled {
			n++
		}
	}
	return n
}

// At h* the loss is −log Z, its least value, but for the discretisation.
func TestOnlineAtTheOptimum(t *testing.T) {
	p := gaussians(t)
	loss := map[float64]float64{}
	for _, theta := range []float64{0.8, 1, 1.2} {
		_, o := online(t, p, diffusion.EulerMaruyama{}, theta, 8192)
		loss[theta] = fit(t, o, 1)
	}
	oracle.Near(t, "loss at h*", loss[1], -p.logZ, 0.1) // 15 steps
	if loss[1] > loss[0.8] || loss[1] > loss[1.2] {
		t.Errorf("losses %v, want the least at 1", loss)
	}
}
