package method

import (
	"context"
	"math"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/config"
)

// DPOK is KL-regularised policy gradient with a value network, see [finetune.DPOK]. It is two methods: dpok as its authors run it, whose defaults are theirs,
// and dpok_gaussian with the KL of the steps' normal laws, whose default weights are those of (10).
type DPOK struct {
	Loop                  `yaml:",inline"`
	finetune.DPOKSettings `yaml:",inline"`
	draws                 `yaml:"-"`
}

var (
	_ = register(func() Method { return newDPOK(10, 0.01, false) })
	_ = register(func() Method { return newDPOK(1, 1, true) })
)

func newDPOK(reward, kl float64, gaussian bool) *DPOK {
	return &DPOK{DPOKSettings: finetune.DPOKSettings{RewardWeight: reward, KL: kl, GaussianKL: gaussian, Clip: 1e-4, Transitions: 1000,
		Value: finetune.ValueSettings{Width: 256, Updates: 1, Batch: 1280, LearningRate: 1e-4}}}
}

// About implements [Method].
func (m *DPOK) About() About {
	if m.GaussianKL {
		return About{Name: "dpok_gaussian", Title: "DPOK, Gaussian KL", Needs: Learning | Unconditional}
	}
	return About{Name: "dpok", Title: "DPOK", Needs: Learning | Unconditional}
}

// Check implements [Method].
func (m *DPOK) Check(c *config.Check, key string) {
	m.Loop.Check(c, key)
	m.onPolicy(c, key, "its gradient is of the steps that the h in training has taken, and its ratio is clipped near 1")
	c.That(m.RewardWeight > 0 && !math.IsInf(m.RewardWeight, 1), "%s.reward_weight is %g, want a positive number", key, m.RewardWeight)
	c.That(m.KL >= 0 && !math.IsInf(m.KL, 1), "%s.kl is %g, want at least 0", key, m.KL)
	checkClip(c, key, m.Clip)
	c.Positive(key+".transitions", m.Transitions)
	c.Positive(key+".value.width", m.Value.Width)
	c.Positive(key+".value.updates", m.Value.Updates)
	c.Rows(key+".value.batch", m.Value.Batch)
	c.That(m.Value.LearningRate > 0 && !math.IsInf(m.Value.LearningRate, 1), "%s.value.learning_rate is %g, want a positive number", key, m.Value.LearningRate)
}

func checkClip(c *config.Check, key string, clip float64) {
	c.That(clip > 0 && clip < 1, "%s.clip is %g, want a number between 0 and 1: so far the ratio may be from 1", key, clip)
}

// Cost implements [Method]. The value network is no base model and no control, and is not counted.
func (m *DPOK) Cost(w Work) Cost {
	c := m.cost(w, float64(m.Iterations*m.Updates), float64(m.Batch))
	recorded := min(float64(m.Transitions), float64(m.Paths)*w.Steps)
	c.Kept += transition*(recorded+float64(m.Transitions)+float64(m.Batch)+float64(m.Value.Batch)) + 5*float64(m.Value.Width) // of which each takes Dim weights of its first layer
	return c
}

// transition is the number of samples that one stored transition is as large as.
const transition = 3

// Fit implements [Method].
func (m *DPOK) Fit(ctx context.Context, t *Target) (Fitted, error) {
	return m.run(ctx, t, finetune.Relaxed{}, false, func(s *diffusion.Sampler, h htransform.Learned) (finetune.Objective, error) {
		return finetune.NewDPOK(s, h, m.training(t), m.DPOKSettings, t.Keys.Start)
	})
}
