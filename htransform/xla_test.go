//go:build xla

package htransform_test

import (
	"math"
	"testing"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// Paths of a base model that is a network under a reward-informed h, all of whose parameters are random, end where they end on package
// cpu, within 1e-5 of the farthest one. Their weights differ by 1e-4 of themselves, that is, log dP/dP^h by 1e-4.
func TestXLAPathWeights(t *testing.T) {
	backend := oracle.XLA(t)
	_, density, _ := laws(t)
	const n = 64
	run := func(backend string) diffusion.Paths {
		e := oracle.OpenOn(t, backend)
		base := nn.MLP{Scope: e.Scope("/base"), In: 2, Out: 2, Width: 24, Depth: 2, Timed: true}.Init(noise.New(1), 1, 0)
		h := htransform.RewardInformed{Reward: reward.Mixture{Density: density},
			NN1: nn.MLP{Scope: e.Scope("/h/nn1"), In: 6, Out: 2, Width: 16, Depth: 2, Timed: true}.Init(noise.New(2), 0.5, 0),
			NN2: htransform.Scale(e.Scope("/h/nn2"), 8, 0.5, noise.New(3))}
		s := diffusion.Sampler{Engine: e, Steps: diffusion.DDPM{}.Steps(schedule, diffusion.Times(12, 2)), Shape: []int{2},
			Base: diffusion.Network{Velocity: base}, Control: h, Batch: n}
		paths, err := s.Run(t.Context(), noise.New(4), 0, n, nil)
		if err != nil {
			t.Fatal(err)
		}
		return paths
	}
	want, got := run("cpu"), run(backend)
	ends := oracle.Alike(t, "endpoints", got.X, want.X, 1e-5)
	var worst, spread float64
	for i, w := range want.LogRatio {
		oracle.Near(t, "log dP/dP^h", got.LogRatio[i], w, 1e-4)
		worst, spread = max(worst, math.Abs(got.LogRatio[i]-w)), max(spread, math.Abs(w))
	}
	if !(spread > 0.5) {
		t.Errorf("no log weight is larger than %g: the control does nothing", spread)
	}
	t.Logf("endpoints off by %.1e of the farthest, log weights of up to %.3g by %.1e", ends, spread, worst)
}

// What an adapter of a guided U-Net computes is what the reference libraries do: on the paths of one sampler, in the pipeline's own steps, and in the loss with its gradients.
func TestXLALoRA(t *testing.T) {
	backend, only = oracle.XLA(t), "ddim-eta1"
	defer func() { backend, only = "", "" }()
	t.Run("Paths", TestLoRAPaths)
	t.Run("GuidedSteps", TestGuidedSteps)
	t.Run("Gradients", TestLoRAGradients)
}
