package method

import (
	"context"
	"slices"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/nn"
)

// Loop are the settings of Algorithm 1, for all methods that learn.
type Loop struct {
	Iterations int   `yaml:"iterations"`
	Restarts   []int `yaml:"restarts,omitempty"` // iterations after which the learning rate starts anew, see [finetune.FineTuning]
	Paths      int   `yaml:"paths"`              // simulated per iteration
	Buffer     int   `yaml:"buffer"`             // capacity, samples
	// Prefill are base samples that the buffer starts with. For an h that is amortised over measurements (56) they are exact: a base sample, with a
	// measurement drawn from it, is one of the joint law, and nothing has to be selected.
	Prefill int `yaml:"prefill,omitempty"`
	// Seeds is a file or folder of samples from elsewhere, that the buffer starts with too: of another model, or a user's own. So mass is found
	// that base paths do not reach; the weights of the next iterations judge it.
	Seeds   string `yaml:"seeds,omitempty"`
	Updates int    `yaml:"updates"` // gradient steps per iteration
	Batch   int    `yaml:"batch"`   // samples per gradient step
	// Accumulate is the number of parts that a batch is computed in, one after the other, where memory is short; 0 means 1. Of the supervised loss: other
	// objectives compute their batches whole.
	Accumulate int `yaml:"accumulate,omitempty"`
	// Staleness is the number of iterations by which the h that drives a batch may be older than the one that learns from it, as where samplers never wait for
	// the trainer. The batch is weighed under the h that drove it. Of methods that learn from endpoints, see [finetune.Flight].
	Staleness int `yaml:"staleness,omitempty" json:",omitempty"`
	// MinESS is the ESS, as a share of its paths, below which a batch is not learned from; 0 keeps all. Of the same methods.
	MinESS       float64 `yaml:"min_ess,omitempty" json:",omitempty"`
	nn.Optimizer `yaml:",inline"`
}

// Check implements [Method].
func (l *Loop) Check(c *config.Check, key string) {
	c.Positive(key+".iterations", l.Iterations)
	last := 0
	for _, r := range l.Restarts {
		c.That(r > last && r < l.Iterations, "%s.restarts are %v, want rising numbers between 0 and the iterations, %d", key, l.Restarts, l.Iterations)
		last = r
	}
	c.Positive(key+".paths", l.Paths)
	c.Rows(key+".batch", l.Batch)
	c.Positive(key+".updates", l.Updates)
	c.That(l.Accumulate >= 0 && (l.Accumulate == 0 || l.Batch%l.Accumulate == 0), "%s.accumulate is %d, want a number that divides the batch, %d", key, l.Accumulate, l.Batch)
	c.Positive(key+".buffer", l.Buffer)
	c.That(l.Staleness >= 0 && (l.Staleness == 0 || l.Staleness < l.Iterations), "%s.staleness is %d, want a number below the iterations, %d: all paths would be of the h that it begins with", key, l.Staleness, l.Iterations)
	c.That(l.MinESS >= 0 && l.MinESS < 1, "%s.min_ess is %g, want a share in [0, 1)", key, l.MinESS)
	c.That(l.Prefill >= 0, "%s.prefill is %d, want at least 0", key, l.Prefill)
	c.Optimizer(key, l.Optimizer)
}

// onPolicy refuses the settings of methods that may learn from paths of an older h, and says why this one may not.
func (l *Loop) onPolicy(c *config.Check, key, why string) {
	const instead = "importance, reward_only, raft, cem and rest learn from endpoints, which keep their weights"
	c.That(l.Staleness == 0, "%s.staleness is %d, want 0: %s; %s", key, l.Staleness, why, instead)
	c.That(l.MinESS == 0, "%s.min_ess is %g, want 0: %s; %s", key, l.MinESS, why, instead)
}

// cost is that of learning, by the given samples with base model and control in a gradient step, and of sampling.
func (l *Loop) cost(w Work, updates, batch float64) Cost {
	return Cost{Base: float64(l.Prefill), Paths: w.drawn() + float64(l.Iterations*l.Paths), Updates: updates, Batch: batch, Networks: w.learned(), Further: w.Self,
		Rows: max(w.Samples, float64(l.Paths), float64(l.Prefill)), Kept: float64(l.Buffer + l.Batch + l.Staleness*l.Paths)}
}

// training are the settings of gradient steps, with the law of times and the weighting of the target.
func (l *Loop) training(t *Target) finetune.Training {
	out := t.Training
	out.Updates, out.Batch, out.Accumulate, out.Optimizer = l.Updates, l.Batch, l.Accumulate, l.Optimizer
	return out
}

// run learns h by Algorithm 1 with a selector and an objective.
func (l *Loop) run(ctx context.Context, t *Target, s finetune.Selector, pool bool,
	objective func(s *diffusion.Sampler, h htransform.Learned) (finetune.Objective, error)) (Fitted, error) {
	h, err := t.H(t.Engine, t.Keys.Start, t.Reward)
	if err != nil {
		return Fitted{}, err
	}
	f := &finetune.FineTuning{Sampler: t.spread(nil, Chain{Learn: true}, 0), Reward: t.Reward, Selector: s, Group: t.Group,
		Buffer: &finetune.Buffer{Capacity: l.Buffer, Dim: engine.Size(t.Shape)}, Iterations: l.Iterations, Restarts: l.Restarts, Paths: l.Paths,
		Staleness: l.Staleness, MinESS: l.MinESS, Key: t.Keys.Loop}
	if f.Objective, err = objective(f.Sampler, h); err != nil {
		return Fitted{}, err
	}
	if l.Staleness > 0 && t.Spread != nil {
		if start := t.Spread(f.Sampler, Chain{Learn: true}); start != nil {
			f.Simulate = ahead(f, start, l.Staleness)
		}
	}
	if pool && t.PoolSize > 0 {
		first, err := t.BasePaths(ctx, t.PoolSize, 0)
		if err != nil {
			return Fitted{}, err
		}
		f.First = &first
	}
	if l.Prefill > 0 {
		paths, err := t.spread(nil, Chain{Learn: true}, 0).Run(ctx, t.Keys.Root.Sub("prefill"), 0, l.Prefill, nil)
		if err != nil {
			return Fitted{}, err
		}
		f.Prefill = paths.X
	}
	if l.Seeds != "" {
		seeds, err := t.Seeds(l.Seeds)
		if err != nil {
			return Fitted{}, err
		}
		f.Prefill = append(f.Prefill, seeds...)
	}
	err = t.Run(ctx, f, h)
	if t.Learn == nil { // else it is of other conditions
		t.Evidence = f.Pool
	}
	return Fitted{Control: finetune.Averaged(t.Engine, h)}, err
}

// Sizes returns the paths of an iteration, and the base samples that the buffer starts with.
func (l *Loop) Sizes() (paths, prefill int) { return l.Paths, l.Prefill }

// SeedsPath returns where seeds are; "" for none. The frame may change it.
func (l *Loop) SeedsPath() *string { return &l.Seeds }

// Length returns the iterations.
func (l *Loop) Length() int { return l.Iterations }

// Extend has the iterations beyond those that are done begin with a warm restart.
func (l *Loop) Extend(done int) {
	if done > 0 && done < l.Iterations && !slices.Contains(l.Restarts, done) {
		l.Restarts = append(slices.Clone(l.Restarts), done)
	}
}
