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
	Accumulate   int `yaml:"accumulate,omitempty"`
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
	c.That(l.Prefill >= 0, "%s.prefill is %d, want at least 0", key, l.Prefill)
	c.Optimizer(key, l.Optimizer)
}

// cost is that of learning, by the given samples with base model and control in a gradient step, and of sampling.
func (l *Loop) cost(w Work, updates, batch float64) Cost {
	return Cost{Base: float64(l.Prefill), Paths: w.drawn() + float64(l.Iterations*l.Paths), Updates: updates, Batch: batch, Networks: w.learned(), Further: w.Self,
		Rows: max(w.Samples, float64(l.Paths), float64(l.Prefill)), Kept: float64(l.Buffer + l.Batch)}
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
	f := &finetune.FineTuning{Sampler: t.Sampler(nil, t.Learn, 0), Reward: t.Reward, Selector: s, Group: t.Group,
		Buffer: &finetune.Buffer{Capacity: l.Buffer, Dim: engine.Size(t.Shape)}, Iterations: l.Iterations, Restarts: l.Restarts, Paths: l.Paths, Key: t.Keys.Loop}
	if f.Objective, err = objective(f.Sampler, h); err != nil {
		return Fitted{}, err
	}
	if pool && t.PoolSize > 0 {
		first, err := t.BasePaths(ctx, t.PoolSize, 0)
		if err != nil {
			return Fitted{}, err
		}
		f.First = &first
	}
	if l.Prefill > 0 {
		paths, err := t.Sampler(nil, t.Learn, 0).Run(ctx, t.Keys.Root.Sub("prefill"), 0, l.Prefill, nil)
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
