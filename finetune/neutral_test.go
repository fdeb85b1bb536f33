package finetune

import (
	"context"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// Of h = fit − self, the loss (15) fits the first, whatever the second; the regulariser (17) is of the difference: λ·∂/∂θ ½(θ−θ_self)²∫β.
// The paths are guided by the difference too.
func TestSupervisedNeutral(t *testing.T) {
	p := gaussians(t)
	const theta, self, batch = 0.7, 0.2, 4096
	buffer := &Buffer{Capacity: batch, Dim: 1}
	buffer.Append(p.tilted.Sample(batch, noise.New(1)))
	gradient := func(kl float64, neutral bool) float64 {
		e := oracle.Open(t)
		fit := newLearnt(e, theta)
		var h htransform.Learned = fit
		if neutral {
			h = htransform.Neutral{Fit: fit, Self: push{self}}
		}
		s := p.sampler(e, diffusion.EulerMaruyama{}, 1, nil)
		o, err := NewSupervised(s, h, Training{Updates: 1, Batch: batch, Optimizer: plain}, kl)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.Fit(context.Background(), noise.New(2), Weighted{}, buffer); err != nil {
			t.Fatal(err)
		}
		calls, want := e.NetworkCalls(), int64(2*batch)
		if neutral && kl > 0 {
			want = 3 * batch
		}
		if calls != want {
			t.Errorf("λ = %g, relative: %v: %d network calls, want %d", kl, neutral, calls, want)
		}
		if _, ok := s.Control.(htransform.Neutral); ok != neutral {
			t.Errorf("paths are guided by %T", s.Control)
		}
		return firstGradient(e)
	}
	bare := gradient(0, false)
	oracle.Near(t, "the gradient of (15)", gradient(0, true), bare, 1e-6)
	oracle.Near(t, "what λ = 0.3 adds", gradient(0.3, true)-bare, 0.3*(theta-self)*10.05, 0.01)
}

// biased is a base model whose score is wrong by a constant.
type biased struct {
	diffusion.Model
	error float64
}

func (m biased) Noise(s diffusion.State) *graph.Node {
	return graph.Add(m.Model.Noise(s), push{m.error}.Noise(s))
}

// With r = 0 there is nothing to learn. On a base model with faults the loop learns them nevertheless, since it fits the score of the chain's
// own samples; relative to the same fit for all of these it stays near where it was.
func TestNeutralStays(t *testing.T) {
	p := gaussians(t)
	steps := diffusion.EulerMaruyama{}.Steps(diffusion.VP{}, diffusion.Times(12, 2))
	base := biased{p.base(), 0.6}
	training := Training{Updates: 100, Batch: 128, Optimizer: nn.Optimizer{LearningRate: 5e-3, EMA: 0.98}, Denoising: diffusion.Denoising{Velocity: true}}
	drift := func(relative bool) float64 {
		e := oracle.Open(t)
		sampler := func() *diffusion.Sampler {
			return &diffusion.Sampler{Engine: e, Steps: steps, Shape: []int{1}, Base: base}
		}
		fit := free(e, "/h", 16, 1)
		var h htransform.Learned = fit
		if relative {
			paths, err := sampler().Run(t.Context(), noise.New(5), 0, 4096, nil)
			if err != nil {
				t.Fatal(err)
			}
			fits := diffusion.Pretraining{Training: nn.Training{Steps: 400, Batch: 256, Optimizer: training.Optimizer}, Denoising: training.Denoising}
			self := free(e, "/self", 16, 2)
			trainer, err := htransform.OwnFit(e, diffusion.VP{}, base, self, fits)
			if err != nil {
				t.Fatal(err)
			}
			inputs := fits.Inputs(noise.New(6), diffusion.VP{}, []int{1}, func(rows []float32, step int) { copy(rows, paths.X[step*256%3840:]) })
			if err := trainer.Run(t.Context(), fits.Steps, inputs, nil); err != nil {
				t.Fatal(err)
			}
			own := self.Within(nn.Averages(e)).(htransform.RewardFree)
			if err := nn.Copy(fit.NN1, own.NN1); err != nil {
				t.Fatal(err)
			}
			h = htransform.Neutral{Fit: fit, Self: own}
		}
		s := sampler()
		o, err := NewSupervised(s, h, training, 0)
		if err != nil {
			t.Fatal(err)
		}
		f := &FineTuning{Sampler: s, Reward: reward.Zero{}, Selector: Relaxed{Rate: []float64{0.5}}, Objective: o, Buffer: &Buffer{Capacity: 2048, Dim: 1},
			Iterations: 4, Paths: 1024, Key: noise.New(7)}
		if err := f.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		w := sampler()
		w.Control = Averaged(e, h)
		paths, err := w.Run(t.Context(), noise.New(8), 0, 2000, nil)
		if err != nil {
			t.Fatal(err)
		}
		weighted, err := Weigh(t.Context(), paths, reward.Zero{})
		if err != nil {
			t.Fatal(err)
		}
		return float64(weighted.Certificate().LSC) // the KL itself: log Z = 0
	}
	without, with := drift(false), drift(true)
	t.Logf("KL %.4f, relative to the own fit %.4f", without, with)
	if !(without > 0.1) || !(with < without/10) {
		t.Errorf("KL %.4f, relative to the own fit %.4f: want less than a tenth", without, with)
	}
}
