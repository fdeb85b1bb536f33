package finetune

import (
	"context"
	"errors"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// Online is online fine-tuning: it minimises the stochastic-control loss (10), mean of ½Σ‖D‖²/s² − r(x_0), by
// backpropagation through the whole sampling chain, reward and base model included. Memory grows with the number of
// steps, so it is for toy sizes only. Through an h that reads the reward's gradient, the reward is differentiated twice.
type Online struct {
	training Training
	sampler  *diffusion.Sampler
	trainer  *nn.Trainer
	steps    int
}

// NewOnline compiles the objective for h. The chain is unrolled over the given steps, which may be fewer than the sampler's.
// From then on the sampler simulates with the average of h.
func NewOnline(s *diffusion.Sampler, h htransform.Learned, training Training, steps []diffusion.Step, r reward.Differentiable) (*Online, error) {
	if s.Given != nil {
		return nil, errors.New("finetune: backpropagation through the chain is not made for samplers with conditions")
	}
	if len(controlled(steps)) == 0 {
		return nil, errUncontrolled
	}
	trainer, err := nn.NewTrainer(s.Engine, h.Parameters(), training.Optimizer, func(in []*graph.Node) *graph.Node {
		x := in[0]
		var energy *graph.Node
		for i, st := range steps {
			t := graph.Reshape(graph.Scalar(x.Graph(), x.DType(), st.T), 1)
			state := diffusion.State{Process: s.Process, X: x, T: t}.Evaluate(s.Base)
			eps := state.Eps
			if !st.Uncontrolled {
				epsH := state.Noise(h)
				eps = graph.Add(eps, epsH)
				step := graph.MulScalar(graph.ReduceAllSum(graph.Square(epsH)), st.K*st.K/(2*st.S*st.S))
				if energy == nil {
					energy = step
				} else {
					energy = graph.Add(energy, step)
				}
			}
			x = graph.Add(graph.MulScalar(x, st.A), graph.MulScalar(eps, st.K))
			if st.S > 0 {
				x = graph.Add(x, graph.MulScalar(in[i+1], st.S))
			}
		}
		n := float64(x.Shape().Dimensions[0])
		return graph.Sub(graph.DivScalar(energy, n), graph.ReduceAllMean(r.Graph(x)))
	})
	if err != nil {
		return nil, err
	}
	return &Online{training: training, sampler: s, trainer: trainer, steps: len(steps)}, s.Guide(Averaged(s.Engine, h))
}

// Visitor implements [Objective].
func (*Online) Visitor(noise.Key) diffusion.Visitor { return nil }

// Fit implements [Objective]. It simulates paths of its own: the loop's paths only serve the certificate.
func (o *Online) Fit(ctx context.Context, key noise.Key, batch Weighted, _ *Buffer) (float64, error) {
	var total float64
	for i := range o.training.Updates {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		inputs := make([]any, o.steps+1)
		for j := range inputs {
			z := make([]float32, o.training.Batch*batch.Dim)
			key.Normal(z, uint64(i), uint32(j))
			inputs[j] = engine.Rows(z, o.sampler.Shape...)
		}
		o.sampler.Engine.CountPaths(o.training.Batch)
		loss, err := o.trainer.Step(inputs...)
		if err != nil {
			return 0, err
		}
		total += loss
	}
	return total / float64(max(1, o.training.Updates)), nil
}

// Schedule implements [Objective].
func (o *Online) Schedule(done, from, to int) {
	schedule(o.trainer, o.training.Updates, done, from, to)
}
