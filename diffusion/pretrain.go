package diffusion

import (
	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// Network is a noise-prediction model made of a timed network F, which has unit scale at every noise level:
//
//	ε_θ = σ·x + α·F(x, t)
//
// In a variance-preserving process F is the velocity v = αε − σx_0 (Salimans & Ho 2022).
type Network struct{ Velocity nn.Network }

var _ Model = Network{}

// Noise implements [Model].
func (m Network) Noise(s State) *graph.Node {
	alpha, sigma := s.AlphaSigma()
	return graph.Add(graph.Mul(sigma, s.X), graph.Mul(alpha, m.Velocity.Apply(s.T, s.X)))
}

// Denoising says at which noise levels a network is trained, and how errors count there.
type Denoising struct {
	Velocity bool    `yaml:"velocity"` // weigh by 1/α², see [Diffused.Loss]
	Times    TimeLaw `yaml:",inline"`
}

// Pretraining fits a network to data by denoising score matching.
type Pretraining struct {
	nn.Training
	Denoising
}

// Trainer compiles the loss, with a learning rate that falls to zero over Steps. The inputs of a step are those of
// [Pretraining.Inputs].
func (p Pretraining) Trainer(e *engine.Engine, process Process, m Network) (*nn.Trainer, error) {
	trainer, err := nn.NewTrainer(e, m.Velocity.Parameters(), p.Optimizer, func(in []*graph.Node) *graph.Node {
		loss, _ := Diffuse(process, m, in[0], in[1], in[2], nil).Loss(nil, p.Velocity)
		return loss
	})
	if err != nil {
		return nil, err
	}
	trainer.Decay(0, p.Steps)
	return trainer, nil
}

// Inputs returns the inputs of every step: data x_0 [Batch, shape…], as filled in for that step; times; and noise. They
// depend on the key and the step only, if data does.
func (p Pretraining) Inputs(key noise.Key, process Process, shape []int, data func(rows []float32, step int)) func(step int) []any {
	dim := engine.Size(shape)
	x0, t, eps := make([]float32, p.Batch*dim), make([]float32, p.Batch), make([]float32, p.Batch*dim)
	return func(step int) []any {
		data(x0, step)
		p.Times.Draw(t, process, key.Sub("times").At(step))
		key.Sub("noise").Normal(eps, uint64(step), 0)
		return []any{engine.Rows(x0, shape...), t, engine.Rows(eps, shape...)}
	}
}
