package htransform_test

import (
	"math"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
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

var (
	schedule = diffusion.VP{}
	points   = []float32{0, 0, 1, -1, -0.5, 0.2, 2.5, 3, -1, 0.3}
	times    = []float32{1e-4, 0.02, 0.2, 0.5, 0.8}
)

// laws are a prior, a reward and their tilted law in two dimensions.
func laws(t *testing.T) (prior, density, tilted *gmm.Mixture) {
	t.Helper()
	prior, err := gmm.New([]float64{1, 3}, [][]float64{{-0.5, 0.2}, {0.7, -0.1}},
		[][][]float64{{{0.3, 0.1}, {0.1, 0.2}}, {{0.1, -0.05}, {-0.05, 0.4}}})
	if err != nil {
		t.Fatal(err)
	}
	density, err = gmm.Isotropic([]float64{2, 1}, [][]float64{{1, 1}, {-1, 0}}, 0.5)
	if err != nil {
		t.Fatal(err)
	}
	tilted, _, err = prior.Times(density)
	if err != nil {
		t.Fatal(err)
	}
	return prior, density, tilted
}

// noiseOf evaluates ε_h of a control at points and times, with the prior as base model, and the gradients of Σε_h² with respect to x, then
// to the named parameters.
func noiseOf(t *testing.T, e *engine.Engine, prior *gmm.Mixture, h diffusion.Control, parameters ...string) [][]float32 {
	t.Helper()
	return oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node {
		s := diffusion.State{Process: schedule, X: in[0], T: in[1]}.Evaluate(diffusion.Mixture{Density: prior})
		epsH := s.Noise(h)
		wrt := []*graph.Node{in[0]}
		for _, p := range parameters {
			wrt = append(wrt, e.Params.GetVariable(p).NodeValue(in[0]))
		}
		return append([]*graph.Node{epsH}, graph.Gradient(graph.ReduceAllSum(graph.Square(epsH)), wrt...)...)
	}, engine.Rows(points, 2), times)
}

// each calls fn for every point with its time, in float64.
func each(fn func(i int, x []float64, alpha, sigma float64)) {
	for i, at := range times {
		fn(i, []float64{float64(points[2*i]), float64(points[2*i+1])}, schedule.Alpha(float64(at)), schedule.Sigma(float64(at)))
	}
}

// The exact h-transform is the difference of two scores, and also what (6) says: ∇ₓ log E[exp r(X_0) | X_t = x], here by
// numerical derivatives of p^tilted_t/p_t.
func TestExactAgainstHost(t *testing.T) {
	prior, _, tilted := laws(t)
	got := noiseOf(t, oracle.Open(t), prior, htransform.Exact{Prior: prior, Tilted: tilted})[0]
	each(func(i int, x []float64, alpha, sigma float64) {
		p, q := prior.Diffuse(alpha, sigma), tilted.Diffuse(alpha, sigma)
		a, b := p.Score(x), q.Score(x)
		for j := range 2 {
			oracle.Near(t, "ε_h", got[2*i+j], -sigma*(b[j]-a[j]), 1e-4)
			const d = 1e-5
			up, down := append([]float64(nil), x...), append([]float64(nil), x...)
			up[j], down[j] = x[j]+d, x[j]-d
			slope := (q.LogDensity(up) - p.LogDensity(up) - q.LogDensity(down) + p.LogDensity(down)) / (2 * d)
			oracle.Near(t, "ε_h by (6)", got[2*i+j], -sigma*slope, 1e-4)
		}
	})
}

// At the start NN1 = 0 and NN2 = (1−t)·SiLU(0.02): weak guidance by the reward's gradient at Tweedie's estimate.
func TestRewardInformedStart(t *testing.T) {
	prior, density, _ := laws(t)
	e := oracle.Open(t)
	h := informed(e, reward.Mixture{Density: density}, 2)
	out := noiseOf(t, e, prior, h, "/h/nn1/out/weights", "/h/nn1/out/bias", "/h/nn2/out/bias")
	silu := 0.02 / (1 + math.Exp(-0.02))
	each(func(i int, x []float64, alpha, sigma float64) {
		scale := -sigma * (1 - float64(times[i])) * silu
		epsH := func(x []float64) []float64 {
			score := prior.Diffuse(alpha, sigma).Score(x)
			g := density.Score([]float64{(x[0] + sigma*sigma*score[0]) / alpha, (x[1] + sigma*sigma*score[1]) / alpha})
			return []float64{scale * g[0], scale * g[1]}
		}
		square := func(v []float64) float64 { return v[0]*v[0] + v[1]*v[1] }
		want := epsH(x)
		for j := range 2 {
			oracle.Near(t, "ε_h", out[0][2*i+j], want[j], 2e-4*(math.Abs(scale)+math.Abs(want[j])))
			// x moves x̂₀, and x̂₀ the reward's gradient.
			const d = 1e-5
			up, down := slices.Clone(x), slices.Clone(x)
			up[j], down[j] = x[j]+d, x[j]-d
			slope := (square(epsH(up)) - square(epsH(down))) / (2 * d)
			oracle.Near(t, "gradient with respect to x", out[1][2*i+j], slope, 1e-3*(scale*scale+math.Abs(slope)))
		}
	})
	// Both networks learn from the first step on.
	for k, name := range []string{"weights of NN1", "bias of NN1", "bias of NN2"} {
		var norm float64
		for _, v := range out[2+k] {
			norm += math.Abs(float64(v))
		}
		if !(norm > 0) {
			t.Errorf("no gradient reaches the last %s", name)
		}
	}
}

// With NN1 = 0 whatever NN2 is, the control stays a multiple of g that depends on t only.
func TestScaleIsAScalarOfTime(t *testing.T) {
	prior, density, _ := laws(t)
	e := oracle.Open(t)
	h := informed(e, reward.Mixture{Density: density}, 2)
	h.NN2 = nn.MLP{Scope: e.Scope("/other"), In: nn.TimeFeatures, Out: 1, Width: 8, Depth: 3}
	h.NN2.Init(noise.New(2), 1, 0.5)
	got := noiseOf(t, e, prior, h)[0]
	var scales []float64
	each(func(i int, x []float64, alpha, sigma float64) {
		score := prior.Diffuse(alpha, sigma).Score(x)
		g := density.Score([]float64{(x[0] + sigma*sigma*score[0]) / alpha, (x[1] + sigma*sigma*score[1]) / alpha})
		scale := -float64(got[2*i]) / (sigma * g[0])
		oracle.Near(t, "second coordinate by the scale of the first", got[2*i+1], -sigma*scale*g[1], 1e-3*sigma*math.Abs(scale)*(1+math.Abs(g[1])))
		scales = append(scales, scale)
	})
	if scales[1] == scales[2] {
		t.Error("the scale does not depend on time")
	}
}

// informed is a small reward-informed h with its parameters below /h.
func informed(e *engine.Engine, r reward.Differentiable, dim int) htransform.RewardInformed {
	return htransform.RewardInformed{Reward: r, NN1: vector(e, "/h/nn1", 3*dim, dim), NN2: htransform.Scale(e.Scope("/h/nn2"), 8, 0, noise.New(1))}
}

func vector(e *engine.Engine, path string, in, out int) nn.Network {
	return nn.MLP{Scope: e.Scope(path), In: in, Out: out, Width: 16, Depth: 2, Timed: true}.Init(noise.New(1), 0, 0)
}

func TestRewardFreeStartsAtZero(t *testing.T) {
	prior, _, _ := laws(t)
	e := oracle.Open(t)
	h := htransform.RewardFree{NN1: vector(e, "/h/nn1", 4, 2)}
	out := noiseOf(t, e, prior, h, "/h/nn1/out/weights")
	for _, v := range out[0] {
		oracle.Near(t, "ε_h", v, 0, 0)
	}
	// A bias b of the last layer is a change of the velocity: h = −α·b.
	e = oracle.Open(t)
	h = htransform.RewardFree{NN1: vector(e, "/h/nn1", 4, 2)}
	if err := e.Params.GetVariable("/h/nn1/out/bias").SetValue(engine.Rows([]float32{2, -3})); err != nil {
		t.Fatal(err)
	}
	got := noiseOf(t, e, prior, h)[0]
	each(func(i int, _ []float64, alpha, sigma float64) {
		oracle.Near(t, "ε_h", got[2*i], 2*sigma*alpha, 1e-5)
		oracle.Near(t, "ε_h", got[2*i+1], -3*sigma*alpha, 1e-5)
	})
}

// With a whole network of another process as NN1, h is σ times the difference of the scores: here to N(0, I), whose velocity
// is 0 and whose score is −x at all times.
func TestTuned(t *testing.T) {
	prior, _, _ := laws(t)
	e := oracle.Open(t)
	h := htransform.RewardFree{NN1: vector(e, "/h/nn1", 4, 2), Tuned: true}
	got := noiseOf(t, e, prior, h)[0]
	each(func(i int, x []float64, alpha, sigma float64) {
		score := prior.Diffuse(alpha, sigma).Score(x)
		for j := range 2 {
			oracle.Near(t, "ε_h", got[2*i+j], -sigma*sigma*(-x[j]-score[j]), 2e-4)
		}
	})
}

// What is learned lists all its parameters, and within other scopes reads those there and no others.
func TestLearned(t *testing.T) {
	prior, density, _ := laws(t)
	e, other := oracle.Open(t), oracle.Open(t)
	r := reward.Mixture{Density: density}
	for name, c := range map[string]struct {
		h, there htransform.Learned
		last     []string // paths of last layers
		size     int      // parameters
	}{
		"reward-free": {htransform.RewardFree{NN1: vector(e, "/free/nn1", 4, 2)}, htransform.RewardFree{NN1: vector(other, "/there/free/nn1", 4, 2)},
			[]string{"/there/free/nn1/out/bias"}, 10},
		"reward-informed": {informed(e, r, 2), htransform.RewardInformed{Reward: r, NN1: vector(other, "/there/h/nn1", 6, 2),
			NN2: htransform.Scale(other.Scope("/there/h/nn2"), 8, 0, noise.New(1))}, []string{"/there/h/nn1/out/bias", "/there/h/nn2/out/bias"}, 18},
	} {
		for _, path := range c.last {
			v := other.Params.GetVariable(path)
			if err := v.SetValue(engine.Rows([]float32{2, -3}[:v.Shape().Size()])); err != nil {
				t.Fatal(err)
			}
		}
		moved := c.h.Within(func(s *model.Scope) *model.Scope { return other.Scope("/there" + s.Scope()) })
		var paths, want []string
		for i, p := range moved.Parameters() {
			paths, want = append(paths, p.Path()), append(want, "/there"+c.h.Parameters()[i].Path())
		}
		if !slices.Equal(paths, want) || !slices.IsSorted(paths) || len(paths) != c.size {
			t.Errorf("%s: parameters %v, want %v", name, paths, want)
		}
		if got, want := noiseOf(t, e, prior, moved)[0], noiseOf(t, e, prior, c.there)[0]; !slices.Equal(got, want) || slices.Equal(got, noiseOf(t, e, prior, c.h)[0]) {
			t.Errorf("%s: within other scopes ε_h is %v, want %v", name, got, want)
		}
	}
}

// Controls keep the shape of their samples, images included.
func TestShapes(t *testing.T) {
	e := oracle.Open(t)
	r, err := reward.NewGraphed(e, []int{2, 3, 1}, 0, func(x *graph.Node) *graph.Node { return graph.ReduceSum(x, 1, 2, 3) })
	if err != nil {
		t.Fatal(err)
	}
	for name, h := range map[string]diffusion.Control{
		"reward-free":     htransform.RewardFree{NN1: vector(e, "/free", 12, 6)},
		"reward-informed": informed(e, r, 6),
	} {
		program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
			return []*graph.Node{diffusion.State{Process: schedule, X: in[0], T: in[1]}.Evaluate(shrink{}).Noise(h)}
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, rows := range []int{1, 4} {
			out, err := program.Run(engine.Rows(make([]float32, 6*rows), 2, 3, 1), []float32{0.5})
			if err != nil {
				t.Fatal(err)
			}
			if got, want := out[0].Shape().Dimensions, []int{rows, 2, 3, 1}; !slices.Equal(got, want) {
				t.Errorf("%s: shape %v, want %v", name, got, want)
			}
		}
	}
}

// shrink is the model of N(0, I) data.
type shrink struct{}

func (shrink) Noise(s diffusion.State) *graph.Node {
	_, sigma := s.AlphaSigma()
	return graph.Mul(sigma, s.X)
}
