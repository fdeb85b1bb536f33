package finetune

import (
	"context"
	"errors"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// Objective fits h to one iteration of the loop.
type Objective interface {
	// Visitor returns what must watch the simulation; nil if endpoints are enough.
	Visitor(key noise.Key) diffusion.Visitor
	// Fit takes gradient steps on h and returns their mean loss.
	Fit(ctx context.Context, key noise.Key, batch Weighted, buffer *Buffer) (loss float64, err error)
	// Schedule makes the next Fit the one after so many iterations, done, of which the learning rate falls from its whole to
	// zero over the iterations [from, to).
	Schedule(done, from, to int)
}

// Lasting is an objective that hands more to its next iteration than the parameters of h with their moments and averages. To resume a run exactly, this
// must be kept too.
type Lasting interface {
	Objective
	// State returns all of that, by names of its own. What it returns is shared with the objective.
	State() (map[string]checkpoint.Tensor, error)
	// Restore makes the objective what it was when State returned these values.
	Restore(state map[string]checkpoint.Tensor) error
}

// schedule is [Objective.Schedule] for iterations of so many updates.
func schedule(t *nn.Trainer, updates, done, from, to int) {
	t.Resume(done * updates)
	t.Decay(from*updates, (to-from)*updates)
}

var errUncontrolled = errors.New("finetune: none of the steps is controlled, so that nothing can be learned: take more of them")

// controlled returns the indices of the steps that a control moves.
func controlled(steps []diffusion.Step) []int {
	var indices []int
	for i, st := range steps {
		if !st.Uncontrolled {
			indices = append(indices, i)
		}
	}
	return indices
}

// Averaged returns h at the moving averages of its parameters, which an objective on the engine makes: what to sample with in
// the end.
func Averaged(e *engine.Engine, h htransform.Learned) htransform.Learned {
	return h.Within(nn.Averages(e))
}

// Training are the settings that all objectives share.
type Training struct {
	Updates             int          `yaml:"updates"`              // gradient steps per iteration, M
	Batch               int          `yaml:"batch"`                // samples per gradient step
	Accumulate          int          `yaml:"accumulate,omitempty"` // parts that [Supervised] computes a batch in, see [nn.Trainer.Accumulate]; 0 means 1
	Optimizer           nn.Optimizer `yaml:",inline"`
	diffusion.Denoising `yaml:",inline"`
}

var (
	_ Objective = (*Supervised)(nil)
	_ Objective = (*VarGrad)(nil)
	_ Objective = (*Online)(nil)
	_ Objective = (*AdjointMatching)(nil)
	_ Lasting   = (*DPOK)(nil)
	_ Lasting   = (*DDPO)(nil)
)

// Supervised is the loss (15) on batches drawn uniformly from the buffer, plus KL times the regulariser (17). Of an h that is relative to
// the base model's own fit, [htransform.Neutral], the loss fits what it is the difference of, and (17) is of h itself.
type Supervised struct {
	training Training
	sampler  *diffusion.Sampler
	trainer  *nn.Trainer
}

// NewSupervised compiles the objective for h; kl is λ_KL. From then on the sampler simulates with the average of h.
func NewSupervised(s *diffusion.Sampler, h htransform.Learned, training Training, kl float64) (*Supervised, error) {
	if s.Given != nil && s.Given.Of == nil {
		return nil, errors.New("finetune: the sampler's condition does not say what a sample is conditioned on (Of), which learning from samples needs")
	}
	fit, self := htransform.Fitted(h)
	trainer, err := nn.NewTrainer(s.Engine, h.Parameters(), training.Optimizer, func(in []*graph.Node) *graph.Node {
		var given *graph.Node
		if s.Given != nil { // (56): learn from the measurement of what was accepted, not from the one it was accepted for
			given = s.Given.Of(in[0], in[3])
		}
		diffused := diffusion.Diffuse(s.Process, s.Base, in[0], in[1], in[2], given)
		loss, epsH := diffused.Loss(fit, training.Velocity)
		if kl > 0 {
			if self != nil {
				epsH = graph.Sub(epsH, diffused.Noise(self))
			}
			loss = graph.Add(loss, graph.MulScalar(diffused.KL(epsH, training.Times), kl))
		}
		return loss
	})
	if err != nil {
		return nil, err
	}
	if err := trainer.Accumulate(training.Accumulate); err != nil {
		return nil, err
	}
	return &Supervised{training: training, sampler: s, trainer: trainer}, s.Guide(Averaged(s.Engine, h))
}

// Visitor implements [Objective].
func (*Supervised) Visitor(noise.Key) diffusion.Visitor { return nil }

// Fit implements [Objective].
func (o *Supervised) Fit(ctx context.Context, key noise.Key, _ Weighted, buffer *Buffer) (float64, error) {
	n := o.training.Batch
	x0, t, eps := make([]float32, n*buffer.Dim), make([]float32, n), make([]float32, n*buffer.Dim)
	draw := key.Sub("batch").Rand()
	var total float64
	for i := range o.training.Updates {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if err := buffer.Draw(x0, draw); err != nil {
			return 0, err
		}
		o.training.Times.Draw(t, o.sampler.Process, key.Sub("times").At(i))
		key.Sub("noise").Normal(eps, uint64(i), 0)
		inputs := []any{engine.Rows(x0, o.sampler.Shape...), t, engine.Rows(eps, o.sampler.Shape...)}
		if given := o.sampler.Given; given != nil {
			xi := make([]float32, n*given.Dim())
			key.Sub("condition").Normal(xi, uint64(i), 0)
			inputs = append(inputs, engine.Rows(xi, given.Shape...))
		}
		loss, err := o.trainer.Step(inputs...)
		if err != nil {
			return 0, err
		}
		total += loss
	}
	return total / float64(max(1, o.training.Updates)), nil
}

// Schedule implements [Objective].
func (o *Supervised) Schedule(done, from, to int) {
	schedule(o.trainer, o.training.Updates, done, from, to)
}
