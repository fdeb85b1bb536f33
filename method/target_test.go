package method

import (
	"context"
	"math"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/gmm"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// misfit is the reward −(x−y)²/(2·0.6²) of what a path is conditioned on; where it is on nothing, y = 1.2, as in package oracle.
type misfit struct{}

var (
	_ reward.Differentiable = misfit{}
	_ reward.Conditional    = misfit{}
)

func (misfit) Rewards(_ context.Context, x []float32, n int) ([]float64, error) {
	out := make([]float64, n)
	for i, v := range x {
		out[i] = oracle.Reward.At(float64(v))
	}
	return out, nil
}

func (misfit) RewardsGiven(_ context.Context, x, y []float32, n int) ([]float64, error) {
	out := make([]float64, n)
	for i, v := range x {
		out[i] = toward(float64(y[i])).At(float64(v))
	}
	return out, nil
}

func (misfit) Graph(x *graph.Node) *graph.Node {
	return misfit{}.GraphGiven(x, graph.MulScalar(graph.OnesLike(x), oracle.Reward.Goal))
}

func (misfit) GraphGiven(x, y *graph.Node) *graph.Node {
	width := oracle.Reward.Width
	return graph.ReduceSum(graph.MulScalar(graph.Square(graph.Sub(x, y)), -1/(2*width*width)), 1)
}

// toward is the reward of paths that are conditioned on y.
func toward(y float64) oracle.Quadratic {
	return oracle.Quadratic{Goal: y, Width: oracle.Reward.Width}
}

func gaussian(t *testing.T, g oracle.Gaussian) *gmm.Mixture {
	t.Helper()
	m, err := gmm.Isotropic([]float64{1}, [][]float64{{g.Mean}}, g.SD)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var scheme = diffusion.Scheme{Kernel: "euler-maruyama", Steps: 24, Power: 2}

// newTarget is the law of package oracle, to be sampled by so many samples; or for each of several conditions y its own.
// What other methods have learned is fitted anew, with the settings that small gives them.
func newTarget(t *testing.T, seed uint64, samples int, conditions ...float64) *Target {
	t.Helper()
	key := noise.New(seed)
	out := &Target{Base: diffusion.Mixture{Density: gaussian(t, oracle.Prior)}, Shape: []int{1}, Reward: misfit{}, Anneal: reward.Anneal(oracle.Reward.Width, 1),
		Conditions: 1, Samples: samples, Keys: Keys{Root: key, Start: key.Sub("h"), Loop: key.Sub("loop"), Particles: key.Sub("particles")},
		Process: diffusion.VP{}, Steps: scheme.Table(nil), Memoryless: scheme.Memoryless().Table(nil), Batch: 250, Engine: oracle.Open(t), Pool: &Pool{}}
	out.Training.Velocity = true
	parts := htransform.Parts{Reward: misfit{}, NN1: func(s *model.Scope, inputs int) nn.Network {
		return nn.MLP{Scope: s, In: inputs, Out: 1, Width: 16, Depth: 2, Timed: true}
	}}
	if len(conditions) > 0 {
		out.Conditions, out.Group = len(conditions), 20
		out.Given = func(from, each int) *diffusion.Condition {
			return &diffusion.Condition{Shape: []int{1}, Draw: func(_ noise.Key, path int, y []float32) { y[0] = float32(conditions[from+path/each]) }}
		}
		out.Learn = measurements(out.Group)
		parts.Show = func(y *graph.Node) *graph.Node { return y }
	}
	out.H = func(e *engine.Engine, key noise.Key, r reward.Reward) (htransform.Learned, error) {
		parts.Reward = r
		return htransform.Settings{ScaleWidth: 8, Start: 0.2, Gradient: true}.New(e, key, parts)
	}
	out.Run = func(ctx context.Context, f *finetune.FineTuning, _ htransform.Learned) error { return f.Run(ctx) }
	out.Fetch = func(ctx context.Context, t *Target, name string) (diffusion.Control, Spent, error) {
		other := *t
		other.Engine, other.extra = t.Engine.Fork(), Spent{}
		spent := other.Meter()
		fitted, err := small(New(name)).Fit(ctx, &other)
		return fitted.Control, spent(), err
	}
	return out
}

// measurements are y = x + 0.6·ξ of samples x, another one for every group of paths.
func measurements(group int) *diffusion.Condition {
	return &diffusion.Condition{Shape: []int{1},
		Draw: func(key noise.Key, path int, y []float32) {
			z := make([]float32, 2)
			key.Sub("measurement").Normal(z, uint64(path/group), 0)
			y[0] = float32(oracle.Prior.Mean + oracle.Prior.SD*float64(z[0]) + oracle.Reward.Width*float64(z[1]))
		},
		Of: func(x0, xi *graph.Node) *graph.Node {
			return graph.Add(x0, graph.MulScalar(xi, oracle.Reward.Width))
		}}
}

// small gives a method settings with which it ends soon. Batches divide the numbers of paths.
func small(m Method) Method {
	loop := Loop{Iterations: 2, Paths: 40, Buffer: 100, Updates: 3, Batch: 20}
	if s, ok := m.(interface{ Shared() *Supervised }); ok {
		s.Shared().Loop = loop
	}
	switch m := m.(type) {
	case *VarGrad:
		m.Loop, m.Steps = loop, 5
	case *Online:
		m.Loop, m.Steps = loop, 4
	case *DPOK:
		m.Loop, m.Transitions, m.Value.Width, m.Value.Batch = loop, 500, 8, 30
	case *DDPO:
		m.Loop = loop
	case *AdjointMatching:
		m.Loop = loop
	case *Guidance:
		m.Scales = Scales{Scales: []float64{0.1, 0.4}, Paths: 30}
	case *DPS:
		m.Scales = Scales{Scales: []float64{0.1, 0.2, 0.4}, Paths: 30}
	case *Amplified:
		m.Scales = Scales{Scales: []float64{1, 1.5}, Paths: 30}
	case *Polished:
		m.Paths, m.Rounds = 40, 2
	}
	return m
}

// relative makes the h of a target relative to an own fit of the base model, which here is of no samples and without parameters.
func relative(target *Target) {
	create := target.H
	target.Self = true
	target.H = func(e *engine.Engine, key noise.Key, r reward.Reward) (htransform.Learned, error) {
		h, err := create(e, key, r)
		return htransform.Neutral{Fit: h, Self: nothing{}}, err
	}
}

// everyName lists all methods by name: those that stand for themselves, and every learned one with every ending.
func everyName() []string {
	names, endings := Names()
	all := names
	for _, name := range names {
		if Learns(New(name)) {
			for _, ending := range endings {
				all = append(all, name+ending)
			}
		}
	}
	return all
}

// ends is the law in which the chain of the target ends with the control scale·h*: all is linear, so it is known exactly,
// discretisation included.
func ends(scale float64) oracle.Gaussian {
	mean, variance := 0.0, 1.0
	for _, st := range scheme.Table(nil)(0) {
		alpha, sigma := diffusion.VP{}.Alpha(st.T), diffusion.VP{}.Sigma(st.T)
		prior, tilted := oracle.Prior.Diffuse(alpha, sigma), oracle.Tilted.Diffuse(alpha, sigma)
		// ε = −σ·((1 − scale)·∇log p + scale·∇log p̃), of the form slope·x + offset.
		slope := sigma * ((1-scale)/(prior.SD*prior.SD) + scale/(tilted.SD*tilted.SD))
		offset := -sigma * ((1-scale)*prior.Score(0) + scale*tilted.Score(0))
		mean = (st.A+st.K*slope)*mean + st.K*offset
		variance = (st.A+st.K*slope)*(st.A+st.K*slope)*variance + st.S*st.S
	}
	return oracle.Gaussian{Mean: mean, SD: math.Sqrt(variance)}
}

// truth is what methods that are exact sample in the limit of many particles: the law of the simulated base paths, tilted.
func truth() oracle.Gaussian { return oracle.Reward.Tilt(ends(0)) }

// draw fits a method and samples it.
func draw(t *testing.T, m Method, target *Target) *Samples {
	t.Helper()
	if m.About().Zero {
		target.Reward = reward.Zero{}
	}
	fitted, err := m.Fit(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.Sample(t.Context(), target, fitted.Control)
	if err != nil {
		t.Fatal(err)
	}
	s.Scale = fitted.Scale
	return s
}

// moments returns mean and standard deviation.
func moments(x []float32) (mean, sd float64) {
	var sum, square float64
	for _, v := range x {
		sum += float64(v)
	}
	mean = sum / float64(len(x))
	for _, v := range x {
		square += (float64(v) - mean) * (float64(v) - mean)
	}
	return mean, math.Sqrt(square / float64(len(x)-1))
}

// repeated returns the mean over repetitions of the moments of samples, with their standard errors.
func repeated(t *testing.T, repeats int, sample func(seed uint64) []float32) (mean, sd, meanSE, sdSE float64) {
	t.Helper()
	n := float64(repeats)
	var m, s []float64
	for i := range repeats {
		a, b := moments(sample(uint64(i)))
		m, s = append(m, a), append(s, b)
		mean, sd = mean+a/n, sd+b/n
	}
	for i := range m {
		meanSE += (m[i] - mean) * (m[i] - mean)
		sdSE += (s[i] - sd) * (s[i] - sd)
	}
	return mean, sd, math.Sqrt(meanSE / (n - 1) / n), math.Sqrt(sdSE / (n - 1) / n)
}

// fixed has a target fetch that control, which has cost 7 paths and 11 calls, in place of one that is learned.
func fixed(target *Target, h diffusion.Control) *Target {
	target.Fetch = func(context.Context, *Target, string) (diffusion.Control, Spent, error) {
		return h, Spent{Paths: 7, Calls: 11}, nil
	}
	return target
}

// nothing stands for a network that says nothing.
type nothing struct{}

func (nothing) Noise(s diffusion.State) *graph.Node {
	engine.CountCall(s.X)
	return graph.ZerosLike(s.X)
}
