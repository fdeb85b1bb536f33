package finetune

import (
	"context"
	"errors"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// DPOK is KL-regularised policy gradient (Fan et al. 2023) on the last transitions of paths, whichever iteration they are of:
//
//	loss = mean[ −w_r·(r − V(x_t, step))·clamp(ρ, 1 ± Clip) + w_kl·KL ],   ρ = exp(log p_new − log p_old)
//
// Three things are as its authors run it and not as they write it: log p is the mean over the numbers of a sample and not the sum; the ratio is clamped
// without the minimum over it and the unclamped one, so that a step whose ratio has left the interval has no reward gradient at all; and the KL is the
// mean square of ε_h, which weighs all steps alike. GaussianKL takes the KL of the step's two normal laws instead, ‖D‖²/(2s²), as a mean over the
// numbers of a sample too, so that w_kl = w_r weighs it like the reward of a path in (10).
type DPOK struct {
	settings DPOKSettings
	training Training
	recorder recorder
	buffer   *Buffer // of transitions
	trainer  *nn.Trainer
	value    *value
}

// DPOKSettings are those of [DPOK] beside what all objectives have.
type DPOKSettings struct {
	RewardWeight float64       `yaml:"reward_weight"` // w_r
	KL           float64       `yaml:"kl"`            // w_kl
	GaussianKL   bool          `yaml:"-"`
	Clip         float64       `yaml:"clip"`        // how far ρ may be from 1
	Transitions  int           `yaml:"transitions"` // capacity of their buffer
	Value        ValueSettings `yaml:"value,flow"`
}

// NewDPOK compiles the objective for h, and makes a value network below [ValuePath] by a key. A gradient step is on a batch of transitions.
func NewDPOK(s *diffusion.Sampler, h htransform.Learned, training Training, settings DPOKSettings, key noise.Key) (*DPOK, error) {
	v, err := newValue(s, settings.Value, key)
	if err != nil {
		return nil, err
	}
	trainer, err := newPolicy(s, h, training.Optimizer, func(p played) *graph.Node {
		return settings.loss(p, graph.Sub(p.Earned, graph.StopGradient(v.graph(p.Step, p.X))))
	})
	if err != nil {
		return nil, err
	}
	r := recorder{sampler: s, limit: settings.Transitions}
	return &DPOK{settings: settings, training: training, recorder: r, buffer: &Buffer{Capacity: settings.Transitions, Dim: r.width()}, trainer: trainer, value: v}, nil
}

// loss is that of transitions of known advantage [batch].
func (s DPOKSettings) loss(p played, advantage *graph.Node) *graph.Node {
	gain := graph.ReduceAllMean(graph.Mul(advantage, graph.ClipScalar(p.Ratio, 1-s.Clip, 1+s.Clip)))
	kl := graph.Square(p.EpsH)
	if s.GaussianKL {
		kl = graph.MulScalar(graph.Mul(kl, diffusion.Column(graph.Square(p.Shift), kl)), 0.5)
	}
	return graph.Sub(graph.MulScalar(graph.ReduceAllMean(kl), s.KL), graph.MulScalar(gain, s.RewardWeight))
}

// Visitor implements [Objective].
func (o *DPOK) Visitor(key noise.Key) diffusion.Visitor { return o.recorder.visitor(key) }

// Fit implements [Objective]: first the value network learns what the paths have earned, then h.
func (o *DPOK) Fit(ctx context.Context, key noise.Key, batch Weighted, _ *Buffer) (float64, error) {
	rows, err := o.recorder.take(batch, batch.Reward)
	if err != nil {
		return 0, err
	}
	o.buffer.Append(rows)
	if _, err := o.steps(ctx, o.value.trainer, o.recorder.states, key.Sub("value"), o.settings.Value.Updates, o.settings.Value.Batch); err != nil {
		return 0, err
	}
	return o.steps(ctx, o.trainer, o.recorder.inputs, key.Sub("policy"), o.training.Updates, o.training.Batch)
}

// steps takes gradient steps on batches of transitions from the buffer, and returns their mean loss.
func (o *DPOK) steps(ctx context.Context, t *nn.Trainer, inputs func(rows []float32) []any, key noise.Key, updates, batch int) (float64, error) {
	draw, rows := key.Rand(), make([]float32, batch*o.buffer.Dim)
	var total float64
	for range updates {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if err := o.buffer.Draw(rows, draw); err != nil {
			return 0, err
		}
		loss, err := t.Step(inputs(rows)...)
		if err != nil {
			return 0, err
		}
		total += loss
	}
	return total / float64(max(1, updates)), nil
}

// Schedule implements [Objective]. The rate of the value network is constant.
func (o *DPOK) Schedule(done, from, to int) {
	schedule(o.trainer, o.training.Updates, done, from, to)
	o.value.trainer.Resume(done * o.settings.Value.Updates)
}

// State implements [Lasting].
func (o *DPOK) State() (map[string]checkpoint.Tensor, error) {
	state, err := nn.State(o.recorder.sampler.Engine, nn.TrainingState(ValuePath)...)
	if err != nil {
		return nil, err
	}
	rows, next := o.buffer.State()
	state["transitions/rows"] = checkpoint.Tensor{Shape: []int{len(rows) / o.buffer.Dim, o.buffer.Dim}, F32: rows}
	state["transitions/next"] = checkpoint.Tensor{Shape: []int{1}, I64: []int64{int64(next)}}
	return state, nil
}

// Restore implements [Lasting].
func (o *DPOK) Restore(state map[string]checkpoint.Tensor) error {
	next := state["transitions/next"].I64
	if len(next) != 1 {
		return errors.New("the state of DPOK lacks transitions: it is of another version")
	}
	if err := nn.Restore(o.recorder.sampler.Engine, state, nn.TrainingState(ValuePath)...); err != nil {
		return err
	}
	return o.buffer.Restore(state["transitions/rows"].F32, int(next[0]))
}
