package reward_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/gmm"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/reward"
)

func mixture(t *testing.T) *gmm.Mixture {
	t.Helper()
	m, err := gmm.New([]float64{1, 3}, [][]float64{{-0.5, 0.2}, {0.7, -0.1}},
		[][][]float64{{{0.3, 0.1}, {0.1, 0.2}}, {{0.1, -0.05}, {-0.05, 0.4}}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var points = []float32{0, 0, 1, -1, -0.5, 0.2, 2.5, 3}

func TestFunc(t *testing.T) {
	r := reward.Func(func(x []float32) float64 { return float64(x[0]) + 10*float64(x[len(x)-1]) })
	got, err := r.Rewards(context.Background(), []float32{1, 2, 3, 4, 5, 6}, 2)
	if err != nil || len(got) != 2 || got[0] != 31 || got[1] != 64 {
		t.Errorf("rewards %v, %v, want [31 64]", got, err)
	}
	if got, err := r.Rewards(context.Background(), nil, 0); err != nil || len(got) != 0 {
		t.Errorf("of no sample: %v, %v", got, err)
	}
}

// The host values are those of the mixture, the graph values theirs.
func TestMixture(t *testing.T) {
	m := mixture(t)
	r := reward.Mixture{Density: m}
	host, err := r.Rewards(context.Background(), points, 4)
	if err != nil {
		t.Fatal(err)
	}
	graphed, err := reward.NewGraphed(oracle.Open(t), []int{2}, 3, r.Graph) // 4 samples in batches of 3
	if err != nil {
		t.Fatal(err)
	}
	values, err := graphed.Rewards(context.Background(), points, 4)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		want := m.LogDensity([]float64{float64(points[2*i]), float64(points[2*i+1])})
		oracle.Near(t, "host reward", host[i], want, 1e-12)
		oracle.Near(t, "graph reward", values[i], want, 2e-5*(1+math.Abs(want)))
	}
	if _, err := r.Rewards(context.Background(), points, 3); err == nil {
		t.Error("8 numbers for 3 samples: no error")
	}
}

// Gradient is ∇r at its argument, whatever that was computed from, and what comes after is differentiated through it: by Hessian H of r,
// ∂|∇r(x/2)|²/∂x = H∇r.
func TestGradient(t *testing.T) {
	m := mixture(t)
	program, err := oracle.Open(t).Compile(func(in []*graph.Node) []*graph.Node {
		x0 := graph.MulScalar(in[0], 0.5)
		g := reward.Gradient(reward.Mixture{Density: m}, x0, nil)
		loss := graph.ReduceAllSum(graph.Square(graph.Add(g, in[1])))
		back := graph.Gradient(loss, in[0], in[1])
		return []*graph.Node{g, back[0], back[1]}
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := program.Run(engine.Rows(points, 2), engine.Rows(make([]float32, 8), 2))
	if err != nil {
		t.Fatal(err)
	}
	g, back, direct := make([]float32, 8), make([]float32, 8), make([]float32, 8)
	for i, dst := range [][]float32{g, back, direct} {
		if err := engine.Floats(dst, out[i]); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 4 {
		at := func(step float64) []float64 {
			return m.Score([]float64{float64(points[2*i])/2 + step*float64(g[2*i]), float64(points[2*i+1])/2 + step*float64(g[2*i+1])})
		}
		const d = 1e-6
		want, above, below := at(0), at(d), at(-d)
		for a := range 2 {
			j := 2*i + a
			oracle.Near(t, "gradient", g[j], want[a], 1e-4*(1+math.Abs(want[a])))
			hg := (above[a] - below[a]) / (2 * d)
			oracle.Near(t, "what flows back into x", back[j], hg, 1e-4*(1+math.Abs(hg)))
			oracle.Near(t, "what flows into another input", direct[j], 2*float64(g[j]), 1e-5)
		}
	}
}

func TestGraphed(t *testing.T) {
	e := oracle.Open(t)
	sum := func(x *graph.Node) *graph.Node { return graph.ReduceSum(x, 1, 2, 3) }
	r, err := reward.NewGraphed(e, []int{1, 2, 1}, 0, sum)
	if err != nil {
		t.Fatal(err)
	}
	const n = 600 // more than two batches of 256, the last one padded
	x := make([]float32, 2*n)
	for i := range x {
		x[i] = float32(i)
	}
	got, err := r.Rewards(context.Background(), x, n)
	if err != nil || len(got) != n {
		t.Fatalf("%d rewards, %v", len(got), err)
	}
	for i, v := range got {
		oracle.Near(t, "reward", v, float64(4*i+1), 0)
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := r.Rewards(cancelled, x, n); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	cause := errors.New("no such reward")
	bad, err := reward.NewGraphed(e, []int{2}, 4, func(*graph.Node) *graph.Node { panic(cause) })
	if err == nil {
		_, err = bad.Rewards(context.Background(), x, n)
	}
	if !errors.Is(err, cause) {
		t.Errorf("broken graph function: %v, want its cause", err)
	}
}

// A reward that overwrites what it is shown changes nothing for those who go on with the samples.
func TestEvaluateHandsOutACopy(t *testing.T) {
	x := []float32{1, 2, 3, 4}
	got, err := reward.Evaluate(context.Background(), reward.Func(func(x []float32) float64 {
		sum := float64(x[0] + x[1])
		clear(x)
		return sum
	}), x, nil, 2)
	if err != nil || !slices.Equal(got, []float64{3, 7}) || !slices.Equal(x, []float32{1, 2, 3, 4}) {
		t.Errorf("rewards %v, error %v; the samples are now %v", got, err, x)
	}
}

// scribbler is a conditional reward that overwrites both.
type scribbler struct{ product }

func (s scribbler) RewardsGiven(ctx context.Context, x, y []float32, n int) ([]float64, error) {
	out, err := s.product.RewardsGiven(ctx, x, y, n)
	clear(x)
	clear(y)
	return out, err
}

func TestEvaluateHandsOutCopiesOfConditions(t *testing.T) {
	x, y := []float32{1, 2}, []float32{3, 4}
	got, err := reward.Evaluate(context.Background(), scribbler{}, x, y, 2)
	if err != nil || !slices.Equal(got, []float64{3, 8}) || !slices.Equal(x, []float32{1, 2}) || !slices.Equal(y, []float32{3, 4}) {
		t.Errorf("rewards %v, error %v; the samples are now %v of %v", got, err, x, y)
	}
}
