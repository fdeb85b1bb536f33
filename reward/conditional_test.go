package reward_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"gonum.org/v1/gonum/mat"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// plain is the reward x² of numbers; product is conditional, x·y, and without y the same as plain.
type plain struct{}

func (plain) Rewards(_ context.Context, x []float32, n int) ([]float64, error) {
	out := make([]float64, n)
	for i := range out {
		out[i] = float64(x[i]) * float64(x[i])
	}
	return out, nil
}

func (plain) Graph(x *graph.Node) *graph.Node { return graph.ReduceSum(graph.Square(x), 1) }

type product struct{ plain }

func (product) RewardsGiven(_ context.Context, x, y []float32, n int) ([]float64, error) {
	out := make([]float64, len(x))
	for i := range out {
		out[i] = float64(x[i]) * float64(y[i])
	}
	return out, nil
}

func (product) GraphGiven(x, y *graph.Node) *graph.Node { return graph.ReduceSum(graph.Mul(x, y), 1) }

var (
	_ reward.Differentiable = plain{}
	_ reward.Differentiable = product{}
	_ reward.Conditional    = product{}
)

// A conditional reward judges by the condition where there is one, on the host, in graphs and in gradients; any other reward
// judges by the sample alone.
func TestConditional(t *testing.T) {
	ctx := context.Background()
	x, y := []float32{2, -3, 0.5}, []float32{5, 7, -4}
	squares, products := []float64{4, 9, 0.25}, []float64{10, -21, -2}
	for _, c := range []struct {
		name           string
		reward         reward.Differentiable
		given          bool
		want, gradient []float64
		backX, backY   []float64 // of Σ g·x + y
	}{
		{"conditional, given", product{}, true, products, []float64{5, 7, -4}, []float64{5, 7, -4}, []float64{3, -2, 1.5}},   // g = y
		{"conditional, not given", product{}, false, squares, []float64{4, -6, 1}, []float64{8, -12, 2}, []float64{1, 1, 1}}, // g = 2x
		{"unconditional, given", plain{}, true, squares, []float64{4, -6, 1}, []float64{8, -12, 2}, []float64{1, 1, 1}},
		{"unconditional, not given", plain{}, false, squares, []float64{4, -6, 1}, []float64{8, -12, 2}, []float64{1, 1, 1}},
	} {
		var given []float32
		if c.given {
			given = y
		}
		host, err := reward.Evaluate(ctx, c.reward, x, given, 3)
		if err != nil || !slices.Equal(host, c.want) {
			t.Errorf("%s: %v, %v, want %v", c.name, host, err, c.want)
		}
		out := oracle.Run(t, "", func(in []*graph.Node) []*graph.Node {
			var given *graph.Node
			if c.given {
				given = in[1]
			}
			g := reward.Gradient(c.reward, in[0], given)
			back := graph.Gradient(graph.ReduceAllSum(graph.Add(graph.Mul(g, in[0]), in[1])), in[0], in[1])
			return []*graph.Node{reward.Graph(c.reward, in[0], given), g, back[0], back[1]}
		}, engine.Rows(x, 1), engine.Rows(y, 1))
		for i := range x {
			oracle.Near(t, c.name+": in a graph", out[0][i], c.want[i], 1e-5)
			oracle.Near(t, c.name+": gradient", out[1][i], c.gradient[i], 1e-5)
			oracle.Near(t, c.name+": what flows back into x", out[2][i], c.backX[i], 1e-5)
			oracle.Near(t, c.name+": what flows back into y", out[3][i], c.backY[i], 1e-5)
		}
	}
	// The values are judged as those of other rewards are.
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for name, y := range map[string][]float32{"NaN": {1, nan, 1}, "+∞": {1, -inf, 1}} {
		if _, err := reward.Evaluate(ctx, product{}, x, y, 3); !errors.Is(err, reward.ErrInvalid) {
			t.Errorf("a conditional reward of %s: error %v", name, err)
		}
	}
	if _, err := reward.Evaluate(ctx, product{}, x, y, 2); !errors.Is(err, reward.ErrInvalid) {
		t.Errorf("three conditional rewards of two samples: error %v", err)
	}
	got, err := reward.Evaluate(ctx, product{}, []float32{2, inf, nan}, y, 3)
	if want := []float64{10, math.Inf(-1), math.Inf(-1)}; err != nil || !slices.Equal(got, want) {
		t.Errorf("of diverged samples: %v, %v, want %v", got, err, want)
	}
}

// Drawn in a graph, a measurement is Ax + σξ where it is observed, and 0 where not.
func TestInverseDraw(t *testing.T) {
	const n = 3
	for _, m := range measurements {
		r := inverse(t, m.name, m.image, nil)
		d, e := engine.Size(m.image), engine.Size(r.Shape)
		x, xi := normal(1, n*d), normal(2, n*e)
		for _, backend := range oracle.Backends() {
			got := oracle.Run(t, backend, func(in []*graph.Node) []*graph.Node { return []*graph.Node{r.Draw(in[0], in[1])} },
				engine.Rows(x, m.image...), engine.Rows(xi, r.Shape...))[0]
			if len(got) != n*e {
				t.Fatalf("%s: %d numbers, want %d", m.name, len(got), n*e)
			}
			for i := range n {
				one := measure(m.name, slices.Repeat([]float32{1}, d), m.image) // 0 where nothing is observed
				for k, ax := range measure(m.name, x[i*d:(i+1)*d], m.image) {
					if one[k] == 0 {
						oracle.Near(t, m.name+" on "+backend+": what is not observed", got[i*e+k], 0, 0)
						continue
					}
					oracle.Near(t, m.name+" on "+backend+": y", got[i*e+k], ax+sigma*float64(xi[i*e+k]), 3e-6)
				}
			}
		}
	}
}

// Norm is the largest eigenvalue of AAᵀ: 1/F² for averages, 1 for masks, and for blurs what their matrices say.
func TestNorm(t *testing.T) {
	for _, m := range measurements {
		r := inverse(t, m.name, m.image, nil)
		d, e := engine.Size(m.image), engine.Size(r.Shape)
		a := mat.NewDense(e, d, nil)
		for j := range d {
			unit := make([]float32, d)
			unit[j] = 1
			a.SetCol(j, measure(m.name, unit, m.image))
		}
		var svd mat.SVD
		if !svd.Factorize(a, mat.SVDNone) {
			t.Fatal("no singular values")
		}
		want := svd.Values(nil)[0] * svd.Values(nil)[0]
		got, err := r.Norm(context.Background(), 50, noise.New(3))
		if err != nil {
			t.Fatal(err)
		}
		if got > want*(1+1e-5) || got < 0.97*want { // the power method comes from below, the slower the nearer the next eigenvalue
			t.Errorf("%s: ‖A‖² = %g, want %g", m.name, got, want)
		}
		if known := map[string]float64{"average-1": 1, "average-2": 1. / 4, "average-3": 1. / 9, "average-4": 1. / 16, "inpaint": 1}[m.name]; known > 0 {
			oracle.Near(t, m.name+": ‖A‖²", got, known, 1e-5*known)
		}
	}
}

// Annealed, the likelihood of a measurement of x̂₀ is the Gaussian density N(y; Ax̂₀, σ²I + σ_t²AAᵀ), but for its constant.
func TestAnneal(t *testing.T) {
	const sigma, spread = 0.2, 0.25
	at := []float32{1e-4, 0.1, 0.4, 1}
	for _, rank := range []int{1, 3} {
		shape := slices.Repeat([]int{1}, rank)
		out := oracle.Run(t, "", func(in []*graph.Node) []*graph.Node {
			s := diffusion.State{X: in[0], T: in[1], Eps: in[0]}
			one := s
			one.T = graph.Slice(in[1], graph.AxisRange(1, 2))
			return []*graph.Node{graph.Mul(reward.Anneal(sigma, spread)(s), s.X), graph.Mul(reward.Anneal(sigma, spread)(one), s.X)}
		}, engine.Rows([]float32{1, 1, 1, 1}, shape...), at)
		for k, got := range out {
			for i, v := range got {
				level := diffusion.VP{}.Sigma(float64(at[i]))
				if k == 1 {
					level = diffusion.VP{}.Sigma(float64(at[1]))
				}
				variance := sigma*sigma + level*level*spread
				// log N(0; 0, variance) − log N(1; 0, variance), by −1/(2σ²) without noise.
				oracle.Near(t, "weight", v, (1/(2*variance))/(1/(2*sigma*sigma)), 1e-5)
			}
		}
	}
}
