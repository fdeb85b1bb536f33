package finetune

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/gomlx/gomlx/core/graph"
	"gonum.org/v1/gonum/stat"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// DDPO is denoising diffusion policy optimisation (Black et al. 2024) with importance sampling: proximal policy optimisation of the mean reward, of which
// every step of a path is an action,
//
//	loss = mean max(−A·ρ, −A·clip(ρ, 1 ± Clip))
//
// over transitions of the iteration's own paths. The advantage A of a path is its reward, standardised and clipped to ±5; ρ is as [DPOK] has it. Nothing holds the
// law near the base model's but the number of iterations.
type DDPO struct {
	settings DDPOSettings
	training Training
	recorder recorder
	trainer  *nn.Trainer
	rewards  []float64 // the last ones
}

// DDPOSettings are those of [DDPO] beside what all objectives have.
type DDPOSettings struct {
	Clip   float64 `yaml:"clip"`             // how far ρ may be from 1
	Window int     `yaml:"window,omitempty"` // last rewards that give mean and standard deviation; 0 means those of the iteration
}

// NewDDPO compiles the objective for h. A gradient step is on a batch of transitions: all of the iteration are used if batches and updates have room, random ones if not,
// and again if there is more room.
func NewDDPO(s *diffusion.Sampler, h htransform.Learned, training Training, settings DDPOSettings) (*DDPO, error) {
	trainer, err := newPolicy(s, h, training.Optimizer, settings.loss)
	if err != nil {
		return nil, err
	}
	return &DDPO{settings: settings, training: training, recorder: recorder{sampler: s, limit: training.Updates * training.Batch}, trainer: trainer}, nil
}

func (s DDPOSettings) loss(p played) *graph.Node {
	gain := graph.Mul(p.Earned, p.Ratio)
	clipped := graph.Mul(p.Earned, graph.ClipScalar(p.Ratio, 1-s.Clip, 1+s.Clip))
	return graph.ReduceAllMean(graph.Max(graph.Neg(gain), graph.Neg(clipped))) // where both are equal, the gradient is that of the first
}

// Visitor implements [Objective].
func (o *DDPO) Visitor(key noise.Key) diffusion.Visitor { return o.recorder.visitor(key) }

// Fit implements [Objective].
func (o *DDPO) Fit(ctx context.Context, key noise.Key, batch Weighted, _ *Buffer) (float64, error) {
	rows, err := o.recorder.take(batch, o.advantages(batch))
	if err != nil {
		return 0, err
	}
	width := o.recorder.width()
	order := key.Rand().Perm(len(rows) / width)
	var total float64
	for i := range o.training.Updates {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		var some []float32
		for j := range o.training.Batch {
			k := order[(i*o.training.Batch+j)%len(order)]
			some = append(some, rows[k*width:(k+1)*width]...)
		}
		loss, err := o.trainer.Step(o.recorder.inputs(some)...)
		if err != nil {
			return 0, err
		}
		total += loss
	}
	return total / float64(max(1, o.training.Updates)), nil
}

// advantages standardises the rewards of an iteration by the last ones. A path of weight zero has none.
func (o *DDPO) advantages(batch Weighted) []float64 {
	known, window := o.rewards, o.settings.Window
	if window == 0 {
		known = nil
	}
	for i, r := range batch.Reward {
		if !math.IsInf(batch.LogW[i], -1) {
			known = append(known, r)
		}
	}
	if window > 0 {
		known = known[max(0, len(known)-window):]
		o.rewards = slices.Clone(known)
	}
	mean, sd := stat.PopMeanStdDev(known, nil)
	out := make([]float64, batch.N)
	for i, r := range batch.Reward {
		if sd > 0 && !math.IsInf(batch.LogW[i], -1) {
			out[i] = max(-5, min(5, (r-mean)/sd))
		}
	}
	return out
}

// Schedule implements [Objective].
func (o *DDPO) Schedule(done, from, to int) { schedule(o.trainer, o.training.Updates, done, from, to) }

// State implements [Lasting].
func (o *DDPO) State() (map[string]checkpoint.Tensor, error) {
	if o.settings.Window == 0 {
		return nil, nil
	}
	return map[string]checkpoint.Tensor{"rewards": {Shape: []int{len(o.rewards)}, F64: o.rewards}}, nil
}

// Restore implements [Lasting].
func (o *DDPO) Restore(state map[string]checkpoint.Tensor) error {
	rewards, ok := state["rewards"]
	if ok != (o.settings.Window > 0) {
		return fmt.Errorf("the state of DDPO has rewards: %t, want %t for a window of %d: it is of another version", ok, !ok, o.settings.Window)
	}
	o.rewards = slices.Clone(rewards.F64)
	return nil
}
