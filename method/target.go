package method

import (
	"context"
	"errors"
	"time"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// Target is the law that a method shall sample, p_data·exp(r) (1) or one such for each of several conditions, with all that it takes to
// simulate and to learn. Problems describe it; the frame adds where the work is kept.
type Target struct {
	// What a problem says of the law:
	Of          any // the problem, for methods of its own
	Base        diffusion.Model
	Shape       []int // of one sample
	Evaluations int   // of a network that one of Base and one of h are: 2 under classifier-free guidance; 0 means 1
	Self        bool  // a learned h evaluates the base model's own fit too, see [htransform.Neutral]
	// Data returns what fills in n samples of p_data for every step, for a kernel whose variance is estimated on them; nil if there are none.
	Data   func(key noise.Key, n int) func(rows []float32, step int)
	Reward reward.Reward
	// Scaled returns the reward times a factor; nil where it has a scale of its own, as a likelihood has.
	Scaled func(factor float64) reward.Reward
	// Anneal multiplies the reward on the way, for methods that follow it there; nil means 1. See [reward.Anneal].
	Anneal func(diffusion.State) *graph.Node
	// H makes h⁰ for a reward, with its parameters on an engine.
	H func(e *engine.Engine, key noise.Key, r reward.Reward) (htransform.Learned, error)
	// Conditions is the number of laws, 1 without conditions. Given returns the conditions from one on, each for so many
	// consecutive paths; nil if there are none. Learn are those that are learned from, each for Group consecutive paths.
	Conditions int
	Given      func(from, each int) *diffusion.Condition
	Learn      *diffusion.Condition
	Group      int
	// Held are paths on which h is judged after every iteration; nil for none.
	Held *Held
	// Trial prepares the tuning of a scale on so many paths; nil tunes by the mean reward.
	Trial func(ctx context.Context, paths int) (Trial, error)

	// What the frame says of the work:
	Samples int // wanted of each condition
	Keys    Keys
	Process diffusion.Process
	Steps   func(n int) []diffusion.Step // n of them; as many as configured for 0
	// Memoryless are as many steps with all the noise of the process, see [diffusion.Scheme.Memoryless].
	Memoryless func(n int) []diffusion.Step
	Batch      int               // rows in one network evaluation
	Training   finetune.Training // the law of times and the weighting, for methods that do not say
	PoolSize   int               // base paths in place of iteration 1; 0 for none
	Engine     *engine.Engine    // of this method alone: what it counts is what the method has cost
	Pool       *Pool
	// Run runs Algorithm 1, and keeps what it takes to go on after an interruption.
	Run func(ctx context.Context, f *finetune.FineTuning, h htransform.Learned) error
	// Evidence is what the paths of the method's training know of log Z; empty for none.
	Evidence finetune.Pool
	// Spread, if set, returns what starts the simulation of a chain of the target in other processes, in place of its sampler; nil where they cannot. Control
	// and steps of the sampler may change until it is called. Who changes anything else of a target, such as its conditions, must clear it: others do not know of it.
	Spread func(s *diffusion.Sampler, c Chain) Start
	// Seeds reads samples, row-major, from a file or folder.
	Seeds func(path string) ([]float32, error)
	// Fetch returns the h that another method has learned, and what that had cost.
	Fetch func(ctx context.Context, t *Target, name string) (diffusion.Control, Spent, error)

	extra Spent // what is charged besides what the engine counts
}

// Keys are where randomness comes from. Methods whose Root is the same share the noise of their samples.
type Keys struct {
	Root      noise.Key // samples, tuning, selection
	Start     noise.Key // of h⁰
	Loop      noise.Key // Algorithm 1
	Particles noise.Key // sequential Monte Carlo
}

// Held are paths for conditions that are not learned from.
type Held struct {
	Given *diffusion.Condition
	Key   noise.Key
	Paths int
	Group int // of one condition; 0 means all
}

// Trial says on what a scale is tuned, and what is good.
type Trial struct {
	Given   *diffusion.Condition
	Paths   int
	Quality func(ctx context.Context, x []float32) (float64, error) // higher is better
}

// Work says what the target asks for.
func (t *Target) Work() Work {
	w := Work{Samples: float64(t.Conditions) * float64(t.Samples), Conditions: float64(t.Conditions), Steps: float64(len(t.Steps(0))),
		Pool: float64(t.PoolSize), Dim: float64(engine.Size(t.Shape)), Evaluations: float64(t.Evaluations), Defended: t.Given == nil}
	if t.Self {
		w.Self = 1
	}
	return w
}

// Sampler simulates P^h, conditioned as given, with n steps; with as many as configured for 0.
func (t *Target) Sampler(h diffusion.Control, given *diffusion.Condition, n int) *diffusion.Sampler {
	return &diffusion.Sampler{Engine: t.Engine, Process: t.Process, Steps: t.Steps(n), Shape: t.Shape, Base: t.Base, Control: h,
		Given: given, Batch: t.Batch}
}

// each are the target's conditions, each for so many consecutive paths; nil without conditions.
func (t *Target) each(paths int) *diffusion.Condition {
	if t.Given == nil {
		return nil
	}
	return t.Given(0, paths)
}

// Draw samples P^h with n steps, or as many as configured for 0, and certifies it: without conditions, with as many base paths beside them
// that these are a tenth of all.
func (t *Target) Draw(ctx context.Context, h diffusion.Control, n int) (*Samples, error) {
	var paths diffusion.Paths
	var err error
	if h == nil && n == 0 {
		paths, err = t.BasePaths(ctx, t.Conditions*t.Samples, t.Samples)
	} else {
		paths, err = t.spread(h, Chain{Each: t.Samples}, n).Run(ctx, t.Keys.Root.Sub("samples"), 0, t.Conditions*t.Samples, nil)
	}
	if err != nil {
		return nil, err
	}
	own, err := finetune.Weigh(ctx, paths, t.Reward)
	if err != nil {
		return nil, err
	}
	own.Group = t.Samples
	var base *finetune.Weighted
	if h != nil && t.Given == nil {
		paths, err := t.spread(h, Chain{Driven: true}, n).Run(ctx, t.Keys.Root.Sub("defence"), 0, defence(t.Samples), nil)
		if err != nil {
			return nil, err
		}
		weighted, err := finetune.Weigh(ctx, paths, t.Reward)
		if err != nil && !errors.Is(err, finetune.ErrNoWeight) {
			return nil, err
		} else if err == nil {
			base = &weighted
		}
	}
	c, _ := finetune.Certify(own, base, t.Evidence)
	if _, zero := t.Reward.(reward.Zero); zero {
		c.LogZ, c.LogZSE, c.KL, c.KLSE = 0, 0, c.LSC, c.LSCSE // log Z is known
		c.Verdict = finetune.Verdict{Reliable: true, KLReliable: true, Reason: "log Z is 0"}
	}
	return &Samples{X: own.X, Count: t.Conditions, Members: t.Samples, Certificate: &c}, nil
}

// defence is the number of base paths beside so many of P^h that make up a tenth of both.
func defence(samples int) int { return (samples + 8) / 9 }

// BasePaths returns n paths of the base model, of which each so many consecutive ones are of one condition. Without conditions they
// are the same for all methods with one root: simulated once, and charged to every one that uses them.
func (t *Target) BasePaths(ctx context.Context, n, each int) (diffusion.Paths, error) {
	if t.Given != nil {
		return t.spread(nil, Chain{Each: each}, 0).Run(ctx, t.Keys.Root.Sub("samples"), 0, n, nil)
	}
	start := time.Now()
	paths, spent, err := t.Pool.take(ctx, t, n)
	if err != nil {
		return diffusion.Paths{}, err
	}
	spent.Seconds -= time.Since(start).Seconds()
	t.extra = t.extra.Plus(spent)
	return paths, nil
}

// Learned returns the h that another method has learned, and charges for it.
func (t *Target) Learned(ctx context.Context, name string) (diffusion.Control, error) {
	h, spent, err := t.Fetch(ctx, t, name)
	t.extra = t.extra.Plus(spent)
	return h, err
}

// Excuse takes back what something has cost that shall not count, such as a preview.
func (t *Target) Excuse(s Spent) {
	t.Engine.Recount(t.Engine.Paths()-s.Paths, t.Engine.NetworkCalls()-s.Calls)
	t.extra.Seconds -= s.Seconds
}

// Meter starts to count, and returns what ends it: what the target has cost since.
func (t *Target) Meter() func() Spent {
	start, paths, calls, extra := time.Now(), t.Engine.Paths(), t.Engine.NetworkCalls(), t.extra
	return func() Spent {
		return Spent{t.Engine.Paths() - paths + t.extra.Paths - extra.Paths, t.Engine.NetworkCalls() - calls + t.extra.Calls - extra.Calls,
			time.Since(start).Seconds() + t.extra.Seconds - extra.Seconds}
	}
}

// Recall makes the target's costs those of an earlier process, of the work that is gone on with.
func (t *Target) Recall(s Spent) {
	t.Engine.Recount(s.Paths, s.Calls)
	t.extra.Seconds += s.Seconds
}
