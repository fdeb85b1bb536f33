package diffusion

import (
	"context"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// Perceptron is a noise-prediction model made of a timed [nn.MLP] F on flattened samples. With Residual = 0, F predicts
// the velocity v = γε − νx_0 (Salimans & Ho 2022), which has unit scale at every noise level:
//
//	ε_θ = ν·x + γ·F(x, t)
//
// A velocity holds all of the noise, which cannot pass through hidden layers narrower than the sample. With Residual =
// σ > 0, F predicts x_0 instead, and its estimate, taken to be off by σ per coordinate, is combined with the observation
// x/γ of precision (γ/ν)², so that the model copies its input where that is the better estimate:
//
//	ε_θ = (x − γ·F(x, t))·ν/(ν² + γ²σ²)
type Perceptron struct {
	Schedule Schedule
	MLP      nn.MLP
	Residual float64
}

var _ Model = Perceptron{}

// Noise implements [Model].
func (m Perceptron) Noise(x, t *graph.Node) *graph.Node {
	gamma, nu := m.coefficients(x, t)
	flat := graph.Reshape(x, x.Shape().Dimensions[0], -1)
	f := graph.Mul(gamma, graph.Reshape(m.MLP.Apply(flat, t), x.Shape().Dimensions...))
	if m.Residual == 0 {
		return graph.Add(graph.Mul(nu, x), f)
	}
	return graph.Mul(graph.Sub(x, f), graph.Div(nu, m.variance(gamma, nu)))
}

// Weight returns the factor of a sample's loss on ε in pre-training, [batch, 1, …]. With Residual = σ it is (ν² + γ²σ²)/γ²,
// under which F is asked for x_0 at all noise levels above σ alike (λ = 1/c_out² of Karras et al. 2022).
func (m Perceptron) Weight(x, t *graph.Node) *graph.Node {
	gamma, nu := m.coefficients(x, t)
	if m.Residual == 0 {
		return graph.OnesLike(gamma)
	}
	return graph.Div(m.variance(gamma, nu), graph.Square(gamma))
}

func (m Perceptron) coefficients(x, t *graph.Node) (gamma, nu *graph.Node) {
	gamma, nu = m.Schedule.GammaNuGraph(t)
	return Column(gamma, x), Column(nu, x)
}

// variance returns ν² + γ²σ².
func (m Perceptron) variance(gamma, nu *graph.Node) *graph.Node {
	return graph.Add(graph.Square(nu), graph.MulScalar(graph.Square(gamma), m.Residual*m.Residual))
}

// Pretraining fits a noise-prediction model to data by denoising score matching.
type Pretraining struct {
	Steps     int          `yaml:"steps"`
	Batch     int          `yaml:"batch"`
	Optimizer nn.Optimizer `yaml:",inline"`
}

// Run fits the parameters below path. Data fills rows [Batch, shape…] for a step; times follow [DrawTimes] with power.
// Observe, if not nil, is called after every step with the number of steps done and the loss.
func (p Pretraining) Run(ctx context.Context, e *engine.Engine, path string, schedule Schedule, model Perceptron, power float64,
	shape []int, key noise.Key, data func(rows []float32, step int), observe func(step int, loss float64)) error {
	options := p.Optimizer
	options.Decay = p.Steps
	trainer, err := nn.NewTrainer(e, path, options, func(in []*graph.Node) *graph.Node {
		diffused := Diffuse(schedule, model, in[0], in[1], in[2])
		return graph.ReduceAllMean(graph.Mul(model.Weight(in[0], in[1]), graph.Square(graph.Sub(diffused.Target, diffused.Eps))))
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
