package diffusion_test

import (
	"context"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// Pretraining reaches the least possible loss, and the process then generates the data law.
func TestPretraining(t *testing.T) {
	const batch, steps = 256, 400
	e := oracle.Open(t)
	model := diffusion.Network{Velocity: nn.MLP{Scope: e.Scope("/base"), In: 1, Out: 1, Width: 32, Depth: 2, Timed: true}.Init(noise.New(1), 0, 0)}
	data := func(rows []float32, step int) {
		noise.New(2).Normal(rows, uint64(step), 0)
		for i, z := range rows {
			rows[i] = float32(prior.Mean + prior.SD*float64(z))
		}
	}
	var early, late float64
	p := diffusion.Pretraining{Denoising: diffusion.Denoising{Times: diffusion.TimeLaw{Power: 2}}, Training: nn.Training{Steps: steps, Batch: batch, Optimizer: nn.Optimizer{LearningRate: 5e-3}}}
	trainer, err := p.Trainer(e, diffusion.VP{}, model)
	if err != nil {
		t.Fatal(err)
	}
	err = trainer.Run(context.Background(), steps, p.Inputs(noise.New(3), diffusion.VP{}, []int{1}, data), func(step int, loss float64) error {
		if step <= 1 {
			early = loss
		}
		if step > steps-100 {
			late += loss / 100
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	times := make([]float32, 10_000)
	diffusion.TimeLaw{Power: 2}.Draw(times, diffusion.VP{}, noise.New(4))
	least := prior.minimum(times)
	if early < least+0.06 {
		t.Errorf("the untrained loss is %g, hardly above the least possible, %g", early, least)
	}
	oracle.Near(t, "trained loss", late, least, 0.02) // mean over 25,600 samples: standard error 0.007
	if got, want := e.NetworkCalls(), int64(batch*steps); got != want {
		t.Errorf("%d network calls, want %d", got, want)
	}

	s := &diffusion.Sampler{Engine: e, Steps: grid(diffusion.EulerMaruyama{}, 50), Shape: []int{1}, Base: model}
	paths, err := s.Run(context.Background(), noise.New(5), 0, 4000, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := mean(paths.N, nil, func(i int) float64 { return float64(paths.X[i]) })
	v := mean(paths.N, nil, func(i int) float64 { return square(float64(paths.X[i]) - m.value) })
	oracle.Near(t, "mean of samples", m.value, prior.Mean, 0.08) // sampling 0.014, the rest is the model
	oracle.Near(t, "variance of samples", v.value, prior.SD*prior.SD, 0.1)
}

// The network predicts the velocity: 0 makes the prediction exact for N(0, 1).
func TestNetwork(t *testing.T) {
	x, times := []float32{-2, 0.1, 0.5, 3}, []float32{1e-4, 0.1, 0.5, 1}
	e := oracle.Open(t)
	m := diffusion.Network{Velocity: nn.MLP{Scope: e.Scope("/base"), In: 1, Out: 1, Width: 4, Depth: 1, Timed: true}.Init(noise.New(1), 0, 0)}
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
		return []*graph.Node{diffusion.State{X: in[0], T: in[1]}.Evaluate(m).Eps}
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := program.Run(engine.Rows(x, 1), times)
	if err != nil {
		t.Fatal(err)
	}
	eps := make([]float32, 4)
	if err := engine.Floats(eps, out[0]); err != nil {
		t.Fatal(err)
	}
	for i, at := range times {
		slope, offset := gaussian{0, 1}.line(float64(at))
		oracle.Near(t, "ε", eps[i], slope*float64(x[i])+offset, 1e-5)
	}
}
