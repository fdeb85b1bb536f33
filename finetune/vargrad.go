package finetune

import (
	"context"
	"math"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// VarGrad is the log-variance loss (57)–(59) (Richter et al. 2020) on the iteration's own paths, g = stopgrad(h):
//
//	ℓ = Σ_steps [ −‖D‖²/(2s²) + ⟨D_g, D⟩/s² + ⟨D, z⟩/s ] − r(x_0),   loss = Var ℓ over the batch,
//
// or the mean, over its groups that have paths of positive weight, of the variance in each
//
// At h = g this is ℓ = −log w, and ∇ Var ℓ = 2/(N−1) Σ_i (ℓ_i − mean ℓ) Σ_steps ∇⟨D, z⟩/s. So the gradient needs no
// path in memory: it is a sum over (path, step) pairs with known coefficients, of which a random subset of steps gives
// an unbiased estimate. Every iteration takes one optimiser step, since a second one would be off-policy.
type VarGrad struct {
	sampler *diffusion.Sampler
	trainer *nn.Trainer
	steps   int // per iteration, of all the sampler's
	record  []recorded
}

// recorded is a population at one step, as it stood before it moved.
type recorded struct {
	step diffusion.Step
	x, z []float32
}

// NewVarGrad compiles the objective for h. Each iteration uses the given number of random time steps (at most all of them; 0
// means all). From then on the sampler simulates with h itself and not its average: the gradient is exact on no other paths.
func NewVarGrad(s *diffusion.Sampler, h htransform.Learned, optimizer nn.Optimizer, steps int) (*VarGrad, error) {
	if len(controlled(s.Steps)) == 0 {
		return nil, errUncontrolled
	}
	if steps <= 0 || steps > len(s.Steps) {
		steps = len(s.Steps)
	}
	trainer, err := nn.NewTrainer(s.Engine, h.Parameters(), optimizer, func(in []*graph.Node) *graph.Node {
		x, t, z, coefficient := in[0], in[1], in[2], in[3]
		state := diffusion.State{Process: s.Process, X: x, T: t}
		if s.Given != nil {
			state.Given = in[4]
		}
		epsH := state.Evaluate(s.Base).Noise(h)
		return graph.ReduceAllSum(graph.Mul(diffusion.Column(coefficient, x), graph.Mul(epsH, z)))
	})
	if err != nil {
		return nil, err
	}
	return &VarGrad{sampler: s, trainer: trainer, steps: steps}, s.Guide(h)
}

// Visitor implements [Objective]: it records the population at a random subset of the controlled steps.
func (o *VarGrad) Visitor(key noise.Key) diffusion.Visitor {
	o.record = o.record[:0]
	controlled := controlled(o.sampler.Steps)
	chosen := map[int]bool{}
	for _, j := range key.Rand().Perm(len(controlled))[:min(o.steps, len(controlled))] {
		chosen[controlled[j]] = true
	}
	return func(p *diffusion.Population) error {
		if !chosen[p.Index] {
			return nil
		}
		z := make([]float32, len(p.X))
		for i := range p.N {
			p.Noise(i, z[i*p.Dim:(i+1)*p.Dim])
		}
		o.record = append(o.record, recorded{step: p.Step, x: append([]float32(nil), p.X...), z: z})
		return nil
	}
}

// Fit implements [Objective]. The loss it returns is Var ℓ.
func (o *VarGrad) Fit(_ context.Context, _ noise.Key, batch Weighted, _ *Buffer) (float64, error) {
	var variance float64
	var deviation []float64 // (ℓ_i − mean ℓ)/(N−1) among the paths of a group, as a share of the groups that count
	groups := 0.0
	for _, g := range batch.groups() {
		d, n := deviations(batch.LogW[g[0]:g[1]])
		if n > 0 {
			groups++
		}
		for i := range d {
			share := d[i] / max(1, n-1)
			variance += d[i] * share
			deviation = append(deviation, share)
		}
	}
	variance /= groups
	var x, t, z, coefficient, given []float32
	for _, rec := range o.record {
		scale := 2 / groups * rec.step.K / rec.step.S * float64(len(controlled(o.sampler.Steps))) / float64(len(o.record))
		for _, d := range deviation {
			t, coefficient = append(t, float32(rec.step.T)), append(coefficient, float32(scale*d))
		}
		given = append(given, batch.Given...)
		for i, lw := range batch.LogW {
			if math.IsInf(lw, -1) { // 0·NaN is NaN: keep what diverged out of the network
				clear(rec.x[i*batch.Dim : (i+1)*batch.Dim])
			}
		}
		x, z = append(x, rec.x...), append(z, rec.z...)
	}
	shape := o.sampler.Shape
	inputs := []any{engine.Rows(x, shape...), t, engine.Rows(z, shape...), coefficient}
	if o.sampler.Given != nil {
		inputs = append(inputs, engine.Rows(given, o.sampler.Given.Shape...))
	}
	_, err := o.trainer.Step(inputs...)
	return variance, err
}

// Schedule implements [Objective].
func (o *VarGrad) Schedule(done, from, to int) { schedule(o.trainer, 1, done, from, to) }

// deviations returns ℓ_i − mean ℓ with ℓ = −log w, zero for paths of weight zero, and the number of the others.
func deviations(logW []float64) (deviation []float64, n float64) {
	var mean float64
	for _, lw := range logW {
		if !math.IsInf(lw, -1) {
			mean, n = mean-lw, n+1
		}
	}
	mean /= n
	deviation = make([]float64, len(logW))
	for i, lw := range logW {
		if !math.IsInf(lw, -1) {
			deviation[i] = -lw - mean
		}
	}
	return deviation, n
}
