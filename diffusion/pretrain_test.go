package diffusion_test

import (
	"context"
	"errors"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// Pretraining reaches the least possible loss, and the process then generates the data law.
func TestPretraining(t *testing.T) {
	const batch, steps = 256, 400
	e := open(t)
	model := diffusion.Perceptron{MLP: nn.MLP{Scope: e.Scope("/base"), In: 1, Out: 1, Width: 32, Depth: 2, Timed: true}.Init(noise.New(1), 0, 0)}
	data := func(rows []float32, step int) {
		noise.New(2).Normal(rows, uint64(step), 0)
		for i, z := range rows {
			rows[i] = float32(prior.mean + prior.sd*float64(z))
		}
	}
	var early, late float64
	err := diffusion.Pretraining{Steps: steps, Batch: batch, Optimizer: nn.Optimizer{LearningRate: 5e-3}}.Run(context.Background(), e, "/base",
		diffusion.Schedule{}, model, 2, []int{1}, noise.New(3), data, func(step int, loss float64) {
			if step <= 1 {
				early = loss
			}
			if step > steps-100 {
				late += loss / 100
			}
		})
	if err != nil {
		t.Fatal(err)
	}
	times := make([]float32, 10_000)
	diffusion.DrawTimes(times, 2, noise.New(4))
	least := prior.minimum(times)
	if early < least+0.06 {
		t.Errorf("the untrained loss is %g, hardly above the least possible, %g", early, least)
	}
	near(t, "trained loss", late, least, 0.02) // mean over 25,600 samples: standard error 0.007
	if got, want := e.NetworkCalls(), int64(batch*steps); got != want {
		t.Errorf("%d network calls, want %d", got, want)
	}

	s := &diffusion.Sampler{Engine: e, Steps: grid(diffusion.EulerMaruyama{}, 50), Shape: []int{1}, Base: model}
	paths, err := s.Run(context.Background(), noise.New(5), 4000, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := mean(paths.N, nil, func(i int) float64 { return float64(paths.X[i]) })
	v := mean(paths.N, nil, func(i int) float64 { return square(float64(paths.X[i]) - m.value) })
	near(t, "mean of samples", m.value, prior.mean, 0.08) // sampling 0.014, the rest is the model
	near(t, "variance of samples", v.value, prior.sd*prior.sd, 0.1)
}

// With a residual of σ the network predicts x_0: the mean of Gaussian data of standard deviation σ makes the prediction exact. With
// none it predicts the velocity: 0 makes it exact for N(0, 1).
func TestPerceptron(t *testing.T) {
	x, times := []float32{-2, 0.1, 0.5, 3}, []float32{1e-4, 0.1, 0.5, 1}
	for _, c := range []struct {
		residual, bias float64
		law            gaussian
	}{{prior.sd, prior.mean, prior}, {0, 0, gaussian{0, 1}}} {
		e := open(t)
		mlp := nn.MLP{Scope: e.Scope("/base"), In: 1, Out: 1, Width: 4, Depth: 1, Timed: true}.Init(noise.New(1), 0, c.bias)
		m := diffusion.Perceptron{MLP: mlp, Residual: c.residual}
		program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
			return []*graph.Node{m.Noise(in[0], in[1]), m.Weight(in[0], in[1])}
		})
		if err != nil {
			t.Fatal(err)
		}
		out, err := program.Run(engine.Rows(x, 1), times)
		if err != nil {
			t.Fatal(err)
		}
		eps, weight := make([]float32, 4), make([]float32, 4)
		for i, dst := range [][]float32{eps, weight} {
			if err := engine.Floats(dst, out[i]); err != nil {
				t.Fatal(err)
			}
		}
		for i, at := range times {
			slope, offset := c.law.line(float64(at))
			near(t, "ε", float64(eps[i]), slope*float64(x[i])+offset, 1e-5)
			gamma, nu, want := diffusion.Schedule{}.Gamma(float64(at)), diffusion.Schedule{}.Nu(float64(at)), 1.0
			if c.residual > 0 {
				want = nu*nu/(gamma*gamma) + c.residual*c.residual
			}
			near(t, "weight of the loss", float64(weight[i]), want, 1e-4*want)
		}
	}
}

func TestPretrainingStops(t *testing.T) {
	e := open(t)
	model := diffusion.Perceptron{MLP: nn.MLP{Scope: e.Scope("/base"), In: 1, Out: 1, Width: 4, Depth: 1, Timed: true}.Init(noise.New(1), 0, 0)}
	ctx, cancel := context.WithCancel(context.Background())
	last := 0
	err := diffusion.Pretraining{Steps: 10, Batch: 4}.Run(ctx, e, "/base", diffusion.Schedule{}, model, 1, []int{1}, noise.New(1),
		func([]float32, int) {}, func(step int, _ float64) {
			if last = step; step == 3 {
				cancel()
			}
		})
	if !errors.Is(err, context.Canceled) || last != 3 {
		t.Errorf("cancelled after step 3: error %v after step %d", err, last)
	}
}
