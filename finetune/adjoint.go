package finetune

import (
	"context"
	"errors"
	"fmt"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// AdjointMatching is the loss of Domingo-Enrich et al. (2024) on the iteration's own paths: at states x_k of a path, the control D = K·ε_h is fitted to
// what the lean adjoint a_k there says that it should be, −S²·a_k,
//
//	loss = mean over (path, k) of ‖D/S + S·a_k‖²
//
// with the adjoints of [AdjointMatching.adjoints], in which neither h nor the noise is differentiated. E[a_k | x_k] = −∇log h(x_k) where h = h*, so h* is its
// fixed point, up to the discretisation. Like [Online] it minimises (10), but in memory that holds no chain of networks.
//
// A (path, step) whose root loss is above the running quantile of those before it counts as 0. The paths are those of h itself and not of its average: the
// loss says what is better than the paths' own control.
type AdjointMatching struct {
	training Training
	matching Matching
	sampler  *diffusion.Sampler
	trainer  *nn.Trainer
	slope    *engine.Program // ∇r
	back     *engine.Program // a step of the adjoint
	rows     [2]int          // of the two in one evaluation
	record   [][]float32     // the population before every step [N, Dim]

	updates int             // done, of the whole run
	clip    *model.Variable // [1]: what root losses are compared to. It lies beside the moments, so that it is kept with them
	roots   *model.Variable // [Batch]: root losses of the last update
}

// Matching are the settings of adjoint matching.
type Matching struct {
	Steps    int     `yaml:"steps"`    // of a path that are fitted, half of them from its first 60 %; 0 means all
	Quantile float64 `yaml:"quantile"` // of the root losses, above which one counts as 0; 0 and 1 leave out none
	// Guided takes adjoints and the loss under the guidance of the base model too. Else there is guidance only in the paths, which theory does not cover and its
	// authors found best; of a model without guidance both are the same.
	Guided bool `yaml:"guided"`
}

// NewAdjointMatching compiles the objective for h. From then on the sampler simulates with h.
func NewAdjointMatching(s *diffusion.Sampler, h htransform.Learned, training Training, m Matching, r reward.Differentiable) (*AdjointMatching, error) {
	if s.Given != nil {
		return nil, errors.New("finetune: adjoint matching is not made for samplers with conditions")
	}
	if len(controlled(s.Steps)) == 0 {
		return nil, errUncontrolled
	}
	base, fitted := s.Base, h
	if guided, ok := s.Base.(diffusion.Guided); ok && !m.Guided {
		of, ok := h.(htransform.Guided)
		if !ok {
			return nil, fmt.Errorf("finetune: the base model is guided, but what h %T changes of it without guidance is not known: want guided: true", h)
		}
		base, fitted = guided.Unguided(), of.Unguided()
	}
	e := s.Engine
	o := &AdjointMatching{training: training, matching: m, sampler: s,
		clip:  frozen(e, "/optimizer"+htransform.Path+"/clip", 1),
		roots: frozen(e, "/adjoint_matching/roots", training.Batch)}
	var err error
	if o.trainer, err = nn.NewTrainer(e, h.Parameters(), training.Optimizer, func(in []*graph.Node) *graph.Node {
		x, t, gain, target, counts, clip := in[0], in[1], in[2], in[3], in[4], in[5]
		epsH := diffusion.State{Process: s.Process, X: x, T: t}.Evaluate(base).Noise(fitted)
		off := graph.Add(graph.Mul(diffusion.Column(gain, x), epsH), target)
		losses := graph.ReduceSum(graph.Square(graph.Reshape(off, x.Shape().Dimensions[0], -1)), 1)
		roots := graph.Sqrt(losses)
		o.roots.SetNodeValue(graph.StopGradient(roots))
		losses = graph.Where(graph.LessOrEqual(roots, graph.BroadcastToDims(clip, training.Batch)), losses, graph.ZerosLike(losses))
		return graph.ReduceAllMean(graph.Mul(losses, counts))
	}); err != nil {
		return nil, err
	}
	if err := o.compile(base, r); err != nil {
		return nil, err
	}
	return o, s.Guide(h)
}

// frozen returns a variable of zeros that is not trained.
func frozen(e *engine.Engine, path string, n int) *model.Variable {
	return e.Params.VariableWithValue(path, tensors.FromFlatDataAndDimensions(make([]float32, n), n)).SetTrainable(false)
}

// Visitor implements [Objective]: it records all paths.
func (o *AdjointMatching) Visitor(noise.Key) diffusion.Visitor {
	o.record = nil
	return func(p *diffusion.Population) error {
		o.record = append(o.record, append([]float32(nil), p.X...))
		return nil
	}
}

// Fit implements [Objective].
func (o *AdjointMatching) Fit(ctx context.Context, key noise.Key, batch Weighted, _ *Buffer) (float64, error) {
	pairs, err := o.adjoints(ctx, batch, o.choose(key.Sub("steps"), batch.N))
	if err != nil {
		return 0, err
	}
	o.record = nil
	draw := key.Sub("batch").Rand()
	var order []int
	var total float64
	for range o.training.Updates {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		for len(order) < o.training.Batch { // every pair as often as every other one
			order = append(order, draw.Perm(len(pairs))...)
		}
		chosen := make([]pair, o.training.Batch)
		for i := range chosen {
			chosen[i] = pairs[order[i]]
		}
		order = order[o.training.Batch:]
		loss, err := o.update(chosen)
		if err != nil {
			return 0, err
		}
		total += loss
	}
	return total / float64(max(1, o.training.Updates)), nil
}

// update takes a gradient step on a batch of pairs.
func (o *AdjointMatching) update(batch []pair) (float64, error) {
	var x, t, gain, target, counts []float32
	for _, p := range batch {
		st := o.sampler.Steps[p.step]
		x, t, gain = append(x, p.x...), append(t, float32(st.T)), append(gain, float32(st.K/st.S))
		count := float32(0)
		if p.counts {
			count = 1
		}
		counts = append(counts, count)
		for _, a := range p.adjoint {
			target = append(target, float32(st.S*float64(a)))
		}
	}
	shape := o.sampler.Shape
	loss, err := o.trainer.Step(engine.Rows(x, shape...), t, gain, engine.Rows(target, shape...), counts, []float32{o.limit()})
	if err != nil {
		return 0, err
	}
	return loss, o.learnLimit(counts)
}

// Schedule implements [Objective].
func (o *AdjointMatching) Schedule(done, from, to int) {
	o.updates = done * o.training.Updates
	schedule(o.trainer, o.training.Updates, done, from, to)
}
