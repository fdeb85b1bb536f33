package method

import (
	"context"
	"slices"
	"testing"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/nn"
)

// thorough gives a method that learns the settings with which it comes to an end that can be judged.
func thorough(m Method) Method {
	loop := Loop{Iterations: 8, Paths: 500, Buffer: 1000, Updates: 100, Batch: 100, Optimizer: nn.Optimizer{LearningRate: 0.01, EMA: 0.9}}
	if s, ok := m.(interface{ Shared() *Supervised }); ok {
		s.Shared().Loop = loop
	}
	switch m := m.(type) {
	case *Importance:
		m.Acceptance = []float64{0.3}
	case *Neutral:
		m.Acceptance = []float64{0.3}
	case *RewardOnly:
		m.Acceptance = []float64{0.15}
	case *CEM:
		m.Acceptance = []float64{0.3}
	case *VarGrad:
		m.Loop, m.Steps = loop, 8
		m.Iterations, m.Paths = 120, 100
	case *DPOK:
		m.Loop, m.Clip, m.Transitions = loop, 0.2, 4000
		m.Iterations, m.Paths, m.Updates = 40, 100, 5
		m.Value = finetune.ValueSettings{Width: 32, Updates: 5, Batch: 250, LearningRate: 5e-3}
	case *DDPO:
		m.Loop, m.Clip = loop, 0.2
		m.Iterations, m.Paths, m.Updates, m.Batch = 30, 100, 4, 500
	case *Online:
		m.Loop, m.Steps = loop, 12
		m.Iterations, m.Paths, m.Updates = 10, 50, 12
	case *AdjointMatching:
		m.Loop, m.Steps = loop, 8
		m.Paths, m.Updates = 200, 40
	}
	return m
}

// Memoryless training is on steps with all the noise, as many as are sampled with, whose own are others; what training knows of log Z is then of another
// chain, and is not told.
func TestMemoryless(t *testing.T) {
	for _, memoryless := range []bool{false, true} {
		target := newTarget(t, 1, 20)
		scheme := diffusion.Scheme{Kernel: "ddim", Eta: 0.3, Steps: 6, Power: 2}
		target.Steps, target.Memoryless = scheme.Table(nil), scheme.Memoryless().Table(nil)
		var trained []diffusion.Step
		target.Run = func(ctx context.Context, f *finetune.FineTuning, _ htransform.Learned) error {
			trained = f.Sampler.Steps
			return f.Run(ctx)
		}
		m := small(New("adjoint_matching")).(*AdjointMatching)
		m.Memoryless = memoryless
		draw(t, m, target)
		want := target.Steps(0)
		if memoryless {
			want = diffusion.Scheme{Kernel: "ddpm", Steps: 6, Power: 2}.Table(nil)(0)
		}
		if !slices.Equal(trained, want) {
			t.Errorf("memoryless %t: trained on %v, want %v", memoryless, trained, want)
		}
		if none := slices.Equal(target.Evidence.State(), (finetune.Pool{}).State()); none != memoryless {
			t.Errorf("memoryless %t: the evidence is %v", memoryless, target.Evidence.State())
		}
	}
}

// What is learned for one law. Methods with path weights find it; those that select by the reward alone overshoot: round after round they
// tilt what they have tilted already, their mean rises towards the goal of the reward and their variety falls.
// Tolerances are those of a small network; the standard errors of 2000 samples are 0.01.
func TestLearned(t *testing.T) {
	for _, name := range []string{"importance", "vargrad", "online", "adjoint_matching"} {
		t.Run(name, func(t *testing.T) {
			s := draw(t, thorough(New(name)), newTarget(t, 1, 2000))
			mean, sd := moments(s.X)
			t.Logf("N(%.3f, %.3f²), ESS %.3f", mean, sd, s.Certificate.ESS)
			oracle.Near(t, "mean", mean, oracle.Tilted.Mean, 0.06)
			oracle.Near(t, "sd", sd, oracle.Tilted.SD, 0.1)
			if s.Certificate.ESS < 0.8 { // of base paths it is 0.55
				t.Errorf("ESS %g", s.Certificate.ESS)
			}
		})
	}
	for _, name := range []string{"reward_only", "raft", "cem", "rest"} {
		t.Run(name, func(t *testing.T) {
			s := draw(t, thorough(New(name)), newTarget(t, 1, 2000))
			mean, sd := moments(s.X)
			t.Logf("N(%.3f, %.3f²), ESS %.3f", mean, sd, s.Certificate.ESS)
			if !(mean > oracle.Tilted.Mean+0.05 && mean < oracle.Reward.Goal+0.1 && sd < oracle.Tilted.SD-0.05) {
				t.Errorf("N(%g, %g²), want a mean between those of the tilted law and of the reward, and less variety", mean, sd)
			}
		})
	}
}

// Policy gradients raise the mean reward: that without a KL to the goal of it, whatever becomes of variety; DPOK's not as far where its KL
// weighs as much as the reward.
func TestPolicyGradientsRaiseTheReward(t *testing.T) {
	base := ends(0)
	for name, want := range map[string][2]float64{"ddpo": {oracle.Reward.Goal - 0.15, oracle.Reward.Goal + 0.15}, "dpok": {oracle.Reward.Goal - 0.15, oracle.Reward.Goal + 0.15},
		"dpok_gaussian": {base.Mean + 0.2, oracle.Reward.Goal - 0.2}} {
		s := draw(t, thorough(New(name)), newTarget(t, 1, 2000))
		mean, sd := moments(s.X)
		t.Logf("%s: N(%.3f, %.3f²), reward %.3f, ESS %.3f", name, mean, sd, s.Certificate.Reward, s.Certificate.ESS)
		if !(mean > want[0] && mean < want[1]) {
			t.Errorf("%s: mean %g, want one in (%g, %g)", name, mean, want[0], want[1])
		}
	}
}
