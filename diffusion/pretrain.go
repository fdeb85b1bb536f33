package diffusion

import (
	"context"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// Perceptron is a noise-prediction model made of a timed [nn.MLP] on flattened samples. The network F predicts the
// velocity v = γε − νx_0 (Salimans & Ho 2022), which has unit scale at every noise level:
//
//	ε_θ = ν·x + γ·F(x, t)
type Perceptron struct {
	Schedule Schedule
	MLP      nn.MLP
}

var _ Model = Perceptron{}

// Noise implements [Model].
func (m Perceptron) Noise(x, t *graph.Node) *graph.Node {
	gamma, nu := m.Schedule.GammaNuGraph(t)
	flat := graph.Reshape(x, x.Shape().Dimensions[0], -1)
	v := graph.Reshape(m.MLP.Apply(flat, t), x.Shape().Dimensions...)
	return graph.Add(graph.Mul(Column(nu, x), x), graph.Mul(Column(gamma, x), v))
}

// Pretraining fits a noise-prediction model to data by denoising score matching.
type Pretraining struct {
	Steps     int          `yaml:"steps"`
	Batch     int          `yaml:"batch"`
	Optimizer nn.Optimizer `yaml:",inline"`
}

// Run fits the parameters below path. Data fills rows [Batch, shape…] for a step; times follow [DrawTimes] with power.
// Observe, if not nil, is called after every step with the number of steps done and the loss.
func (p Pretraining) Run(ctx context.Context, e *engine.Engine, path string, schedule Schedule, model Model, power float64,
	shape []int, key noise.Key, data func(rows []float32, step int), observe func(step int, loss float64)) error {
	options := p.Optimizer
	options.Decay = p.Steps
	trainer, err := nn.NewTrainer(e, path, options, func(in []*graph.Node) *graph.Node {
		loss, _ := Diffuse(schedule, model, in[0], in[1], in[2]).Loss(nil)
		return loss
	})
	if err != nil {
		return err
	}
	dim := 1
	for _, d := range shape {
		dim *= d
	}
	x0, t, eps := make([]float32, p.Batch*dim), make([]float32, p.Batch), make([]float32, p.Batch*dim)
	for step := range p.Steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		data(x0, step)
		DrawTimes(t, power, key.Sub("times").At(step))
		key.Sub("noise").Normal(eps, uint64(step), 0)
		loss, err := trainer.Step(engine.Rows(x0, shape...), t, engine.Rows(eps, shape...))
		if err != nil {
			return err
		}
		if observe != nil {
			observe(step+1, loss)
		}
	}
	return nil
}
