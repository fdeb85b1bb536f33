package finetune

import (
	"context"
	"math"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/gmm"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// problem is the setting of package oracle, as mixtures. Its reward is log N(x; 1.2, 0.6²): a constant more than the oracle's.
type problem struct {
	prior, density, tilted *gmm.Mixture
	logZ                   float64
}

func gaussians(t *testing.T) problem {
	t.Helper()
	normal := func(g oracle.Gaussian) *gmm.Mixture {
		m, err := gmm.Isotropic([]float64{1}, [][]float64{{g.Mean}}, g.SD)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	r := oracle.Reward
	return problem{prior: normal(oracle.Prior), density: normal(r.Density()), tilted: normal(oracle.Tilted),
		logZ: r.LogZ(oracle.Prior) + r.Density().LogDensity(r.Goal)}
}

func (p problem) base() diffusion.Model  { return diffusion.Mixture{Density: p.prior} }
func (p problem) reward() reward.Mixture { return reward.Mixture{Density: p.density} }
func (p problem) optimum() diffusion.Control {
	return htransform.Exact{Prior: p.prior, Tilted: p.tilted}
}

func (p problem) sampler(e *engine.Engine, kernel diffusion.Kernel, steps int, h diffusion.Control) *diffusion.Sampler {
	return &diffusion.Sampler{Engine: e, Steps: kernel.Steps(diffusion.VP{}, diffusion.Times(steps, 2)), Shape: []int{1}, Base: p.base(), Control: h}
}

// free is a reward-free h with a small network, whose parameters lie below path.
func free(e *engine.Engine, path string, width int, seed uint64) htransform.RewardFree {
	return htransform.RewardFree{NN1: network(e, path, 2, width, seed)}
}

// informed is the same, reward-informed.
func (p problem) informed(e *engine.Engine, path string, width int, seed uint64) htransform.RewardInformed {
	return htransform.RewardInformed{Reward: p.reward(), NN1: network(e, path, 3, width, seed),
		NN2: htransform.Scale(e.Scope(path+"/nn2"), 16, 0, noise.New(seed))}
}

func network(e *engine.Engine, path string, in, width int, seed uint64) nn.Network {
	return nn.MLP{Scope: e.Scope(path + "/nn1"), In: in, Out: 1, Width: width, Depth: 2, Timed: true}.Init(noise.New(seed), 0, 0)
}

// weighted simulates n paths and weighs them.
func (p problem) weighted(t *testing.T, s *diffusion.Sampler, key noise.Key, n int, visit diffusion.Visitor) Weighted {
	t.Helper()
	paths, err := s.Run(context.Background(), key, 0, n, visit)
	if err != nil {
		t.Fatal(err)
	}
	w, err := Weigh(context.Background(), paths, p.reward())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// push is the constant control h = Value; learnt is the same with a trainable value, /h/theta.
type push struct{ value float64 }

func (c push) Noise(s diffusion.State) *graph.Node {
	engine.CountCall(s.X) // it stands for a network, as do the others here
	_, sigma := s.AlphaSigma()
	return graph.Mul(graph.OnesLike(s.X), graph.MulScalar(sigma, -c.value))
}

type learnt struct{ scope *model.Scope }

func newLearnt(e *engine.Engine, value float64) learnt {
	e.Scope("/h").VariableWithValue("theta", float32(value))
	return learnt{e.Scope("/h")}
}

func (c learnt) theta(x *graph.Node) *graph.Node { return engine.Parameter(c.Parameters()[0], x) }

func (c learnt) Parameters() []*model.Variable {
	return []*model.Variable{c.scope.GetVariable("theta")}
}

func (c learnt) Within(place func(*model.Scope) *model.Scope) htransform.Learned {
	return learnt{place(c.scope)}
}

func (c learnt) Noise(s diffusion.State) *graph.Node {
	engine.CountCall(s.X)
	_, sigma := s.AlphaSigma()
	return graph.Mul(graph.OnesLike(s.X), graph.Mul(graph.Neg(sigma), c.theta(s.X)))
}

// learntMultiple is the control θ·h*, with trainable θ = /h/theta.
type learntMultiple struct {
	learnt
	of diffusion.Control
}

func (c learntMultiple) Within(place func(*model.Scope) *model.Scope) htransform.Learned {
	return learntMultiple{learnt{place(c.scope)}, c.of}
}

func (c learntMultiple) Noise(s diffusion.State) *graph.Node {
	engine.CountCall(s.X)
	return graph.Mul(c.of.Noise(s), c.theta(s.X))
}

// plain takes gradients as they are: unclipped, so that the first moment after one step is a tenth of the gradient.
var plain = nn.Optimizer{LearningRate: 1e-3, ClipNorm: -1}

// firstGradient is the gradient that the first step over /h/theta saw.
func firstGradient(e *engine.Engine) float64 {
	return 10 * float64(tensors.ToScalar[float32](e.Params.GetVariable("/optimizer/h/theta/m").MustValue()))
}

// meanSE is a mean with its standard error.
func meanSE(v []float64) (mean, se float64) {
	n := float64(len(v))
	mean = sum(v) / n
	for _, x := range v {
		se += (x - mean) * (x - mean)
	}
	return mean, math.Sqrt(se / (n - 1) / n)
}
