package steer_test

import (
	"context"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
	"github.com/doob-diffusion/doob/steer"
)

// Every stage has its number, at one time for all rows and at a time of every row.
func TestStaged(t *testing.T) {
	h := steer.Staged{Control: ones{}, Until: []float64{0.6, 0.3}, Scales: []float64{2, 3, 5}}
	times := []float32{1, 0.61, 0.59, 0.31, 0.29, 0}
	want := []float32{2, 2, 3, 3, 5, 5}
	at := func(x []float32, times []float32) []float32 {
		return oracle.Run(t, "", func(in []*graph.Node) []*graph.Node {
			return []*graph.Node{h.Noise(diffusion.State{X: in[0], T: in[1]})}
		}, engine.Rows(x, 1), times)[0]
	}
	if got := at(make([]float32, 6), times); !slices.Equal(got, want) {
		t.Errorf("at times %v it is %v, want %v", times, got, want)
	}
	for i, time := range times {
		if got := at(make([]float32, 2), []float32{time}); !slices.Equal(got, []float32{want[i], want[i]}) {
			t.Errorf("at time %g it is %v, want %g", time, got, want[i])
		}
	}
}

type ones struct{}

func (ones) Noise(s diffusion.State) *graph.Node { return graph.OnesLike(s.X) }

// Stages have about as many of the steps that a control moves; those that it does not move are of none.
func TestStages(t *testing.T) {
	steps := []diffusion.Step{{T: 1, Uncontrolled: true}, {T: 0.9}, {T: 0.7}, {T: 0.5}, {T: 0.4}, {T: 0.2}, {T: 0.1, Uncontrolled: true}}
	for n, want := range map[int][]float64{1: nil, 2: {0.6}, 3: {0.8, 0.45}} {
		got := steer.Stages(steps, n)
		if len(got) != len(want) {
			t.Fatalf("%d stages: between them %v, want %v", n, got, want)
		}
		for i := range want {
			oracle.Near(t, "time between stages", got[i], want[i], 1e-12)
		}
	}
	if got := steer.Stages(steps[:2], 3); !slices.Equal(got, []float64{0, 0}) {
		t.Errorf("one step of three stages: %v", got)
	}
}

// polished returns what is found for h, and its KL before and after, on paths of their own.
func polished(t *testing.T, p problem, h diffusion.Control, paths int) (scales []float64, before, after float64) {
	t.Helper()
	s, err := steer.Polish{Sampler: func(h diffusion.Control) *diffusion.Sampler { return p.sampler(t, h) }, Reward: p.reward(), Stages: 3, Paths: paths, Rounds: 6}.Run(
		t.Context(), noise.New(1), h)
	if err != nil {
		t.Fatal(err)
	}
	kl := func(h diffusion.Control) float64 {
		paths, err := p.sampler(t, h).Run(t.Context(), noise.New(2), 0, 5000, nil)
		if err != nil {
			t.Fatal(err)
		}
		r, err := reward.Evaluate(t.Context(), p.reward(), paths.X, nil, paths.N)
		if err != nil {
			t.Fatal(err)
		}
		for i := range r {
			r[i] += paths.LogRatio[i]
		}
		mean, _ := metric.MeanSE(r)
		return p.logZ - mean
	}
	return s.Scales, kl(h), kl(s)
}

// Of an h that is wrong by a factor in every stage, the factors are found: those that are large at once would be out of reach. Numbers of 400
// paths are right to about 0.1, but in the early steps, where h is small; the KL is least there, and so hardly depends on them.
func TestPolish(t *testing.T) {
	p := gaussians(t)
	wrong := []float64{0.4, 1.5, 0.5}
	until := steer.Stages(p.steps, 3)
	scales, before, after := polished(t, p, steer.Staged{Control: p.optimum(), Until: until, Scales: wrong}, 400)
	t.Logf("scales %.3f, KL %.4f, polished %.4f", scales, before, after)
	for k, c := range scales {
		oracle.Near(t, "factor of h*", c*wrong[k], 1, []float64{0.5, 0.2, 0.2}[k])
	}
	if !(before > 0.1) || !(after < 0.02) { // 0.01 is the discretisation's
		t.Errorf("KL %.4f, polished %.4f", before, after)
	}
}

// Few paths do no harm: h* stays as it is but for what they cannot tell, and an h that does nothing but harm is taken back.
func TestPolishFewPaths(t *testing.T) {
	p := gaussians(t)
	scales, before, after := polished(t, p, p.optimum(), 96)
	t.Logf("h*: scales %.3f, KL %.4f, polished %.4f", scales, before, after)
	if after > before+0.01 {
		t.Errorf("h*: KL %.4f, polished %.4f", before, after)
	}
	away := steer.Staged{Control: p.optimum(), Until: steer.Stages(p.steps, 3), Scales: []float64{1, 1, -0.5}}
	scales, before, after = polished(t, p, away, 96)
	t.Logf("away from h*: scales %.3f, KL %.4f, polished %.4f", scales, before, after)
	if !(scales[2] < 0.5) || !(after < before-0.02) {
		t.Errorf("away from h*: scales %.3f, KL %.4f, polished %.4f", scales, before, after)
	}
}

// grouped adds to the reward a constant that the paths of a condition share.
type grouped struct{ reward.Mixture }

func (r grouped) RewardsGiven(ctx context.Context, x, y []float32, n int) ([]float64, error) {
	out, err := r.Rewards(ctx, x, n)
	for i := range out {
		out[i] += 50 * float64(y[i])
	}
	return out, err
}

func (r grouped) GraphGiven(x, y *graph.Node) *graph.Node {
	return graph.Add(r.Graph(x), graph.MulScalar(graph.Squeeze(y, 1), 50))
}

// The log Z of a condition is of no matter, whatever it is.
func TestPolishGroups(t *testing.T) {
	p := gaussians(t)
	run := func(r reward.Reward) []float64 {
		s, err := steer.Polish{Reward: r, Stages: 2, Paths: 90, Group: 10, Rounds: 3, Sampler: func(h diffusion.Control) *diffusion.Sampler {
			s := p.sampler(t, h)
			s.Given = &diffusion.Condition{Shape: []int{1}, Draw: func(_ noise.Key, path int, y []float32) { y[0] = float32(path / 10) }}
			return s
		}}.Run(t.Context(), noise.New(1), steer.Amplified{Control: p.optimum(), Scale: 0.5})
		if err != nil {
			t.Fatal(err)
		}
		return s.Scales
	}
	want, got := run(p.reward()), run(grouped{p.reward()})
	for k := range want {
		oracle.Near(t, "scale", got[k], want[k], 1e-6)
	}
	if want[0] == 1 && want[1] == 1 {
		t.Error("nothing was changed: the test tells nothing")
	}
}
